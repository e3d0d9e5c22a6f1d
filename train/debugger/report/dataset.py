"""Section on the photographs: how many of each class, in two splits, unreadable."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from train.debugger.record import Ints, Record
from train.debugger.report.blocks import Block, Chart, Section, Table
from train.debugger.report.charts import SERIES, bar_chart, finish, new_axes
from train.debugger.report.text import name_of, number, plural

SHOWN_CLASSES = SHOWN_PHOTOGRAPHS = 10
MAX_NAMED_CLASSES = 12


def photographs_of_the_job(record: Record) -> Section:
    """Show how many photographs each class has, which stand in two splits, and how many cannot be read."""
    intro = (
        "Classes with few photographs are learned worse. A photograph that is in training and in test makes the test "
        "look better than the network is."
    )
    rules = ("ClassImbalance", "CheckInputImages", "Leakage", "UnreadablePhotographs")
    if record.data is None:
        return Section("Data", intro, empty="The job ended before it had found its photographs.", rules=rules)
    names = [str(name) for name in record.data["class_names"]]
    counts = {split: np.array(values) for split, values in record.data["counts"].items() if values}
    blocks: list[Block] = []
    if "train" in counts and len(counts["train"]):
        train = counts["train"]
        order = np.argsort(train, kind="stable")
        blocks.append(_counts_chart([names[i] for i in order], train[order]))
        chosen = order if len(order) <= 2 * SHOWN_CLASSES else [*order[:SHOWN_CLASSES], *order[-SHOWN_CLASSES:]]
        rows = [(name_of(names[i]), *(number(int(values[i])) for values in counts.values())) for i in chosen]
        caption = "Photographs of each class" if len(chosen) == len(order) else "The smallest and the largest classes"
        blocks.append(Table(caption, ("Class", *counts), rows, is_folded=len(rows) > SHOWN_CLASSES))
    num_leaks, leaks = _leaks(record)
    if leaks:
        rows = [tuple(name_of(text) for text in row) for row in leaks[:SHOWN_PHOTOGRAPHS]]
        blocks.append(Table("Photographs in two splits", ("Photograph", "in", "The same as", "in"), rows, num_text=4))
    unreadable = int(record.data.get("unreadable") or 0)
    named = record.data.get("unreadable_photographs", [])[:SHOWN_PHOTOGRAPHS]
    if named:
        rows = [(name_of(_end(row["photograph"])), name_of(row["reason"], 120)) for row in named]
        blocks.append(Table("Unreadable photographs", ("Photograph", "Reason"), rows, num_text=2))
    notes = [
        f"Of {plural(num_leaks, 'photograph')} the contents are in two splits: keep each in one; results look too good."
        if num_leaks
        else "No photograph was seen in two splits.",
        f"{plural(unreadable, 'photograph')} could not be read; unreadable.csv beside this page names each."
        if unreadable
        else "Every photograph could be read.",
    ]
    data = {
        "num_classes": len(names),
        "counts": {split: int(values.sum()) for split, values in counts.items()},
        "num_leaks": num_leaks,
        "num_unreadable": unreadable,
    }
    return Section("Data", intro, blocks, notes, rules=rules, data=data)


def _counts_chart(names: Sequence[str], counts: Ints) -> Chart:
    """Draw the training photographs of each class, the smallest class first."""
    title = "Training photographs of each class"
    text = f"From {counts.min()} to {counts.max()} photographs a class, {np.median(counts):g} in the middle."
    if len(names) <= MAX_NAMED_CLASSES:
        return bar_chart(title, text, names, counts.tolist(), [number(int(count)) for count in counts])
    axes = new_axes("classes, the smallest first", "photographs")
    axes.stairs(counts, fill=True, color=SERIES[0])
    axes.set_ylim(0, counts.max() * 1.05 or 1)
    return finish(axes, title, text)


def _leaks(record: Record) -> tuple[int, list[tuple[str, str, str, str]]]:
    """Count the photographs in two splits, and list those that the record names."""
    listed = [item for row in record.leaks for item in row.get("photographs", [])]
    rows = [(_end(row["photograph"]), row["split"], _end(row["other"]), row["other_split"]) for row in listed]
    return max(sum(int(row.get("count", 0)) for row in record.leaks), len(rows)), rows


def _end(path: object) -> str:
    """Shorten a path to split, class and file."""
    return "/".join(Path(str(path)).parts[-3:])
