"""How good predictions are. numpy only."""

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]
Labels = npt.NDArray[np.integer]

NUM_CALIBRATION_BINS = 15
"""As in Guo et al., "On Calibration of Modern Neural Networks" (2017)."""


@dataclass(frozen=True)
class ClassResult:
    """How well one class is recognised."""

    class_name: str
    num_images: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Evaluation:
    """Results over a set of images."""

    loss: float
    """Mean cross-entropy, in nats."""
    accuracy: float
    top5_accuracy: float
    macro_f1: float
    """Mean F1 of the classes that occur, as labels or as predictions."""
    calibration_error: float
    """Expected calibration error in [0, 1]."""
    classes: tuple[ClassResult, ...]
    confusion_matrix: npt.NDArray[np.int64]
    """Images by (label, prediction)."""

    def metrics(self, split: str) -> dict[str, float]:
        """Name the values as the metrics of a split: `test:accuracy` and so on."""
        return {
            f"{split}:loss": self.loss,
            f"{split}:accuracy": self.accuracy,
            f"{split}:top5_accuracy": self.top5_accuracy,
            f"{split}:macro_f1": self.macro_f1,
            f"{split}:calibration_error": self.calibration_error,
        }

    def class_rows(self) -> list[dict[str, object]]:
        """List the per-class results as rows of a table."""
        return [asdict(result) for result in self.classes]


def softmax(logits: Array) -> npt.NDArray[np.float64]:
    """Turn logits (batch, num_classes) into probabilities, in float64."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def evaluate_logits(logits: Array, labels: Labels, class_names: tuple[str, ...]) -> Evaluation:
    """Compare logits (batch, num_classes) with labels (batch,). `batch` must be at least 1."""
    probabilities = softmax(logits)
    predictions = logits.argmax(axis=1)
    true_logits = logits[np.arange(len(labels)), labels]
    matrix = confusion(labels, predictions, len(class_names))
    classes = per_class(matrix, class_names)
    occurring = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0
    return Evaluation(
        loss=mean_cross_entropy(logits, labels),
        accuracy=float((predictions == labels).mean()),
        top5_accuracy=float(((logits > true_logits[:, None]).sum(axis=1) < 5).mean()),
        macro_f1=float(np.mean([result.f1 for result, occurs in zip(classes, occurring, strict=True) if occurs])),
        calibration_error=expected_calibration_error(probabilities, labels),
        classes=classes,
        confusion_matrix=matrix,
    )


def mean_cross_entropy(logits: Array, labels: Labels) -> float:
    """Compute the mean cross-entropy of logits (batch, num_classes), in nats."""
    # log-sum-exp from the logits, as log(0) of a confident mistake would be infinite
    peak = logits.max(axis=1)
    log_sums = np.log(np.exp(logits.astype(np.float64) - peak[:, None]).sum(axis=1)) + peak
    return float((log_sums - logits[np.arange(len(labels)), labels]).mean())


def confusion(labels: Labels, predictions: Labels, num_classes: int) -> npt.NDArray[np.int64]:
    """Count images by (label, prediction)."""
    counts = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def per_class(matrix: npt.NDArray[np.int64], class_names: tuple[str, ...]) -> tuple[ClassResult, ...]:
    """Compute precision, recall and F1 of each class; 0 where a class was never predicted or never occurs."""
    correct = matrix.diagonal()
    num_images, num_predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    precision = correct / np.maximum(num_predicted, 1)
    recall = correct / np.maximum(num_images, 1)
    f1 = 2 * correct / np.maximum(num_images + num_predicted, 1)
    return tuple(
        ClassResult(name, int(num_images[i]), float(precision[i]), float(recall[i]), float(f1[i]))
        for i, name in enumerate(class_names)
    )


def expected_calibration_error(probabilities: Array, labels: Labels) -> float:
    """Compute the calibration error of the most probable classes, of probabilities (batch, num_classes)."""
    return binned_calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels)


def binned_calibration_error(confidence: Array, correct: npt.NDArray[np.bool_]) -> float:
    """Average, over bins of equal width, of |accuracy - confidence| weighted by the bin's share of predictions."""
    bins = np.minimum((confidence * NUM_CALIBRATION_BINS).astype(int), NUM_CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights=correct - confidence, minlength=NUM_CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(confidence))
