"""Checkpoints: a training that was killed and resumed equals one that never was."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from colours import PREPROCESSING, RECIPE, equal, train
from make_test_dir import make_test_dir
from support import ROOT, environment_of, run_train, start_train

from classifier.artifact import read_artifact
from container.errors import UserError
from container.lifecycle import StopSignal
from train.checkpoint import Checkpoints, checkpoint_files, identify
from train.data import Photographs
from train.optim import Recipe
from train.training_state import TrainingState

pytestmark = pytest.mark.usefixtures("one_thread")

HYPERPARAMETERS = {
    "strategy": "lp_ft", "arch": "timm/test_resnet", "pretrained": "false", "epochs": "3", "batch_size": "4",
    "gradient_accumulation_steps": "2", "ema_decay": "0.9", "mixup_alpha": "0.2", "num_workers": "1",
    "checkpoint_interval": "1",
}  # fmt: skip


class StoppingAt(Checkpoints):
    """Asks for a stop after some updates, as SIGTERM would."""

    def __init__(self, stop: StopSignal, num_updates: int, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._stop, self._left = stop, num_updates

    def save_after_update(self, training: TrainingState) -> bool:
        self._left -= 1
        if self._left == 0:
            self._stop.requested = self._stop.is_urgent = True
        return super().save_after_update(training)


def open_checkpoints(folder: Path, photographs: Photographs, recipe: Recipe, **changes: Any) -> Checkpoints:
    identity = identify(changes.get("arch", "colours"), photographs, PREPROCESSING, recipe)
    return Checkpoints(folder, identity, changes.get("interval"))


def stop_at(num_updates: int, folder: Path, photographs: Photographs, recipe: Recipe, interval: int | None) -> None:
    stop = StopSignal()
    identity = identify("colours", photographs, PREPROCESSING, recipe)
    train(photographs, recipe, stop, checkpoints=StoppingAt(stop, num_updates, folder, identity, interval))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ema_decay": 0.9, "mixup_alpha": 0.2, "gradient_accumulation_steps": 2},
        {"optimizer_name": "sgd", "lr": 0.1, "lr_schedule": "one_cycle", "class_balance": "sampling"},
        {"optimizer_name": "rmsprop", "precision": "fp16", "max_grad_norm": 1.0, "lr_schedule": "step"},
        {"optimizer_name": "adadelta", "lr": 1.0, "early_stopping_patience": 1, "early_stopping_min_delta": 0.3},
    ],
)
def test_a_training_stopped_anywhere_and_resumed_equals_an_uninterrupted_one(
    photographs: Photographs, tmp_path: Path, changes: dict[str, Any]
) -> None:
    recipe = replace(RECIPE, **changes)
    expected, expected_history = train(photographs, recipe)
    # In the first epoch, at its end, and in the middle of the second.
    for num_updates in (1, 4, 7):
        folder = tmp_path / str(num_updates)
        folder.mkdir()
        stop_at(num_updates, folder, photographs, recipe, None)
        state, history = train(photographs, recipe, checkpoints=open_checkpoints(folder, photographs, recipe))
        assert equal(state, expected)
        assert history.rows == expected_history.rows
        assert history.temperature == expected_history.temperature


def test_the_last_two_are_kept_and_foreign_files_stay(photographs: Photographs, tmp_path: Path) -> None:
    foreign = ["metadata.json", "features/a.bin", "kennel-1-2.safetensors.sagemaker-uploaded", "checkpoint-9.pt"]
    for name in foreign:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / ".kennel-00000-00000001.safetensors.writing").write_bytes(b"half")
    checkpoints = open_checkpoints(tmp_path, photographs, RECIPE, interval=1)
    expected, _ = train(photographs, RECIPE, checkpoints=checkpoints)
    names = [file.name for file in checkpoint_files(tmp_path)]
    assert names == ["kennel-00002-00000004.safetensors", "kennel-00003-00000000.safetensors"]
    found = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert found == {*foreign, *names}
    # A job that was killed after its last epoch trains nothing more.
    again, history = train(photographs, RECIPE, checkpoints=open_checkpoints(tmp_path, photographs, RECIPE))
    assert equal(again, expected)
    assert len(history.rows) == RECIPE.epochs


def test_a_cut_file_is_left_out_for_the_one_before(photographs: Photographs, tmp_path: Path) -> None:
    expected, _ = train(photographs, RECIPE, checkpoints=open_checkpoints(tmp_path, photographs, RECIPE, interval=1))
    last = checkpoint_files(tmp_path)[-1]
    last.write_bytes(last.read_bytes()[:-100])
    state, _ = train(photographs, RECIPE, checkpoints=open_checkpoints(tmp_path, photographs, RECIPE))
    assert equal(state, expected)


def test_a_checkpoint_of_another_training_is_refused_with_what_differs(
    photographs: Photographs, tmp_path: Path
) -> None:
    stop_at(1, tmp_path, photographs, RECIPE, 1)
    file = checkpoint_files(tmp_path)[-1]
    before = file.read_bytes()
    others = replace(photographs, class_names=("red", "green", "violet"))
    longer = replace(RECIPE, epochs=5, lr=0.1)
    for expected, arch, given, recipe in (
        ("epochs: 3 there, 5 here; lr: 0.02 there, 0.1 here", "colours", photographs, longer),
        ("arch: colours there, resnet18 here", "resnet18", photographs, RECIPE),
        ("class_names: red, green, blue there, red, green, violet here", "colours", others, RECIPE),
    ):
        with pytest.raises(UserError, match="another training") as caught:
            open_checkpoints(tmp_path, given, recipe, arch=arch)
        assert f"({expected})" in str(caught.value)
        assert "or remove the kennel-*.safetensors there or give another folder" in str(caught.value)
    assert file.read_bytes() == before


def test_no_checkpoint_holds_code(photographs: Photographs, tmp_path: Path) -> None:
    stop_at(1, tmp_path, photographs, RECIPE, 1)
    content = checkpoint_files(tmp_path)[-1].read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert {entry["dtype"] for name, entry in header.items() if name != "__metadata__"} <= {"F32", "F64", "I64", "U8"}
    assert json.loads(header["__metadata__"]["kennel"])["values"]["epoch"] == 0


def start(root: Path) -> "subprocess.Popen[str]":
    with (root / "log").open("a") as log:
        return start_train(root, stdout=log, stderr=log)


def wait_for(folder: Path, position: tuple[int, int], process: "subprocess.Popen[str]") -> None:
    """Wait until there is a checkpoint at or behind some epochs and batches."""
    while not any(tuple(map(int, re.findall("[0-9]+", f.name))) >= position for f in checkpoint_files(folder)):
        assert process.poll() is None, "the job ended too early"
        time.sleep(0.002)


def results(root: Path) -> tuple[bytes, str]:
    return (root / "model" / "model.safetensors").read_bytes(), (root / "output" / "data" / "history.csv").read_text()


@pytest.fixture(scope="module")
def uninterrupted(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str]:
    root = make_test_dir(tmp_path_factory.mktemp("whole"), faces, HYPERPARAMETERS)
    shutil.rmtree(root / "checkpoints", ignore_errors=True)
    result = run_train(root)
    assert result.returncode == 0, result.stderr
    assert not (root / "checkpoints").exists()
    return results(root)


def test_a_job_killed_again_and_again_ends_with_the_same_weights(
    faces: Path, tmp_path: Path, uninterrupted: tuple[bytes, str]
) -> None:
    root = make_test_dir(tmp_path, faces, HYPERPARAMETERS)
    checkpoints = root / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    for delay, position in ((0.0, (0, 1)), (0.013, (0, 6)), (0.005, (1, 4))):
        with start(root) as process:
            wait_for(checkpoints, position, process)
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
    with start(root) as process:
        assert process.wait(timeout=120) == 0, (root / "log").read_text()
    assert (root / "log").read_text().count("going on after") == 3
    assert results(root) == uninterrupted


def test_sigterm_in_an_epoch_leaves_a_model_and_a_checkpoint_to_go_on_from(
    faces: Path, tmp_path: Path, uninterrupted: tuple[bytes, str]
) -> None:
    # Checkpoints by time alone: none is due in the few seconds between the epochs' ends.
    root = make_test_dir(tmp_path, faces, {**HYPERPARAMETERS, "checkpoint_interval": "auto"})
    (root / "checkpoints").mkdir(exist_ok=True)
    with start(root) as process:
        wait_for(root / "checkpoints", (1, 0), process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0, (root / "log").read_text()
    assert len(read_artifact(root / "model").class_names) == 5
    assert run_train(root).returncode == 0
    assert results(root) == uninterrupted


def test_a_full_disk_fails_clearly_and_leaves_the_last_good_checkpoint(faces: Path, tmp_path: Path) -> None:
    root = make_test_dir(tmp_path, faces, HYPERPARAMETERS)
    folder, kept = root / "checkpoints", tmp_path / "kept"
    folder.mkdir(exist_ok=True)
    kept.mkdir()
    # A file system of its own, that the process sees alone; filled once there are two checkpoints.
    script = """
        folder=$1 kept=$2 python=$3
        mount -t tmpfs -o size=40m tmpfs "$folder" || exit 77
        "$python" -m train & job=$!
        while [ $(ls "$folder"/kennel-*.safetensors 2>/dev/null | wc -l) -lt 2 ]; do sleep 0.01; done
        head -c 100M /dev/zero > "$folder/filler" 2>/dev/null
        wait $job; code=$?
        cp "$folder"/kennel-* "$kept"; ls -A "$folder" >&2; exit $code
    """
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    command += [str(folder), str(kept), sys.executable]
    result = subprocess.run(command, cwd=ROOT, env=environment_of(root), capture_output=True, text=True, timeout=120)
    if result.returncode in (1, 77) and "checkpoint" not in result.stderr:
        pytest.skip(f"no user namespaces here: {result.stderr.strip()}")
    assert result.returncode == 3, result.stderr
    failure = (root / "output" / "failure").read_text()
    assert "no space" in failure.lower() and str(folder) in failure and "Traceback" not in failure
    assert ".writing" not in result.stderr
    assert len(checkpoint_files(kept)) == 2
    for file in checkpoint_files(kept):
        shutil.copy(file, folder)
    resumed = run_train(root)
    assert resumed.returncode == 0, resumed.stderr
    assert "going on after" in resumed.stderr
