"""The bridge to SageMaker Debugger: its real hook, where a job's configuration asks for it.

smdebug is imported here only, and only for such a job: importing it reads and evaluates profilerconfig.json.
"""

import atexit
import logging
import os
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from container.paths import ContainerPaths
from train.debugger.watcher import Outcome, Row, Stage, Validation, Watcher

logger = logging.getLogger(__name__)

MAX_EVAL_BATCHES = 10
"""Batches of validation photographs that pass the network once more in each epoch, in mode EVAL."""

CONFIGURATIONS = {
    "SMDEBUG_CONFIG_FILE_PATH": "debughookconfig.json",
    "SMPROFILER_CONFIG_PATH": "profilerconfig.json",
    "TENSORBOARD_CONFIG_FILE_PATH": "tensorboardoutputconfig.json",
    "CHECKPOINT_CONFIG_FILE_PATH": "checkpointconfig.json",
}
"""Environment variables by which smdebug finds the files of a job."""

HOOKS = ("forward_pre_hook", "forward_hook", "fhook")


def create_bridge(paths: ContainerPaths) -> "SmdebugBridge | None":
    """Create smdebug's hook when debughookconfig.json is there; what goes wrong is logged, and then there is none."""
    file = paths.input_config / CONFIGURATIONS["SMDEBUG_CONFIG_FILE_PATH"]
    if not file.exists():
        return None
    for variable, name in CONFIGURATIONS.items():
        os.environ.setdefault(variable, str(paths.input_config / name))
    try:
        import smdebug.pytorch as smd

        return SmdebugBridge(smd, smd.Hook.create_from_json_file(str(file)))
    except ImportError as error:
        logger.warning("%s: smdebug cannot be imported (%s); install the extra `debugger`", file, error)
    except Exception as error:  # noqa: BLE001 - smdebug raises anything; training goes on without it
        logger.warning("%s: smdebug made no hook of it (%s: %s)", file, type(error).__name__, error)
    return None


class ProbeEpoch(nn.Module):
    """Stands for the heads of a search, which are no modules: an epoch of theirs is a step of the hook."""

    def forward(self, loss: Tensor) -> Tensor:
        """Give the loss back."""
        return loss


class ProbeLoss(nn.modules.loss._Loss):
    """Gives a loss that was computed elsewhere to the hook."""

    def forward(self, loss: Tensor) -> Tensor:
        """Give the loss back."""
        return loss


class SmdebugBridge(Watcher):
    """Registers smdebug's hook and switches its modes. The first error in any of its calls detaches it."""

    name = "smdebug"

    def __init__(self, smd: Any, hook: Any) -> None:
        super().__init__()
        self._modes = smd.modes
        self._hook = hook
        self._is_listening = False
        self._added: list[tuple[dict[int, Any], int]] = []
        self._stage: Stage | None = None
        self._probe: tuple[nn.Module, nn.Module] | None = None
        for name in HOOKS:
            setattr(hook, name, self._guarded(getattr(hook, name)))
        backward_hook = hook.backward_hook
        hook.backward_hook = lambda name: self._guarded(backward_hook(name))
        to_numpy = hook._make_numpy_array
        # numpy has no bfloat16.
        hook._make_numpy_array = lambda value: to_numpy(
            value.float() if isinstance(value, Tensor) and value.dtype == torch.bfloat16 else value
        )
        # It logs a line for each parameter.
        hook.count_parameters = lambda _module: None

    def _guarded(self, function: Callable[..., Any]) -> Callable[..., None]:
        """Call a hook only where a step is watched, as validation runs in threads, which smdebug does not expect."""

        def call(*arguments: Any) -> None:
            if self._is_listening:
                self.notify(function, *arguments)

        return call

    def begin_stage(self, stage: Stage) -> None:
        """Register network and loss."""
        if stage.is_compiled:
            logger.warning("smdebug: off, as it does not work in a compiled network; it does with compile=false")
            self.is_off = True
            self.detach()
            return
        self._stage = stage
        self._register(stage.network, stage.criterion)

    def _register(self, network: nn.Module, loss: nn.Module) -> None:
        """Register modules, and note what was hung into them, as smdebug keeps no handles."""
        before = {(id(hooks), key) for hooks in hooks_of(network, loss) for key in hooks}
        try:
            self._hook.register_module(network)
            self._hook.register_loss(loss)
        finally:
            every = [(hooks, key) for hooks in hooks_of(network, loss) for key in hooks]
            self._added += [(hooks, key) for hooks, key in every if (id(hooks), key) not in before]

    def begin_epoch(self, epoch: int) -> None:  # noqa: ARG002
        """Switch to TRAIN."""
        self._hook.set_mode(self._modes.TRAIN)

    def end_part(self, part: str) -> None:
        """Listen from when the batch has come."""
        if part == "data_wait":
            self._is_listening = True

    def end_step(self, step: int, outcome: Outcome | None) -> None:  # noqa: ARG002
        """Listen no more."""
        self._is_listening = False

    def end_steps(self) -> None:
        """Listen no more, when a job is stopped within a step."""
        self._is_listening = False

    def end_epoch(self, validation: Validation) -> None:
        """Let some validation photographs pass in mode EVAL."""
        assert self._stage is not None, "an epoch is part of a stage"
        self._hook.set_mode(self._modes.EVAL)
        self._stage.network.eval()
        self._is_listening = True
        try:
            with torch.no_grad():
                for images, labels in islice(validation(), MAX_EVAL_BATCHES):
                    self._stage.criterion(self._stage.network(images), labels)
        finally:
            self._is_listening = False

    def wrote(self, rows: Sequence[Row]) -> None:
        """Give the losses of an epoch of heads to the hook."""
        for row in rows:
            if row["kind"] == "epoch" and row["stage"] == "linear_probe":
                if self._probe is None:
                    self._probe = ProbeEpoch(), ProbeLoss()
                    self._register(*self._probe)
                self._is_listening = True
                for mode, loss in (("TRAIN", row["train_loss"]), ("EVAL", row["validation_loss"])):
                    self._hook.set_mode(self._modes[mode])
                    network, criterion = self._probe
                    criterion(network(torch.tensor(loss)))
                self._is_listening = False

    def end_stage(self) -> None:
        """Remove the hooks, as the network is used on."""
        self._remove_hooks()

    def _remove_hooks(self) -> None:
        self._is_listening = False
        for hooks, key in self._added:
            hooks.pop(key, None)
        self._added.clear()

    def close(self) -> None:
        """Write the last step, and that the job has ended."""
        self.detach()

    def detach(self) -> None:
        """Remove all hooks and close smdebug's files."""
        self._remove_hooks()
        atexit.unregister(self._hook._cleanup)
        self._hook.close()


def hooks_of(*modules: nn.Module) -> list[dict[int, Any]]:
    """List all places where modules and their parameters hold hooks."""
    places: list[dict[int, Any]] = []
    for module in modules:
        for part in module.modules():
            places += [part._forward_pre_hooks, part._forward_hooks]
        places += [p._backward_hooks for p in module.parameters() if p._backward_hooks is not None]
    return places
