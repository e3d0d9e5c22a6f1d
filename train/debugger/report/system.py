"""Sections on the machine: processor, memory, disk, network and GPUs over time."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from train.debugger.record import Record, SystemSamples
from train.debugger.report.blocks import Block, Section, Table
from train.debugger.report.charts import BYTES, PERCENT, bar_chart, box_chart, series_chart
from train.debugger.report.results import parameter
from train.debugger.report.steps import stages_of
from train.debugger.report.text import NBSP, PERCENTILES, Floats, name_of, number, seconds, share, size, statistics
from train.debugger.rules import RuleResult

NO_SAMPLES = "The job recorded no samples of the machine."
NO_GPU = "The job ran without a GPU."
UNITS = ((3 * 3600, 3600, "hours"), (600, 60, "minutes"), (0, 1, "seconds"))
"""Of time axes, from which length in seconds on."""


WRITE: Mapping[str, Callable[[float], str]] = {
    "percent": lambda value: share(value / 100), "bytes": size, "watts": lambda value: f"{value:.0f}{NBSP}W",
}  # fmt: skip
"""How a value of a unit is written."""


def mean_cpu(samples: SystemSamples) -> Floats:
    """Average the use of all cores, in percent (num_samples,)."""
    return np.asarray(np.nanmean(samples.cpu, axis=1)) if samples.cpu.size else np.full(len(samples), np.nan)


def rates(amounts: Floats, samples: SystemSamples) -> Floats:
    """Divide amounts by the seconds in which they came together."""
    return np.asarray(amounts / np.where(samples.interval > 0, samples.interval, np.nan))


def _by_gpu(table: Floats) -> dict[str, Floats]:
    return {f"GPU {index}": table[:, index] for index in range(table.shape[1])}


def system_usage(record: Record) -> Section:
    """Show the use of processor, memory, disk, network and GPUs."""
    intro = "How busy the machine was. A machine that is paid for and idle is a reason to look at the findings above."
    samples = record.system
    if not len(samples):
        return Section("System usage statistics", intro, empty=NO_SAMPLES)
    cpu = mean_cpu(samples)
    disk = {"read": rates(samples.disk_read, samples), "written": rates(samples.disk_write, samples)}
    network = {"received": rates(samples.net_in, samples), "sent": rates(samples.net_out, samples)}
    metrics: list[tuple[str, str, Floats]] = [
        ("CPU", "percent", cpu),
        ("I/O wait", "percent", samples.io_wait),
        ("Memory of the machine", "bytes", samples.memory_bytes),
        ("Memory of the job", "bytes", samples.process_bytes),
        *((f"Disk {name} a second", "bytes", values) for name, values in disk.items()),
        *((f"Network {name} a second", "bytes", values) for name, values in network.items()),
    ]
    gpu_tables = {"utilisation": samples.gpu_utilization, "memory": samples.gpu_memory, "power": samples.gpu_power}
    for name, table in gpu_tables.items():
        unit = "watts" if name == "power" else "percent"
        metrics += [(f"{gpu} {name}", unit, values) for gpu, values in _by_gpu(table).items()]
    spreads = {name: (unit, spread) for name, unit, values in metrics if (spread := statistics(values))}
    rows = [(name, *map(WRITE[unit], spread.values())) for name, (unit, spread) in spreads.items()]
    node = name_of(record.job.get("host") or "this host", 30)
    blocks: list[Block] = [
        *_chart("Processor, all cores", {"in use": cpu, "waiting for disk": samples.io_wait}, samples, percent=True),
        *_chart("Disk", disk, samples, ylabel="a second"),
        *_chart("Network", network, samples, ylabel="a second"),
        Table(f"Statistics of {node}", ("Metric", *PERCENTILES), rows),
    ]
    data = {node: {name: {"unit": unit, **spread} for name, (unit, spread) in spreads.items()}}
    return Section("System usage statistics", intro, blocks, data=data)


def _chart(
    title: str, series: dict[str, Floats], samples: SystemSamples, *, percent: bool = False, ylabel: str = ""
) -> list[Block]:
    """Draw what was sampled over time; nothing where nothing was."""
    formatter, write = (PERCENT, WRITE["percent"]) if percent else (BYTES, WRITE["bytes"])
    span = float(samples.time[-1])
    divisor, unit = next((divisor, unit) for least, divisor, unit in UNITS if span >= least)
    spreads = {name: statistics(values) for name, values in series.items()}
    text = "; ".join(
        f"{name} {write(s['p50'])} in the middle, {write(s['max'])} at most" for name, s in spreads.items() if s
    )
    shown = {name: (samples.time / divisor, values) for name, values in series.items() if spreads[name]}
    if not shown:
        return []
    xlabel, top = f"{unit} since the start", 102 if percent else None
    return [series_chart(title, text, shown, xlabel=xlabel, ylabel=ylabel, formatter=formatter, top=top)]


def gpu_utilization(record: Record) -> Section:
    """Show how busy each GPU was."""
    intro = "A GPU near 100 % is used well. p95 below 70 % means that it is too large for the job or waits for data."
    rules = ("LowGPUUtilization",)
    samples = record.system
    if not samples.gpu_utilization.shape[1]:
        return Section("GPU utilisation", intro, empty=NO_GPU, rules=rules)
    gpus = {name: values for name, values in _by_gpu(samples.gpu_utilization).items() if np.isfinite(values).any()}
    spread = {
        name: {"mean": float(np.nanmean(v)), "p95": float(np.nanpercentile(v, 95)), "p5": float(np.nanpercentile(v, 5))}
        for name, v in gpus.items()
    }
    rows = [(name, *(f"{value:.0f} %" for value in values.values())) for name, values in spread.items()]
    blocks: list[Block] = [
        *_chart("GPU utilisation", gpus, samples, percent=True),
        Table("Utilisation of each GPU", ("GPU", "mean", "p95", "p5"), rows),
    ]
    return Section("GPU utilisation", intro, blocks, rules=rules, data=spread)


def batch_size(record: Record) -> Section:
    """Show whether the batch fills the machine."""
    intro = (
        "Boxes hold the middle half of all samples, whiskers 90 % of them. When processor, GPU and GPU memory all stay "
        "below 70 %, a larger batch makes better use of the machine."
    )
    samples, blocks = record.system, list[Block]()
    if len(samples):
        columns = {"CPU": mean_cpu(samples)}
        for suffix, table in (("", samples.gpu_utilization), (" memory", samples.gpu_memory)):
            columns |= {f"{name}{suffix}": values for name, values in _by_gpu(table).items()}
        columns = {name: values for name, values in columns.items() if np.isfinite(values).any()}
        middles = "; ".join(f"{name} {np.nanmedian(values):.0f} % in the middle" for name, values in columns.items())
        if columns:
            blocks.append(box_chart("How busy the machine was", middles, columns))
    rows, data = [], {}
    sizes = {row.get("stage"): row for row in record.stages}
    for stage in stages_of(record):
        steps = record.steps.of(stage)
        images, spent = float(np.nansum(steps.num_images * steps.merged)), float(np.nansum(steps.total * steps.merged))
        batch = sizes.get(stage, {}).get("batch_size")
        speed = images / spent if spent > 0 else float("nan")
        rows.append((name_of(stage), number(batch), seconds(float(np.nanmedian(steps.total))), f"{speed:,.0f}"))
        data[stage] = {"batch_size": batch, "images_per_second": speed}
    if rows:
        blocks.append(Table("Speed of training", ("Stage", "Batch size", "Middle step", "Images a second"), rows))
    empty = "" if blocks else "The job recorded neither samples of the machine nor steps."
    return Section("Batch size", intro, blocks, empty=empty, rules=("BatchSize",), data=data)


def cpu_bottlenecks(record: Record, results: Sequence[RuleResult]) -> Section:
    """Show how often the processor held the GPU back, and how the loaders fared."""
    gpu = parameter(results, "CPUBottleneck", "gpu_threshold", 10.0)
    cpu = parameter(results, "CPUBottleneck", "cpu_threshold", 90.0)
    intro = f"A GPU below {gpu:g} % while the processor (CPU) is above {cpu:g} % waits for it: for decoding, mostly."
    rules = ("CPUBottleneck", "Dataloader")
    samples = record.system
    if not len(samples):
        return Section("CPU bottlenecks", intro, empty=NO_SAMPLES, rules=rules)
    is_busy = mean_cpu(samples) > cpu
    notes = [_loaders(record)]
    if samples.gpu_utilization.shape[1]:
        is_idle = np.nanmin(samples.gpu_utilization, axis=1) < gpu
        shares = {
            "GPU idle, CPU full": is_idle & is_busy,
            "GPU idle, CPU not full": is_idle & ~is_busy,
            "GPU working": ~is_idle,
        }
        chart = _shares("Samples by what was busy", shares)
    else:
        notes.insert(0, f"{NO_GPU} The processor trains and loads, so a full one is as it should be.")
        shares = {f"processor above {cpu:g} %": is_busy, f"processor below {cpu:g} %": ~is_busy}
        chart = _shares("Samples by how busy the processor was", shares)
    data = {name: float(mask.mean()) for name, mask in shares.items()}
    return Section("CPU bottlenecks", intro, [chart], notes, rules=rules, data=data)


def _loaders(record: Record) -> str:
    finite = record.system.num_loaders[np.isfinite(record.system.num_loaders)]
    most = int(finite.max()) if len(finite) else 0
    cores = int(record.job.get("num_cpus") or record.system.cpu.shape[1])
    if most == 0:
        return "No loader processes ran: photographs are decoded in the training process itself."
    return f"At most {most} loader processes ran, on {cores} cores."


def _shares(title: str, masks: dict[str, np.ndarray]) -> Block:  # type: ignore[type-arg]
    values = [float(mask.mean()) for mask in masks.values()]
    labels = [share(value) for value in values]
    text = "; ".join(f"{name} {label}" for name, label in zip(masks, labels, strict=True))
    return bar_chart(title, text, list(masks), values, labels)


def io_bottlenecks(record: Record, results: Sequence[RuleResult]) -> Section:
    """Show how often the processor waited for the disk."""
    io = parameter(results, "IOBottleneck", "io_threshold", 50.0)
    gpu = parameter(results, "IOBottleneck", "gpu_threshold", 10.0)
    intro = f"A processor that waits for the disk in more than {io:g} % of its time cannot feed the network."
    samples, rules = record.system, ("IOBottleneck",)
    if not np.isfinite(samples.io_wait).any():
        return Section("I/O bottlenecks", intro, empty=NO_SAMPLES, rules=rules)
    is_waiting = samples.io_wait > io
    if samples.gpu_utilization.shape[1]:
        is_idle = np.nanmin(samples.gpu_utilization, axis=1) < gpu
        shares = {
            "GPU idle, disk slow": is_idle & is_waiting,
            "GPU working, disk slow": is_waiting & ~is_idle,
        }
    else:
        shares = {f"waiting above {io:g} %": is_waiting}
    shares["not waiting"] = ~is_waiting
    data = {name: float(mask.mean()) for name, mask in shares.items()}
    return Section(
        "I/O bottlenecks", intro, [_shares("Samples by waiting for the disk", shares)], rules=rules, data=data
    )


def load_balancing(record: Record) -> Section:
    """Show whether the GPUs share the work."""
    intro = "GPUs that share the work evenly have the same histogram of utilisation."
    samples, rules = record.system, ("LoadBalancing",)
    num_gpus = samples.gpu_utilization.shape[1]
    if num_gpus < 2:
        hosts = "" if int(record.job.get("num_hosts", 1)) < 2 else " on this host"
        empty = f"The job used {'one GPU' if num_gpus else 'no GPU'}{hosts}, so there is nothing to balance."
        return Section("Load balancing", intro, empty=empty, rules=rules)
    edges = np.linspace(0, 100, 11)
    middle = (edges[:-1] + edges[1:]) / 2
    counts = {name: np.histogram(v[np.isfinite(v)], edges)[0] for name, v in _by_gpu(samples.gpu_utilization).items()}
    series = {name: (middle, 100 * c / max(1, c.sum())) for name, c in counts.items()}
    text = "; ".join(f"{name} most often near {middle[int(c.argmax())]:g} %" for name, c in counts.items())
    chart = series_chart(
        "Share of samples by utilisation", text, series, xlabel="utilisation (%)", ylabel="samples", formatter=PERCENT
    )
    return Section("Load balancing", intro, [chart], rules=rules, data={name: c.tolist() for name, c in counts.items()})


def memory(record: Record) -> Section:
    """Show the memory of machine, job and GPUs over time."""
    intro = "Memory should stop growing after the first epoch; a job that passes the machine's memory is killed."
    samples, rules = record.system, ("GPUMemoryIncrease",)
    if not len(samples):
        return Section("Memory", intro, empty=NO_SAMPLES, rules=rules)
    blocks = _chart("Memory of the machine", {"machine": samples.memory_bytes, "job": samples.process_bytes}, samples)
    gpus = _by_gpu(samples.gpu_memory)
    notes, data = [], {"peak_process_bytes": statistics(samples.process_bytes).get("max")}
    limit = record.job.get("memory_bytes")
    if limit and (peak := statistics(samples.memory_bytes).get("max")):
        notes.append(f"At most {size(peak)} of {size(limit)} ({share(peak / limit)}) were in use.")
    if gpus:
        blocks += _chart("Memory of the GPUs", gpus, samples, percent=True)
        blocks.append(box_chart("Spread of the GPUs' memory", "", gpus))
    else:
        notes.append(f"{NO_GPU} There is no GPU memory to show.")
    return Section("Memory", intro, blocks, notes, rules=rules, data=data)
