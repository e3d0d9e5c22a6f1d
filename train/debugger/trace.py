"""A trace of a few steps by torch's profiler, and the operators that took most of them."""

import gzip
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch._C._autograd import DeviceType

from train.debugger.recorder import Recorder
from train.debugger.step_times import digits
from train.debugger.tensors import TensorWatcher
from train.debugger.watcher import PARTS, Outcome, Stage, Watcher

TRACE_NAME = "trace.json.gz"

NUM_STEPS = 3
WARMUP_STEPS = 10
"""Steps before a trace, in which caches fill and algorithms are chosen."""

PATIENCE = 20
"""Steps that a trace waits for a window without statistics."""

MIN_SECONDS = 60
"""Of the steps that are left; the trace of a shorter training would take a part of it that counts."""

NUM_OPERATORS = 30


class Tracer(Watcher):
    """Traces a few steps of the first stage that has enough of them."""

    name = "trace"

    def __init__(self, recorder: Recorder, file: Path, num_steps: int | None, tensors: TensorWatcher) -> None:
        super().__init__()
        self._recorder = recorder
        self._file = file
        self._is_forced = num_steps is not None
        self._num_steps = NUM_STEPS if num_steps is None else num_steps
        self._tensors = tensors
        self._is_done = self._num_steps == 0
        self._profile: Any = None
        self._range: Any = None

    def begin_stage(self, stage: Stage) -> None:
        """Note the stage."""
        self._stage = stage
        self._began = time.perf_counter()

    def begin_epoch(self, epoch: int) -> None:
        """Note the epoch."""
        self._epoch = epoch

    def begin_step(self, step: int) -> None:
        """Begin the trace when it is time."""
        if self._profile is None and not self._is_done and step >= WARMUP_STEPS and self._is_time(step):
            # Its lines in the log are for those who develop it.
            os.environ.setdefault("KINETO_LOG_LEVEL", "6")
            device = "cuda" if self._stage.device.type == "cuda" else None
            # torch.profiler.profile does the same, but first imports torch's compiler, which takes seconds.
            profile = torch.autograd.profiler.profile(use_device=device, use_kineto=True)
            profile.__enter__()
            self._profile, self._first = profile, step
        if self._profile is not None:
            self._enter(PARTS[0])

    def _is_time(self, step: int) -> bool:
        num_left = self._stage.num_steps - step
        step_seconds = (time.perf_counter() - self._began) / step
        if num_left < self._num_steps or not (self._is_forced or num_left * step_seconds > MIN_SECONDS):
            self._is_done = True
            return False
        return step >= WARMUP_STEPS + PATIENCE or not self._tensors.is_due(step, self._num_steps)

    def end_part(self, part: str) -> None:
        """Name the parts in the trace."""
        if self._profile is None:
            return
        self._leave()
        if part != PARTS[-1]:
            self._enter(PARTS[PARTS.index(part) + 1])

    def _enter(self, part: str) -> None:
        self._leave()
        self._range = torch.profiler.record_function(part)
        self._range.__enter__()

    def _leave(self) -> None:
        if self._range is not None:
            self._range.__exit__(None, None, None)
            self._range = None

    def end_step(self, step: int, outcome: Outcome | None) -> None:  # noqa: ARG002
        """Write the trace when its last step is done."""
        if self._profile is not None and step + 1 >= self._first + self._num_steps:
            with self._recorder.pause("trace", self._stage.name, self._epoch):
                self._finish(step)

    def _finish(self, step: int) -> None:
        profile, self._profile = self._profile, None
        self._is_done = True
        profile.__exit__(None, None, None)
        with tempfile.NamedTemporaryFile(suffix=".json") as plain:
            profile.export_chrome_trace(plain.name)
            with Path(plain.name).open("rb") as source, gzip.open(self._file, "wb") as target:
                shutil.copyfileobj(source, target)
        self._recorder.write(
            "operators",
            stage=self._stage.name,
            device=self._stage.device.type,
            first_step=self._first,
            last_step=step,
            rows=operators(profile.key_averages(), self._stage.device),
        )

    def end_steps(self) -> None:
        """End a part that has no batch."""
        self._leave()

    def detach(self) -> None:
        """Stop the profiler."""
        self._leave()
        profile, self._profile = self._profile, None
        if profile is not None:
            profile.__exit__(None, None, None)

    def close(self) -> None:
        """Stop the profiler when the job ends within a trace."""
        self.detach()


def operators(averages: Any, device: torch.device) -> list[dict[str, Any]]:
    """List the operators that took most of the device's time, each without those that it called."""
    found = [average for average in averages if average.device_type == DeviceType.CPU and average.key not in PARTS]
    is_cuda = device.type == "cuda"
    times = {id(each): each.self_device_time_total if is_cuda else each.self_cpu_time_total for each in found}
    total = max(1.0, float(sum(times.values())))
    found.sort(key=lambda each: -times[id(each)])
    return [
        {
            "name": each.key,
            "count": each.count,
            "cpu_seconds": digits([each.self_cpu_time_total / 1e6])[0],
            "device_seconds": digits([each.self_device_time_total / 1e6])[0],
            "share": round(times[id(each)] / total, 4),
        }
        for each in found[:NUM_OPERATORS]
    ]
