"""What a job leaves in output/data: final metrics, history, learning curves, per-class table, confusion matrix.

Where photographs have any number of labels, bars of each class stand in place of the confusion matrix.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from matplotlib.figure import Figure

from classifier.evaluation import Evaluation
from classifier.multilabel import MultiLabelEvaluation
from train.calibration import Calibration
from train.search import TrialResult

MAX_NAMED_CLASSES = 40
"""More class names than this cannot be read in a picture."""

Row = Mapping[str, object]


@dataclass(frozen=True)
class Report:
    """What a job found out."""

    metrics: Mapping[str, float]
    """Final values by metric name."""
    history: Sequence[Row]
    evaluation: Evaluation | MultiLabelEvaluation
    """Of the test photographs, or of validation without them."""
    trials: Sequence[TrialResult]
    temperature: float
    calibrations: Mapping[str, Calibration]
    unreadable: Mapping[Path, str]


def write_report(directory: Path, report: Report) -> None:
    """Write every file of the report."""
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / "metrics.json", report.metrics)
    calibrations = {name: asdict(calibration) for name, calibration in report.calibrations.items()}
    write_json(directory / "calibration.json", {"temperature": report.temperature, **calibrations})
    write_table(directory / "history.csv", report.history)
    write_table(directory / "per_class.csv", report.evaluation.class_rows())
    if isinstance(report.evaluation, Evaluation):
        write_table(directory / "confusion_matrix.csv", confusion_rows(report.evaluation))
        plot_confusion(directory / "confusion_matrix.png", report.evaluation)
    else:
        plot_classes(directory / "per_class.png", report.evaluation)
    unreadable = [{"photograph": str(name), "reason": reason} for name, reason in report.unreadable.items()]
    write_table(directory / "unreadable.csv", unreadable)
    plot_history(directory / "learning_curves.png", report.history)
    if len(report.trials) > 1:
        lines = [json.dumps(trial.row()) + "\n" for trial in report.trials]
        (directory / "trials.jsonl").write_text("".join(lines), encoding="utf-8")
        plot_trials(directory / "trials.png", report.trials)


def write_json(file: Path, content: Mapping[str, object]) -> None:
    """Write a JSON object."""
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def write_table(file: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV; nothing when there are none."""
    if not rows:
        return
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def plot_history(file: Path, history: Sequence[Row]) -> None:
    """Draw loss and accuracy by epoch."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    epochs = [row["epoch"] for row in history]
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split in ("train", "validation"):
            axes.plot(epochs, [row[f"{split}:{name}"] for row in history], label=split)
        axes.set(xlabel="epoch", ylabel="loss (nats)" if name == "loss" else name)
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(file, dpi=120)


def confusion_rows(evaluation: Evaluation) -> list[Row]:
    """List the confusion matrix as rows of a table, a row for each label."""
    names = [result.class_name for result in evaluation.classes]
    rows = zip(names, evaluation.confusion_matrix.tolist(), strict=True)
    return [{"label": name, **dict(zip(names, row, strict=True))} for name, row in rows]


def plot_classes(file: Path, evaluation: MultiLabelEvaluation) -> None:
    """Draw average precision and F1 of each class, the worst first, as many as can be named."""
    occurring = [result for result in evaluation.classes if result.average_precision is not None]
    shown = sorted(occurring, key=lambda result: result.average_precision or 0.0)[:MAX_NAMED_CLASSES]
    figure = Figure(figsize=(8, 2 + 0.3 * len(shown)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(shown))
    axes.barh(places - 0.2, [result.average_precision or 0.0 for result in shown], 0.4, label="average precision")
    axes.barh(places + 0.2, [result.f1 for result in shown], 0.4, label="F1 at the threshold")
    axes.set_yticks(places, [f"{result.class_name} ({result.num_images})" for result in shown], fontsize=7)
    rest = f", the worst {len(shown)} of {len(occurring)} classes" if len(shown) < len(occurring) else ""
    axes.set(xlim=(0, 1), xlabel=f"value{rest}", ylabel="class (photographs)")
    axes.invert_yaxis()
    axes.legend(loc="lower right")
    figure.savefig(file, dpi=120)


def plot_confusion(file: Path, evaluation: Evaluation) -> None:
    """Draw the confusion matrix as shares of each label."""
    matrix = evaluation.confusion_matrix
    shares = matrix / matrix.sum(axis=1, keepdims=True).clip(min=1)
    names = [result.class_name for result in evaluation.classes]
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    axes.set(xlabel="prediction", ylabel="label")
    if len(names) <= MAX_NAMED_CLASSES:
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        axes.set_yticks(range(len(names)), names, fontsize=7)
    figure.colorbar(image, label="share of the label's photographs")
    figure.savefig(file, dpi=120)


def plot_trials(file: Path, trials: Sequence[TrialResult]) -> None:
    """Draw the validation loss against each hyperparameter, the best trial marked."""
    figure = Figure(figsize=(12, 3.5), layout="constrained")
    names = ("lr", "weight_decay", "batch_size", "label_smoothing")
    losses = [result.validation_loss for result in trials]
    for axes, name in zip(figure.subplots(1, len(names), sharey=True), names, strict=True):
        values = [getattr(result.trial, name) for result in trials]
        axes.scatter(values, losses, s=12)
        axes.scatter(values[:1], losses[:1], s=60, marker="*", color="C3")
        axes.set(xlabel=name, xscale="linear" if name == "label_smoothing" else "log")
        axes.grid(alpha=0.3)
    figure.axes[0].set(ylabel="validation loss (nats)", yscale="log")
    figure.savefig(file, dpi=120)
