"""The rule on memory that grows."""

import numpy as np

from train.debugger.machine_parameters import GPUMemoryIncrease
from train.debugger.record import Floats, Record
from train.debugger.rules.advice import settings
from train.debugger.rules.measures import (
    MIN_SAMPLES,
    Mask,
    gpu_use,
    is_steps,
    num_gpus,
    shorten_patience,
    shorten_window,
    stage_row,
    stages,
)
from train.debugger.rules.result import Outcome, not_applicable

NUM_POINTS = 8
"""Points that a growth is read from."""

NOISE = 3
"""Standard deviations around its line that a growth must exceed."""

MEGABYTE = 1e6


def gpu_memory_increase(record: Record, parameters: GPUMemoryIncrease) -> Outcome:
    """Judge the moving average of memory in the last stage: it must rise nearly always, and not level off.

    The first of several epochs is left out, in which loaders start and caches fill.
    """
    has_gpu = num_gpus(record) > 0
    memory = gpu_use(record, record.system.gpu_memory) if has_gpu else record.system.process_bytes[:, None]
    is_judged = after_first_epoch(record)
    patience = shorten_patience(parameters.patience, int(is_judged.sum()))
    chosen, times = memory[is_judged][patience:], record.system.time[is_judged][patience:]
    if len(chosen) < MIN_SAMPLES:
        return not_applicable(f"fewer than {MIN_SAMPLES} samples were taken in steps after the first epoch")
    window = shorten_window(parameters.window, len(chosen))
    used = {"patience": patience, "window": window}
    percent = chosen if has_gpu else 100 * chosen / max(1.0, float(np.nanmean(chosen[:window])))
    points = [smooth(column, window) for column in percent.T]
    growing = [i for i, column in enumerate(percent.T) if grows(column, points[i], parameters.increase)]
    details = {"device": "GPU" if has_gpu else "CPU", "points": [column.tolist() for column in points]}
    if not growing:
        return Outcome(len(chosen), details=details, used=used)
    worst = max(growing, key=lambda i: points[i][-1] - points[i][0])
    first, last = float(points[worst][0]), float(points[worst][-1])
    minutes = max(float(times[-1] - times[0]) / 60, 1e-9)
    if has_gpu:
        finding = f"Memory of GPU {worst} grew steadily from {first:.0f} to {last:.0f} % in {minutes:.1f} minutes."
        batch = int(stage_row(record, stages(record)[-1]).get("batch_size") or 2) // 2
        advice = f"Set {settings(record, batch_size=max(1, batch), compile='false')}; what then still grows is a leak."
    else:
        rate = float(np.nanmean(chosen[:window])) * (last - first) / 100 / MEGABYTE / minutes
        finding = (
            f"There is no GPU; memory of the job's processes grew by {last - first:.0f} %, {rate:.0f} MB a minute."
        )
        advice = f"{until_full(record, rate)}See whether num_workers=0 or photograph_cache=false ends it."
    return Outcome(len(chosen), len(growing), finding, advice, severity="problem", details=details, used=used)


def after_first_epoch(record: Record) -> Mask:
    """Tell which samples (num_samples,) were taken in the last stage's steps, after the first of several epochs."""
    if len(record.steps) == 0:
        return np.zeros(len(record.system), dtype=bool)
    stage = stages(record)[-1]
    steps = record.steps.of(stage)
    inside = is_steps(record, stage)
    if int(stage_row(record, stage).get("epochs") or 1) > 1:
        inside &= record.system.time > steps.end_time[steps.epoch == steps.epoch[0]][-1]
    return inside


def until_full(record: Record, megabytes_a_minute: float) -> str:
    """Say when memory will be full."""
    free = float(record.job.get("memory_bytes") or 0) - float(record.system.memory_bytes[-1])
    if not np.isfinite(free) or free <= 0 or megabytes_a_minute <= 0:
        return ""
    return f"Memory is full after {free / MEGABYTE / megabytes_a_minute:.0f} minutes more. "


def smooth(values: Floats, window: int) -> Floats:
    """Read the moving average (NUM_POINTS,) of samples (num_samples,) at points spread evenly."""
    sums = np.cumsum(np.concatenate([[0.0], np.nan_to_num(values)]))
    means: Floats = (sums[window:] - sums[:-window]) / window
    return np.take(means, np.linspace(0, len(means) - 1, NUM_POINTS).round().astype(int))


def grows(values: Floats, points: Floats, increase: float) -> bool:
    """Tell whether memory rises by more than `increase` and its noise, nearly always, and still does at the end."""
    rises = np.diff(points)
    total = points[-1] - points[0]
    still = points[-1] - points[len(points) // 2]
    moments = np.arange(len(values))
    noise = np.nan_to_num(values - np.polyval(np.polyfit(moments, np.nan_to_num(values), 1), moments)).std()
    is_steady = (rises > 0).sum() >= len(rises) - 1 and still > total / 4
    return bool(total > max(increase, NOISE * noise) and is_steady)
