"""Sections on predictions: confusion, photographs to look at, calibration."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgb

from classifier.errors import ImageError
from classifier.evaluation import NUM_CALIBRATION_BINS
from train.debugger.record import Record, Row
from train.debugger.report.blocks import Block, Chart, Gallery, Photograph, Section, Table
from train.debugger.report.charts import INK, MUTED, SERIES, WIDTH, add_legend, finish, new_axes
from train.debugger.report.text import name_of, number, plural, share
from train.debugger.report.thumbnails import thumbnail

Counts = npt.NDArray[np.int64]

MAX_DENSE_CLASSES = 200
"""Above, a record lists the cells of the matrix that are not 0."""

MAX_NAMED_CLASSES = 12
"""More class names cannot be read beside the matrix on a phone."""

CELL_COLOR = "#2f81e0"
"""Of pictures, which keep it: seen on white and on black."""

MAX_CELLS = 250
"""Rows of a matrix that are drawn; of a larger one each cell stands for the largest share in a block."""

SHOWN_PAIRS = SHOWN_CLASSES = 15
MAX_CONFIDENT = 12
MAX_SURE = 0.95
"""Probability of the right class from which on a photograph is not hard."""

NO_PREDICTIONS = "The job ended before its final evaluation, so there are no predictions to show."


def final_split(record: Record) -> str | None:
    """Choose the split to explain: the test photographs, or those of validation."""
    return next((split for split in ("test", "validation") if split in record.predictions), None)


def final_results(record: Record) -> Section:
    """Show the final metrics of each split, and the classes that are recognised worst."""
    intro = "How good the saved artifact is, measured after training through the same code that serves it."
    if not record.predictions:
        return Section("Results", intro, empty=NO_PREDICTIONS)
    metrics = {
        split: {name.partition(":")[2] or name: value for name, value in row.get("metrics", {}).items()}
        for split, row in record.predictions.items()
    }
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    rows = [(name_of(name), *(number(values.get(name)) for values in metrics.values())) for name in names]
    blocks: list[Block] = [Table("Final metrics", ("Metric", *map(name_of, metrics)), rows)]
    split = final_split(record)
    per_class = record.predictions[split].get("per_class", []) if split else []
    worst = sorted((row for row in per_class if row.get("num_images")), key=lambda row: row["f1"])[:SHOWN_CLASSES]
    if worst:
        cells = [
            (
                name_of(row["class_name"]),
                number(row["num_images"]),
                *(share(row[k]) for k in ("recall", "precision", "f1")),
            )
            for row in worst
        ]
        header = ("Class", "Photographs", "Recognised", "Right when named", "F1")
        blocks.append(Table(f"Classes recognised worst ({split})", header, cells))
    return Section("Results", intro, blocks, data={"metrics": metrics, "worst_classes": worst})


def dense_matrix(rows: Sequence[Sequence[int]], num_classes: int) -> Counts:
    """Make the confusion matrix (label, prediction) from a dense or a sparse record of it."""
    if num_classes <= MAX_DENSE_CLASSES:
        return np.array(rows, dtype=np.int64).reshape(num_classes, num_classes)
    matrix = np.zeros((num_classes, num_classes), dtype=np.int64)
    for label, prediction, count in rows:
        matrix[label, prediction] += count
    return matrix


def confusion(record: Record) -> Section:
    """Show which classes are taken for which."""
    intro = (
        "Each row of the picture is what photographs are, each column what they were taken for; a strong diagonal is "
        "good. Pairs that are often confused need more or clearer photographs, or a look at their labels."
    )
    split = final_split(record)
    if split is None or record.data is None:
        return Section("Confusion matrix", intro, empty=NO_PREDICTIONS, rules=("Confusion",))
    names = [str(name) for name in record.data["class_names"]]
    matrix = dense_matrix(record.predictions[split]["confusion_matrix"], len(names))
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:SHOWN_PAIRS]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True) if wrong[i, j] > 0]
    totals = matrix.sum(axis=1)
    rows = [
        (name_of(names[i]), name_of(names[j]), number(wrong[i, j]), share(wrong[i, j] / totals[i])) for i, j in pairs
    ]
    blocks: list[Block] = [_matrix_chart(matrix, names, split)]
    if rows:
        header = ("Photographs of", "Taken for", "Photographs", "Share of the class")
        blocks.append(Table("Pairs confused most often", header, rows, num_text=2))
    num_wrong, num_all = int(wrong.sum()), int(matrix.sum())
    notes = [f"{num_wrong:,} of {plural(num_all, 'photograph')} ({split}) were taken for another class."]
    confused = [{"label": names[i], "prediction": names[j], "count": int(wrong[i, j])} for i, j in pairs]
    data = {"split": split, "num_images": num_all, "num_wrong": num_wrong, "pairs": confused}
    return Section("Confusion matrix", intro, blocks, notes, rules=("Confusion",), data=data)


def _matrix_chart(matrix: Counts, names: Sequence[str], split: str) -> Chart:
    shares = matrix / matrix.sum(axis=1, keepdims=True).clip(min=1)
    block = -(-len(names) // MAX_CELLS)
    if block > 1:
        starts = np.arange(0, len(names), block)
        shares = np.maximum.reduceat(np.maximum.reduceat(shares, starts, axis=0), starts, axis=1)
    pixels = np.empty((*shares.shape, 4))
    pixels[..., :3] = to_rgb(CELL_COLOR)
    # A single mistake among many photographs must still be seen.
    pixels[..., 3] = np.where(shares > 0, 0.12 + 0.88 * shares, 0)
    axes = new_axes("taken for", "is", height=min(WIDTH, 140 + 40 * len(names)))
    axes.imshow(pixels, interpolation="nearest", extent=(0, len(names), len(names), 0))
    axes.grid(visible=False)
    if len(names) <= MAX_NAMED_CLASSES:
        shown = [name_of(name, 14) for name in names]
        axes.set_xticks(np.arange(len(names)) + 0.5, shown, rotation=90)
        axes.set_yticks(np.arange(len(names)) + 0.5, shown)
        for row, column in np.argwhere(matrix):
            axes.text(column + 0.5, row + 0.5, f"{matrix[row, column]}", ha="center", va="center", fontsize=10)
    right = float(matrix.trace() / max(1, matrix.sum()))
    title = f"Confusion matrix ({split}); strong cells hold a large share of their row"
    description = f"{len(names)} classes; {share(right)} of the photographs lie on the diagonal."
    return finish(axes, title, description)


def photographs(record: Record) -> Section:
    """Show the photographs that were confidently wrong, and others with a high loss."""
    intro = (
        "Photographs that the network was sure about and wrong, then others that it found hard. Look here for "
        "photographs in the wrong folder, with two subjects, or unlike those of the training."
    )
    split = final_split(record)
    rows = record.predictions[split].get("hardest", []) if split else []
    if not rows:
        return Section(
            "Photographs to look at", intro, empty="No photograph was recorded." if split else NO_PREDICTIONS
        )
    wrong = sorted((row for row in rows if row["label"] != row["prediction"]), key=lambda row: -row["probability"])
    confident = wrong[:MAX_CONFIDENT]
    others = [row for row in rows if row not in confident and row["label_probability"] < MAX_SURE]
    blocks = [
        Gallery(f"{caption} ({split})", [_photograph(row) for row in chosen])
        for caption, chosen in (("Most confidently wrong", confident), ("Other photographs of high loss", others))
        if chosen
    ]
    missing = sum(not item.source for gallery in blocks for item in gallery.photographs)
    notes = [f"{plural(missing, 'photograph')} of {len(rows)} could not be shown."] if missing else []
    return Section("Photographs to look at", intro, blocks, notes, data={"split": split, "photographs": rows})


def _photograph(row: Row) -> Photograph:
    file = Path(str(row["photograph"]))
    try:
        source, missing = thumbnail(file), ""
    except ImageError as error:
        source, missing = "", name_of(error, 120)
    if row["label"] == row["prediction"]:
        lines = [f"rightly taken for {name_of(row['prediction'])}, but only {share(row['probability'])} sure"]
    else:
        lines = [
            f"taken for {name_of(row['prediction'])} ({share(row['probability'])})",
            f"its folder says {name_of(row['label'])} ({share(row['label_probability'])})",
        ]
    return Photograph(source, missing, name_of("/".join(file.parts[-2:]), 40), lines)


def calibration(record: Record) -> Section:
    """Show whether probabilities can be believed."""
    intro = (
        "When the network says 80 %, it should be right in 80 of 100 cases: then the bars meet the dashed line. Bars "
        "below the line mean that it is too sure of itself, bars above that it is too modest."
    )
    split = final_split(record)
    row = record.predictions[split].get("calibration") if split else None
    if not row or not row.get("bins"):
        return Section("Calibration", intro, empty="No calibration was recorded." if split else NO_PREDICTIONS)
    bins = [item for item in row["bins"] if item.get("count")]
    axes = new_axes("what it said", "how often it was right", height=230)
    x, y = ([float(item[name]) for item in bins] for name in ("confidence", "accuracy"))
    middle = [
        (min(int(value * NUM_CALIBRATION_BINS), NUM_CALIBRATION_BINS - 1) + 0.5) / NUM_CALIBRATION_BINS for value in x
    ]
    axes.bar(middle, y, width=0.8 / NUM_CALIBRATION_BINS, color=SERIES[0], alpha=0.75, label="measured")
    axes.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1.2, label="to be believed")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.05))
    axes.tick_params(color=MUTED)
    add_legend(axes)
    text = "; ".join(f"said {share(a)}, right {share(b)}" for a, b in zip(x, y, strict=True))
    cells = [(share(item["confidence"]), share(item["accuracy"]), number(item["count"])) for item in bins]
    note = f"Expected calibration error on {split}: {number(row.get('before'))} before temperature scaling, "
    note += f"{number(row.get('after'))} after it (0 is perfect); the temperature is {number(row.get('temperature'))}."
    table = Table("Reliability", ("Said", "Right", "Photographs"), cells, num_text=0, is_folded=True)
    chart = finish(axes, f"Reliability diagram, {split}", text)
    return Section("Calibration", intro, [chart, table], [note], data={"split": split, **row})
