"""What a job leaves in output/data: final metrics, history, confusion matrix, learning curves, per-class table."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib.figure import Figure

from classifier.evaluation import Evaluation

MAX_NAMED_CLASSES = 40
"""More class names than this cannot be read beside a confusion matrix."""

Row = Mapping[str, object]


def write_report(
    directory: Path,
    metrics: Mapping[str, float],
    history: Sequence[Row],
    evaluation: Evaluation,
    unreadable: Mapping[Path, str],
) -> None:
    """Write every file of the report; `evaluation` is that of the test photographs, or of validation without them."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    write_table(directory / "history.csv", history)
    write_table(directory / "per_class.csv", evaluation.class_rows())
    names = [result.class_name for result in evaluation.classes]
    matrix = evaluation.confusion_matrix.tolist()
    rows = [{"label": name, **dict(zip(names, row, strict=True))} for name, row in zip(names, matrix, strict=True)]
    write_table(directory / "confusion_matrix.csv", rows)
    write_table(directory / "unreadable.csv", [{"photograph": str(k), "reason": v} for k, v in unreadable.items()])
    plot_confusion(directory / "confusion_matrix.png", evaluation)
    plot_history(directory / "learning_curves.png", history)


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
