"""All rules together: whatever a record lacks, each gives a judgement that is JSON."""

import dataclasses
import json
import math
import warnings
from typing import get_args

import pytest
from rule_records import Event, data, dead, epochs, job, predictions, record, samples, stage, steps, tensor

from train.debugger.record import Record, named_non_finite
from train.debugger.rule_settings import RuleSettings, StoppingRule, snake_case
from train.debugger.rules import JUDGES, evaluate_rules

NEVER_WHILE_TRAINING = {"Confusion", "OverallSystemUsage", "OverallFrameworkMetrics"}


def whole() -> list[Event]:
    """A record with lines of every kind."""
    lines: list[Event] = [
        job(), data([60, 40], [10, 10], [10, 10]), stage(epochs=2, steps_per_epoch=40),
        {"kind": "phase", "time": 5.0, "name": "imports", "start": 0.0, "seconds": 5.0},
        {"kind": "phase", "time": 9.0, "name": "features train", "start": 6.0, "seconds": 3.0},
        *steps([0.7 - 0.005 * i for i in range(80)], epochs=2, times={"forward": 0.5, "data_wait": 0.03}),
        {"kind": "pause", "time": 40.0, "name": "validation", "stage": "finetune", "start": 34.0, "seconds": 1},
        *epochs([0.5, 0.3], [0.5, 0.3], train_accuracy=[0.8, 0.9], validation_accuracy=[0.8, 0.9]),
        *samples([95.0] * 90, gpu=[[90.0] * 90, [90.0] * 90]),
        {"kind": "leak", "time": 1.0, "count": 0, "photographs": []},
        predictions([[10, 0], [1, 9]]),
    ]  # fmt: skip
    for name, collection, more in (
        ("gradient/fc.weight", "gradients", {}), ("fc.weight", "weights", {}), ("Net_input_0", "inputs", {"std": 1.0}),
        ("fc.weight", "updates", {"ratio": 0.01, "max_abs_change": 0.01}), ("relu_input_0", "relu_input", {}),
        ("relu_output_0", "relu_output", {"activity": dead(5)}), ("Net_output_0", "outputs", {}),
        ("tanh_input_0", "tanh_input", {"saturated": [0.0] * 21}),
    ):  # fmt: skip
        lines += tensor(name, collection, 5, **more)
    return [*lines, {"kind": "end", "time": 61.0, "status": "completed", "reason": ""}]


def judged(given: Record) -> dict[str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = evaluate_rules(given, RuleSettings())
    json.dumps([named_non_finite(dataclasses.asdict(result)) for result in results], allow_nan=False)
    assert all(result.gain is None or 0 <= result.gain <= 1 for result in results)
    return {result.rule: result.status for result in results}


def test_a_whole_healthy_record_finds_no_issue_and_nearly_every_rule_applies() -> None:
    statuses = judged(record(whole()))
    assert len(statuses) == len(JUDGES) == 29
    assert {rule for rule, status in statuses.items() if status == "IssuesFound"} == set()
    assert {rule for rule, status in statuses.items() if status == "NotApplicable"} == {
        "TensorVariance",
        "Overtraining",
    }


def test_an_empty_record_is_judged() -> None:
    assert set(judged(record()).values()) <= {"NotApplicable"}


@pytest.mark.parametrize("kind", sorted({line["kind"] for line in whole()}))
def test_a_record_without_a_kind_of_line_is_judged(kind: str) -> None:
    assert "IssuesFound" not in judged(record(line for line in whole() if line["kind"] != kind)).values()


@pytest.mark.parametrize("kind", sorted({line["kind"] for line in whole()}))
def test_a_record_of_one_kind_of_line_is_judged(kind: str) -> None:
    judged(record(line for line in whole() if line["kind"] == kind))


@pytest.mark.parametrize("number", range(0, len(whole()), 7))
def test_a_record_that_ends_anywhere_is_judged(number: int) -> None:
    judged(record(whole()[:number]))


MEASURED = {"steps": ("loss",), "tensor": ("mean", "mean_abs", "std", "min", "max", "p5", "p95", "ratio", "activity")}
"""What can be infinite or no number in lines of a kind."""


def replaced(line: Event, value: float | None) -> Event:
    """Put a value in place of what a line measured."""
    names = MEASURED.get(line["kind"], tuple(name for name in line if name not in ("kind", "time", "epoch", "stage")))
    given = {name: line[name] for name in names if name in line}
    return {**line, **{name: [value] * len(old) if isinstance(old, list) else value for name, old in given.items()}}


@pytest.mark.parametrize(("kind", "value"), [
    *[(kind, value) for kind in ("steps", "tensor") for value in (math.nan, math.inf, -math.inf, 0.0)],
    *[("epoch", value) for value in (math.nan, math.inf, None, 0.0)],
])  # fmt: skip
def test_a_record_of_strange_numbers_is_judged(kind: str, value: float | None) -> None:
    judged(record(replaced(line, value) if line["kind"] == kind else line for line in whole()))


def test_samples_without_gpus_and_cores_are_judged() -> None:
    bare = [{**line, "cpu": [], "gpu": []} if line["kind"] == "system" else line for line in whole()]
    unknown = [{**line, "gpu": [{"utilization": None}]} if line["kind"] == "system" else line for line in whole()]
    judged(record(bare))
    judged(record(unknown))


def test_names_of_rules_settings_judges_and_stops_agree() -> None:
    rules = {type(getattr(RuleSettings(), field.name)).__name__: field for field in dataclasses.fields(RuleSettings)}
    assert list(JUDGES) == [field.name for field in rules.values()]
    for rule, field in rules.items():
        assert field.name == snake_case(rule)
        assert field.metadata["prefix"] == f"{field.name}_"
    assert set(get_args(StoppingRule)) == rules.keys() - NEVER_WHILE_TRAINING
