"""The record of a training job: JSON Lines, appended while the job runs. Imports no torch.

Each line has `kind` and `time`, in seconds since the process began. A job that is killed leaves at most a half last
line, which the reader skips, as it skips kinds and fields that it does not know. Numbers that JSON lacks are written
as the strings `nan`, `inf` and `-inf`.
"""

import json
import math
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

RECORD_NAME = "record.jsonl"

Row = dict[str, Any]
"""A line as it was read, without `kind`."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Strings = npt.NDArray[np.str_]

STEP_COLUMNS = (
    "end_time", "data_wait", "copy", "forward", "backward", "optimizer", "total", "loss", "lr", "num_images",
)  # fmt: skip
"""What a block of steps holds for each."""

SAMPLE_COLUMNS = (
    "time", "interval", "io_wait", "memory_bytes", "process_bytes", "disk_read", "disk_write", "net_in", "net_out",
    "num_loaders", "num_processes", "process_cpu",
)  # fmt: skip
GPU_COLUMNS = ("utilization", "memory", "memory_bytes", "power_watts", "temperature")
NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class RecordWriter:
    """Appends lines to a record, from any thread. Every call reaches the file before it returns."""

    def __init__(self, file: Path) -> None:
        """Begin a record in place of an older one. Raises OSError."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows with `kind` and `time`. Raises OSError, such as on a full disk."""
        data = "".join(encode(row) + "\n" for row in rows).encode()
        with self._lock:
            while data:
                data = data[os.write(self._descriptor, data) :]

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def encode(row: Mapping[str, Any]) -> str:
    """Write a row as a line of JSON."""
    try:
        return json.dumps(row, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(named_non_finite(row), separators=(",", ":"))


def named_non_finite(value: Any) -> Any:
    """Replace the numbers that JSON lacks by their names."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(float(value))
    if isinstance(value, Mapping):
        return {name: named_non_finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [named_non_finite(item) for item in value]
    return value


@dataclass(frozen=True)
class Steps:
    """The steps of a job, in columns (num_rows,). Times are in seconds.

    A row stands for `merged` consecutive steps, of which `number` is the first; its other numbers are their means.
    """

    stage: Strings
    epoch: Ints
    """From 1 in each stage."""
    number: Ints
    """From 0 in each stage."""
    merged: Ints
    end_time: Floats
    """Since the process began."""
    data_wait: Floats
    copy: Floats
    forward: Floats
    backward: Floats
    optimizer: Floats
    total: Floats
    """From the end of the step before to the end of this one."""
    loss: Floats
    lr: Floats
    num_images: Floats

    def __len__(self) -> int:
        return len(self.number)

    def of(self, stage: str) -> "Steps":
        """Take the steps of one stage."""
        mask = self.stage == stage
        return Steps(**{column.name: getattr(self, column.name)[mask] for column in fields(self)})


@dataclass(frozen=True)
class SystemSamples:
    """What the machine did, in columns (num_samples,)."""

    time: Floats
    interval: Floats
    """Seconds since the sample before."""
    cpu: Floats
    """Percent (num_samples, num_cores)."""
    io_wait: Floats
    """Percent of all cores' time."""
    memory_bytes: Floats
    process_bytes: Floats
    disk_read: Floats
    """Bytes since the sample before; so are the next three."""
    disk_write: Floats
    net_in: Floats
    net_out: Floats
    num_loaders: Floats
    num_processes: Floats
    process_cpu: Floats
    """Percent of one core that the job's processes took, all together."""
    gpu_utilization: Floats
    """Percent (num_samples, num_gpus); so is the memory."""
    gpu_memory: Floats
    gpu_memory_bytes: Floats
    gpu_power: Floats
    """Watts (num_samples, num_gpus)."""
    gpu_temperature: Floats

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True, slots=True)
class TensorRow:
    """Statistics of one tensor at one step, over its finite values; nan where it has none."""

    stage: str
    step: int
    epoch: int
    mode: str
    collection: str
    name: str
    size: int
    mean: float
    mean_abs: float
    std: float
    min: float
    max: float
    p5: float
    p95: float
    zeros: float
    """Share of zeros in [0, 1]."""
    nan: int
    """Number of values, estimated from a sample in large tensors; so is `inf`. 0 only where there is none."""
    inf: int
    ratio: float | None = None
    """Of updates: mean |update| / (mean |weight| + 1e-9)."""
    max_abs_change: float | None = None
    activity: tuple[float, ...] | None = None
    """Of relu_output: percentiles 0, 5, ... 100, over nodes, of the percentage of positive values in a node."""
    saturated: tuple[float, ...] | None = None
    """Of tanh_input and sigmoid_input: the same of the percentage of saturated values in a node."""


@dataclass(frozen=True)
class Record:
    """What a job has left in its record."""

    job: Row
    """Empty when the job was killed before it wrote anything."""
    data: Row | None
    """The last line on them, which tells of what could not be read."""
    phases: list[Row]
    stages: list[Row]
    steps: Steps
    pauses: list[Row]
    epochs: list[Row]
    system: SystemSamples
    tensors: list[TensorRow]
    trials: list[Row]
    predictions: dict[str, Row]
    """By split."""
    leaks: list[Row]
    operators: list[Row]
    findings: list[Row]
    end: Row | None
    """None when the job was killed."""
    duration: float
    """Seconds until the last line."""


@dataclass
class _Lines:
    """Lines by kind, while they are read."""

    by_kind: dict[str, list[Row]] = field(default_factory=dict)
    duration: float = 0.0

    def of(self, kind: str) -> list[Row]:
        return self.by_kind.get(kind, [])

    def last(self, kind: str) -> Row | None:
        return self.of(kind)[-1] if self.of(kind) else None


def read_record(file: Path) -> Record:
    """Read a record, of a job that ended, was killed or still runs. Raises OSError when there is none."""
    with file.open("rb") as stream:
        return build_record(_parsed(stream))


def build_record(rows: Iterable[Mapping[str, Any]]) -> Record:
    """Build a record from its lines, with `kind` and `time`."""
    lines = _sorted(rows)
    return Record(
        job=lines.last("job") or {},
        data=lines.last("data"),
        phases=lines.of("phase"),
        stages=lines.of("stage"),
        steps=_steps(lines.of("steps")),
        pauses=lines.of("pause"),
        epochs=[_finite_names_undone(row) for row in lines.of("epoch")],
        system=_samples(lines.of("system")),
        tensors=[row for row in map(_tensor_row, lines.of("tensor")) if row is not None],
        trials=[_finite_names_undone(row) for row in lines.of("trial")],
        predictions={row["split"]: row for row in lines.of("predictions") if "split" in row},
        leaks=lines.of("leak"),
        operators=lines.of("operators"),
        findings=lines.of("finding"),
        end=lines.last("end"),
        duration=lines.duration,
    )


def _parsed(stream: Iterable[bytes]) -> Iterator[Row]:
    """Parse lines; what is no object of JSON, such as the half line of a killed job, is skipped."""
    for line in stream:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row


def _sorted(rows: Iterable[Mapping[str, Any]]) -> _Lines:
    lines = _Lines()
    for row in rows:
        kind, time = row.get("kind"), row.get("time")
        if isinstance(kind, str) and isinstance(time, int | float):
            lines.by_kind.setdefault(kind, []).append({name: row[name] for name in row if name != "kind"})
            lines.duration = max(lines.duration, float(time))
    return lines


def _finite_names_undone(row: Row) -> Row:
    return {name: NON_FINITE.get(value, value) if isinstance(value, str) else value for name, value in row.items()}


def _steps(blocks: list[Row]) -> Steps:
    stage: list[str] = []
    whole: dict[str, list[int]] = {"epoch": [], "number": [], "merged": []}
    columns: dict[str, list[Any]] = {name: [] for name in STEP_COLUMNS}
    for block in blocks:
        num_rows, merged = len(block["end_time"]), block.get("merged", 1)
        stage += [block["stage"]] * num_rows
        whole["epoch"] += [block["epoch"]] * num_rows
        whole["number"] += range(block["first"], block["first"] + merged * num_rows, merged)
        whole["merged"] += [merged] * num_rows
        for name, column in columns.items():
            values = block.get(name)
            # numpy reads None and the names of non-finite numbers as what they stand for.
            column += values if isinstance(values, list) and len(values) == num_rows else [None] * num_rows
    arrays: dict[str, Any] = {name: np.array(values, dtype=np.int64) for name, values in whole.items()}
    arrays |= {name: np.array(values, dtype=np.float64) for name, values in columns.items()}
    return Steps(stage=np.array(stage, dtype=np.str_), **arrays)


def _samples(rows: list[Row]) -> SystemSamples:
    single = {name: np.array([row.get(name) for row in rows], dtype=np.float64) for name in SAMPLE_COLUMNS}
    gpus = [row.get("gpu", []) for row in rows]
    by_gpu = [_table([[gpu.get(name) for gpu in row] for row in gpus]) for name in GPU_COLUMNS]
    return SystemSamples(
        **single,
        cpu=_table([row.get("cpu", []) for row in rows]),
        gpu_utilization=by_gpu[0],
        gpu_memory=by_gpu[1],
        gpu_memory_bytes=by_gpu[2],
        gpu_power=by_gpu[3],
        gpu_temperature=by_gpu[4],
    )


def _table(rows: list[list[Any]]) -> Floats:
    """Make a table of rows that may differ in length; what is missing is nan."""
    width = max(map(len, rows), default=0)
    padded = [row if len(row) == width else [*row, *[None] * (width - len(row))] for row in rows]
    return np.array(padded, dtype=np.float64).reshape(len(rows), width)


_SINGLE = frozenset({"mean", "mean_abs", "std", "min", "max", "p5", "p95", "zeros", "ratio", "max_abs_change"})
_PERCENTILES = frozenset({"activity", "saturated"})
_NAMES = tuple(column.name for column in fields(TensorRow))


def _tensor_row(row: Row) -> TensorRow | None:
    """Read a row of statistics; None when it lacks some."""
    known = {name: row[name] for name in _NAMES if row.get(name) is not None}
    for name in _SINGLE & known.keys():
        known[name] = float(known[name])
    for name in _PERCENTILES & known.keys():
        known[name] = tuple(map(float, known[name]))
    try:
        return TensorRow(**known)
    except TypeError:
        return None
