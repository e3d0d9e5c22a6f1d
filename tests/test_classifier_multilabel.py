"""Evaluation of photographs with any number of labels, against scikit-learn and worked examples."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics

from classifier.multilabel import (
    MIN_EXAMPLES,
    MultiLabelEvaluation,
    average_precision,
    choose_threshold,
    choose_thresholds,
    evaluate_multi_label,
    sigmoid,
)
from classifier.tasks import calibration_error, evaluate, task_of, to_probabilities

Array = npt.NDArray[Any]

CLASS_NAMES = tuple("abcdef")


@pytest.fixture(scope="module")
def labels() -> Array:
    shares = np.array([0.5, 0.3, 0.2, 0.1, 0.05, 0.9])
    return (np.random.default_rng(0).random((400, len(CLASS_NAMES))) < shares).astype(np.uint8)


@pytest.fixture(scope="module")
def logits(labels: Array) -> Array:
    noise = np.random.default_rng(1).normal(size=labels.shape)
    # Rounded, so that there are ties.
    return np.asarray((1.5 * noise + 3.0 * labels - 1.5).round(1), dtype=np.float32)


@pytest.fixture(scope="module")
def evaluation(logits: Array, labels: Array) -> MultiLabelEvaluation:
    return evaluate_multi_label(logits, labels, CLASS_NAMES, np.full(len(CLASS_NAMES), 0.4))


def test_metrics_agree_with_scikit_learn(evaluation: MultiLabelEvaluation, logits: Array, labels: Array) -> None:
    probabilities = sigmoid(logits)
    selected = probabilities >= 0.4
    losses = [metrics.log_loss(labels[:, i], probabilities[:, i], labels=[0, 1]) for i in range(len(CLASS_NAMES))]
    assert evaluation.loss == pytest.approx(np.mean(losses), rel=1e-6)
    assert evaluation.accuracy == pytest.approx(metrics.accuracy_score(labels, selected))
    assert evaluation.micro_f1 == pytest.approx(metrics.f1_score(labels, selected, average="micro"))
    assert evaluation.macro_f1 == pytest.approx(metrics.f1_score(labels, selected, average="macro"))
    expected = metrics.average_precision_score(labels, probabilities, average="macro")
    assert evaluation.mean_average_precision == pytest.approx(expected)


def test_classes_agree_with_scikit_learn(evaluation: MultiLabelEvaluation, logits: Array, labels: Array) -> None:
    expected = metrics.precision_recall_fscore_support(labels, sigmoid(logits) >= 0.4, zero_division=0)
    rows = np.array([[c.precision, c.recall, c.f1, c.num_images] for c in evaluation.classes])
    assert np.allclose(rows, np.stack(expected, axis=1))
    precisions = metrics.average_precision_score(labels, sigmoid(logits), average=None)
    assert [c.average_precision for c in evaluation.classes] == pytest.approx(list(precisions))


def test_a_label_that_does_not_occur_is_left_out_of_the_means() -> None:
    labels = np.array([[1, 0], [0, 0]], np.uint8)
    evaluation = evaluate_multi_label(np.array([[3.0, -3], [-3, -3]]), labels, ("a", "b"), np.array([0.5, 0.5]))
    assert evaluation.classes[1].average_precision is None
    assert (evaluation.mean_average_precision, evaluation.macro_f1, evaluation.accuracy) == (1, 1, 1)
    none = evaluate_multi_label(np.array([[-3.0]]), np.array([[0]], np.uint8), ("a",), np.array([0.5]))
    assert (none.mean_average_precision, none.macro_f1, none.micro_f1, none.accuracy) == (0, 0, 0, 1)


def test_a_confident_mistake_has_a_finite_loss() -> None:
    evaluation = evaluate_multi_label(np.array([[-1000.0, 1000.0]]), np.array([[1, 1]]), ("a", "b"), np.zeros(2))
    assert evaluation.loss == pytest.approx(500)


def test_average_precision_takes_equal_probabilities_together() -> None:
    assert average_precision(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])) == pytest.approx(
        0.5 + 0.5 * 2 / 3
    )


def test_chosen_thresholds_have_the_highest_f1(logits: Array, labels: Array) -> None:
    probabilities, many = sigmoid(np.tile(logits, (20, 1))), np.tile(labels, (20, 1))
    thresholds = choose_thresholds(probabilities, many)
    for i, threshold in enumerate(thresholds):
        reached = metrics.f1_score(many[:, i], probabilities[:, i] >= threshold)
        best = max(metrics.f1_score(many[:, i], probabilities[:, i] >= value) for value in np.unique(probabilities))
        assert reached == pytest.approx(best, abs=0.002)


def test_thresholds_of_few_images_suit_new_ones_better_than_the_best_of_those_few() -> None:
    generator = np.random.default_rng(0)

    def draw(number: int) -> tuple[Array, Array]:
        probabilities = sigmoid(2 * generator.normal(size=number) - 2)
        return probabilities, generator.random(number) < probabilities

    reached: dict[str, list[float]] = {"chosen": [], "best of few": [], "one half": []}
    new, new_is_set = draw(20_000)
    for _ in range(50):
        few, is_set = draw(60)
        best = max(few, key=lambda value: metrics.f1_score(is_set, few >= value))
        for name, threshold in zip(reached, (choose_threshold(few, is_set), best, 0.5), strict=True):
            reached[name].append(metrics.f1_score(new_is_set, new >= threshold))
    means = {name: np.mean(values) for name, values in reached.items()}
    assert means["chosen"] > means["best of few"] + 0.01
    assert means["chosen"] > means["one half"] + 0.02


def test_a_threshold_is_one_half_where_that_is_as_good_and_else_between_the_groups() -> None:
    is_set = np.array([True] * 5 + [False] * 5)
    assert choose_threshold(np.array([0.9] * 5 + [0.2] * 5), is_set) == 0.5
    assert choose_threshold(np.array([0.4] * 5 + [0.2] * 5), is_set) == pytest.approx(0.3)
    many = np.array([True] * 500 + [False] * 500)
    assert choose_threshold(np.array([0.9] * 500 + [0.7] * 500), many) == pytest.approx(0.8)
    neighbours = np.repeat([np.nextafter(0.25, 1), 0.25], 500).astype(np.float64)
    assert (neighbours >= choose_threshold(neighbours, many)).tolist() == many.tolist()


@pytest.mark.parametrize("num_set", [0, 1, MIN_EXAMPLES - 1, 100 - MIN_EXAMPLES + 1, 100])
def test_a_rare_label_keeps_one_half(num_set: int) -> None:
    probabilities = np.linspace(0.3, 0.1, 100, dtype=np.float64)
    assert choose_threshold(probabilities, np.arange(100) < num_set) == 0.5


def test_the_shape_of_labels_tells_the_task(logits: Array, labels: Array) -> None:
    assert (task_of(labels), task_of(labels.argmax(1))) == ("multi_label", "single_label")
    assert np.allclose(to_probabilities(logits, "single_label").sum(axis=1), 1)
    assert np.allclose(to_probabilities(logits, "multi_label"), 1 / (1 + np.exp(-logits.astype(np.float64))))
    chosen = evaluate(logits, labels, CLASS_NAMES)
    assert isinstance(chosen, MultiLabelEvaluation)
    expected = choose_thresholds(sigmoid(logits), labels)
    assert [result.threshold for result in chosen.classes] == expected.tolist()


def test_probabilities_that_are_what_they_say_have_no_calibration_error() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(20_000, 3))
    labels = (generator.random(logits.shape) < sigmoid(logits)).astype(np.uint8)
    assert calibration_error(logits, labels) < 0.01
    assert calibration_error(3 * logits, labels) > 0.05
