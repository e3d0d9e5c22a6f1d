"""Lines of the record that describe a job, its data and its results."""

import importlib.metadata
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from classifier.evaluation import NUM_CALIBRATION_BINS, Array, Evaluation, Labels, softmax
from container.resources import ResourceConfig
from container.settings import flat
from train.calibration import Calibration
from train.config import TrainingConfig
from train.data import Photographs, Split
from train.debugger.clock import Clock
from train.debugger.leaks import Found
from train.debugger.machine import limiting_group, processor_name, total_memory
from train.debugger.rule_settings import PREFIX, RuleSettings

NUM_HARDEST = 24
MAX_LISTED = 100
"""Leaks and unreadable photographs that are named; all are counted."""

MAX_DENSE_CLASSES = 200
"""Of more classes, only the cells of the confusion matrix that are not 0 are written."""

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
        name: None if split is None else np.bincount(split.labels, minlength=num_classes).tolist()
        for name, split in splits.items()
    }
    named = [{"photograph": str(file), "reason": reason} for file, reason in unreadable.items()]
    return {
        "class_names": list(photographs.class_names),
        "counts": counts,
        "unreadable": len(unreadable),
        "unreadable_photographs": named[:MAX_LISTED],
    }


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
    evaluation: Evaluation,
    logits: Array,
    read: Split,
    class_names: Sequence[str],
    calibration: Calibration,
    temperature: float,
) -> dict[str, Any]:
    """Describe the predictions for a split: logits (num_images, num_classes) of the photographs that were read."""
    matrix = evaluation.confusion_matrix
    cells = [[*cell, int(matrix[cell])] for cell in zip(*map(np.ndarray.tolist, matrix.nonzero()), strict=True)]
    probabilities = softmax(logits)
    return {
        "split": name,
        "confusion_matrix": matrix.tolist() if len(class_names) <= MAX_DENSE_CLASSES else cells,
        "per_class": evaluation.class_rows(),
        "calibration": {
            **asdict(calibration),
            "temperature": temperature,
            "bins": calibration_bins(probabilities, read.labels),
        },
        "metrics": evaluation.metrics(name),
        "hardest": hardest(probabilities, read, class_names),
    }


def calibration_bins(probabilities: Array, labels: Labels) -> list[dict[str, float]]:
    """Compare confidence with accuracy in bins of equal width; empty ones are left out."""
    confidence = probabilities.max(axis=1)
    is_right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * NUM_CALIBRATION_BINS).astype(int), NUM_CALIBRATION_BINS - 1)
    return [
        {
            "confidence": round(float(confidence[bins == number].mean()), 5),
            "accuracy": round(float(is_right[bins == number].mean()), 5),
            "count": int((bins == number).sum()),
        }
        for number in np.unique(bins)
    ]


def hardest(probabilities: Array, read: Split, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """List the photographs with the highest loss, worst first."""
    of_label = probabilities[np.arange(len(read)), read.labels]
    # The smallest positive number, as the logarithm of 0 would be infinite.
    losses = -np.log(np.maximum(of_label, np.finfo(np.float64).tiny))
    rows = []
    for index in np.argsort(-losses, kind="stable")[:NUM_HARDEST]:
        prediction = int(probabilities[index].argmax())
        rows.append(
            {
                "photograph": str(read.photographs[index]),
                "label": class_names[read.labels[index]],
                "prediction": class_names[prediction],
                "probability": round(float(probabilities[index, prediction]), 6),
                "label_probability": round(float(of_label[index]), 6),
                "loss": round(float(losses[index]), 5),
            }
        )
    return rows
