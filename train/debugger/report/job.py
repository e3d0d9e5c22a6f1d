"""Sections on the job as a whole: its facts, where its time went, what it cost."""

from datetime import UTC, datetime, timedelta

import numpy as np

from train.debugger.record import Record, Row
from train.debugger.report.blocks import Chart, Section, Table
from train.debugger.report.charts import bar_chart
from train.debugger.report.text import NBSP, money, name_of, number, plural, seconds, share, size

PRICE = "instance_price_per_hour"

VERBS = {"completed": "was completed", "stopped": "was stopped", "failed": "failed"}


def status_of(record: Record) -> str:
    """Say in one sentence how the job ended."""
    if record.end is None:
        return f"The record has no end: after {seconds(record.duration)} the job was killed, or it still runs."
    verb = VERBS.get(record.end.get("status", ""), "ended")
    reason = f": {name_of(record.end['reason'], 400)}" if record.end.get("reason") else "."
    return f"The job {verb} after {seconds(record.duration)}{reason}"


def outcome_of(record: Record) -> str:
    """Say in one sentence how good the artifact is; nothing when it was not measured."""
    for split in ("test", "validation"):
        metrics = record.predictions.get(split, {}).get("metrics", {})
        accuracy = metrics.get(f"{split}:accuracy", metrics.get("accuracy"))
        if isinstance(accuracy, int | float):
            return f"It recognises {accuracy * 100:.1f}{NBSP}% of the {split} photographs."
    return ""


def training_loop(record: Record) -> tuple[float, float] | None:
    """Find when the first training step began and the last one ended, in seconds since the start."""
    steps = record.steps
    begin = steps.end_time - np.nan_to_num(steps.total) * steps.merged
    if not len(steps) or not np.isfinite(begin).any():
        return None
    return max(0.0, float(np.nanmin(begin))), float(np.nanmax(steps.end_time))


def job_summary(record: Record) -> Section:
    """Show the facts of the job and the named parts of its time."""
    loop = training_loop(record)
    facts = {**_facts(record), **_times(record, loop)}
    phases = _phases(record)
    blocks: list[Chart | Table] = []
    if phases:
        shown = [(name, spent) for name, spent in phases.items() if spent >= 0.002 * record.duration]
        labels = [f"{seconds(spent)} ({share(spent / record.duration)})" for _, spent in shown]
        description = "; ".join(f"{name} {label}" for (name, _), label in zip(shown, labels, strict=True))
        names, values = [name for name, _ in shown], [spent for _, spent in shown]
        blocks.append(bar_chart("Where the job's time went", description, names, values, labels))
    blocks.append(Table("The job", ("Fact", "Value"), list(facts.items()), num_text=2))
    if hyperparameters := record.job.get("hyperparameters"):
        rows = [(name_of(name), name_of(number(value), 200)) for name, value in hyperparameters.items()]
        blocks.append(Table("Hyperparameters", ("Name", "Value"), rows, num_text=2, is_folded=True))
    return Section(
        "Job summary",
        "What ran, where, and how long its parts took. Time outside the named parts is counted as other.",
        blocks,
        rules=("MaxInitializationTime",),
        data={
            "status": (record.end or {}).get("status", "no end"),
            "job_duration_in_seconds": record.duration,
            "training_loop_start": loop[0] if loop else None,
            "training_loop_end": loop[1] if loop else None,
            "training_loop_duration_in_seconds": loop[1] - loop[0] if loop else None,
            "initialization_in_seconds": loop[0] if loop else None,
            "finalization_in_seconds": record.duration - loop[1] if loop else None,
            "phases": phases,
            "job": record.job,
        },
    )


def _facts(record: Record) -> dict[str, str]:
    job = record.job
    machine = [name_of(job.get("device_name") or job.get("device", "")), plural(job.get("num_cpus", 0), "core")]
    if job.get("num_gpus"):
        machine.append(plural(job["num_gpus"], "GPU"))
    if job.get("memory_bytes"):
        machine.append(f"{size(job['memory_bytes'])} of memory")
    if job.get("instance_type"):
        machine.append(name_of(job["instance_type"]))
    facts = {
        "Network": name_of(job.get("architecture", "")),
        "Strategy": name_of(job.get("strategy", "")),
        "Machine": ", ".join(machine) if job else "",
        "Hosts": number(job.get("num_hosts", 1)),
        "Photographs": _counts(record.data),
        "Versions": ", ".join(f"{name_of(name)} {name_of(text)}" for name, text in job.get("versions", {}).items()),
    }
    return {name: value for name, value in facts.items() if value}


def _counts(data: Row | None) -> str:
    if data is None:
        return ""
    counts = {split: sum(values) for split, values in data.get("counts", {}).items() if values}
    return f"{', '.join(f'{count:,} {split}' for split, count in counts.items())}; {len(data['class_names'])} classes"


def _times(record: Record, loop: tuple[float, float] | None) -> dict[str, str]:
    times = {}
    if begun := record.job.get("started_at"):
        times["Began"], times["Ended"] = _clock(begun, 0), _clock(begun, record.duration)
    times["Duration"] = seconds(record.duration)
    if loop and record.duration > 0:
        parts = {
            "Before the first step": loop[0],
            "From the first step to the last": loop[1] - loop[0],
            "After the last step": max(0.0, record.duration - loop[1]),
        }
        times |= {name: f"{seconds(part)} ({share(part / record.duration)})" for name, part in parts.items()}
    return times


def _clock(begun: str, offset: float) -> str:
    try:
        moment = datetime.fromisoformat(begun) + timedelta(seconds=offset)
    except ValueError:
        return name_of(begun)
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _phases(record: Record) -> dict[str, float]:
    phases: dict[str, float] = {}
    for row in record.phases:
        name = name_of(row.get("name", ""))
        phases[name] = phases.get(name, 0.0) + float(row.get("seconds", 0.0))
    if phases:
        phases["other"] = max(0.0, record.duration - sum(phases.values()))
    return phases


def cost(record: Record, saving: float) -> Section:
    """Show what the job cost at the instance's price, and what the findings would save."""
    intro = "Seconds of the job times the price of the instance; loading the image and the data comes on top."
    price = record.job.get(PRICE)
    if not isinstance(price, int | float):
        empty = f"Give the instance's price as a hyperparameter, such as {PRICE}=1.21, to see what the job cost."
        return Section("Cost", intro, empty=empty)
    num_hosts = max(1, int(record.job.get("num_hosts", 1)))
    total = price * num_hosts * record.duration / 3600
    rows = [(name, seconds(spent), money(total * spent / record.duration)) for name, spent in _phases(record).items()]
    rows.append(("whole job", seconds(record.duration), money(total)))
    hosts = f" on {num_hosts} hosts" if num_hosts > 1 else ""
    notes = [f"The job cost {money(total)} at {number(price)} an hour{hosts}, in the currency of that price."]
    if saving > 0:
        notes.append(f"The change with the largest gain would save about {money(total * saving)} of it.")
    return Section(
        "Cost",
        intro,
        [Table("Cost of the parts of the job", ("Part", "Time", "Cost"), rows)],
        notes,
        data={PRICE: price, "num_hosts": num_hosts, "cost": total, "expected_saving": total * saving},
    )
