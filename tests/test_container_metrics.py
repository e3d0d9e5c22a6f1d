"""Metric lines and the patterns that read them back."""

import re

import pytest

from container.errors import AlgorithmError, UserError
from container.metrics import METRICS, MetricDefinition, metric, print_metrics


@pytest.mark.parametrize("definition", METRICS, ids=lambda definition: definition.name)
def test_each_pattern_reads_its_own_line_and_no_other(definition: MetricDefinition) -> None:
    lines = {other.name: other.line(0.25 + i, epoch=3) for i, other in enumerate(METRICS)}
    matches = {name: re.search(definition.regex, line) for name, line in lines.items()}
    assert [name for name, match in matches.items() if match] == [definition.name]


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-9, 123456.789, -2.5e-7])
def test_a_value_comes_back_to_six_digits(value: float, capsys: pytest.CaptureFixture[str]) -> None:
    print_metrics({"test:loss": value}, epoch=1)
    match = re.search(metric("test:loss").regex, capsys.readouterr().out)
    assert match is not None
    assert float(match[1]) == pytest.approx(value, rel=1e-5)


def test_definitions_keep_within_the_limits_of_the_service() -> None:
    assert len(METRICS) <= 40
    assert all(len(m.name) <= 255 and len(m.regex) <= 500 for m in METRICS)
    assert {"test:loss", "validation:accuracy", "test:accuracy"} <= {m.request()["Name"] for m in METRICS}


def test_a_value_that_the_service_cannot_read_says_that_training_diverged() -> None:
    with pytest.raises(UserError, match="training diverged; set a lower lr"):
        metric("train:loss").line(float("nan"))


def test_a_metric_that_is_not_declared_is_a_defect() -> None:
    with pytest.raises(AlgorithmError, match="validation:speed"):
        metric("validation:speed")
