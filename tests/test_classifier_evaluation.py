"""Evaluation against scikit-learn and worked examples."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics

from classifier.evaluation import Evaluation, evaluate_logits, expected_calibration_error, softmax

Array = npt.NDArray[Any]

CLASS_NAMES = tuple("abcdefgh")


@pytest.fixture(scope="module")
def labels() -> Array:
    return np.random.default_rng(0).integers(0, len(CLASS_NAMES) - 1, 500)


@pytest.fixture(scope="module")
def logits(labels: Array) -> Array:
    noise = np.random.default_rng(1).normal(size=(len(labels), len(CLASS_NAMES)))
    return np.asarray(noise + 2 * np.eye(len(CLASS_NAMES))[labels], dtype=np.float32)


@pytest.fixture(scope="module")
def evaluation(logits: Array, labels: Array) -> Evaluation:
    return evaluate_logits(logits, labels, CLASS_NAMES)


def test_metrics_agree_with_scikit_learn(evaluation: Evaluation, logits: Array, labels: Array) -> None:
    predictions, probabilities, classes = logits.argmax(1), softmax(logits), range(len(CLASS_NAMES))
    assert evaluation.loss == pytest.approx(metrics.log_loss(labels, probabilities, labels=classes), rel=1e-6)
    assert evaluation.accuracy == pytest.approx(metrics.accuracy_score(labels, predictions))
    top5 = metrics.top_k_accuracy_score(labels, logits, k=5, labels=classes)
    assert evaluation.top5_accuracy == pytest.approx(top5)
    assert evaluation.macro_f1 == pytest.approx(metrics.f1_score(labels, predictions, average="macro"))
    expected = metrics.confusion_matrix(labels, predictions, labels=classes)
    assert np.array_equal(evaluation.confusion_matrix, expected)


def test_classes_agree_with_scikit_learn(evaluation: Evaluation, logits: Array, labels: Array) -> None:
    expected = metrics.precision_recall_fscore_support(
        labels, logits.argmax(1), labels=range(len(CLASS_NAMES)), zero_division=0
    )
    rows = np.array([[c.precision, c.recall, c.f1, c.num_images] for c in evaluation.classes])
    assert np.allclose(rows, np.stack(expected, axis=1))


def test_calibration_error_of_a_worked_example() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    # confidence 0.9, accuracy 0.5; confidence 0.6, accuracy 1: (2 * 0.4 + 2 * 0.4) / 4
    assert expected_calibration_error(probabilities, np.array([0, 1, 1, 1])) == pytest.approx(0.4)


def test_a_confident_mistake_has_a_finite_loss() -> None:
    evaluation = evaluate_logits(np.array([[1000.0, -1000.0]], np.float32), np.array([1]), ("a", "b"))
    assert evaluation.loss == pytest.approx(2000)
    assert evaluation.accuracy == 0
