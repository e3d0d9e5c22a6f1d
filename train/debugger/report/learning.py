"""Sections on learning: curves, trials of the search, and the numbers inside the network."""

from collections.abc import Callable, Sequence

import numpy as np

from train.debugger.record import Record, Row, TensorRow
from train.debugger.report.blocks import Chart, Section, Table
from train.debugger.report.charts import INK, MUTED, SERIES, finish, new_axes, series_chart
from train.debugger.report.text import Floats, name_of, number, plural, share

SHOWN_TRIALS = 10

HYPERPARAMETERS = {"lr": "log", "weight_decay": "log", "batch_size": "log", "label_smoothing": "linear"}
"""Axes of the parallel coordinates, with their scales."""


def learning_curves(record: Record) -> Section:
    """Show loss and accuracy by epoch, and loss and learning rate by step."""
    intro = (
        "Loss falls and accuracy rises while the network learns. Validation photographs are not trained on: a "
        "validation loss that rises while the training loss falls means that the network learns photographs by heart."
    )
    charts = [*_epoch_charts(record.epochs), *_step_charts(record)]
    if not charts:
        return Section("Learning curves", intro, empty="No epoch ended and no step was recorded.")
    best = _best_epoch(record.epochs)
    notes = []
    if best is not None:
        row = record.epochs[best]
        notes.append(
            f"The lowest validation loss, {number(row['validation_loss'])}, came after epoch {row['epoch']} of "
            f"{name_of(row['stage'])}, with a validation accuracy of {number(row.get('validation_accuracy'))}."
        )
    return Section(
        "Learning curves",
        intro,
        charts,
        notes,
        rules=("LossNotDecreasing", "Overfit", "Overtraining", "PoorWeightInitialization"),
        data={"epochs": record.epochs, "best": None if best is None else record.epochs[best]},
    )


def _column(rows: Sequence[Row], name: str) -> Floats:
    """Take a column of rows that may lack it."""
    values = [row.get(name) for row in rows]
    return np.array([v if isinstance(v, int | float) else np.nan for v in values], dtype=np.float64)


def _best_epoch(epochs: Sequence[Row]) -> int | None:
    losses = _column(epochs, "validation_loss")
    return int(np.nanargmin(losses)) if np.isfinite(losses).any() else None


def _epoch_charts(epochs: Sequence[Row]) -> list[Chart]:
    charts = []
    x = np.arange(1, len(epochs) + 1, dtype=np.float64)
    for name, unit in (("loss", "nats"), ("accuracy", "share right")):
        columns = {split: _column(epochs, f"{split}_{name}") for split in ("train", "validation")}
        series = {split: (x, y) for split, y in columns.items() if np.isfinite(y).any()}
        if series:
            ends = "; ".join(f"{split} from {number(y[0])} to {number(y[-1])}" for split, (_, y) in series.items())
            title = f"{name.capitalize()} after each epoch"
            top = 1.02 if name == "accuracy" else None
            charts.append(series_chart(title, ends, series, xlabel="epoch", ylabel=unit, top=top))
    return charts


def _step_charts(record: Record) -> list[Chart]:
    charts = []
    for stage in dict.fromkeys(record.steps.stage.tolist()):
        steps = record.steps.of(stage)
        x = steps.number.astype(np.float64)
        for name, title in (("loss", "Training loss of each step"), ("lr", "Learning rate of each step")):
            y = getattr(steps, name)
            finite = y[np.isfinite(y)]
            if not len(finite):
                continue
            text = f"from {number(finite[0])} to {number(finite[-1])}, highest {number(finite.max())}"
            series = {name: (x, y)}
            charts.append(series_chart(f"{title}, {name_of(stage)}", text, series, xlabel="step"))
    return charts


def search_trials(record: Record) -> Section:
    """Show the trials of the search as parallel coordinates and the best ones as a table."""
    intro = (
        "Each line is one trial: its hyperparameters from left to right, its validation loss at the right end. "
        "Where the strong lines of the best trials bundle, a value matters; where they spread, it does not."
    )
    trials = sorted(
        (row for row in record.trials if np.isfinite(_column([row], "validation_loss")[0])),
        key=lambda row: float(row["validation_loss"]),
    )
    if len(trials) < 2:
        empty = (
            "One head was trained." if trials else "The job searched no hyperparameters; search_trials sets how many."
        )
        return Section("Search trials", intro, empty=empty)
    columns = [*HYPERPARAMETERS, "epoch", "validation_loss", "validation_accuracy"]
    rows = [(number(row.get("number")), *(number(row.get(name)) for name in columns)) for row in trials[:SHOWN_TRIALS]]
    return Section(
        "Search trials",
        intro,
        [
            _parallel_coordinates(trials),
            Table(f"The best {len(rows)} of {len(trials)} trials", ("Trial", *columns), rows),
        ],
        data={"num_trials": len(trials), "best": trials[0]},
    )


def _parallel_coordinates(trials: Sequence[Row]) -> Chart:
    """Draw the trials, best first in `trials`, over axes that are scaled to [0, 1]."""
    scales = {**HYPERPARAMETERS, "validation_loss": "log"}
    axes = new_axes(height=230)
    shown = {name: _column(trials, name) for name in scales}
    shown = {name: values for name, values in shown.items() if np.isfinite(values).all()}
    heights = {name: _unit(values, scales[name]) for name, values in shown.items()}
    num_best = max(1, min(5, len(trials) // 4))
    for index in reversed(range(len(trials))):
        line = [height[index] for height in heights.values()]
        if index < num_best:
            axes.plot(line, color=SERIES[1], linestyle="-", linewidth=3 if index == 0 else 1.8)
        else:
            axes.plot(line, color=SERIES[0], linestyle="-", linewidth=0.8, alpha=0.35)
    for position, values in enumerate(shown.values()):
        axes.axvline(position, color=MUTED, linewidth=0.8)
        for height, value in ((-0.05, values.min()), (1.05, values.max())):
            axes.text(position, height, number(float(value), 2), ha="center", va="center", fontsize=10, color=INK)
    axes.set(ylim=(-0.1, 1.12), yticks=[], xlim=(-0.35, len(shown) - 0.65))
    axes.set_xticks(range(len(shown)), [name.replace("_", "\n", 1) for name in shown])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)
    best = ", ".join(f"{name} {number(float(values[0]))}" for name, values in shown.items())
    title = f"{plural(len(trials), 'trial')}; the {num_best} best in the strong colour"
    return finish(axes, title, f"The best trial has {best}.")


def _unit(values: Floats, scale: str) -> Floats:
    """Scale values to [0, 1]; 0.5 when all are equal."""
    if scale == "log" and values.min() > 0:
        values = np.log(values)
    width = values.max() - values.min()
    return np.asarray((values - values.min()) / width) if width > 0 else np.full(len(values), 0.5)


def inside_the_network(record: Record) -> Section:
    """Show the sizes of gradients and updates, and inactive units."""
    intro = (
        "A network learns when its gradients are neither almost zero nor without bounds, when each update changes the "
        "weights a little (about a thousandth), and when most units answer to some photographs."
    )
    charts = [
        chart
        for chart in (
            _tensor_chart(
                record.tensors, "gradients", "Size of gradients", lambda row: row.mean_abs, "mean of |gradient|"
            ),
            _tensor_chart(record.tensors, "updates", "Size of updates", lambda row: row.ratio, "update / weight"),
            _tensor_chart(
                record.tensors, "relu_output", "Zeros after ReLUs", lambda row: row.zeros, "share", log=False
            ),
        )
        if chart is not None
    ]
    rules = ("VanishingGradient", "ExplodingTensor", "WeightUpdateRatio", "UnchangedTensor", "AllZero", "DeadRelu",
             "SaturatedActivation", "TensorVariance")  # fmt: skip
    if not charts:
        return Section("Inside the network", intro, empty="The job recorded no statistics of tensors.", rules=rules)
    non_finite = [row for row in record.tensors if row.nan or row.inf]
    notes = []
    if non_finite:
        first = min(non_finite, key=lambda row: row.step)
        notes.append(f"Numbers that are not finite first stood in {name_of(first.name)} at step {first.step}.")
    names = {row.name for row in record.tensors}
    data = {"num_rows": len(record.tensors), "num_tensors": len(names), "num_rows_not_finite": len(non_finite)}
    return Section("Inside the network", intro, charts, notes, rules=rules, data=data)


def _tensor_chart(
    tensors: Sequence[TensorRow], collection: str, title: str, value: Callable[[TensorRow], float | None], ylabel: str,
    *, log: bool = True,
) -> Chart | None:  # fmt: skip
    """Draw the smallest, middle and largest value over all tensors of a collection at each step."""
    by_step: dict[int, list[float]] = {}
    for row in tensors:
        number_ = value(row)
        if row.collection == collection and row.mode == "TRAIN" and number_ is not None and np.isfinite(number_):
            by_step.setdefault(row.step, []).append(number_)
    if not by_step:
        return None
    x = np.array(sorted(by_step), dtype=np.float64)
    values = np.array([np.percentile(by_step[step], [0, 50, 100]) for step in sorted(by_step)])
    series = {name: (x, values[:, column]) for column, name in enumerate(("lowest", "middle", "highest"))}
    last = values[-1]
    text = (
        f"At the last recorded step between {number(last[0])} and {number(last[2])}, in the middle {number(last[1])}"
        if log
        else f"At the last recorded step between {share(last[0])} and {share(last[2])}"
    )
    return series_chart(f"{title}, all layers", text, series, xlabel="step", ylabel=ylabel, log=log)
