"""The `train` command, as a process on real photographs."""

import csv
import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
import torchvision
from make_test_dir import make_test_dir
from PIL import Image
from sample_data import sample_photographs
from support import NUM_CLASSES, run_train, start_train

from classifier.artifact import read_artifact
from container.metrics import METRICS

SINGLE_LABEL_METRICS = [metric for metric in METRICS if "single_label" in metric.tasks]


def test_a_job_recognises_people_it_was_trained_on(trained: Path) -> None:
    metrics = json.loads((trained / "output" / "data" / "metrics.json").read_text())
    assert metrics["test:accuracy"] >= 0.9
    assert set(metrics) == {m.name for m in SINGLE_LABEL_METRICS if not m.name.startswith("train")}
    artifact = read_artifact(trained / "model")
    assert artifact.class_names == tuple(f"person_{i:02d}" for i in range(1, NUM_CLASSES + 1))


def test_every_metric_is_printed_once_an_epoch_and_read_back_by_its_pattern(trained: Path) -> None:
    log = json.loads((trained / "log.json").read_text())["stdout"]
    metrics = json.loads((trained / "output" / "data" / "metrics.json").read_text())
    for definition in SINGLE_LABEL_METRICS:
        values = re.findall(definition.regex, log)
        finals = 0 if definition.name.startswith("train") else 1
        assert len(values) == (0 if definition.name.startswith("test") else 30) + finals
        if finals:
            assert float(values[-1]) == pytest.approx(metrics[definition.name], rel=1e-5)


def test_the_report_holds_history_tables_and_pictures(trained: Path) -> None:
    folder = trained / "output" / "data"
    with (folder / "history.csv").open() as stream:
        history = list(csv.DictReader(stream))
    assert [row["epoch"] for row in history] == [str(i) for i in range(1, 31)]
    with (folder / "confusion_matrix.csv").open() as stream:
        counts = [int(count) for row in csv.DictReader(stream) for name, count in row.items() if name != "label"]
    assert sum(counts) == 2 * NUM_CLASSES
    with (folder / "per_class.csv").open() as stream:
        assert next(csv.DictReader(stream))["class_name"] == "person_01"
    for name in ("learning_curves.png", "confusion_matrix.png"):
        assert min(Image.open(folder / name).size) > 300


def test_the_log_has_plain_lines_and_no_progress_bar_without_a_terminal(trained: Path) -> None:
    log = json.loads((trained / "log.json").read_text())["stderr"]
    assert "5 classes; photographs: 30 train, 10 validation, 10 test" in log
    assert "\r" not in log


def failing(root: Path, faces: Path, hyperparameters: dict[str, str]) -> str:
    """Run a job that must fail by its user's mistake; return the first line of output/failure."""
    make_test_dir(root, faces, hyperparameters)
    result = run_train(root)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    failure = (root / "output" / "failure").read_text()
    assert "Traceback" not in failure
    return failure.splitlines()[0]


def test_wrong_hyperparameters_are_all_named_in_the_failure(faces: Path, tmp_path: Path) -> None:
    line = failing(tmp_path, faces, {"lr": "-1", "epoch": "3", "strategy": "magic"})
    assert line.startswith("UserError: ")
    assert "lr=-1: must be in (0, 1]" in line
    assert "epoch: unknown hyperparameter; did you mean epochs?" in line
    assert "strategy=magic" in line


def test_an_unknown_network_is_named_with_its_neighbours(faces: Path, tmp_path: Path) -> None:
    line = failing(tmp_path, faces, {"arch": "resnet51"})
    assert "arch=resnet51: unknown network" in line and "resnet50" in line


def test_another_number_of_classes_than_given_is_an_error(faces: Path, tmp_path: Path) -> None:
    assert "num_classes=133: the photographs have 5 classes" in failing(tmp_path, faces, {"num_classes": "133"})


def test_one_class_only_is_an_error_that_says_what_is_expected(faces: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(faces / "train" / "person_01", data / "person_01")
    assert "expected at least 2, each a folder with its photographs" in failing(tmp_path / "ml", data, {})


def test_an_empty_class_is_named(faces: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(faces, data)
    (data / "train" / "nobody").mkdir()
    assert "no photographs in class nobody" in failing(tmp_path / "ml", data, {})


def test_no_channel_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    result = run_train(tmp_path)
    assert result.returncode == 1
    assert "no channel there" in (tmp_path / "output" / "failure").read_text()


def test_unreadable_photographs_are_named_and_skipped_up_to_the_limit(faces: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(faces, data)
    (data / "train" / "person_01" / "broken.jpg").write_bytes(b"\xff\xd8\xff not a jpeg")
    assert "1 of 31 photographs are unreadable" in failing(tmp_path / "strict", data, {"max_unreadable": "0"})
    root = make_test_dir(tmp_path / "ml", data, {"epochs": "2"})
    result = run_train(root)
    assert result.returncode == 0, result.stderr
    assert re.search(r"skipped .*broken\.jpg", result.stderr)
    assert "broken.jpg" in (root / "output" / "data" / "unreadable.csv").read_text()


def test_channels_of_their_own_and_a_validation_split_work(faces: Path, tmp_path: Path) -> None:
    for name in ("train", "test"):
        shutil.copytree(faces / name, tmp_path / "input" / "data" / name)
    result = run_train(tmp_path, "--epochs", "2", "--validation-split", "0.34")
    assert result.returncode == 0, result.stderr
    assert "photographs: 20 train, 10 validation, 10 test" in result.stderr


def test_a_search_leaves_all_its_trials_and_reuses_the_features_of_the_job_before(faces: Path, tmp_path: Path) -> None:
    root = make_test_dir(tmp_path, faces, {"search_trials": "8", "epochs": "10"})
    (root / "checkpoints").mkdir()
    first = run_train(root)
    assert first.returncode == 0, first.stderr
    assert "were in the cache" not in first.stderr
    report = root / "output" / "data"
    trials = [json.loads(line) for line in (report / "trials.jsonl").read_text().splitlines()]
    assert sorted(trial["number"] for trial in trials) == list(range(8))
    assert min(Image.open(report / "trials.png").size) > 300
    weights = (root / "model" / "model.safetensors").read_bytes()
    second = run_train(root)
    assert "train features: 30 of 30 were in the cache" in second.stderr
    assert (root / "model" / "model.safetensors").read_bytes() == weights


def test_weights_in_a_model_channel_are_used(faces: Path, tmp_path: Path) -> None:
    root = make_test_dir(tmp_path, faces, {"arch": "resnet18", "epochs": "1"})
    folder = root / "input" / "data" / "model"
    folder.mkdir()
    torch.save(torchvision.models.get_model("resnet18", weights=None).state_dict(), folder / "resnet18-f37072fd.pth")
    result = run_train(root)
    assert result.returncode == 0, result.stderr
    assert f"weights of resnet18: {folder / 'resnet18-f37072fd.pth'}" in result.stderr


@pytest.mark.parametrize("strategy", ["finetune", "lp_ft"])
def test_fine_tuning_trains_all_layers(strategy: str, faces: Path, tmp_path: Path) -> None:
    hyperparameters = {
        "strategy": strategy,
        "epochs": "2",
        "batch-size": "8",
        "arch": "resnet18",
        "pretrained": "false",
    }
    root = make_test_dir(tmp_path, faces, {**hyperparameters, "num_workers": "1"})
    result = run_train(root)
    assert result.returncode == 0, result.stderr
    with (root / "output" / "data" / "history.csv").open() as stream:
        stages = [row["stage"] for row in csv.DictReader(stream)]
    assert stages == ["linear_probe"] * (100 if strategy == "lp_ft" else 0) + ["finetune"] * 2
    assert read_artifact(root / "model").architecture == "resnet18"


def test_sigterm_while_features_are_made_saves_a_head_on_those_made_so_far(tmp_path: Path) -> None:
    root = make_test_dir(tmp_path, sample_photographs(), {"strategy": "linear_probe"})
    with start_train(root, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert any(line.startswith("features with") for line in process.stderr)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        log = process.stderr.read()
    assert process.returncode == 0, log
    assert time.monotonic() - started < 30
    assert len(read_artifact(root / "model").class_names) == 40


@pytest.mark.parametrize("seconds_after_the_first_epoch", [0.0, 2.0])
def test_sigterm_saves_the_best_model_and_ends_well(
    seconds_after_the_first_epoch: float, faces: Path, tmp_path: Path
) -> None:
    root = make_test_dir(tmp_path, faces, {"strategy": "finetune", "epochs": "1000", "batch-size": "4"})
    with start_train(root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert any(line.startswith("#metric validation:macro_f1") for line in process.stdout)
        time.sleep(seconds_after_the_first_epoch)
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert time.monotonic() - started < 30
    assert len(read_artifact(root / "model").class_names) == NUM_CLASSES
