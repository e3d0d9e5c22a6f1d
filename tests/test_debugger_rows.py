"""Lines of the record that describe data and predictions."""

from pathlib import Path

import numpy as np
import pytest

from classifier.evaluation import evaluate_logits
from classifier.multilabel import evaluate_multi_label, mean_binary_cross_entropy
from train.calibration import Calibration
from train.data import Photographs
from train.debugger.rows import data_row, matrix_rows, predictions_row
from train.path_list import PathList
from train.split import Labels, Split

CALIBRATION = Calibration(0.2, 0.1)


def split_of(labels: Labels) -> Split:
    return Split(PathList([f"/photographs/{i}.png" for i in range(len(labels))]), labels)


def test_predictions_of_one_label_are_described() -> None:
    logits = np.array([[4, 0, 0], [0, 3, 0], [9, 0, 0], [0, 0, 2]], dtype=np.float32)
    split, names = split_of(np.array([0, 1, 1, 2])), ("cat", "dog", "fox")
    evaluation = evaluate_logits(logits, split.labels, names)
    row = predictions_row("test", evaluation, logits, split, names, CALIBRATION, 1.5)
    assert row["confusion_matrix"] == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert (row["calibration"]["before"], row["calibration"]["temperature"]) == (0.2, 1.5)
    assert sum(cell["count"] for cell in row["calibration"]["bins"]) == 4
    worst = row["hardest"][0]
    assert (worst["photograph"], worst["label"], worst["prediction"]) == ("/photographs/2.png", "dog", "cat")
    assert worst["loss"] == pytest.approx(9.0, abs=0.01)
    assert worst["probability"] > 0.99 and worst["label_probability"] < 0.01
    losses = [each["loss"] for each in row["hardest"]]
    assert np.mean(losses) == pytest.approx(evaluation.loss, rel=1e-4)


def test_predictions_of_several_labels_are_described() -> None:
    logits = np.array([[5, 5, -5], [5, -5, -5], [-5, -5, 5]], dtype=np.float32)
    split, names = split_of(np.array([[1, 1, 0], [0, 0, 1], [0, 0, 1]], dtype=np.uint8)), ("cat", "dog", "fox")
    evaluation = evaluate_multi_label(logits, split.labels, names, np.full(3, 0.5))
    row = predictions_row("validation", evaluation, logits, split, names, CALIBRATION, 1.0)
    assert row["confusion_matrix"] == [] and len(row["per_class"]) == 3
    worst, *others = row["hardest"]
    assert (worst["label"], worst["prediction"]) == ("fox", "cat")
    assert {each["label"] for each in others} == {"cat, dog", "fox"}
    assert np.mean([each["loss"] for each in row["hardest"]]) == pytest.approx(
        mean_binary_cross_entropy(logits, split.labels), rel=1e-3
    )
    assert sum(cell["count"] for cell in row["calibration"]["bins"]) == 9


def test_a_matrix_of_many_classes_is_written_as_its_cells() -> None:
    matrix = np.zeros((300, 300), dtype=np.int64)
    matrix[3, 4], matrix[299, 0] = 5, 1
    assert matrix_rows(matrix) == [[3, 4, 5], [299, 0, 1]]


def test_photographs_of_each_class_are_counted() -> None:
    one, several = split_of(np.array([0, 0, 2])), split_of(np.array([[1, 0, 1], [1, 1, 0]], dtype=np.uint8))
    names = ("cat", "dog", "fox")
    row = data_row(Photographs(names, one, one, None), {Path("/photographs/bad.png"): "no image"})
    assert row["counts"] == {"train": [2, 0, 1], "validation": [2, 0, 1], "test": None}
    assert row["task"] == "single_label"
    assert row["unreadable_photographs"] == [{"photograph": "/photographs/bad.png", "reason": "no image"}]
    row = data_row(Photographs(names, several, several, several), {})
    assert row["counts"]["train"] == [2, 1, 1] and row["task"] == "multi_label" and row["unreadable"] == 0
