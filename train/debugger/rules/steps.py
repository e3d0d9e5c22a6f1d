"""Rules on how long steps take, and on what is between them."""

import numpy as np

from train.debugger.machine_parameters import (
    MaxInitializationTime,
    OverallFrameworkMetrics,
    StalledTraining,
    StepOutlier,
)
from train.debugger.record import Floats, Record, Steps
from train.debugger.rules.advice import settings
from train.debugger.rules.measures import (
    MIN_STEPS,
    PARTS,
    is_features,
    not_steps,
    num_cpus,
    overlap,
    percentiles,
    spans,
    stage_seconds,
    stages,
    watched_stage,
    without_first,
)
from train.debugger.rules.result import Outcome, not_applicable

WORTH_SECONDS = 1.0
"""Time that outliers must add to be worth a word."""

SHORTEST_STALL = 10.0
"""Seconds: a first batch of slow workers or a compilation takes no longer."""

USUAL_STEPS = 50
"""A stall is longer than so many usual steps."""

SHORTEST_INITIALIZATION = 2.0
"""Minutes: to load torch and weights takes no longer."""


def stalled_training(record: Record, parameters: StalledTraining) -> Outcome:
    """Judge the longest time between two steps of a stage, less validation and phases.

    After the last step of a job that did not end, which may be in validation, only the whole threshold counts.
    """
    known = spans(not_steps(record))
    gaps: list[tuple[float, float, str, int]] = []
    for stage in stages(record):
        steps = record.steps.of(stage)
        if not np.isfinite(steps.end_time).all():
            continue
        for left, right, number in zip(steps.end_time[:-1], steps.end_time[1:], steps.number[1:], strict=True):
            gaps.append((float(right - left) - overlap(left, right, known), float(left), stage, int(number)))
    if not gaps:
        return not_applicable("no stage has two steps that were timed")
    usual = float(np.median([gap[0] for gap in gaps]))
    limit = min(parameters.threshold, max(SHORTEST_STALL, USUAL_STEPS * usual, record.duration / 10))
    longest, at, stage, number = max(gaps)
    since = record.duration - float(record.steps.end_time[-1])
    if record.end is None and since > parameters.threshold:
        limit, longest, at, stage, number = parameters.threshold, since, *last_step(record)
    details = {"longest": longest, "usual": usual, "at": at}
    if longest <= limit:
        return Outcome(len(gaps), details=details, used={"threshold": limit})
    return Outcome(
        len(gaps),
        triggered=sum(gap[0] > limit for gap in gaps),
        finding=f"In {stage}, nothing happened for {longest:.0f} s before step {number}; steps take {usual:.2g} s.",
        advice="See what the machine did then: a network disk, other jobs, a loader that hung (num_workers=0 tells).",
        severity="problem",
        gain=min(1.0, sum(gap[0] - usual for gap in gaps if gap[0] > limit) / max(record.duration, 1e-9)),
        first_step=number,
        details=details,
        used={"threshold": limit},
    )


def last_step(record: Record) -> tuple[float, str, int]:
    """Tell when the last step ended, its stage, and the number of the one after it."""
    steps = record.steps
    return float(steps.end_time[-1]), str(steps.stage[-1]), int(steps.number[-1] + steps.merged[-1])


def max_initialization_time(record: Record, parameters: MaxInitializationTime) -> Outcome:
    """Judge the time before the first step, without that in which features were made."""
    start = record.steps.end_time - record.steps.total * record.steps.merged
    if len(start) == 0 or not np.isfinite(start[0]):
        return not_applicable("no step was timed")
    first = float(start[0])
    features = spans(phase for phase in record.phases if is_features(phase))
    minutes = (first - overlap(0, first, features)) / 60
    limit = min(parameters.threshold, max(SHORTEST_INITIALIZATION, record.duration / 60 / 2))
    before = [row for row in not_steps(record) if row["start"] < first and not is_features(row)]
    longest = sorted(before, key=lambda row: -row["seconds"])[:3]
    details = {"minutes": minutes, "phases": {row["name"]: row["seconds"] for row in longest}}
    if minutes <= limit:
        return Outcome(1, details=details, used={"threshold": limit})
    parts = ", ".join(f"{row['name']} {row['seconds']:.0f} s" for row in longest)
    return Outcome(
        1,
        triggered=1,
        finding=f"The first step began after {minutes:.1f} minutes" + (f" ({parts})." if parts else "."),
        advice="Give photographs in fewer, larger files or in FastFile mode, and weights in the image or a channel.",
        details=details,
        used={"threshold": limit},
    )


def overall_framework_metrics(record: Record, _parameters: OverallFrameworkMetrics) -> Outcome:
    """List where the time went."""
    phases: dict[str, float] = {}
    for row in not_steps(record):
        phases[row["name"]] = round(phases.get(row["name"], 0.0) + row["seconds"], 4)
    by_stage = {stage: parts_of(record.steps.of(stage)) for stage in stages(record)}
    in_steps = sum(parts["total"] for parts in by_stage.values())
    accounted = sum(phases.values()) + in_steps
    details = {"phases": phases, "stages": by_stage, "other": max(0.0, record.duration - accounted)}
    return Outcome(len(record.steps) + len(phases), details=details)


def parts_of(steps: Steps) -> dict[str, float]:
    """Add up the parts of steps, in seconds, `other` being what no part accounts for."""
    sums = {name: float(np.nansum(getattr(steps, name) * steps.merged)) for name in (*PARTS, "total")}
    return {**sums, "other": max(0.0, sums["total"] - sum(sums[name] for name in PARTS))}


def step_outlier(record: Record, parameters: StepOutlier) -> Outcome:
    """Judge the steps of fine-tuning, the first of each epoch left out."""
    stage = watched_stage(record)
    steps = without_first(record.steps.of(stage)) if stage else None
    if stage is None or steps is None or len(steps) < 2 * MIN_STEPS:
        return not_applicable(f"no stage of fine-tuning has {2 * MIN_STEPS} steps")
    total: Floats = steps.total
    limit = float(np.nanmean(total) + parameters.stddev * np.nanstd(total))
    is_outlier = total > limit
    allowed = min(parameters.n_outliers, max(1, len(total) // 100))
    median = float(np.nanmedian(total))
    lost_seconds = float(np.sum(total[is_outlier] - median))
    lost = lost_seconds / max(float(np.nansum(total)), 1e-9)
    details = {"limit": limit, **percentiles(total), "outliers": steps.number[is_outlier].tolist()[:1000], "lost": lost}
    used = {"n_outliers": allowed}
    if is_outlier.sum() <= allowed or lost < parameters.lost_share or lost_seconds < WORTH_SECONDS:
        return Outcome(len(total), int(is_outlier.sum()), details=details, used=used)
    worst = max(PARTS, key=lambda name: float(np.nansum(getattr(steps, name)[is_outlier])))
    return Outcome(
        len(total),
        triggered=int(is_outlier.sum()),
        finding=f"{int(is_outlier.sum())} of {len(total)} steps take longer than {1000 * limit:.0f} ms; the median is "
        f"{1000 * median:.0f} ms; most of their time is {worst.replace('_', ' ')}.",
        advice=advise_on_outliers(record, worst),
        gain=lost * stage_seconds(record.steps.of(stage)) / max(record.duration, 1e-9),
        first_step=int(steps.number[is_outlier][0]),
        details=details,
        used=used,
    )


def advise_on_outliers(record: Record, worst: str) -> str:
    """Say what evens steps out, by the part that they spend longest in."""
    if worst == "data_wait":
        wanted = settings(record, num_workers=num_cpus(record), photograph_cache="true")
        return f"{f'Set {wanted}. ' if wanted else ''}Look for single photographs that are far larger than others."
    return "Look for other work on the machine at those times; see CPUBottleneck and the system's samples."
