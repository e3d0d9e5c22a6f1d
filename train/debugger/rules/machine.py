"""Rules on what the machine did: processors, GPUs, memory, disks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from train.debugger.machine_parameters import (
    CPUBottleneck,
    IOBottleneck,
    LoadBalancing,
    LowGPUUtilization,
    OverallSystemUsage,
)
from train.debugger.record import Floats, Record
from train.debugger.rules.advice import settings
from train.debugger.rules.measures import (
    MIN_SAMPLES,
    gpu_use,
    is_work,
    num_cpus,
    num_gpus,
    percentiles,
    shorten_patience,
    shorten_window,
)
from train.debugger.rules.result import Outcome, not_applicable

TOO_SHORT = f"fewer than {MIN_SAMPLES} samples of the machine were taken at work"


def working(record: Record, values: Floats, patience: int) -> tuple[Floats, int]:
    """Take the samples (num_samples, ...) at work, without the first ones; with the patience that was used."""
    chosen = values[is_work(record)]
    used = shorten_patience(patience, len(chosen))
    return chosen[used:], used


def mean_cpu(record: Record) -> Floats:
    """Give the mean use of all cores (num_samples,), in percent; 0 where it is not known."""
    cpu = record.system.cpu
    return np.nan_to_num(cpu.mean(axis=1)) if cpu.shape[1] else np.zeros(len(cpu))


def cpu_bottleneck(record: Record, parameters: CPUBottleneck) -> Outcome:
    """Judge samples by the busiest core where there is a GPU to feed, and by all cores where there is none."""
    cpu, patience = working(record, record.system.cpu, parameters.patience)
    if len(cpu) < MIN_SAMPLES or cpu.shape[1] == 0:
        return not_applicable(TOO_SHORT)
    used = {"patience": patience}
    if num_gpus(record) == 0:
        return other_processes(record, parameters, used)
    gpu, _ = working(record, gpu_use(record), parameters.patience)
    is_held_up = (cpu.max(axis=1) > parameters.cpu_threshold) & (gpu.mean(axis=1) < parameters.gpu_threshold)
    share = 100 * float(is_held_up.mean())
    details = {"share": share, "low_gpu": 100 * float((gpu.mean(axis=1) < parameters.gpu_threshold).mean())}
    if share <= parameters.threshold:
        return Outcome(len(cpu), int(is_held_up.sum()), details=details, used=used)
    wanted = settings(record, num_workers=num_cpus(record), photograph_cache="true")
    return Outcome(
        len(cpu),
        triggered=int(is_held_up.sum()),
        finding=f"In {share:.0f} % of the samples a core is over {parameters.cpu_threshold:g} % busy while the GPU is "
        f"below {parameters.gpu_threshold:g} %.",
        advice=f"Set {wanted}, or take an instance with more cores." if wanted else "Take an instance with more cores.",
        details=details,
        used=used,
    )


def other_processes(record: Record, parameters: CPUBottleneck, used: Mapping[str, float]) -> Outcome:
    """Judge samples in which the processors are full, by how much of them is not this job's."""
    cpu, _ = working(record, record.system.cpu, parameters.patience)
    own, _ = working(record, record.system.process_cpu, parameters.patience)
    is_known = np.isfinite(own) & np.isfinite(cpu).all(axis=1)
    if is_known.sum() < MIN_SAMPLES:
        return not_applicable("there is no GPU, and the job's own use of the processors was not sampled")
    busy, own = cpu[is_known].mean(axis=1), own[is_known] / cpu.shape[1]
    other = np.clip(busy - own, 0, 100)
    is_full = (busy > parameters.cpu_threshold) & (other > parameters.other_threshold)
    share = 100 * float(is_full.mean())
    details = {"share": share, "busy": float(busy.mean()), "own": float(own.mean()), "other": float(other.mean())}
    if share <= parameters.threshold:
        return Outcome(len(busy), int(is_full.sum()), details=details, used=used)
    taken = float(other[is_full].mean())
    return Outcome(
        len(busy),
        triggered=int(is_full.sum()),
        finding=f"In {share:.0f} % of the samples the processors are full, {taken:.0f} % of them with other processes.",
        advice="End the other processes, or give the job a machine of its own.",
        gain=share / 100 * taken / 100 * work_share(record),
        details=details,
        used=used,
    )


def work_share(record: Record) -> float:
    """Estimate the share of the job's time that was work, from its samples."""
    return float(is_work(record).mean()) if len(record.system) else 0.0


def low_gpu_utilization(record: Record, parameters: LowGPUUtilization) -> Outcome:
    """Judge the windows of each GPU, or of all cores together; most of them must show it."""
    has_gpu = num_gpus(record) > 0
    values = gpu_use(record) if has_gpu else mean_cpu(record)[:, None]
    chosen, patience = working(record, values, parameters.patience)
    if len(chosen) < MIN_SAMPLES:
        return not_applicable(TOO_SHORT)
    window = shorten_window(parameters.window, len(chosen))
    used = {"patience": patience, "window": window}
    p5, p95 = (np.stack([np.percentile(part, p, axis=0) for part in windows(chosen, window)]) for p in (5, 95))
    is_low = p95 < parameters.threshold_p95
    is_uneven = ~is_low & (p5 < parameters.threshold_p5)
    kind = "GPU" if has_gpu else "CPU"
    details: dict[str, Any] = {"device": kind, "mean": chosen.mean(axis=0).tolist(), "p95": p95.T.tolist()}
    details["p5"] = p5.T.tolist()
    low, uneven = (is_low.mean(axis=0) > 1 / 2), (is_uneven.mean(axis=0) > 1 / 2)
    if not (low | uneven).any():
        return Outcome(len(chosen), int((is_low | is_uneven).sum()), details=details, used=used)
    which = np.flatnonzero(low | uneven)
    name = f"{kind} {', '.join(map(str, which))}" if has_gpu else "the CPU"
    typical = float(chosen[:, which].mean())
    manner = "has too little to do" if low.any() else "is busy by fits and starts"
    return Outcome(
        len(chosen),
        triggered=int((is_low | is_uneven)[:, which].sum()),
        finding=f"{name[0].upper() + name[1:]} {manner}: {typical:.0f} % busy on average, percentile 95 "
        f"{float(np.median(p95[:, which])):.0f} %, percentile 5 {float(np.median(p5[:, which])):.0f} %.",
        advice="See BatchSize and Dataloader for what holds it up; if neither finds anything, a smaller instance does."
        if has_gpu
        else "See Dataloader for waiting that more num_workers fill; if it finds none, a smaller instance does.",
        details=details,
        used=used,
    )


def windows(values: Floats, size: int) -> list[Floats]:
    """Cut samples into windows of a size; the rest joins the last."""
    number = max(1, len(values) // size)
    return [values[i * size : (i + 1) * size if i + 1 < number else len(values)] for i in range(number)]


def io_bottleneck(record: Record, parameters: IOBottleneck) -> Outcome:
    """Judge samples by the cores' time of waiting for disks."""
    io_wait, patience = working(record, record.system.io_wait, parameters.patience)
    if len(io_wait) < MIN_SAMPLES:
        return not_applicable(TOO_SHORT)
    is_waiting = io_wait > parameters.io_threshold
    if num_gpus(record) > 0:
        gpu, _ = working(record, gpu_use(record), parameters.patience)
        is_waiting &= gpu.mean(axis=1) < parameters.gpu_threshold
    share = 100 * float(is_waiting.mean())
    details, used = {"share": share, **percentiles(io_wait)}, {"patience": patience}
    if share <= parameters.threshold:
        return Outcome(len(io_wait), int(is_waiting.sum()), details=details, used=used)
    cache = settings(record, photograph_cache="true")
    return Outcome(
        len(io_wait),
        triggered=int(is_waiting.sum()),
        finding=f"In {share:.0f} % of the samples the cores wait for disks more than {parameters.io_threshold:g} % of "
        f"their time.",
        advice=f"{f'Set {cache}. ' if cache else ''}Give the channel in File mode, or on a faster volume.",
        details=details,
        used=used,
    )


def load_balancing(record: Record, parameters: LoadBalancing) -> Outcome:
    """Judge each two GPUs by the histograms of their use, in ten bins."""
    if num_gpus(record) < 2:
        return not_applicable("there are not two GPUs")
    gpu, patience = working(record, gpu_use(record), parameters.patience)
    if len(gpu) < MIN_SAMPLES:
        return not_applicable(TOO_SHORT)
    histograms = [np.histogram(column, bins=10, range=(0, 100))[0] for column in gpu.T]
    shares = [histogram / max(1, histogram.sum()) for histogram in histograms]
    distances = distances_of(shares)
    worst = max(distances, key=distances.__getitem__)
    details = {"histograms": [share.tolist() for share in shares], "distance": distances[worst]}
    finding = (
        f"GPUs {worst[0]} and {worst[1]} are used unlike: the distance of their histograms is {distances[worst]:.2f}."
        if distances[worst] > parameters.threshold
        else ""
    )
    return Outcome(
        len(gpu),
        triggered=sum(distance > parameters.threshold for distance in distances.values()),
        finding=finding,
        advice="Take an instance with as many GPUs as the job uses, or see that each gets a share of the photographs.",
        details=details,
        used={"patience": patience},
    )


def distances_of(shares: Sequence[Floats]) -> dict[tuple[int, int], float]:
    """Measure the distance in [0, 1] of each two histograms."""
    pairs = [(i, j) for i in range(len(shares)) for j in range(i + 1, len(shares))]
    return {(i, j): float(np.abs(shares[i] - shares[j]).sum() / 2) for i, j in pairs}


def overall_system_usage(record: Record, _parameters: OverallSystemUsage) -> Outcome:
    """List the use of everything that was sampled, over the whole job."""
    system = record.system
    if len(system) == 0:
        return not_applicable("the machine was not sampled")
    seconds = np.maximum(system.interval, 1e-9)
    usage: dict[str, dict[str, float]] = {
        "cpu_percent": percentiles(mean_cpu(record)),
        "io_wait_percent": percentiles(system.io_wait),
        "memory_bytes": percentiles(system.memory_bytes),
        "process_bytes": percentiles(system.process_bytes),
    }
    for name in ("disk_read", "disk_write", "net_in", "net_out"):
        usage[f"{name}_bytes_per_second"] = percentiles(getattr(system, name) / seconds)
    for index in range(system.gpu_utilization.shape[1]):
        usage[f"gpu{index}_percent"] = percentiles(system.gpu_utilization[:, index])
        usage[f"gpu{index}_memory_percent"] = percentiles(system.gpu_memory[:, index])
        usage[f"gpu{index}_power_watts"] = percentiles(system.gpu_power[:, index])
    return Outcome(len(system), details=usage)
