"""The command that judges a record again."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from rule_records import Event, data, epochs, job, steps
from support import ROOT

from train.debugger.record import RECORD_NAME, RecordWriter


def write(folder: Path, *lines: Event | list[Event]) -> Path:
    writer = RecordWriter(folder / RECORD_NAME)
    writer.write(line for item in lines for line in (item if isinstance(item, list) else [item]))
    writer.close()
    return folder


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "train.debugger", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture
def ill(tmp_path: Path) -> Path:
    """A record of a job whose loss exploded and that was killed in the middle of a line."""
    folder = write(tmp_path, job(), data([2000, 10]), steps([1.0, 0.9, math.inf, math.nan]))
    with (folder / RECORD_NAME).open("a") as stream:
        stream.write('{"kind": "steps", "tim')
    return folder


@pytest.mark.parametrize("name", ["", RECORD_NAME])
def test_the_table_begins_with_problems_and_says_why_rules_do_not_apply(ill: Path, name: str) -> None:
    result = run(ill / name)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split()[:2] == ["ExplodingTensor", "problem"]
    assert any(line.split()[:2] == ["LoadBalancing", "not"] and "two GPUs" in line for line in lines)
    assert max(map(len, lines)) <= 160


def test_the_results_are_json_without_numbers_that_json_lacks(ill: Path) -> None:
    result = run(ill, "--json")
    assert result.returncode == 0, result.stderr
    results = {item["rule"]: item for item in json.loads(result.stdout, parse_constant=pytest.fail)}
    assert len(results) == 29
    assert results["ExplodingTensor"]["status"] == "IssuesFound"
    assert results["ClassImbalance"]["details"]["counts"] == {"class_0": 2000, "class_1": 10}


def test_parameters_are_those_of_the_job_unless_the_command_says_otherwise(tmp_path: Path) -> None:
    strict = job(rule_overfit_ratio_threshold=5.0)
    write(tmp_path, strict, epochs([0.5, 0.2], [0.5, 0.9], train_accuracy=[0.7, 0.9], validation_accuracy=[0.7, 0.6]))

    def status(*arguments: str) -> str:
        results = {item["rule"]: item for item in json.loads(run(tmp_path, "--json", *arguments).stdout)}
        return str(results["Overfit"]["status"])

    assert status() == "NoIssuesFound"
    assert status("--set", "rule_overfit_ratio_threshold=0.2") == "IssuesFound"
    assert status("--set", "overfit-ratio-threshold=0.2") == "IssuesFound"


@pytest.mark.parametrize(("arguments", "message"), [
    (["nowhere"], "neither record.jsonl nor tensors of smdebug are there"),
    ([".", "--set", "x"], "neither record.jsonl"),
])  # fmt: skip
def test_a_wrong_folder_is_told(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("given", "message"), [
    ("rule_overfit_ratio=1", "overfit_ratio: unknown parameter of a rule; did you mean overfit_"),
    ("rule_overfit_patience=0", "must be in [1, 10000]"),
    ("rule_overfit_patience", "expected NAME=VALUE"),
])  # fmt: skip
def test_a_wrong_parameter_is_told(ill: Path, given: str, message: str) -> None:
    result = run(ill, "--set", given)
    assert result.returncode == 1
    assert message in result.stderr
