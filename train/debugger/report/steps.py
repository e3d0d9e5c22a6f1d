"""Sections on steps: what they were spent on, and which took long."""

from collections.abc import Sequence

import numpy as np

from train.debugger.record import Record, Steps
from train.debugger.report.blocks import Block, Section, Table
from train.debugger.report.charts import SERIES, add_legend, bar_chart, draw_series, finish, histogram, new_axes
from train.debugger.report.results import parameter
from train.debugger.report.text import PERCENTILES, Floats, name_of, number, plural, seconds, share, statistics
from train.debugger.rules import RuleResult

PARTS = {
    "data_wait": "waiting for data",
    "copy": "copying to the device",
    "forward": "forward pass",
    "backward": "backward pass",
    "optimizer": "optimizer",
}
OTHER = "other"
SHOWN_OUTLIERS = SHOWN_OPERATORS = 10
MAX_MARKED = 200
MIN_SHARE = 0.0005
"""Of a step, for a part to be drawn."""


def stages_of(record: Record) -> list[str]:
    """List the stages that have steps, in order."""
    return list(dict.fromkeys(record.steps.stage.tolist()))


def parts_of(steps: Steps) -> dict[str, float]:
    """Add up the seconds of each part of the steps, and of what is in none."""
    parts = {}
    for name in PARTS:
        values = getattr(steps, name)
        if np.isfinite(values).any():
            parts[name] = float(np.nansum(values * steps.merged))
    if parts:
        parts[OTHER] = max(0.0, float(np.nansum(steps.total * steps.merged)) - sum(parts.values()))
    return parts


def framework_metrics(record: Record) -> Section:
    """Show how the job's time divides into training, evaluation and the rest, and steps into their parts."""
    intro = (
        "Time that goes into forward and backward passes trains the network; time spent waiting for photographs does "
        "not, and more loader processes or a cache can win it back."
    )
    rules = ("Dataloader",)
    blocks: list[Block] = []
    split = _modes(record)
    if len(record.steps):
        labels = [f"{seconds(value)} ({share(value / record.duration)})" for value in split.values()]
        text = "; ".join(f"{name} {label}" for name, label in zip(split, labels, strict=True))
        title = "Training, evaluation and the rest"
        blocks.append(bar_chart(title, text, list(split), list(split.values()), labels))
    parts_by_stage = {stage: parts_of(record.steps.of(stage)) for stage in stages_of(record)}
    for stage, every in parts_by_stage.items():
        whole = sum(every.values())
        parts = {name: value for name, value in every.items() if value > MIN_SHARE * whole}
        if parts:
            labels = [f"{share(value / whole)} ({seconds(value)})" for value in parts.values()]
            names = [PARTS.get(name, name) for name in parts]
            text = "; ".join(f"{name} {label}" for name, label in zip(names, labels, strict=True))
            blocks.append(bar_chart(f"A step of {name_of(stage)}", text, names, list(parts.values()), labels))
    blocks += _operators(record)
    if not blocks:
        return Section("Framework metrics", intro, empty="The job recorded no training steps.", rules=rules)
    return Section("Framework metrics", intro, blocks, rules=rules, data={"modes": split, "parts": parts_by_stage})


def _modes(record: Record) -> dict[str, float]:
    train = float(np.nansum(record.steps.total * record.steps.merged))
    evaluation = sum(float(row.get("seconds", 0)) for row in record.pauses if row.get("name") == "validation")
    evaluation += sum(float(row.get("seconds", 0)) for row in record.phases if row.get("name") == "evaluation")
    return {"training steps": train, "evaluation": evaluation, OTHER: max(0.0, record.duration - train - evaluation)}


def _operators(record: Record) -> list[Table]:
    tables = []
    for window in record.operators:
        rows = [
            (
                name_of(row["name"]), number(row.get("count")), seconds(float(row.get("cpu_seconds") or 0)),
                seconds(float(row.get("device_seconds") or 0)), share(float(row.get("share") or 0)),
            )
            for row in window.get("rows", [])[:SHOWN_OPERATORS]
        ]  # fmt: skip
        if rows:
            header = ("Operator", "Calls", "On the processor", "On the GPU", "Share")
            tables.append(Table(f"Operators that took most time ({name_of(window.get('device', ''))})", header, rows))
    return tables


def step_durations(record: Record, results: Sequence[RuleResult]) -> Section:
    """Show how long steps took, and those that took far longer than the others."""
    num_deviations = parameter(results, "StepOutlier", "stddev", 3.0)
    intro = (
        f"An outlier is a step that took more than {num_deviations:g} standard deviations longer than the mean. A few "
        "at the start of an epoch are usual; many mean that something else disturbs training."
    )
    rules = ("StepOutlier", "StalledTraining")
    rows, blocks, outliers, data = [], [], [], {}
    for stage in stages_of(record):
        steps = record.steps.of(stage)
        steps = steps if not np.isnan(steps.total).all() else steps.of("")
        if not len(steps):
            continue
        spread = statistics(steps.total)
        rows.append((name_of(stage), number(int(steps.merged.sum())), seconds(float(np.nanmean(steps.total))),
                     *(seconds(value) for value in spread.values())))  # fmt: skip
        found = _outliers(steps, num_deviations)
        blocks += _duration_charts(stage, steps, found)
        outliers += _outlier_rows(stage, steps, found)
        data[stage] = {"num_steps": int(steps.merged.sum()), **spread, "mean": float(np.nanmean(steps.total)),
                       "num_outliers": len(found), "outliers": steps.number[found][:1000].tolist()}  # fmt: skip
    if not rows:
        return Section("Step durations", intro, empty="The job recorded no training steps.", rules=rules)
    blocks.append(Table("How long a step took", ("Stage", "Steps", "mean", *PERCENTILES), rows))
    if outliers:
        outliers.sort(key=lambda row: -row[0])
        header = ("Step", "Most of the excess", "Epoch", "Took", "Times the middle")
        cells = [row[1:] for row in outliers[:SHOWN_OUTLIERS]]
        blocks.append(Table(f"The longest of {plural(len(outliers), 'outlier')}", header, cells, num_text=2))
    return Section("Step durations", intro, blocks, rules=rules, data=data)


def _outliers(steps: Steps, num_deviations: float) -> list[int]:
    limit = np.nanmean(steps.total) + num_deviations * np.nanstd(steps.total)
    return [int(index) for index in np.flatnonzero(steps.total > limit)]


def _duration_charts(stage: str, steps: Steps, outliers: Sequence[int]) -> list[Block]:
    factor, unit = (1000, "milliseconds") if np.nanmax(steps.total) < 1 else (1, "seconds")
    axes = new_axes("step", unit)
    x, y = steps.number.astype(np.float64), factor * steps.total
    draw_series(axes, x, y, "step")
    if outliers:
        marked = sorted(outliers, key=lambda index: -steps.total[index])[:MAX_MARKED]
        axes.plot(x[marked], y[marked], "o", color=SERIES[1], markersize=3.5, label="outlier")
        add_legend(axes)
    axes.set_ylim(0, float(np.nanmax(y)) * 1.08 or 1)
    middle = seconds(float(np.nanmedian(steps.total)))
    text = (
        f"{middle} in the middle, {seconds(float(np.nanmax(steps.total)))} at most, {plural(len(outliers), 'outlier')}"
    )
    charts: list[Block] = [finish(axes, f"How long each step took, {name_of(stage)}", text)]
    finite = y[np.isfinite(y)]
    if len(finite) >= 10:
        title = f"How many steps took how long, {name_of(stage)}"
        charts.append(histogram(title, text, finite, xlabel=unit, ylabel="steps"))
    return charts


def _outlier_rows(stage: str, steps: Steps, outliers: Sequence[int]) -> list[tuple[float, str, str, str, str, str]]:
    """Name for each outlier the part that took most of the time that it took longer than the middle step."""
    middle = float(np.nanmedian(steps.total))
    parts: dict[str, Floats] = {name: getattr(steps, name) for name in PARTS}
    excess = {name: values - np.nanmedian(values) for name, values in parts.items() if np.isfinite(values).any()}
    excess[OTHER] = steps.total - middle - sum(excess.values())
    rows = []
    for index in outliers:
        part = max(excess, key=lambda name: np.nan_to_num(excess[name][index]))
        took = float(steps.total[index])
        rows.append((took, f"{name_of(stage)} {steps.number[index]}", PARTS.get(part, part), str(steps.epoch[index]),
                     seconds(took), f"{took / middle:.1f}" if middle > 0 else "?"))  # fmt: skip
    return rows
