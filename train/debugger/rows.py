"""Lines of the record that describe a job, its data and its results."""

import importlib.metadata
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from classifier.evaluation import NUM_CALIBRATION_BINS, Array, Evaluation, Labels
from classifier.multilabel import Doubles, MultiLabelEvaluation
from classifier.tasks import task_of, to_probabilities
from container.resources import ResourceConfig
from container.settings import flat
from train.calibration import Calibration
from train.config import TrainingConfig
from train.data import Photographs
from train.debugger.clock import Clock
from train.debugger.leaks import Found
from train.debugger.machine import limiting_group, processor_name, total_memory
from train.debugger.rule_settings import PREFIX, RuleSettings
from train.split import Split

NUM_HARDEST = 24
MAX_LISTED = 100
"""Leaks and unreadable photographs that are named; all are counted."""

MAX_DENSE_CLASSES = 200
"""Of more classes, only the cells of the confusion matrix that are not 0 are written."""

TINY = np.finfo(np.float64).tiny
"""In place of a probability of 0, whose logarithm would be infinite."""

PACKAGES = ("torch", "torchvision", "openvino", "kennel")


def job_row(config: TrainingConfig, strategy: str, device: str, resources: ResourceConfig, clock: Clock) -> Any:
    """Describe the job and its machine."""
    return {
        "started_at": datetime.fromtimestamp(time.time() - clock.now(), UTC).isoformat(timespec="milliseconds"),
        "hyperparameters": {**hyperparameters(config), "strategy": strategy},
        "architecture": config.arch,
        "strategy": strategy,
        "device": device,
        "device_name": torch.cuda.get_device_name() if device == "cuda" else processor_name(),
        "num_gpus": resources.num_gpus,
        "num_cpus": resources.num_cpus,
        "memory_bytes": total_memory(limiting_group()),
        "host": resources.current_host,
        "num_hosts": len(resources.hosts),
        "instance_type": resources.instance_type,
        "instance_price_per_hour": config.instance_price_per_hour,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }


def hyperparameters(config: TrainingConfig) -> dict[str, Any]:
    """List a job's hyperparameters, without the parameters of rules that have their default."""
    defaults = flat(RuleSettings(), PREFIX)
    return {name: value for name, value in flat(config).items() if name not in defaults or value != defaults[name]}


def version(package: str) -> str:
    """Tell the version of a package; empty where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def data_row(photographs: Photographs, unreadable: Mapping[Path, str]) -> dict[str, Any]:
    """Describe the data, with what could not be read so far."""
    splits = {"train": photographs.train, "validation": photographs.validation, "test": photographs.test}
    num_classes = len(photographs.class_names)
    counts = {
        name: None if split is None else class_counts(split.labels, num_classes) for name, split in splits.items()
    }
    named = [{"photograph": str(file), "reason": reason} for file, reason in unreadable.items()]
    return {
        "task": task_of(photographs.train.labels),
        "class_names": list(photographs.class_names),
        "counts": counts,
        "num_photographs": {name: len(split) for name, split in splits.items() if split is not None},
        "unreadable": len(unreadable),
        "unreadable_photographs": named[:MAX_LISTED],
    }


def class_counts(labels: Labels, num_classes: int) -> list[int]:
    """Count the photographs of each class."""
    counts = np.bincount(labels, minlength=num_classes) if labels.ndim == 1 else labels.sum(axis=0, dtype=np.int64)
    return [int(count) for count in counts]


def leak_row(leaks: Sequence[tuple[Found, Found]]) -> dict[str, Any]:
    """Describe photographs that are in two splits."""
    return {
        "count": len(leaks),
        "photographs": [
            {"photograph": str(file), "split": split, "other": str(other), "other_split": other_split}
            for (split, file), (other_split, other) in leaks[:MAX_LISTED]
        ],
    }


def predictions_row(
    name: str,
    evaluation: Evaluation | MultiLabelEvaluation,
    logits: Array,
    read: Split,
    class_names: Sequence[str],
    calibration: Calibration,
    temperature: float,
) -> dict[str, Any]:
    """Describe the predictions for a split: logits (num_images, num_classes) of the photographs that were read."""
    probabilities = to_probabilities(logits, task_of(read.labels))
    if isinstance(evaluation, Evaluation):
        matrix = matrix_rows(evaluation.confusion_matrix)
        found = single_label(probabilities, read.labels, class_names)
    else:
        matrix = []
        thresholds = np.array([result.threshold for result in evaluation.classes])
        found = multi_label(probabilities, read.labels, class_names, thresholds)
    return {
        "split": name,
        "confusion_matrix": matrix,
        "per_class": evaluation.class_rows(),
        "calibration": {
            **asdict(calibration),
            "temperature": temperature,
            "bins": calibration_bins(found.confidence, found.is_right),
        },
        "metrics": evaluation.metrics(name),
        "hardest": hardest(found, read),
    }


def matrix_rows(matrix: npt.NDArray[np.int64]) -> list[list[int]]:
    """Write a confusion matrix whole, or as cells `[label, prediction, count]` of many classes."""
    if len(matrix) <= MAX_DENSE_CLASSES:
        return [[int(count) for count in row] for row in matrix]
    return [[int(label), int(prediction), int(matrix[label, prediction])] for label, prediction in np.argwhere(matrix)]


@dataclass(frozen=True)
class Predictions:
    """Predictions in a form that one label and any number of them share."""

    confidence: Doubles
    """Probabilities whose calibration is measured."""
    is_right: npt.NDArray[np.bool_]
    losses: Doubles
    """(num_images,)"""
    describe: Callable[[int], dict[str, Any]]
    """Names label and prediction of an image, with the probability of each."""


def single_label(probabilities: Doubles, labels: Labels, class_names: Sequence[str]) -> Predictions:
    """Compare probabilities (num_images, num_classes) with class indices (num_images,)."""
    chosen, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    of_label = probabilities[np.arange(len(labels)), labels]

    def describe(image: int) -> dict[str, Any]:
        return {
            "label": class_names[labels[image]],
            "prediction": class_names[chosen[image]],
            "probability": round(float(confidence[image]), 6),
            "label_probability": round(float(of_label[image]), 6),
        }

    return Predictions(confidence, chosen == labels, -np.log(np.maximum(of_label, TINY)), describe)


def multi_label(probabilities: Doubles, labels: Labels, class_names: Sequence[str], thresholds: Doubles) -> Predictions:
    """Compare probabilities with 0/1 labels (num_images, num_classes).

    An image's probability is that of its selection as a whole, so far as its labels are independent.
    """
    is_set, is_selected = labels > 0, probabilities >= thresholds
    of_labels = np.where(is_set, probabilities, 1 - probabilities)
    of_selection = np.where(is_selected, probabilities, 1 - probabilities)

    def describe(image: int) -> dict[str, Any]:
        return {
            "label": ", ".join(class_names[i] for i in np.flatnonzero(is_set[image])),
            "prediction": ", ".join(class_names[i] for i in np.flatnonzero(is_selected[image])),
            "probability": round(float(of_selection[image].prod()), 6),
            "label_probability": round(float(of_labels[image].prod()), 6),
        }

    losses = -np.log(np.maximum(of_labels, TINY)).mean(axis=1)
    return Predictions(probabilities.ravel(), is_set.ravel(), losses, describe)


def calibration_bins(confidence: Doubles, is_right: npt.NDArray[np.bool_]) -> list[dict[str, float]]:
    """Compare confidence with accuracy in bins of equal width; empty ones are left out."""
    bins = np.minimum((confidence * NUM_CALIBRATION_BINS).astype(int), NUM_CALIBRATION_BINS - 1)
    return [
        {
            "confidence": round(float(confidence[bins == number].mean()), 5),
            "accuracy": round(float(is_right[bins == number].mean()), 5),
            "count": int((bins == number).sum()),
        }
        for number in np.unique(bins)
    ]


def hardest(found: Predictions, read: Split) -> list[dict[str, Any]]:
    """List the photographs with the highest loss, worst first."""
    order = np.argsort(-found.losses, kind="stable")[:NUM_HARDEST]
    return [
        {
            "photograph": str(read.photographs[image]),
            **found.describe(image),
            "loss": round(float(found.losses[image]), 5),
        }
        for image in order
    ]
