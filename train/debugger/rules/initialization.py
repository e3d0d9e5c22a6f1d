"""The rule on the weights that training began with."""

import math

import numpy as np

from train.debugger.record import Floats, Record
from train.debugger.rules.advice import settings
from train.debugger.rules.losses import MIN_STEPS, Fall, guessing_loss, is_solved
from train.debugger.rules.measures import by_tensor, is_bias, named, stages
from train.debugger.rules.result import Outcome, not_applicable
from train.debugger.training_parameters import LossNotDecreasing, PoorWeightInitialization


def poor_weight_initialization(record: Record, parameters: PoorWeightInitialization) -> Outcome:
    """Judge the first stage: both how training began and how variances or gradients look."""
    stage = next(iter(stages(record)), "")
    inputs = {key: rows for key, rows in by_tensor(record, "relu_input").items() if key[0] == stage}
    gradients = {key: rows for key, rows in by_tensor(record, "gradients").items() if key[0] == stage}
    losses = record.steps.of(stage).loss[np.isfinite(record.steps.of(stage).loss)]
    if not inputs and not gradients:
        return not_applicable("no activations and no gradients were recorded")
    if len(losses) < parameters.patience:
        return not_applicable(f"fewer than patience={parameters.patience} losses were recorded")
    variances = {k[2]: np.median([r.std**2 for r in rows[: parameters.steps]]) for k, rows in inputs.items()}
    spreads = {
        k[2]: np.median([r.p95 - r.p5 for r in rows[: parameters.steps]])
        for k, rows in gradients.items()
        if not is_bias(k[2])
    }
    signs = []
    if len(variances) > 1 and max(variances.values()) > parameters.threshold * min(variances.values()):
        low, high = min(variances, key=variances.__getitem__), max(variances, key=variances.__getitem__)
        signs.append(f"the variance of {high}'s inputs is {variances[high]:.3g} and of {low}'s {variances[low]:.3g}")
    narrow = [name for name, spread in spreads.items() if spread < parameters.distribution_range]
    if narrow:
        signs.append(f"the gradients of {named(narrow)} spread less than {parameters.distribution_range:g}")
    start = bad_start(record, stage, losses)
    datapoints = len(variances) + len(spreads)
    details = {"variances": {k: float(v) for k, v in variances.items()}, "narrow": narrow[:100]}
    is_far = start.startswith("began")
    if not start or not (signs if is_far else len(signs) == 2 and 2 * len(narrow) >= len(spreads)):
        return Outcome(datapoints, details=details)
    advice = (
        f"Set {settings(record, pretrained='true', lr_warmup_epochs=1)}, or take a network with normalisation layers."
    )
    finding = f"The loss {start}; {' and '.join(signs)}."
    return Outcome(datapoints, len(signs), finding, advice, "problem", first_step=0, details=details)


def bad_start(record: Record, stage: str, losses: Floats) -> str:
    """Say how training began badly: far above guessing before the first change, or flat though the weights change."""
    guessing = guessing_loss(record) or math.log(2)
    begin = float(losses[0])
    if begin > max(3 * guessing, guessing + 3):
        return f"began at {begin:.3g}, where guessing gives {guessing:.3g}"
    if len(losses) < MIN_STEPS or is_solved(record, stage, float(losses[-1])):
        return ""
    fall = Fall(losses, min(10, max(4, len(losses) // 5)))
    ratios = [row.ratio for rows in by_tensor(record, "updates").values() for row in rows if row.ratio is not None]
    is_still = not ratios or float(np.median(ratios)) < 1e-7
    flat = fall.trouble(LossNotDecreasing(increase_threshold_percent=math.inf))
    return flat if flat and not is_still else ""
