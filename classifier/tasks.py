"""Images with one label each, and with any number: what differs between the two. numpy only."""

from typing import Literal

import numpy as np

from classifier.evaluation import (
    Array,
    Evaluation,
    Labels,
    binned_calibration_error,
    evaluate_logits,
    expected_calibration_error,
    softmax,
)
from classifier.multilabel import Doubles, MultiLabelEvaluation, choose_thresholds, evaluate_multi_label, sigmoid

Task = Literal["single_label", "multi_label"]


def task_of(labels: Labels) -> Task:
    """Tell the task from its labels: class indices (batch,), or 0 and 1 (batch, num_classes)."""
    return "single_label" if labels.ndim == 1 else "multi_label"


def to_probabilities(logits: Array, task: Task) -> Doubles:
    """Turn logits (batch, num_classes) into probabilities; those of an image sum to 1 where it has one label."""
    return softmax(logits) if task == "single_label" else sigmoid(logits)


def thresholds_for(logits: Array, labels: Labels) -> Doubles:
    """Choose the probability (num_classes,) from which on a label is selected; none where an image has one label."""
    return np.zeros(0) if labels.ndim == 1 else choose_thresholds(sigmoid(logits), labels)


def evaluate(
    logits: Array, labels: Labels, class_names: tuple[str, ...], thresholds: Doubles | None = None
) -> Evaluation | MultiLabelEvaluation:
    """Compare logits with labels; without `thresholds` those are chosen on these images."""
    if labels.ndim == 1:
        return evaluate_logits(logits, labels, class_names)
    chosen = thresholds_for(logits, labels) if thresholds is None else thresholds
    return evaluate_multi_label(logits, labels, class_names, chosen)


def calibration_error(logits: Array, labels: Labels) -> float:
    """Compute the expected calibration error of logits (batch, num_classes)."""
    if labels.ndim == 1:
        return expected_calibration_error(softmax(logits), labels)
    return binned_calibration_error(sigmoid(logits).ravel(), labels.ravel() > 0)
