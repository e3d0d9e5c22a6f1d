"""Rules on photographs, classes and predictions."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from train.debugger.record import Record, Row, TensorRow
from train.debugger.rules.measures import hyperparameter, named, num_photographs, stage_row
from train.debugger.rules.result import Outcome, not_applicable
from train.debugger.training_parameters import (
    CheckInputImages,
    ClassImbalance,
    Confusion,
    Leakage,
    UnreadablePhotographs,
)

ENOUGH_PHOTOGRAPHS = 50
"""Training photographs from which their counts by class say something, in small jobs."""

ENOUGH_IMAGES = 32
"""Images whose mean says something, in small jobs."""

ENOUGH_OF_CLASS = 5
"""Evaluated photographs of a class from which shares of it say something."""

MISTAKEN = 3
"""Photographs of a pair of classes below which a confusion is chance."""

LEARNT = 0.6
"""Accuracy, or twice that of guessing if lower, from which mistakes tell of classes and not of the network."""

MERGED = 0.3
"""Share taken for each other, both ways, from which two classes are one and the same."""

UNSCALED = (1.0, 0.25, 4.0)
"""Mean above which, and standard deviations outside of which, images are not as the network expects."""

Matrix = npt.NDArray[np.float64]


def class_imbalance(record: Record, parameters: ClassImbalance) -> Outcome:
    """Judge the counts; a problem where classes with few photographs are missed too, or where it is ten times worse."""
    data = record.data or {}
    names, counts = data.get("class_names", []), (data.get("counts") or {}).get("train") or []
    num_counted = sum(counts)
    samples = min(parameters.samples, max(ENOUGH_PHOTOGRAPHS, num_counted))
    if num_counted < samples or len(counts) < 2 or len(names) != len(counts):
        return not_applicable(f"fewer than {samples} training photographs were counted")
    ratio = max(counts) / max(1, min(counts))
    rare = [
        name for name, count in zip(names, counts, strict=True) if count * parameters.threshold_imbalance < max(counts)
    ]
    missed = missed_classes(record, parameters.threshold_misprediction, rare)
    missed_rare = [name for name in rare if name in missed]
    details = {"counts": dict(zip(names, counts, strict=True)), "missed": missed}
    used = {"samples": samples}
    if not rare and not missed:
        return Outcome(num_counted, details=details, used=used)
    balanced = hyperparameter(record, "class_balance") in ("loss", "sampling")
    if rare:
        finding = (
            f"The largest class has {max(counts)} training photographs, {ratio:.0f} times those of the smallest: "
            f"{named(rare)} have few."
        )
        if missed_rare:
            finding += f" More than {parameters.threshold_misprediction:.0%} are missed of {named(missed_rare)}."
    else:
        finding = (
            f"More than {parameters.threshold_misprediction:.0%} are missed of {named(missed)}, while others are found."
        )
    first = f"Add photographs of {named(rare or missed)}"
    is_problem = bool(missed_rare) or (ratio > 10 * parameters.threshold_imbalance and not balanced)
    return Outcome(
        num_counted,
        triggered=len(set(rare) | set(missed)),
        finding=finding,
        advice=f"{first}."
        if balanced or not rare
        else f"{first}, and set class_balance=sampling or class_balance=loss.",
        severity="problem" if is_problem else "advice",
        details=details,
        used=used,
    )


def evaluated(record: Record) -> Row | None:
    """Give the predictions of the test photographs, or of validation without them."""
    return record.predictions.get("test") or record.predictions.get("validation")


def confusion_matrix(record: Record) -> Matrix | None:
    """Give the confusion matrix (num_classes, num_classes), rows by label; None without evaluation."""
    predictions, names = evaluated(record), (record.data or {}).get("class_names", [])
    content = (predictions or {}).get("confusion_matrix")
    if not content or not names:
        return None
    if len(content[0]) == len(names) == len(content):
        return np.array(content, dtype=np.float64)
    matrix = np.zeros((len(names), len(names)))
    for label, prediction, count in content:
        matrix[index_of(label, names), index_of(prediction, names)] = count
    return matrix


def index_of(label: Any, names: list[str]) -> int:
    """Give the index of a class, named or numbered."""
    return names.index(label) if isinstance(label, str) else int(label)


def missed_classes(record: Record, threshold: float, rare: list[str]) -> list[str]:
    """Name the classes of which more than a share is missed: rare ones, and others where the network finds most."""
    matrix = confusion_matrix(record)
    if matrix is None or np.trace(matrix) < matrix.sum() / 2:
        return []
    names = (record.data or {})["class_names"]
    totals, found = matrix.sum(axis=1), np.diag(matrix)
    recalls = found / totals.clip(min=1)
    finds_most = (recalls[totals > 0] >= 1 / 2).mean() > 1 / 2
    is_judged = np.array([name in rare for name in names]) | (finds_most & (totals >= ENOUGH_OF_CLASS))
    return [names[i] for i in np.flatnonzero((totals > 0) & is_judged & (1 - recalls > threshold))]


def confusion(record: Record, parameters: Confusion) -> Outcome:
    """Judge each pair of classes; a problem where each of two is taken for the other so often that they are one."""
    matrix = confusion_matrix(record)
    if matrix is None:
        return not_applicable("the model was not evaluated")
    accuracy = float(np.trace(matrix) / max(1.0, matrix.sum()))
    if accuracy < min(LEARNT, 2 / len(matrix)):
        return not_applicable(f"an accuracy of {accuracy:.2f} is too near to guessing to tell of pairs of classes")
    names: list[str] = (record.data or {})["class_names"]
    totals = matrix.sum(axis=1)
    shares = matrix / totals.clip(min=1)[:, None]
    is_judged = (totals >= ENOUGH_OF_CLASS)[:, None] & (matrix >= MISTAKEN) & (shares > parameters.max_off_diag)
    is_judged &= (np.diag(shares) < parameters.min_diag)[:, None]
    np.fill_diagonal(is_judged, False)
    pairs = [(int(i), int(j)) for i, j in np.argwhere(is_judged)]
    pairs.sort(key=lambda pair: -shares[pair])
    details = {
        "accuracy": accuracy,
        "pairs": [[names[i], names[j], round(float(shares[i, j]), 4), int(matrix[i, j])] for i, j in pairs[:50]],
    }
    if not pairs:
        return Outcome(int(totals.sum()), details=details)
    i, j = pairs[0]
    merged = (
        [(a, b) for a, b in pairs if a < b and (b, a) in pairs and min(shares[a, b], shares[b, a]) >= MERGED]
        if accuracy > 1 / 2 + 1 / len(names)
        else []
    )
    worst = f"{shares[i, j]:.0%} of {names[i]} are taken for {names[j]}"
    finding = f"{len(pairs)} pairs of classes are confused: {worst} ({int(matrix[i, j])} of {int(totals[i])})."
    if merged:
        a, b = merged[0]
        finding = f"{names[a]} and {names[b]} are taken for each other: {shares[a, b]:.0%} and {shares[b, a]:.0%}."
    return Outcome(
        int(totals.sum()),
        triggered=len(pairs),
        finding=finding,
        advice="Look at the photographs of both: make one class of two that are the same, correct wrong labels, or add "
        "photographs that show the difference.",
        severity="problem" if merged else "advice",
        details=details,
    )


def check_input_images(record: Record, parameters: CheckInputImages) -> Outcome:
    """Judge the mean over the logged batches, beyond its noise; a problem where images are not scaled at all."""
    rows = [row for row in record.tensors if row.collection == "inputs" and math.isfinite(row.mean)]
    num_images = sum(batch_size(record, row) for row in rows)
    samples = min(parameters.threshold_samples, max(ENOUGH_IMAGES, num_images))
    if num_images < samples:
        return not_applicable(f"inputs of {num_images} images were recorded, fewer than {samples}")
    mean, std = float(np.mean([row.mean for row in rows])), float(np.mean([row.std for row in rows]))
    limit, low, high = UNSCALED
    is_problem = abs(mean) > limit or not low < std < high
    noise = float(np.std([row.mean for row in rows]) / math.sqrt(len(rows)))
    details = {"mean": mean, "std": std}
    used = {"threshold_samples": samples}
    if abs(mean) - 2 * noise <= parameters.threshold_mean and not is_problem:
        return Outcome(num_images, details=details, used=used)
    what = (
        "black, white or all alike" if std <= low else "not scaled" if std >= high else "dark" if mean < 0 else "bright"
    )
    return Outcome(
        num_images,
        triggered=sum(abs(row.mean) > parameters.threshold_mean for row in rows),
        finding=f"The normalised photographs have mean {mean:.3g} and standard deviation {std:.3g} where the network "
        f"expects 0 and 1: they are {what}.",
        advice="Look at the photographs; if they must be so, strategy=finetune lets the network get used to them.",
        severity="problem" if is_problem else "advice",
        first_step=rows[0].step,
        details=details,
        used=used,
    )


def batch_size(record: Record, row: TensorRow) -> int:
    """Give the number of images in the batch that a row of inputs was taken from."""
    return int(stage_row(record, row.stage).get("batch_size") or 1)


def leakage(record: Record, parameters: Leakage) -> Outcome:
    """Judge the number of photographs in two splits, against the size of the smallest of them."""
    if record.data is None:
        return not_applicable("the photographs were not listed")
    sizes = num_photographs(record)
    pairs: list[Row] = [pair for row in record.leaks for pair in row.get("photographs", [])]
    num_leaked = sum(int(row.get("count", 0)) for row in record.leaks)
    if num_leaked == 0:
        return Outcome(max(1, sum(sizes.values())))
    splits = {pair.get("split") for pair in pairs} | {pair.get("other_split") for pair in pairs}
    share = num_leaked / max(1, min((size for split, size in sizes.items() if split in splits), default=1))
    first = pairs[0] if pairs else {}
    example = f", such as {first.get('photograph')} and {first.get('other')}" if first else ""
    return Outcome(
        max(1, sum(sizes.values())),
        triggered=num_leaked,
        finding=f"{num_leaked} photographs are in two splits ({share:.1%} of the smaller one){example}: the reported "
        f"accuracy is too high.",
        advice="Remove them from one of the two, or give no validation channel and let validation_split divide.",
        severity="problem" if share >= parameters.share_threshold else "advice",
        details={"photographs": pairs[:100]},
    )


def unreadable_photographs(record: Record, parameters: UnreadablePhotographs) -> Outcome:
    """Judge the share of photographs that could not be read."""
    total = sum(num_photographs(record).values())
    unreadable = int((record.data or {}).get("unreadable") or 0)
    if total == 0:
        return not_applicable("the photographs were not listed")
    if unreadable == 0:
        return Outcome(total)
    share = unreadable / total
    return Outcome(
        total,
        triggered=unreadable,
        finding=f"{unreadable} photographs ({share:.1%}) cannot be read and were left out.",
        advice="Repair or remove the files in unreadable.csv; max_unreadable=0 refuses such data.",
        severity="problem" if share >= parameters.share_threshold else "advice",
    )
