"""The record that the `train` command leaves, of jobs that end and jobs that are killed."""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from make_test_dir import make_test_dir
from support import NUM_CLASSES, run_train, start_train

from train.debugger.record import Record, read_record

FINETUNE = {"strategy": "finetune", "arch": "resnet18", "pretrained": "false", "batch-size": "4", "num_workers": "1"}


def record_of(root: Path) -> Record:
    return read_record(root / "output" / "data" / "record.jsonl")


def test_a_job_with_a_probe_leaves_its_phases_epochs_trials_and_predictions(trained: Path) -> None:
    record = record_of(trained)
    names = [row["name"] for row in record.phases]
    assert names == [
        "imports", "find photographs", "weights", "conversion", "features train", "features validation", "search",
        "artifact", "evaluation", "report",
    ]  # fmt: skip
    starts = [row["start"] for row in record.phases]
    ends = [row["start"] + row["seconds"] for row in record.phases]
    assert all(end <= start + 1e-3 for end, start in zip(ends, starts[1:], strict=False))
    assert sum(row["seconds"] for row in record.phases) > 0.8 * record.duration
    features = record.phases[4]
    assert features["num_photographs"] == 30 and features["engine_seconds"] > 0 and features["decode_seconds"] > 0
    assert (
        features["engine_seconds"] + features["decode_seconds"] <= features["num_threads"] * features["seconds"] + 0.1
    )
    steps = record.steps
    assert set(steps.stage) == {"linear_probe"} and steps.epoch.tolist() == list(range(1, 31))
    assert (steps.merged >= 4).all() and steps.number.tolist() == [0, *steps.merged.cumsum()[:-1]]
    assert (steps.forward > 0).all() and (steps.backward > 0).all() and (steps.optimizer > 0).all()
    assert (steps.total * steps.merged).sum() <= record.phases[6]["seconds"]
    assert [row["epoch"] for row in record.epochs] == list(range(1, 31))
    assert all(0 <= row["validation_accuracy"] <= 1 and row["lr"] >= 0 for row in record.epochs)
    assert record.end == {"time": record.end and record.end["time"], "status": "completed", "reason": ""}
    assert len(record.trials) >= 1


def test_a_job_describes_itself_its_data_and_its_predictions(trained: Path) -> None:
    record = record_of(trained)
    assert record.job["hyperparameters"]["strategy"] == "linear_probe" and record.job["hyperparameters"]["epochs"] == 30
    assert record.job["device"] == "cpu" and record.job["num_cpus"] >= 1 and record.job["memory_bytes"] > 1e8
    assert record.job["host"] == "algo-1" and record.job["versions"]["torch"]
    assert record.data is not None
    assert record.data["counts"] == {"train": [6] * NUM_CLASSES, "validation": [2] * 5, "test": [2] * 5}
    for split in ("validation", "test"):
        predictions = record.predictions[split]
        assert sum(map(sum, predictions["confusion_matrix"])) == 2 * NUM_CLASSES
        assert sum(row["count"] for row in predictions["calibration"]["bins"]) == 2 * NUM_CLASSES
        losses = [row["loss"] for row in predictions["hardest"]]
        assert losses == sorted(losses, reverse=True) and len(losses) == 2 * NUM_CLASSES
        mean = sum(losses) / len(losses)
        assert mean == pytest.approx(predictions["metrics"][f"{split}:loss"], rel=1e-3, abs=1e-4)
        assert all(Path(row["photograph"]).parent.name == row["label"] for row in predictions["hardest"])
    assert record.leaks == [] and len(record.system) >= 1


def test_without_the_recorder_there_is_no_record_and_the_same_model(trained: Path, faces: Path, tmp_path: Path) -> None:
    hyperparameters = {"strategy": "linear_probe", "epochs": "30", "batch-size": "8", "recorder": "false"}
    root = make_test_dir(tmp_path, faces, hyperparameters)
    result = run_train(root)
    assert result.returncode == 0, result.stderr
    assert not (root / "output" / "data" / "record.jsonl").exists()
    weights = (root / "model" / "model.safetensors").read_bytes()
    assert weights == (trained / "model" / "model.safetensors").read_bytes()


def test_a_job_that_is_killed_in_the_middle_of_training_leaves_a_readable_record(faces: Path, tmp_path: Path) -> None:
    root = make_test_dir(tmp_path, faces, {**FINETUNE, "epochs": "1000"})
    started = time.monotonic()
    with start_train(root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert any("validation:macro_f1" in line and "epoch=2" in line for line in process.stdout)
        time.sleep(1.2)
        process.send_signal(signal.SIGKILL)
        killed = time.monotonic() - started
    record = record_of(root)
    assert record.end is None
    assert len(record.epochs) >= 2 and len(record.steps) >= 14
    assert record.duration == pytest.approx(killed, abs=2.0)
    assert len(record.system) >= 3 and len(record.tensors) > 100
    assert record.stages[0]["num_workers"] == 1 and max(record.system.num_loaders) == 1


def test_photographs_of_both_train_and_test_are_told(faces: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(faces, data)
    shutil.copy(data / "train" / "person_01" / "1.png", data / "test" / "person_01" / "again.png")
    root = make_test_dir(tmp_path / "ml", data, {"epochs": "2"})
    result = run_train(root)
    assert result.returncode == 0, result.stderr
    assert "1 photographs are in two splits, such as" in result.stderr
    (leak,) = record_of(root).leaks
    assert leak["count"] == 1
    assert leak["photographs"][0]["split"] == "test" and leak["photographs"][0]["other_split"] == "train"
    assert Path(leak["photographs"][0]["photograph"]).name == "again.png"


def test_a_job_that_is_stopped_says_so(faces: Path, tmp_path: Path) -> None:
    root = make_test_dir(tmp_path, faces, {**FINETUNE, "epochs": "1000"})
    with start_train(root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert any("validation:macro_f1" in line for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    record = record_of(root)
    assert record.end is not None and record.end["status"] == "stopped"
