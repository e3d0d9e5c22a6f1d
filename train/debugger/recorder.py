"""The recorder of a job: one context manager around it, which tells what happens to all that watch."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from train.debugger.clock import Clock
from train.debugger.record import RecordWriter
from train.debugger.watcher import PARTS, Outcome, Row, Stage, Validation, Watcher

logger = logging.getLogger(__name__)

T = TypeVar("T")
Parameters = ParamSpec("Parameters")


class Recorder:
    """Tells watchers what happens in a job. Without any it does nothing."""

    def __init__(self, watchers: Sequence[Watcher] = (), clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.watchers = list(watchers)

    def __enter__(self) -> Self:
        for watcher in self.watchers:
            watcher.notify(watcher.begin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.end("failed", f"{type(error).__name__}: {error}")
        for watcher in self.watchers:
            watcher.notify(watcher.close)

    def end(self, status: str, reason: str = "") -> None:
        """Write how the job ended: `completed`, `stopped` or `failed`."""
        self.write("end", status=status, reason=reason)

    def write(self, kind: str, **fields: Any) -> None:
        """Add a line to the record."""
        self.write_rows(kind, [fields])

    def write_made(
        self,
        kind: str,
        make: Callable[Parameters, Mapping[str, Any]],
        *args: Parameters.args,
        **named: Parameters.kwargs,
    ) -> None:
        """Make a line and add it; an error in making it ends no job."""
        if not self.watchers:
            return
        try:
            row = make(*args, **named)
        except Exception as error:
            logger.warning("recorder: no line of kind %s", kind, exc_info=error)
            return
        self.write_rows(kind, [row])

    def write_rows(self, kind: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add lines of one kind to the record."""
        if not self.watchers:
            return
        time = round(self.clock.now(), 4)
        lines: list[Row] = [{"kind": kind, "time": time, **row} for row in rows]
        for watcher in self.watchers:
            watcher.notify(watcher.wrote, lines)

    @contextmanager
    def phase(self, name: str) -> Iterator[dict[str, Any]]:
        """Record a part of the job; the body may add fields to it."""
        with self._timed("phase", name) as fields:
            yield fields

    @contextmanager
    def pause(self, name: str, stage: str, epoch: int) -> Iterator[None]:
        """Record time between steps that is not a step."""
        with self._timed("pause", name) as fields:
            fields |= {"stage": stage, "epoch": epoch}
            yield

    @contextmanager
    def _timed(self, kind: str, name: str) -> Iterator[dict[str, Any]]:
        fields: dict[str, Any] = {}
        start = self.clock.now()
        try:
            yield fields
        finally:
            seconds = self.clock.now() - start
            self.write(kind, name=name, start=round(start, 4), seconds=round(seconds, 4), **fields)

    def epoch(self, stage: str, epoch: int, seconds: float, metrics: Mapping[str, Any], lr: float) -> None:
        """Record an epoch of a stage, counted from 1, with the metrics that were printed for it."""
        named = {name.replace(":", "_"): value for name, value in metrics.items() if ":" in name}
        self.write("epoch", stage=stage, epoch=epoch, seconds=round(seconds, 4), **named, lr=lr)

    def begin_stage(self, stage: Stage) -> "StageRecorder":
        """Watch the steps of a stage."""
        recorder = StageRecorder(self.watchers, stage)
        chosen = {name: value for watcher in self.watchers for name, value in watcher.stage_fields.items()}
        self.write(
            "stage",
            stage=stage.name,
            epochs=stage.epochs,
            steps_per_epoch=stage.steps_per_epoch,
            batch_size=stage.batch_size,
            num_workers=stage.num_workers,
            **chosen,
            settings=dict(stage.settings),
        )
        return recorder


class StageRecorder:
    """Tells watchers about the steps of a stage."""

    def __init__(self, watchers: Sequence[Watcher], stage: Stage) -> None:
        self.stage = stage
        self._watchers = watchers
        self._watchers_of_parts = [watcher for watcher in watchers if type(watcher).end_part is not Watcher.end_part]
        self._step = 0
        self._outcome: Outcome | None = None
        for watcher in watchers:
            watcher.notify(watcher.begin_stage, stage)

    def begin_epoch(self, epoch: int) -> None:
        """Begin an epoch, counted from 1."""
        for watcher in self._watchers:
            watcher.notify(watcher.begin_epoch, epoch)

    def batches(self, loader: Iterable[T]) -> Iterator[T]:
        """Go through the batches of an epoch; each begins a step."""
        iterator = iter(loader)
        while True:
            for watcher in self._watchers:
                watcher.notify(watcher.begin_step, self._step)
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self.end_part("data_wait")
            yield batch

    def end_part(self, part: str) -> None:
        """End a part of the step."""
        for watcher in self._watchers_of_parts:
            watcher.notify(watcher.end_part, part)

    def end_forward(self, outcome: Outcome) -> None:
        """End the forward pass."""
        self._outcome = outcome
        self.end_part("forward")

    def end_step(self) -> None:
        """End a step."""
        self.end_part(PARTS[-1])
        for watcher in self._watchers:
            watcher.notify(watcher.end_step, self._step, self._outcome)
        if self._outcome is not None:
            self._step += 1
        self._outcome = None

    def end_steps(self) -> None:
        """End the last step of an epoch."""
        for watcher in self._watchers:
            watcher.notify(watcher.end_steps)

    def end_epoch(self, validation: Validation) -> None:
        """End an epoch, after its validation."""
        for watcher in self._watchers:
            watcher.notify(watcher.end_epoch, validation)

    def end(self) -> None:
        """End the stage."""
        for watcher in self._watchers:
            watcher.notify(watcher.end_stage)


class RecordFile(Watcher):
    """Writes the record; when that is not possible, those that measure for it end too."""

    def __init__(self, file: Path, measuring: Sequence[Watcher]) -> None:
        super().__init__()
        self._writer = RecordWriter(file)
        self._measuring = measuring

    def wrote(self, rows: Sequence[Row]) -> None:
        """Append the lines."""
        self._writer.write(rows)

    def detach(self) -> None:
        """End those that measure for the record."""
        for watcher in self._measuring:
            watcher.is_off = True
            watcher.detach()

    def close(self) -> None:
        """Close the file."""
        self.is_off = True
        self._writer.close()
