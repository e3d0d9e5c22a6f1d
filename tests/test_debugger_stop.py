"""Rules that end a job, through the `train` command."""

import json
from pathlib import Path

import pytest
from make_test_dir import make_test_dir
from support import run_train

from train.debugger.record import read_record

FINETUNE = {
    "strategy": "finetune",
    "arch": "timm/test_resnet",
    "pretrained": "false",
    "batch_size": "8",
    "num_workers": "0",
}


def test_a_rule_ends_training_and_the_best_model_is_evaluated(faces: Path, tmp_path: Path) -> None:
    stopping = {
        "stop_on": "TensorVariance,ExplodingTensor",
        "rule_tensor_variance_max_threshold": "1e-9",
        "epochs": "50",
    }
    root = make_test_dir(tmp_path, faces, {**FINETUNE, **stopping})
    result = run_train(root)
    assert result.returncode == 0, result.stderr
    output = root / "output" / "data"
    record = read_record(output / "record.jsonl")
    assert len(record.epochs) == 1
    assert record.end is not None
    assert record.end["status"] == "stopped"
    assert record.end["reason"].startswith("TensorVariance: The variance of ")
    (finding,) = [row for row in record.findings if row["rule"] == "TensorVariance"]
    assert (finding["epoch"], finding["severity"]) == (1, "advice")
    assert f"TensorVariance: {finding['message']}" in result.stderr
    assert "test:accuracy" in json.loads((output / "metrics.json").read_text())
    assert (root / "model" / "model.json").exists()


def test_rules_need_the_recorder(faces: Path, tmp_path: Path) -> None:
    root = make_test_dir(tmp_path, faces, {**FINETUNE, "stop_on": "ExplodingTensor", "recorder": "false"}, link=True)
    result = run_train(root)
    assert result.returncode == 1
    failure = (root / "output" / "failure").read_text()
    assert failure.startswith("UserError: stop_on=ExplodingTensor: rules judge what is recorded; set recorder=true")


@pytest.mark.parametrize(("name", "text", "message"), [
    ("stop_on", "ExplodingTensors", "did you mean ExplodingTensor?"),
    ("rule_overfit_ratio_treshold", "0.2", "did you mean rule_overfit_ratio_threshold?"),
    ("rule_overfit_ratio_threshold", "-1", "must be in [0, inf)"),
])  # fmt: skip
def test_a_wrong_name_or_value_of_a_rule_ends_the_job_before_it_begins(
    faces: Path, tmp_path: Path, name: str, text: str, message: str
) -> None:
    root = make_test_dir(tmp_path, faces, {name: text}, link=True)
    result = run_train(root)
    assert result.returncode == 1
    assert message in (root / "output" / "failure").read_text()
