"""Rules on how long steps take, and on what is between them."""

import math
from typing import Any

import numpy as np

from train.debugger.machine_parameters import (
    BatchSize,
    Dataloader,
    MaxInitializationTime,
    OverallFrameworkMetrics,
    StalledTraining,
    StepOutlier,
)
from train.debugger.record import STEP_COLUMNS, Floats, Record, Steps
from train.debugger.rules.machine import TOO_SHORT, mean_cpu, windows, working
from train.debugger.rules.measures import (
    MIN_SAMPLES,
    Mask,
    gpu_use,
    hyperparameter,
    is_features,
    is_steps,
    not_steps,
    num_cpus,
    num_gpus,
    overlap,
    percentiles,
    shorten_window,
    spans,
    stage_row,
    stage_seconds,
    stages,
    watched_stage,
)
from train.debugger.rules.result import Outcome, not_applicable

PARTS = STEP_COLUMNS[1:6]
"""data_wait, copy, forward, backward and optimizer."""

MIN_STEPS = 10
"""Steps whose mean times say something."""

SHORTEST_STALL = 10.0
"""Seconds: a first batch of slow workers or a compilation takes no longer."""

USUAL_STEPS = 50
"""A stall is longer than so many usual steps."""

SHORTEST_INITIALIZATION = 2.0
"""Minutes: to load torch and weights takes no longer."""

LARGEST_BATCH = 64

SMALLEST_EPOCH = 8
"""Steps that an epoch keeps when a larger batch is advised."""

FORWARD_MARGIN = 1.3
"""A forward pass of training costs up to so much more than the same one of validation."""

SECOND_THREAD = 0.25
"""What the second hardware thread of a core adds to the first; the processors of a cloud are such threads."""

CACHED_DECODE = 0.55
"""Share of the time for a photograph that a cache of decoded ones saves, the least of what was measured."""


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


def batch_size(record: Record, parameters: BatchSize) -> Outcome:
    """Judge the GPU by its samples, the CPU by what a step costs whatever its batch."""
    stage = watched_stage(record)
    if stage is None:
        return not_applicable("no stage of fine-tuning was recorded")
    steps = record.steps.of(stage)
    images = float(np.nanmedian(steps.num_images))
    if len(steps) < MIN_STEPS or not images > 0:
        return not_applicable(f"fewer than {MIN_STEPS} steps were recorded")
    total = float(np.nanmedian(steps.total))
    fixed = min(total, fixed_seconds(record, stage))
    num_images = images * float(stage_row(record, stage).get("steps_per_epoch") or len(steps))
    largest = min(LARGEST_BATCH, num_images / SMALLEST_EPOCH)
    details: dict[str, Any] = {"fixed_share": fixed / total, "batch_size": images, "step_seconds": total}
    if num_gpus(record) > 0:
        return batch_size_of_gpu(record, parameters, images, fixed / total, details)
    better = 2.0 ** math.floor(math.log2(max(1.0, largest)))
    if fixed / total <= parameters.fixed_share or better <= images:
        return Outcome(len(steps), details=details)
    return Outcome(
        len(steps),
        triggered=len(steps),
        finding=f"A step of {images:.0f} images takes {1000 * total:.0f} ms, {fixed / total:.0%} of it for any batch.",
        advice=f"Set batch_size={better:.0f}, and lr up to {better / images:.0f} times as high.",
        gain=fixed / total * (1 - images / better) * stage_seconds(steps) / max(record.duration, 1e-9),
        details=details,
    )


def fixed_seconds(record: Record, stage: str) -> float:
    """Estimate what a step costs whatever its batch: the optimizer, what no part accounts for, and a slow forward pass.

    Validation runs the same network on large batches: what training's forward pass takes longer for an image, beyond
    FORWARD_MARGIN, is the cost of a small batch. The backward pass is taken to be as slow.
    """
    steps = record.steps.of(stage)
    median = {name: float(np.nan_to_num(np.nanmedian(getattr(steps, name)))) for name in (*PARTS, "total")}
    images = float(np.nanmedian(steps.num_images))
    fixed = median["optimizer"] + max(0.0, median["total"] - sum(median[name] for name in PARTS))
    seconds = [row["seconds"] for row in record.pauses if row.get("name") == "validation" and row.get("stage") == stage]
    counts = (record.data or {}).get("counts") or {}
    num_validated = sum(counts.get("validation") or [])
    if seconds and num_validated and median["forward"] > 0:
        best = FORWARD_MARGIN * float(np.median(seconds)) / num_validated
        slow = max(0.0, 1 - best / (median["forward"] / images))
        fixed += slow * (median["forward"] + median["backward"])
    return fixed


def batch_size_of_gpu(
    record: Record, parameters: BatchSize, images: float, fixed_share: float, details: dict[str, Any]
) -> Outcome:
    """Judge windows of samples by AWS's three percentiles; most of them must show it."""
    gpu, patience = working(record, gpu_use(record), parameters.patience)
    memory, _ = working(record, gpu_use(record, record.system.gpu_memory), parameters.patience)
    cpu, _ = working(record, mean_cpu(record), parameters.patience)
    if len(gpu) < MIN_SAMPLES:
        return not_applicable(TOO_SHORT)
    window = shorten_window(parameters.window, len(gpu))
    used = {"patience": patience, "window": window}
    limits = (parameters.cpu_threshold_p95, parameters.gpu_threshold_p95, parameters.gpu_memory_threshold_p95)
    is_low = np.array(
        [
            all(float(np.percentile(part, 95)) < limit for part, limit in zip(parts, limits, strict=True))
            for parts in zip(windows(cpu, window), windows(gpu, window), windows(memory, window), strict=True)
        ]
    )
    p95 = {name: float(np.percentile(v, 95)) for name, v in (("cpu", cpu), ("gpu", gpu), ("gpu_memory", memory))}
    details |= {"p95": p95}
    if is_low.mean() <= 1 / 2:
        return Outcome(len(gpu), int(is_low.sum()), details=details, used=used)
    factor = 2.0 ** math.floor(
        math.log2(max(2.0, min(8.0, parameters.gpu_memory_threshold_p95 / max(p95["gpu_memory"], 1))))
    )
    return Outcome(
        len(gpu),
        triggered=int(is_low.sum()),
        finding=f"With batches of {images:.0f}, percentile 95 of the GPU's use is {p95['gpu']:.0f} %, of its memory "
        f"{p95['gpu_memory']:.0f} % and of the CPU's use {p95['cpu']:.0f} %.",
        advice=f"Set batch_size={images * factor:.0f}, and lr up to {factor:.0f} times as high.",
        gain=fixed_share * (1 - 1 / factor) * float(record.steps.total.sum()) / max(record.duration, 1e-9),
        details=details,
        used=used,
    )


def dataloader(record: Record, parameters: Dataloader) -> Outcome:
    """Judge the steps' waiting for data, and the loaders that were alive; an epoch's first step is left out."""
    stage = watched_stage(record)
    steps = without_first(record.steps.of(stage)) if stage else None
    if stage is None or steps is None or len(steps) < MIN_STEPS:
        return not_applicable(f"no stage of fine-tuning has {MIN_STEPS} steps")
    wait = float(np.nansum(steps.data_wait * steps.merged)) / max(stage_seconds(steps), 1e-9)
    cores = num_cpus(record)
    loaders = num_loaders(record, stage)
    percent = 100 * loaders / cores
    details = {"wait_share": wait, "num_workers": loaders, "num_cpus": cores, "loader_percent": percent}
    weight = stage_seconds(record.steps.of(stage)) / max(record.duration, 1e-9)
    if 100 * wait > parameters.wait_threshold:
        gain, advice = faster_loading(record, stage, wait, loaders, few=percent < parameters.min_threshold)
        finding = f"Steps wait for data {wait:.0%} of their time, with {loaders:.0f} loaders on {cores} cores."
        triggered = int((steps.data_wait > parameters.wait_threshold / 100 * steps.total).sum())
        return Outcome(len(steps), triggered, finding, advice, gain=gain * weight, details=details)
    if percent > parameters.max_threshold:
        finding = f"{loaders:.0f} loaders run on {cores} cores."
        return Outcome(len(steps), 1, finding, f"Set num_workers={cores}.", details=details)
    return Outcome(len(steps), details=details)


def without_first(steps: Steps) -> Steps:
    """Leave out the first step of each epoch, in which loaders start."""
    keep: Mask = (
        np.concatenate([[False], steps.epoch[1:] == steps.epoch[:-1]]) if len(steps) else np.zeros(0, dtype=bool)
    )
    return Steps(**{name: column[keep] for name, column in vars(steps).items()})


def num_loaders(record: Record, stage: str) -> float:
    """Give the loaders of a stage: those that were seen, or else those asked for."""
    asked = stage_row(record, stage).get("num_workers")
    if asked is not None:
        return float(asked)
    seen = record.system.num_loaders[is_steps(record, stage)]
    return float(np.nanmedian(seen)) if np.isfinite(seen).any() else 0.0


def faster_loading(record: Record, stage: str, wait: float, loaders: float, *, few: bool) -> tuple[float, str]:
    """Estimate the share of a stage's time that better loading saves, and say how.

    More loaders can hide waiting only as far as processors are free; a cache saves work, in all epochs but the first.
    """
    cores = num_cpus(record)
    cpu = mean_cpu(record)[is_steps(record, stage)] / 100 * cores
    busy = float(np.nanmean(cpu)) if np.isfinite(cpu).any() else 1.0
    if num_gpus(record) > 0:
        work = max(1.0, loaders)
        gain = wait - max(0.0, work / max(1, cores - 1) - (1 - wait)) if few else 0.0
    else:
        gain = min(wait, 1 - throughput(busy, cores) / throughput(cores, cores)) if few else 0.0
    gain = max(0.0, gain)
    epochs = len(np.unique(record.steps.of(stage).epoch))
    parts = [f"num_workers={cores}"] if few else []
    if hyperparameter(record, "photograph_cache") is False and epochs > 1:
        parts.append("photograph_cache=true")
        gain = max(gain, CACHED_DECODE * wait * (epochs - 1) / epochs)
    if not parts:
        return 0.0, "Take an instance with more cores, or give smaller photographs."
    return gain, f"Set {' and '.join(parts)}."


def throughput(busy: float, cores: int) -> float:
    """Weigh busy processors, of which every second one is taken for a core's second hardware thread."""
    whole = max(1.0, cores / 2)
    return min(busy, whole) + SECOND_THREAD * max(0.0, busy - whole)


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
    allowed = min(parameters.n_outliers, len(total) // 100)
    median = float(np.nanmedian(total))
    lost = float(np.sum(total[is_outlier] - median)) / max(float(np.nansum(total)), 1e-9)
    details = {"limit": limit, **percentiles(total), "outliers": steps.number[is_outlier].tolist()[:1000], "lost": lost}
    used = {"n_outliers": allowed}
    if is_outlier.sum() <= allowed or lost < parameters.lost_share:
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
        cache = " and photograph_cache=true" if hyperparameter(record, "photograph_cache") is not True else ""
        return (
            f"Set num_workers={num_cpus(record)}{cache}; look for single photographs that are far larger than others."
        )
    return "Look for other work on the machine at those times; see CPUBottleneck and the system's samples."
