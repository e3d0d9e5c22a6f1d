"""How good predictions are where an image has any number of labels. numpy only."""

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from classifier.evaluation import Array, Labels, binned_calibration_error

Doubles = npt.NDArray[np.float64]

DEFAULT_THRESHOLD = 0.5

MIN_EXAMPLES = 5
"""Images with a label, and without it, that a threshold of its own needs; below, the best one is chance."""

NUM_PROBABLE = 20
"""Images whose labels count as much as their probabilities do, in the choice of a threshold."""


@dataclass(frozen=True)
class LabelResult:
    """How well one label is recognised."""

    class_name: str
    num_images: int
    """Images that have the label."""
    threshold: float
    """Probability from which on the label is selected."""
    average_precision: float | None
    """None where no image has the label."""
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class MultiLabelEvaluation:
    """Results over a set of images."""

    loss: float
    """Mean binary cross-entropy over images and labels, in nats."""
    accuracy: float
    """Share of images whose labels are all right."""
    mean_average_precision: float
    """Over the labels that occur."""
    micro_f1: float
    macro_f1: float
    """Mean F1 of the labels that occur or are selected."""
    calibration_error: float
    """Expected calibration error of all probabilities, in [0, 1]."""
    classes: tuple[LabelResult, ...]

    def metrics(self, split: str) -> dict[str, float]:
        """Name the values as the metrics of a split: `test:micro_f1` and so on."""
        return {
            f"{split}:loss": self.loss,
            f"{split}:accuracy": self.accuracy,
            f"{split}:mean_average_precision": self.mean_average_precision,
            f"{split}:micro_f1": self.micro_f1,
            f"{split}:macro_f1": self.macro_f1,
            f"{split}:calibration_error": self.calibration_error,
        }

    def class_rows(self) -> list[dict[str, object]]:
        """List the per-label results as rows of a table."""
        return [asdict(result) for result in self.classes]


def sigmoid(logits: Array) -> Doubles:
    """Turn logits into probabilities, in float64."""
    return np.asarray(np.exp(-np.logaddexp(0, -logits.astype(np.float64))))


def evaluate_multi_label(
    logits: Array, labels: Labels, class_names: tuple[str, ...], thresholds: Doubles
) -> MultiLabelEvaluation:
    """Compare logits (batch, num_classes) with 0/1 labels (batch, num_classes). `batch` must be at least 1."""
    probabilities, is_set = sigmoid(logits), labels > 0
    is_selected = probabilities >= thresholds
    num_images, num_selected = is_set.sum(axis=0), is_selected.sum(axis=0)
    num_right = (is_set & is_selected).sum(axis=0)
    f1 = 2 * num_right / np.maximum(num_images + num_selected, 1)
    precisions = [average_precision(probabilities[:, i], is_set[:, i]) for i in range(len(class_names))]
    occurring = num_images + num_selected > 0
    return MultiLabelEvaluation(
        loss=mean_binary_cross_entropy(logits, labels),
        accuracy=float((is_set == is_selected).all(axis=1).mean()),
        mean_average_precision=float(np.mean([value for value in precisions if value is not None] or [0.0])),
        micro_f1=float(2 * num_right.sum() / max(1, num_images.sum() + num_selected.sum())),
        macro_f1=float(f1[occurring].mean()) if occurring.any() else 0.0,
        calibration_error=binned_calibration_error(probabilities.ravel(), is_set.ravel()),
        classes=tuple(
            LabelResult(
                name, int(num_images[i]), float(thresholds[i]), precisions[i],
                precision=float(num_right[i] / max(1, num_selected[i])),
                recall=float(num_right[i] / max(1, num_images[i])), f1=float(f1[i]),
            )
            for i, name in enumerate(class_names)
        ),
    )  # fmt: skip


def mean_binary_cross_entropy(logits: Array, labels: Labels) -> float:
    """Compute the mean binary cross-entropy of logits (batch, num_classes), in nats."""
    # from the logits, as log(0) of a confident mistake would be infinite
    wide = logits.astype(np.float64)
    return float((np.logaddexp(0, wide) - wide * labels).mean())


def average_precision(probabilities: Doubles, is_set: npt.NDArray[np.bool_]) -> float | None:
    """Sum precision over the steps of recall, as scikit-learn does; None where no image (batch,) has the label."""
    if not is_set.any():
        return None
    _, num_right, num_selected = ranked(probabilities, is_set)
    steps = np.diff(num_right, prepend=0) / is_set.sum()
    return float((steps * num_right / num_selected).sum())


def choose_thresholds(probabilities: Doubles, labels: Labels) -> Doubles:
    """Choose for each label the threshold of the highest F1, of probabilities and labels (batch, num_classes)."""
    columns = range(labels.shape[1])
    return np.array([choose_threshold(probabilities[:, i], labels[:, i] > 0) for i in columns], dtype=np.float64)


def choose_threshold(probabilities: Doubles, is_set: npt.NDArray[np.bool_]) -> float:
    """Choose the threshold of the highest F1: 0.5 unless another is better, then the one nearest to it.

    The fewer images have the label, or lack it, the more probabilities, scaled to as many images, stand in for their
    labels: with few, the best threshold for the labels alone is chance. With very few it is 0.5.
    """
    num_set = int(is_set.sum())
    num_few = min(num_set, len(is_set) - num_set)
    if num_few < MIN_EXAMPLES:
        return DEFAULT_THRESHOLD
    trust = num_few / (num_few + NUM_PROBABLE)
    expected = trust * is_set + (1 - trust) * probabilities * (num_set / max(1e-12, probabilities.sum()))
    values, num_right, num_selected = ranked(probabilities, expected)
    f1 = 2 * num_right / (num_selected + num_set)
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    high, low = values[best], np.append(values, 0.0)[best + 1]
    middle = np.where((low + high) / 2 > low, (low + high) / 2, high)
    chosen = np.where((low < DEFAULT_THRESHOLD) & (high >= DEFAULT_THRESHOLD), DEFAULT_THRESHOLD, middle)
    return float(chosen[np.abs(chosen - DEFAULT_THRESHOLD).argmin()])


def ranked(probabilities: Doubles, is_set: npt.NDArray[np.bool_] | Doubles) -> tuple[Doubles, Doubles, Labels]:
    """Give every distinct probability, highest first, and how many images from it on have the label, and are there."""
    order = np.argsort(-probabilities, kind="stable")
    values = probabilities[order]
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True))
    return values[last], np.cumsum(is_set[order], dtype=np.float64)[last], last + 1
