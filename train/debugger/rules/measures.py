"""What several rules measure alike."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from train.debugger.record import STEP_COLUMNS, Floats, Record, Row, Steps, TensorRow

Mask = npt.NDArray[np.bool_]

PARTS = STEP_COLUMNS[1:6]
"""data_wait, copy, forward, backward and optimizer."""

MIN_STEPS = 10
"""Steps whose mean times say something."""

MIN_SAMPLES = 12
"""Samples of half a second that it takes to judge the machine: 6 s of work. Fewer are mostly start and end."""


def shorten_patience(patience: int, num_samples: int) -> int:
    """Shorten a number of samples to pass over: at most a quarter of those there are.

    AWS's 1,000 samples of half a second are 8 minutes: no shorter job would ever be judged.
    """
    return min(patience, num_samples // 4)


def shorten_window(window: int, num_samples: int) -> int:
    """Shorten a window of samples: at most a quarter of those there are, and at least 6, which no one spike rules."""
    return min(window, max(MIN_SAMPLES // 2, num_samples // 4))


def stages(record: Record) -> list[str]:
    """List the stages that have steps, in order."""
    return list(dict.fromkeys(record.steps.stage.tolist()))


def watched_stage(record: Record) -> str | None:
    """Name the last stage of fine-tuning whose steps were timed; None without one.

    The steps of heads on features are too short to judge.
    """
    timed = set(record.steps.stage[np.isfinite(record.steps.total)].tolist()) - {"linear_probe"}
    return next((name for name in reversed(stages(record)) if name in timed), None)


def stage_row(record: Record, stage: str) -> Row:
    """Give what was known when a stage began."""
    return next((row for row in record.stages if row.get("stage") == stage), {})


def hyperparameter(record: Record, name: str) -> Any:
    """Give a hyperparameter of the job; None where it was left to the job, or is not known."""
    return record.job.get("hyperparameters", {}).get(name)


def num_cpus(record: Record) -> int:
    """Give the number of the job's processors."""
    return int(record.job.get("num_cpus") or record.system.cpu.shape[1] or 1)


def gpu_use(record: Record, values: Floats | None = None) -> Floats:
    """Give the use, or other values (num_samples, num_gpus), of the GPUs that tell their use; means where some miss."""
    use = record.system.gpu_utilization
    tells = np.isfinite(use).any(axis=0)
    chosen = (use if values is None else values)[:, tells]
    is_known = np.isfinite(chosen)
    means = np.where(is_known, chosen, 0).sum(axis=0) / np.maximum(is_known.sum(axis=0), 1)
    return np.where(is_known, chosen, means)


def num_gpus(record: Record) -> int:
    """Give the number of GPUs that tell their use."""
    return int(np.isfinite(record.system.gpu_utilization).any(axis=0).sum())


def num_photographs(record: Record) -> dict[str, int]:
    """Give the number of photographs of each split; of an older record, that of their labels."""
    data = record.data or {}
    counts = {split: sum(by_class) for split, by_class in (data.get("counts") or {}).items() if by_class}
    return {**counts, **data.get("num_photographs", {})}


def is_multi_label(record: Record) -> bool:
    """Tell whether a photograph may have any number of labels."""
    return (record.data or {}).get("task") == "multi_label"


def stage_seconds(steps: Steps) -> float:
    """Add up the time of steps."""
    return float(np.nansum(steps.total * steps.merged))


def is_work(record: Record) -> Mask:
    """Tell which samples (num_samples,) were taken between a stage's first and last step, or while features were made.

    Times between, such as start, conversion and the report, say nothing of training.
    """
    intervals = [(row["start"], row["start"] + row["seconds"]) for row in record.phases if is_features(row)]
    for stage in stages(record):
        steps = record.steps.of(stage)
        intervals.append((steps.end_time[0] - steps.total[0] * steps.merged[0], steps.end_time[-1]))
    return within(record.system.time, intervals) & ~within(record.system.time, spans(record.pauses))


def is_steps(record: Record, stage: str) -> Mask:
    """Tell which samples (num_samples,) were taken while a stage's steps ran."""
    steps = record.steps.of(stage)
    intervals = [(steps.end_time[0] - steps.total[0] * steps.merged[0], steps.end_time[-1])]
    return within(record.system.time, intervals) & ~within(record.system.time, spans(record.pauses))


def is_features(phase: Row) -> bool:
    """Tell whether a phase made features, which is a probe's work."""
    return str(phase.get("name", "")).startswith("features")


def spans(rows: Iterable[Row]) -> list[tuple[float, float]]:
    """Give start and end of phases or pauses."""
    return [(row["start"], row["start"] + row["seconds"]) for row in rows if "start" in row and "seconds" in row]


def not_steps(record: Record) -> list[Row]:
    """List the phases and pauses in which no step ended: a phase of training holds its steps."""
    ends = np.sort(record.steps.end_time)
    rows = [row for row in [*record.phases, *record.pauses] if "start" in row and "seconds" in row]
    return [
        row for row in rows if np.diff(np.searchsorted(ends, [row["start"], row["start"] + row["seconds"]]))[0] == 0
    ]


def within(times: Floats, intervals: Iterable[tuple[float, float]]) -> Mask:
    """Tell which times (num_samples,) lie in any of the intervals."""
    inside = np.zeros(len(times), dtype=bool)
    for start, end in intervals:
        inside |= (times >= start) & (times <= end)
    return inside


def overlap(start: float, end: float, intervals: Iterable[tuple[float, float]]) -> float:
    """Measure how much of a time the intervals, which do not overlap one another, take."""
    return sum(max(0.0, min(end, right) - max(start, left)) for left, right in intervals)


def epoch_column(record: Record, stage: str, name: str) -> Floats:
    """Give a metric of a stage's epochs (num_epochs,), nan where it is missing."""
    values = [row.get(name) for row in record.epochs if row.get("stage") == stage]
    return np.array([value if isinstance(value, int | float) else np.nan for value in values], dtype=np.float64)


def epoch_stages(record: Record) -> list[str]:
    """List the stages that have epochs, in order."""
    return list(dict.fromkeys(str(row["stage"]) for row in record.epochs if "stage" in row))


def by_tensor(record: Record, *collections: str) -> dict[tuple[str, str, str], list[TensorRow]]:
    """Group the rows of training by stage, collection and name, in order of steps."""
    groups: dict[tuple[str, str, str], list[TensorRow]] = {}
    for row in record.tensors:
        if row.mode == "TRAIN" and row.collection in collections:
            groups.setdefault((row.stage, row.collection, row.name), []).append(row)
    return groups


def is_bias(name: str) -> bool:
    """Tell whether a tensor is a bias, which may begin at zero and, before a normalisation, has no gradient."""
    return name.endswith("bias")


def named(names: Iterable[str], most: int = 3) -> str:
    """Name a few of many."""
    every = list(dict.fromkeys(names))
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def percentiles(values: Floats) -> dict[str, float]:
    """Summarise values as AWS's report does."""
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return {}
    p50, p95, p99 = np.percentile(finite, [50, 95, 99])
    return {
        "max": float(finite.max()), "p99": float(p99), "p95": float(p95), "p50": float(p50),
        "min": float(finite.min()), "mean": float(finite.mean()),
    }  # fmt: skip


def without_first(steps: Steps) -> Steps:
    """Leave out the first step of each epoch, in which loaders start."""
    keep: Mask = (
        np.concatenate([[False], steps.epoch[1:] == steps.epoch[:-1]]) if len(steps) else np.zeros(0, dtype=bool)
    )
    return Steps(**{name: column[keep] for name, column in vars(steps).items()})
