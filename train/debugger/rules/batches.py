"""Rules on the size of batches and on how they are loaded."""

import math
from typing import Any

import numpy as np

from train.debugger.machine_parameters import BatchSize, Dataloader
from train.debugger.record import Record
from train.debugger.rules.machine import TOO_SHORT, mean_cpu, windows, working
from train.debugger.rules.measures import (
    MIN_SAMPLES,
    MIN_STEPS,
    PARTS,
    gpu_use,
    hyperparameter,
    is_steps,
    num_cpus,
    num_gpus,
    num_photographs,
    shorten_window,
    stage_row,
    stage_seconds,
    watched_stage,
    without_first,
)
from train.debugger.rules.result import Outcome, not_applicable

LARGEST_BATCH = 64

SMALLEST_EPOCH = 8
"""Steps that an epoch keeps when a larger batch is advised."""

FORWARD_MARGIN = 1.3
"""A forward pass of training costs up to so much more than the same one of validation."""

SECOND_THREAD = 0.25
"""What the second hardware thread of a core adds to the first; the processors of a cloud are such threads."""

WORTH_SHARE, WORTH_SECONDS = 0.05, 2.0
"""Of a stage's time, that better loading must save to be worth a word."""

SEVERE_WAIT, SEVERE_SECONDS = 0.3, 5.0
"""Of a stage's time: waiting that is worth a word though it is not known what ends it."""

CACHED_DECODE = 0.55
"""Share of the time for a photograph that a cache of decoded ones saves, the least of what was measured."""


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
    num_validated = num_photographs(record).get("validation", 0)
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
        seconds = stage_seconds(steps)
        is_worth = gain >= WORTH_SHARE and gain * seconds >= WORTH_SECONDS
        if not is_worth and (wait < SEVERE_WAIT or wait * seconds < SEVERE_SECONDS):
            return Outcome(len(steps), triggered, details=details)
        return Outcome(len(steps), triggered, finding, advice, gain=gain * weight, details=details)
    if percent > parameters.max_threshold:
        finding = f"{loaders:.0f} loaders run on {cores} cores."
        return Outcome(len(steps), 1, finding, f"Set num_workers={cores}.", details=details)
    return Outcome(len(steps), details=details)


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
    own = record.system.process_cpu[is_steps(record, stage)] / 100
    cpu = own if np.isfinite(own).any() else mean_cpu(record)[is_steps(record, stage)] / 100 * cores
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
