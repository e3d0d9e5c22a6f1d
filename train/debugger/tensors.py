"""Watches weights, gradients, updates and activations on some of the steps."""

import math
import time
from collections import Counter, deque
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from train.debugger.recorder import Recorder
from train.debugger.tensor_statistics import (
    Statistics,
    node_percentiles,
    nodes,
)
from train.debugger.training_parameters import SaturatedActivation
from train.debugger.watcher import Outcome, Stage, Watcher

MAX_ROWS = 50_000
"""Lines of statistics in a job."""

TIMES_PER_EPOCH, MIN_TIMES = 4, 3
"""How often statistics are taken unless the job says so: in an epoch, and in a stage at least."""

MAX_SHARE = 0.01
"""Of the time of steps that statistics may take; the interval grows until they do."""

KINDS: dict[type[nn.Module], str] = {nn.ReLU: "relu", nn.ReLU6: "relu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid"}


def choose_interval(asked: int | None, stage: Stage, num_rows: int) -> int:
    """Choose the steps between two statistics of `num_rows` lines each: a multiple of the batches accumulated."""
    wanted = asked or max(1, min(stage.steps_per_epoch // TIMES_PER_EPOCH, largest_interval(stage)))
    allowed = math.ceil(stage.num_steps * num_rows / MAX_ROWS)
    return -(-max(wanted, allowed) // stage.accumulation) * stage.accumulation


def largest_interval(stage: Stage) -> int:
    """Tell the interval that still gives MIN_TIMES statistics in a stage."""
    return (stage.num_steps - 1) // (MIN_TIMES - 1)


class TensorWatcher(Watcher):
    """Records statistics of tensors on some of the steps."""

    def __init__(self, recorder: Recorder, interval: int | None, saturation: SaturatedActivation | None = None) -> None:
        """Take what is told, the steps between two statistics, and beyond which inputs activations saturate."""
        super().__init__()
        saturation = saturation or SaturatedActivation()
        self._limits = {
            "tanh": (saturation.threshold_tanh_min, saturation.threshold_tanh_max),
            "sigmoid": (saturation.threshold_sigmoid_min, saturation.threshold_sigmoid_max),
        }
        self._recorder = recorder
        self._asked = interval
        self._num_left = MAX_ROWS
        self._sent: deque[Statistics] = deque()
        self._handles: list[RemovableHandle] = []
        self._optimizer_handle: RemovableHandle | None = None

    def begin_stage(self, stage: Stage) -> None:
        """Choose the interval, and be told of each update."""
        self._stage = stage
        prefix = stage.network._get_name()
        parameters = [(name, p) for name, p in stage.network.named_parameters() if p.requires_grad and p.numel()]
        self._parameters = {f"{prefix}_{name}": parameter for name, parameter in parameters}
        modules = [] if stage.is_compiled else stage.network.named_modules()
        self._activations = {name: (KINDS[type(m)], m) for name, m in modules if type(m) in KINDS}
        self._interval = choose_interval(self._asked, stage, 3 * len(parameters) + 2 * len(self._activations) + 2)
        self._next = stage.accumulation - 1
        self._before: list[Tensor] = []
        self._is_on = False
        self._began = time.perf_counter()
        self._optimizer_handle = stage.optimizer.register_step_pre_hook(
            lambda optimizer, _arguments, _named: self.notify(self._before_update, optimizer)
        )
        self.stage_fields = {"log_interval": self._interval}

    def begin_epoch(self, epoch: int) -> None:
        """Note the epoch."""
        self._epoch = epoch

    def begin_step(self, step: int) -> None:
        """Note the step."""
        self._step = step

    def is_due(self, first: int, num_steps: int) -> bool:
        """Tell whether statistics are to be taken in some of the next steps."""
        return first <= self._next < first + num_steps

    def end_part(self, part: str) -> None:
        """On the chosen steps, look at activations from when the batch has come."""
        if part != "data_wait" or self._step != self._next or self._num_left <= 0:
            return
        self._is_on = True
        self._seconds = 0.0
        self._statistics = Statistics()
        self._now: list[Tensor] = []
        self._num_calls: Counter[str] = Counter()
        for name, (kind, module) in self._activations.items():
            before = partial(self._hooked, self._before_activation, name, kind)
            self._handles.append(module.register_forward_pre_hook(before))
            after = partial(self._hooked, self._after_activation, name, kind)
            self._handles.append(module.register_forward_hook(after))

    def _hooked(self, event: Any, name: str, kind: str, _module: nn.Module, *tensors: Any) -> None:
        self.notify(event, name, kind, tensors[-1])

    def _before_activation(self, name: str, kind: str, inputs: tuple[Tensor, ...]) -> None:
        """Look at an input, over which the activation may write its output."""
        start = time.perf_counter()
        with torch.no_grad():
            values = nodes(inputs[0])
            low, high = self._limits.get(kind, (-math.inf, math.inf))
            more = None if kind == "relu" else node_percentiles((values < low) | (values > high))
            self._add_activation(f"{kind}_input", name, inputs[0].numel(), values, more)
        self._seconds += time.perf_counter() - start

    def _after_activation(self, name: str, kind: str, output: Tensor) -> None:
        """Look at an output; that of sigmoid and tanh tells no more than the input."""
        start = time.perf_counter()
        if kind == "relu":
            with torch.no_grad():
                values = nodes(output)
                self._add_activation("relu_output", name, output.numel(), values, node_percentiles(values > 0))
        self._num_calls[name] += 1
        self._seconds += time.perf_counter() - start

    def _add_activation(self, collection: str, name: str, size: int, values: Tensor, more: Tensor | None) -> None:
        meaning = None if more is None else "activity" if collection == "relu_output" else "saturated"
        label = self._label(collection, f"{name}.{collection}_{self._num_calls[name]}", size, meaning)
        self._statistics.collect(label, values, more)

    def _label(self, collection: str, name: str, size: int, more: str | None = None) -> dict[str, Any]:
        return {
            "stage": self._stage.name, "step": self._step, "epoch": self._epoch, "mode": "TRAIN",
            "collection": collection, "name": name, "size": size, "more": more,
        }  # fmt: skip

    def _before_update(self, optimizer: torch.optim.Optimizer) -> None:
        """Keep samples of gradients and of the weights that they are about to change."""
        if not self._is_on:
            return
        start = time.perf_counter()
        # A fused optimizer divides gradients by the scale of mixed precision only in the update itself.
        scale = getattr(optimizer, "grad_scale", None)
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                if parameter.grad is not None:
                    label = self._label("gradients", f"gradient/{name}", parameter.numel())
                    self._statistics.collect(label, parameter.grad, scale=scale)
            self._now = [
                self._statistics.collect(self._label("weights", name, parameter.numel()), parameter)
                for name, parameter in self._parameters.items()
            ]
        self._seconds += time.perf_counter() - start

    def end_step(self, step: int, outcome: Outcome | None) -> None:
        """Compute the statistics of a chosen step; write those that have come."""
        is_on = self._is_on
        self._remove_hooks()
        if is_on and outcome is not None:
            start = time.perf_counter()
            with torch.no_grad():
                self._finish(outcome)
            self._seconds += time.perf_counter() - start
            self._next = step + self._stretched(step)
        self._write(wait=False)

    def _finish(self, outcome: Outcome) -> None:
        prefix = self._stage.network._get_name()
        for collection, suffix, tensor in (("inputs", "input", outcome.images), ("outputs", "output", outcome.logits)):
            self._statistics.collect(self._label(collection, f"{prefix}_{suffix}_0", tensor.numel()), tensor)
        if self._before and self._now:
            labels = [self._label("updates", name, p.numel(), "change") for name, p in self._parameters.items()]
            self._statistics.add_changes(labels, self._before, self._now)
        self._before = self._now or self._before
        self._statistics.send()
        self._num_left -= len(self._statistics)
        self._sent.append(self._statistics)

    def _stretched(self, step: int) -> int:
        """Choose the steps until the next statistics, by how long these took."""
        if self._asked is not None:
            return self._interval
        step_seconds = (time.perf_counter() - self._began - self._seconds) / (step + 1)
        affordable = math.ceil(self._seconds / (MAX_SHARE * max(step_seconds, 1e-9)))
        interval = max(self._interval, min(affordable, largest_interval(self._stage)))
        return -(-interval // self._stage.accumulation) * self._stage.accumulation

    def _write(self, *, wait: bool) -> None:
        while self._sent and (wait or self._sent[0].is_ready()):
            self._recorder.write_rows("tensor", self._sent.popleft().rows())

    def _remove_hooks(self) -> None:
        self._is_on = False
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def end_steps(self) -> None:
        """Write what is left of an epoch."""
        self._remove_hooks()
        self._write(wait=True)

    def end_stage(self) -> None:
        """Look no more."""
        self.detach()

    def detach(self) -> None:
        """Remove all hooks."""
        self._remove_hooks()
        if self._optimizer_handle is not None:
            self._optimizer_handle.remove()
            self._optimizer_handle = None
