"""smdebug's real hook: tensors are read back, and no error of it ends or changes training."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import smdebug.pytorch as smd
import torch
from colours import RECIPE, equal, network, train
from make_test_dir import make_test_dir
from support import ROOT, run_train

from container.paths import ContainerPaths
from train.config import TrainingConfig
from train.data import Photographs
from train.debugger.create import create_recorder
from train.debugger.smdebug_bridge import SmdebugBridge, hooks_of
from train.split import Split

pytestmark = pytest.mark.usefixtures("one_thread")

EVERYTHING = {"save_all": "true", "train.save_interval": "2", "eval.save_interval": "1"}


@pytest.fixture(autouse=True)
def files_of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (
        "SMDEBUG_CONFIG_FILE_PATH", "SMPROFILER_CONFIG_PATH", "TENSORBOARD_CONFIG_FILE_PATH",
        "CHECKPOINT_CONFIG_FILE_PATH",
    ):  # fmt: skip
        # Set first, so that it is removed again after the test.
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)


def configure(root: Path, parameters: dict[str, str] | None = None, collections: Any = None) -> Path:
    """Write debughookconfig.json as the service does; return the folder of the tensors."""
    folder = root / "input" / "config"
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "S3OutputPath": "s3://bucket/debug",
        "LocalPath": str(root / "tensors"),
        "HookParameters": parameters,
        "CollectionConfigurations": collections,
    }
    (folder / "debughookconfig.json").write_text(json.dumps(content))
    return root / "tensors"


def hooked(photographs: Photographs, root: Path, recipe: Any = RECIPE, **options: Any) -> Any:
    """Fine-tune with the bridge alone; return the weights."""
    with create_recorder(TrainingConfig(recorder=False), ContainerPaths(root)) as recorder:
        assert [type(watcher) for watcher in recorder.watchers] == [SmdebugBridge]
        state, _ = train(photographs, recipe, recorder=recorder, **options)
    return state


def test_tensors_of_both_modes_are_read_back(photographs: Photographs, tmp_path: Path) -> None:
    tensors = configure(tmp_path, EVERYTHING)
    state = hooked(photographs, tmp_path)
    assert equal(state, train(photographs, RECIPE)[0])
    trial = smd.create_trial(str(tensors))
    assert trial.steps(mode=smd.modes.TRAIN) == [0, 2, 4, 6, 8, 10]
    # Twelve validation photographs are two batches in each of three epochs.
    assert trial.steps(mode=smd.modes.EVAL) == list(range(6))
    names = set(trial.tensor_names())
    assert {
        "CrossEntropyLoss_output_0", "Network_head.weight", "gradient/Network_head.weight", "backbone.2_output_0",
    } <= names  # fmt: skip
    losses = trial.tensor("CrossEntropyLoss_output_0")
    trained = [losses.value(step, mode=smd.modes.TRAIN) for step in (0, 10)]
    assert trained[1] < trained[0]
    assert losses.value(5, mode=smd.modes.EVAL) < losses.value(0, mode=smd.modes.EVAL)
    weight = trial.tensor("Network_head.weight").value(0, mode=smd.modes.TRAIN)
    assert torch.equal(torch.from_numpy(weight), network().head.weight)


def test_the_default_configuration_saves_losses(photographs: Photographs, tmp_path: Path) -> None:
    tensors = configure(tmp_path)
    hooked(photographs, tmp_path)
    trial = smd.create_trial(str(tensors))
    assert trial.tensor_names() == ["CrossEntropyLoss_output_0"]
    assert trial.steps(mode=smd.modes.TRAIN) == trial.steps(mode=smd.modes.EVAL) == [0]


def test_collections_have_their_own_intervals(photographs: Photographs, tmp_path: Path) -> None:
    collections = [
        {"CollectionName": "gradients", "CollectionParameters": {"save_interval": "4"}},
        {"CollectionName": "relu", "CollectionParameters": {"include_regex": "backbone.2_output", "save_steps": "1,3"}},
    ]
    tensors = configure(tmp_path, {"save_interval": "100"}, collections)
    hooked(photographs, tmp_path)
    trial = smd.create_trial(str(tensors))
    assert trial.tensor("gradient/Network_head.bias").steps(mode=smd.modes.TRAIN) == [0, 4, 8]
    assert trial.tensor("backbone.2_output_0").steps(mode=smd.modes.TRAIN) == [0, 1, 3]


def test_activations_of_mixed_precision_are_saved(photographs: Photographs, tmp_path: Path) -> None:
    tensors = configure(tmp_path, EVERYTHING)
    hooked(photographs, tmp_path, replace(RECIPE, epochs=1, precision="bf16"))
    trial = smd.create_trial(str(tensors))
    assert trial.tensor("backbone.0_output_0").value(0, mode=smd.modes.TRAIN).dtype == "float32"


def test_losses_of_several_labels_are_saved(photographs: Photographs, tmp_path: Path) -> None:
    several = [replace(split, labels=np.eye(3, dtype=np.uint8)[split.labels]) for split in splits_of(photographs)]
    tensors = configure(tmp_path, EVERYTHING)
    hooked(replace(photographs, train=several[0], validation=several[1]), tmp_path, replace(RECIPE, epochs=1))
    losses = smd.create_trial(str(tensors)).tensor("MultiLabelLoss_output_0")
    assert losses.steps(mode=smd.modes.TRAIN) == [0, 2] and losses.steps(mode=smd.modes.EVAL) == [0, 1]


def splits_of(photographs: Photographs) -> tuple[Split, Split]:
    return photographs.train, photographs.validation


def fail(*_arguments: object, **_named: object) -> None:
    raise RuntimeError("broken on purpose")


def fail_in_backward(*_arguments: object) -> Callable[..., None]:
    return fail


@pytest.mark.parametrize(
    ("method", "replacement"),
    [
        ("register_module", fail),
        ("register_loss", fail),
        ("_backward_apply", fail),
        ("set_mode", fail),
        ("forward_pre_hook", fail),
        ("forward_hook", fail),
        ("fhook", fail),
        ("backward_hook", fail),
        ("backward_hook", fail_in_backward),
        ("_write_inputs", fail),
        ("_save_for_tensor", fail),
        ("_initialize_writers", fail),
        ("_increment_step", fail),
        ("close", fail),
    ],
)
def test_an_error_in_any_call_of_the_hook_detaches_it_and_training_goes_on(
    method: str, replacement: Callable[..., Any], photographs: Photographs, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    expected, _ = train(photographs, RECIPE)
    configure(tmp_path, EVERYTHING)
    trained = network()
    monkeypatch.setattr("colours.network", lambda: trained)
    monkeypatch.setattr(smd.Hook, method, replacement)
    assert equal(hooked(photographs, tmp_path), expected)
    assert caplog.text.count("smdebug: broken on purpose (RuntimeError); training goes on without it") == 1
    assert not any(hooks_of(trained))


def test_an_error_in_making_the_hook_is_told_and_there_is_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    configure(tmp_path, collections=[{"CollectionParameters": {"save_interval": "1"}}])
    with create_recorder(TrainingConfig(recorder=False), ContainerPaths(tmp_path)) as recorder:
        assert recorder.watchers == []
    assert "smdebug made no hook of it" in caplog.text


def test_a_configuration_that_is_no_json_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    configure(tmp_path)
    (tmp_path / "input" / "config" / "debughookconfig.json").write_text("{")
    assert create_recorder(TrainingConfig(recorder=False), ContainerPaths(tmp_path)).watchers == []
    assert "smdebug made no hook of it (JSONDecodeError" in caplog.text


def test_it_is_off_in_a_compiled_network(
    photographs: Photographs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    configure(tmp_path, EVERYTHING)

    class Compiled(torch.nn.Module):
        """Stands between a network and its caller, as a compiled one does."""

        def __init__(self, module: torch.nn.Module) -> None:
            super().__init__()
            self.module = module

        def forward(self, images: torch.Tensor) -> Any:
            return self.module(images)

    monkeypatch.setattr(torch, "compile", Compiled)
    hooked(photographs, tmp_path, replace(RECIPE, epochs=1, compile=True))
    assert caplog.text.count("smdebug: off, as it does not work in a compiled network") == 1
    assert not (tmp_path / "tensors" / "events").exists()


def test_a_job_without_smdebug_trains_and_warns_once(faces: Path, tmp_path: Path) -> None:
    root = make_test_dir(tmp_path, faces, {"epochs": "2"})
    configure(root)
    # A package of that name that cannot be imported, before the real one.
    hidden = tmp_path / "hidden" / "smdebug"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('not installed')")
    code = f"import sys; sys.path.insert(0, {str(hidden.parent)!r}); from train.__main__ import main; sys.exit(main())"
    environment = {"SAGEMAKER_BASE_DIR": str(root), "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("install the extra `debugger`") == 1


def test_a_job_of_both_stages_saves_tensors_where_the_service_expects_them(faces: Path, tmp_path: Path) -> None:
    hyperparameters = {"strategy": "lp_ft", "arch": "resnet18", "pretrained": "false", "epochs": "1"}
    root = make_test_dir(tmp_path, faces, {**hyperparameters, "batch_size": "8", "num_workers": "0"})
    tensors = configure(root, {"train.save_interval": "50", "eval.save_interval": "50"})
    profiler = {"ProfilingParameters": {"LocalPath": str(root / "profiler"), "RotateMaxFileSizeInBytes": "1000000"}}
    (root / "input" / "config" / "profilerconfig.json").write_text(json.dumps(profiler))
    result = run_train(root)
    assert result.returncode == 0, result.stderr
    assert "training goes on without it" not in result.stderr
    trial = smd.create_trial(str(tensors))
    probe = trial.tensor("ProbeLoss_output_0")
    assert probe.steps(mode=smd.modes.TRAIN) == [0, 50] == probe.steps(mode=smd.modes.EVAL)
    # The 100 epochs of heads are steps 0 to 99; three batches of photographs follow.
    assert trial.tensor("CrossEntropyLoss_output_0").steps(mode=smd.modes.TRAIN) == [100]
    assert trial.loaded_all_steps
    assert list((root / "profiler").rglob("*.json")) != []
