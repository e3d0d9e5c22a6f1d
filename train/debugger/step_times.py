"""How long each part of a step takes, with its loss and learning rate.

On a GPU the parts end with CUDA events, which are read back a block at a time when they are over: nothing waits for the
device inside a step. `data_wait` is then the time in which the device had nothing to do before a batch reached it.
"""

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from train.debugger.host_copy import HostCopy
from train.debugger.recorder import Recorder
from train.debugger.watcher import PARTS, Outcome, Stage, Watcher

BLOCK_SECONDS = 1.0
"""Of steps that are written together."""

MAX_ROWS = 100_000
"""Steps that are recorded one by one in a stage; of more, some are merged."""

Moment = float | torch.cuda.Event


def seconds_between(start: Moment, end: Moment) -> float:
    """Measure the time between two moments of the same kind."""
    if isinstance(start, torch.cuda.Event) and isinstance(end, torch.cuda.Event):
        return float(start.elapsed_time(end)) / 1000
    assert isinstance(start, float) and isinstance(end, float), "a stage has one kind of moments"
    return end - start


def digits(values: Sequence[float], number: int = 6) -> list[float]:
    """Keep some significant digits."""
    return [float(f"{value:.{number}g}") for value in values]


@dataclass
class Step:
    """A step that is not yet written: the moments in which its parts ended."""

    start: Moment
    ends: dict[str, Moment]
    lr: float
    num_images: int
    loss: torch.Tensor


class Block:
    """Consecutive steps of an epoch, on their way to the record."""

    def __init__(self, stage: str, epoch: int, first: int, merged: int, steps: list[Step]) -> None:
        self.steps = steps
        self._fields = {"stage": stage, "epoch": epoch, "first": first, "merged": merged}
        self._merged = merged
        self._losses = HostCopy(torch.stack([step.loss for step in steps]))

    def is_ready(self) -> bool:
        """Tell whether the device has done its steps."""
        return self._losses.is_ready()

    def row(self, begin: Moment, begin_seconds: float) -> dict[str, Any]:
        """Make a line of the record; the epoch began at a moment, at the given seconds of the job."""
        losses = self._losses.get().double().numpy()
        columns: dict[str, list[float]] = {name: [] for name in (*PARTS, "total")}
        for step in self.steps:
            start = step.start
            for part in PARTS:
                columns[part].append(seconds_between(start, step.ends[part]))
                start = step.ends[part]
            columns["total"].append(seconds_between(step.start, start))
        ends = [seconds_between(begin, step.ends[PARTS[-1]]) for step in self.steps]
        return {
            **self._fields,
            "end_time": [round(begin_seconds + end, 5) for end in ends[self._merged - 1 :: self._merged]],
            **{name: self._mean(values).round(6).tolist() for name, values in columns.items()},
            "loss": digits(self._mean(losses)),
            "lr": digits(self._mean([step.lr for step in self.steps])),
            "num_images": self._mean([step.num_images for step in self.steps]).tolist(),
        }

    def _mean(self, values: Any) -> Any:
        return np.asarray(values, dtype=np.float64).reshape(-1, self._merged).mean(axis=1)


class StepTimes(Watcher):
    """Measures steps one by one."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def begin_stage(self, stage: Stage) -> None:
        """Choose how many steps a row stands for."""
        self._stage = stage
        self._merged = math.ceil(stage.num_steps / MAX_ROWS)
        self._num_written = 0
        self._is_cuda = stage.device.type == "cuda"
        self.stage_fields = {"merged": self._merged}

    def begin_epoch(self, epoch: int) -> None:
        """Begin to measure."""
        self._epoch = epoch
        self._pending: list[Step] = []
        self._blocks: deque[Block] = deque()
        self._begin = self._now()
        if isinstance(self._begin, torch.cuda.Event):
            self._begin.synchronize()
        self._begin_seconds = self._recorder.clock.now()
        self._flushed = self._begin_seconds

    def _now(self) -> Moment:
        if not self._is_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def begin_step(self, step: int) -> None:  # noqa: ARG002
        """Forget what a step without outcome left."""
        self._start = self._now()
        self._ends: dict[str, Moment] = {}
        self._lr = max(float(group["lr"]) for group in self._stage.optimizer.param_groups)

    def end_part(self, part: str) -> None:
        """Note the moment."""
        self._ends[part] = self._now()

    def end_step(self, step: int, outcome: Outcome | None) -> None:  # noqa: ARG002
        """Keep the step, and write a block from time to time."""
        if outcome is None:
            return
        self._pending.append(Step(self._start, self._ends, self._lr, len(outcome.images), outcome.loss.detach()))
        if self._recorder.clock.now() >= self._flushed + BLOCK_SECONDS:
            self._flush()

    def end_steps(self) -> None:
        """Write what is left."""
        self._flush()
        if self._pending:
            self._add(self._pending, len(self._pending))
            self._pending = []
        while self._blocks:
            self._write(self._blocks.popleft())

    def _flush(self) -> None:
        num_whole = len(self._pending) // self._merged * self._merged
        if num_whole:
            self._add(self._pending[:num_whole], self._merged)
            self._pending = self._pending[num_whole:]
        while self._blocks and self._blocks[0].is_ready():
            self._write(self._blocks.popleft())
        self._flushed = self._recorder.clock.now()

    def _add(self, steps: list[Step], merged: int) -> None:
        self._blocks.append(Block(self._stage.name, self._epoch, self._num_written, merged, steps))
        self._num_written += len(steps)

    def _write(self, block: Block) -> None:
        self._recorder.write("steps", **block.row(self._begin, self._begin_seconds))


class SummedSteps:
    """Measures steps that are too short to be recorded one by one: a row holds the means of an epoch's steps.

    On a GPU the parts are the times in which the host started them.
    """

    def __init__(self, recorder: Recorder, stage: str, **fields: Any) -> None:
        """Begin a stage, with more fields of its line."""
        self._recorder = recorder
        self._stage = stage
        self._num_written = 0
        recorder.write("stage", stage=stage, num_workers=0, merged=fields["steps_per_epoch"], **fields)

    def begin(self) -> None:
        """Begin an epoch."""
        self._begin = self._last = time.perf_counter()
        self._seconds = dict.fromkeys(PARTS, 0.0)

    def end_part(self, part: str) -> None:
        """Add the time since the last part."""
        now = time.perf_counter()
        self._seconds[part] += now - self._last
        self._last = now

    def validation(self, epoch: int) -> AbstractContextManager[None]:
        """Record the validation of an epoch."""
        return self._recorder.pause("validation", self._stage, epoch)

    def end(self, epoch: int, num_steps: int, num_images: int, metrics: Mapping[str, Any], lr: float) -> None:
        """Write an epoch, after its validation: its steps, their images, its metrics, the last learning rate."""
        self._recorder.write(
            "steps",
            stage=self._stage,
            epoch=epoch,
            first=self._num_written,
            merged=num_steps,
            end_time=[round(self._recorder.clock.at(self._last), 4)],
            **{part: digits([seconds / num_steps]) for part, seconds in self._seconds.items()},
            total=digits([(self._last - self._begin) / num_steps]),
            loss=[metrics["train:loss"]],
            lr=digits([lr]),
            num_images=[num_images / num_steps],
        )
        self._num_written += num_steps
        self._recorder.epoch(self._stage, epoch, time.perf_counter() - self._begin, metrics, lr)
