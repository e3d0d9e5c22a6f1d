"""What watches a job: told what happens, and never able to end it."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ParamSpec

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)

Parameters = ParamSpec("Parameters")

PARTS = ("data_wait", "copy", "forward", "backward", "optimizer")
"""The parts of a step, in order."""

Row = Mapping[str, Any]
"""A line of the record, with `kind` and `time`."""

Validation = Callable[[], Iterator[tuple[Tensor, Tensor]]]
"""Batches of validation photographs: normalised images (batch, 3, height, width) and labels, on the device."""


@dataclass(frozen=True)
class Stage:
    """A stage of training, whose steps are watched one by one."""

    name: str
    epochs: int
    steps_per_epoch: int
    """A step is a batch; with gradient accumulation not each of them changes the weights."""
    batch_size: int
    num_workers: int
    accumulation: int
    network: nn.Module
    criterion: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    is_compiled: bool = False
    """Forward hooks do not work in a compiled network."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The recipe, by name."""

    @property
    def num_steps(self) -> int:
        """Count the steps of all epochs."""
        return self.epochs * self.steps_per_epoch


@dataclass(frozen=True)
class Outcome:
    """What a step computed."""

    images: Tensor
    """Normalised images (batch, 3, height, width) on the device."""
    logits: Tensor
    loss: Tensor


class Watcher:
    """Told what happens in a job, in this order. The first error in one is logged, and it is told nothing more."""

    name = "recorder"

    def __init__(self) -> None:
        self.is_off = False
        self.stage_fields: dict[str, Any] = {}
        """What it adds to the line of the stage that begins."""

    def begin(self) -> None:
        """The job begins."""

    def begin_stage(self, stage: Stage) -> None:
        """A stage begins."""

    def begin_epoch(self, epoch: int) -> None:
        """An epoch begins, counted from 1."""

    def begin_step(self, step: int) -> None:
        """A step, counted from 0 in the stage, asks for its batch."""

    def end_part(self, part: str) -> None:
        """A part of the step was done, or on a GPU started."""

    def end_step(self, step: int, outcome: Outcome | None) -> None:
        """A step was done; one of too few photographs has no outcome."""

    def end_steps(self) -> None:
        """The last step of an epoch was done."""

    def end_epoch(self, validation: Validation) -> None:
        """An epoch ended, validation included; `validation` gives some of its photographs again."""

    def end_stage(self) -> None:
        """A stage ended."""

    def wrote(self, rows: Sequence[Row]) -> None:
        """Lines are added to the record. Called from any thread."""

    def close(self) -> None:
        """The job ended."""

    def notify(
        self, event: Callable[Parameters, None], *arguments: Parameters.args, **named: Parameters.kwargs
    ) -> None:
        """Call one of the watcher's own methods."""
        if self.is_off:
            return
        try:
            event(*arguments, **named)
        except Exception as error:  # noqa: BLE001 - whatever it is, training goes on
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Log an error and stop watching."""
        if self.is_off:
            return
        self.is_off = True
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        logger.warning(
            "%s: %s (%s); training goes on without it", self.name, text, type(error).__name__,
            exc_info=None if isinstance(error, OSError) else error,
        )  # fmt: skip
        try:
            self.detach()
        except Exception as second:  # noqa: BLE001
            logger.warning("%s: %s, while it was detached", self.name, second)

    def detach(self) -> None:
        """Remove what was hung into the network and the optimizer."""
