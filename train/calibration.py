"""Temperature scaling, so that a probability of 0.8 is right in 80 of 100 cases, of softmax and of sigmoid."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from classifier.evaluation import Labels

PRIOR_DEVIATION = 0.5
"""Of a normal prior on the logarithm of the temperature: few photographs cannot move it far from 1."""

LOG_RANGE = (-2.0, 2.0)
NUM_STEPS = 22
"""Each shrinks the interval by 0.618; after these it is 1e-4 wide."""

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating]

Loss = Callable[[Doubles], Doubles]
"""Mean cross-entropy (num_models,) by the logarithm of the temperature (num_models,)."""


@dataclass(frozen=True)
class Calibration:
    """The expected calibration error of a split, before and after temperature scaling."""

    before: float
    after: float


def fit_temperatures(logits: Floats, labels: Labels) -> tuple[Doubles, Doubles]:
    """Find the temperatures by which logits (batch, num_models, num_classes) are divided for the lowest cross-entropy.

    Labels are class indices (batch,), or 0 and 1 (batch, num_classes), with binary cross-entropy.
    Returns temperatures and mean cross-entropies, in nats, after division, each (num_models,). Guo et al., "On
    Calibration of Modern Neural Networks" (2017), with a prior for small sets. Golden-section search: cross-entropy is
    convex in the inverse of the temperature, and so has one minimum.
    """
    loss = binary_loss(logits, labels) if labels.ndim == 2 else categorical_loss(logits, labels)
    ratio = (math.sqrt(5) - 1) / 2

    def cost(log_temperatures: Doubles) -> Doubles:
        return loss(log_temperatures) * labels.size + log_temperatures**2 / (2 * PRIOR_DEVIATION**2)

    low: Doubles = np.full(logits.shape[1], LOG_RANGE[0])
    high: Doubles = np.full(logits.shape[1], LOG_RANGE[1])
    for _ in range(NUM_STEPS):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        is_left = cost(left) < cost(right)
        low, high = np.where(is_left, low, left), np.where(is_left, right, high)
    middle = (low + high) / 2
    return np.exp(middle), loss(middle)


def categorical_loss(logits: Floats, labels: Labels) -> Loss:
    """Prepare the mean cross-entropy of each model, of labels (batch,)."""
    logits = logits - logits.max(axis=2, keepdims=True)
    true_logits = logits[np.arange(len(labels)), :, labels]

    def loss(log_temperatures: Doubles) -> Doubles:
        inverse = np.exp(-log_temperatures).astype(logits.dtype)
        log_sums = np.log(np.exp(logits * inverse[:, None]).sum(axis=2))
        return np.asarray((log_sums - true_logits * inverse).mean(axis=0), dtype=np.float64)

    return loss


def binary_loss(logits: Floats, labels: Labels) -> Loss:
    """Prepare the mean binary cross-entropy of each model, of labels (batch, num_classes)."""
    sizes = np.abs(logits)
    # log(1 + exp(x)) is max(x, 0) + log(1 + exp(-|x|)), and the first part and the labels' are linear in the logits
    linear = (np.maximum(logits, 0) - logits * labels[:, None, :]).mean(axis=(0, 2), dtype=np.float64)

    def loss(log_temperatures: Doubles) -> Doubles:
        inverse = np.exp(-log_temperatures)
        curved = np.log1p(np.exp(-sizes * inverse.astype(logits.dtype)[:, None])).mean(axis=(0, 2), dtype=np.float64)
        return np.asarray(linear * inverse + curved)

    return loss


def fit_temperature(logits: Floats, labels: Labels) -> tuple[float, float]:
    """Find the temperature of one model's logits (batch, num_classes), and its cross-entropy after division."""
    temperatures, losses = fit_temperatures(logits[:, None, :], labels)
    return float(temperatures[0]), float(losses[0])
