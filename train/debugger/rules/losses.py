"""Rules on losses: of steps, and of epochs."""

import math

import numpy as np

from train.debugger.record import Floats, Record, Steps
from train.debugger.rules.advice import LOWEST_LR, change, learn_less, learn_more, peak_lr, rounded, settings
from train.debugger.rules.measures import (
    epoch_column,
    epoch_stages,
    hyperparameter,
    is_multi_label,
    stage_row,
    stages,
)
from train.debugger.rules.result import Outcome, not_applicable
from train.debugger.training_parameters import LossNotDecreasing, Overfit, Overtraining

MIN_STEPS = 12
"""Steps that it takes to tell a trend: four in each third."""

SHARPEST = 0.05
"""Flat is only what would have shown a fall of this share: noise twice as large could hide one."""

SURE_TO_RISE = 3
"""Standard errors; a false alarm in a thousand runs."""

WORTH_SHARE, WORTH_SECONDS = 0.02, 5.0
"""Of the job's time, below which epochs too many are not worth a word."""

WORSE = 1.5
"""Times the larger of first loss and guessing, above which a loss at the end is no noise."""

SOLVED_ACCURACY = 0.95
"""Training accuracy from which a loss has nowhere to fall."""


def loss_not_decreasing(record: Record, parameters: LossNotDecreasing) -> Outcome:
    """Judge each stage; the one that is worse off speaks."""
    outcomes = [judge_loss(record, stage, parameters) for stage in stages(record)]
    outcomes = [outcome for outcome in outcomes if outcome.datapoints]
    if not outcomes:
        return not_applicable(f"no stage has {MIN_STEPS} steps with a loss")
    found = [outcome for outcome in outcomes if outcome.finding]
    return found[0] if found else outcomes[-1]


def judge_loss(record: Record, stage: str, parameters: LossNotDecreasing) -> Outcome:
    """Judge the losses of one stage."""
    steps = record.steps.of(stage)
    is_finite = np.isfinite(steps.loss)
    losses, numbers = steps.loss[is_finite], steps.number[is_finite]
    if len(losses) < MIN_STEPS:
        return Outcome(0)
    window = min(parameters.num_steps, max(4, len(losses) // 5))
    fall = Fall(losses, window)
    used = {"num_steps": window}
    details = {"first": fall.first, "last": fall.last, "lowest": fall.lowest}
    trouble = above_guessing(record, fall) or fall.trouble(parameters)
    if not trouble or is_solved(record, stage, fall.last):
        return Outcome(len(losses), details=details, used=used)
    return Outcome(
        len(losses),
        triggered=int((losses >= fall.first).sum()),
        finding=f"In {stage}, the training loss {trouble}.",
        advice=advise_on_loss(record, stage, is_flat=fall.last < fall.first * 1.05),
        severity="problem",
        first_step=int(numbers[fall.lowest_at]),
        details=details,
        used=used,
    )


def above_guessing(record: Record, fall: "Fall") -> str:
    """Say that a loss ends far above its begin and above what guessing gives, whatever it did between."""
    limit = WORSE * max(fall.losses[0], guessing_loss(record))
    return (
        f"was {fall.losses[0]:.4g} in the first step and {fall.last:.4g} in the last third" if fall.last > limit else ""
    )


def guessing_loss(record: Record) -> float:
    """Give the loss of equal probabilities for all outcomes; 0 where their number is not known."""
    if is_multi_label(record):
        return math.log(2)
    return math.log(max(1, len((record.data or {}).get("class_names", ()))))


class Fall:
    """How the losses (num_steps,) of a stage fell: means of thirds, and of the best and the last window."""

    def __init__(self, losses: Floats, window: int) -> None:
        self.losses = losses
        third = len(losses) // 3
        head, tail = losses[:third], losses[-third:]
        self.first, self.last = float(head.mean()), float(tail.mean())
        self.error = math.sqrt(head.var(ddof=1) / third + tail.var(ddof=1) / third)
        """Standard error of the difference of the two."""
        sums = np.cumsum(np.concatenate([[0.0], losses]))
        means = (sums[window:] - sums[:-window]) / window
        self.lowest_at = int(means.argmin())
        self.lowest, self.begin, self.end = float(means.min()), float(means[0]), float(means[-1])
        ends = losses[-window:], losses[self.lowest_at : self.lowest_at + window]
        self.end_error = math.sqrt(sum(float(part.var(ddof=1)) for part in ends) / window)
        """Standard error of the difference of the last window and the lowest."""

    def trouble(self, parameters: LossNotDecreasing) -> str:
        """Say what is wrong, if anything is."""
        fell = self.first - self.last
        rise = parameters.increase_threshold_percent / 100
        if -fell > max(rise * self.first, SURE_TO_RISE * self.error):
            return f"rose from {self.first:.4g} in the first third to {self.last:.4g} in the last"
        given_back = self.end - self.lowest
        if given_back > max(rise * self.lowest, SURE_TO_RISE * self.end_error, (self.begin - self.lowest) / 2):
            return f"fell to {self.lowest:.4g} and rose to {self.end:.4g} again, more than half of its fall"
        enough = max(parameters.diff_percent / 100 * self.first, 2 * self.error)
        if fell < enough and 2 * self.error < SHARPEST * self.first:
            return f"stayed at {self.first:.4g} (first third) and {self.last:.4g} (last third)"
        return ""


def is_solved(record: Record, stage: str, loss: float) -> bool:
    """Tell whether a loss that stays where it is has nothing left to learn."""
    if is_multi_label(record):
        # A network that finds no label is right for nearly all of them.
        return loss < SHARPEST / 5
    accuracy = epoch_column(record, stage, "train_accuracy")
    known = accuracy[np.isfinite(accuracy)]
    return loss < SHARPEST or (len(known) > 0 and bool(known[-1] >= SOLVED_ACCURACY))


def advise_on_loss(record: Record, stage: str, *, is_flat: bool) -> str:
    """Say what makes a loss fall."""
    lr = peak_lr(record, stage)
    if not is_flat:
        return learn_less(record, stage)
    if lr is not None and lr < 10 * LOWEST_LR:
        return learn_more(record, stage)
    return f"Look at labels and photographs first. {change(record, stage, 0.1, pretrained='true')}"


def overfit(record: Record, parameters: Overfit) -> Outcome:
    """Judge the last stage with epochs; heads on features, which are chosen by validation, are never a problem."""
    for stage in reversed(epoch_stages(record)):
        train, validation = epoch_column(record, stage, "train_loss"), epoch_column(record, stage, "validation_loss")
        is_known = np.isfinite(train) & np.isfinite(validation) & (train > 0)
        is_known[: parameters.start_step] = False
        if is_known.sum() >= 2:
            break
    else:
        return not_applicable("no stage has two epochs with a training and a validation loss")
    ratio = np.where(is_known, validation / np.where(is_known, train, 1) - 1, 0)
    shown = ratio > parameters.ratio_threshold
    known = np.flatnonzero(is_known)
    lowest = known[validation[known].argmin()]
    rise = float(validation[known[-1]] / max(validation[lowest], 1e-9) - 1)
    gap = accuracy_gap(record, stage)
    is_overfit = shown[known][-parameters.patience :].all() and len(known) >= parameters.patience
    details = {"ratio": ratio[known].tolist(), "epochs": (known + 1).tolist(), "lowest": int(lowest) + 1, "gap": gap}
    if not is_overfit or max(rise, 2 * gap) < 0.1 or validation[known[-1]] < SHARPEST:
        return Outcome(len(known), details=details)
    is_problem = stage != "linear_probe" and rise > 0.2 and gap > 0.1
    return Outcome(
        len(known),
        triggered=int(shown.sum()),
        finding=f"In {stage}, the validation loss is {validation[known[-1]]:.3g} where the training loss is "
        f"{train[known[-1]]:.3g}; it was lowest, {validation[lowest]:.3g}, in epoch {lowest + 1} of {len(train)}.",
        advice=advise_against_overfit(record, stage, int(lowest) + 1, len(train)),
        severity="problem" if is_problem else "advice",
        gain=share_of_epochs(record, stage, int(lowest) + 1) if is_problem else None,
        first_step=first_step_of(record, stage, int(np.flatnonzero(shown)[0]) + 1),
        details=details,
    )


def accuracy_gap(record: Record, stage: str) -> float:
    """Give by how much training's accuracy is above validation's at the end; 0 where it is not known."""
    train, validation = (
        epoch_column(record, stage, "train_accuracy"),
        epoch_column(record, stage, "validation_accuracy"),
    )
    known = np.isfinite(train) & np.isfinite(validation)
    return float((train - validation)[known][-1]) if known.any() else 0.0


def advise_against_overfit(record: Record, stage: str, best_epoch: int, epochs: int) -> str:
    """Name what is not yet done against overfitting."""
    decay = hyperparameter(record, "weight_decay")
    wanted: dict[str, object] = {"weight_decay": f"{rounded(10 * decay if decay else 0.1):g}"}
    if stage == "linear_probe":
        wanted["num_views"] = 4 if (hyperparameter(record, "num_views") or 1) < 4 else None
    else:
        is_plain = hyperparameter(record, "augmentation") in (None, "none", "crop_flip")
        wanted["augmentation"] = "trivial_augment" if is_plain else None
        wanted["mixup_alpha"] = None if hyperparameter(record, "mixup_alpha") else 0.2
        wanted["epochs"] = best_epoch if best_epoch < epochs else None
    return f"Set {settings(record, **wanted)}; more photographs help most. The best epoch's model is kept in any case."


def share_of_epochs(record: Record, stage: str, useful: int) -> float | None:
    """Estimate the share of the job's time that epochs after a number of useful ones took."""
    seconds = epoch_column(record, stage, "seconds")[useful:]
    return float(np.nansum(seconds) / record.duration) if record.duration > 0 else None


def first_step_of(record: Record, stage: str, epoch: int) -> int | None:
    """Give the number of the first step of an epoch."""
    steps: Steps = record.steps.of(stage)
    numbers = steps.number[steps.epoch == epoch]
    return int(numbers.min()) if len(numbers) else None


def overtraining(record: Record, parameters: Overtraining) -> Outcome:
    """Judge the last stage with epochs, by when each loss last improved; silent where the epochs cost little."""
    stage = next(reversed(epoch_stages(record)), "")
    train, validation = epoch_column(record, stage, "train_loss"), epoch_column(record, stage, "validation_loss")
    num_epochs = len(train)
    if num_epochs < 4 or not (np.isfinite(train).any() and np.isfinite(validation).any()):
        return not_applicable("no stage has four epochs with a training and a validation loss")
    short = max(3, int(stage_row(record, stage).get("epochs") or num_epochs) // 3)
    patience_train, patience = min(parameters.patience_train, short), min(parameters.patience_validation, short)
    used = {"patience_train": patience_train, "patience_validation": patience}
    last_train, last = last_improvement(train, parameters.delta), last_improvement(validation, parameters.delta)
    useful = max(last_train, last)
    gain = share_of_epochs(record, stage, useful)
    waited = num_epochs - last_train >= patience_train and num_epochs - last >= patience
    details = {"last_improvement_train": last_train, "last_improvement_validation": last}
    saved = (gain or 0.0) * record.duration
    if not waited or (gain is not None and (gain < WORTH_SHARE or saved < WORTH_SECONDS)):
        return Outcome(num_epochs, details=details, used=used)
    return Outcome(
        num_epochs,
        triggered=num_epochs - useful,
        finding=f"In {stage}, no epoch after {useful} of {num_epochs} lowered a loss by {parameters.delta:g}.",
        advice=f"Set epochs={useful}, or early_stopping_patience={patience}.",
        gain=gain,
        first_step=first_step_of(record, stage, useful + 1),
        details=details,
        used=used,
    )


def last_improvement(losses: Floats, delta: float) -> int:
    """Give the epoch, from 1, in which a loss last fell by more than `delta` below all before it."""
    best, at = math.inf, 1
    for epoch, loss in enumerate(losses.tolist(), 1):
        if loss < best - delta:
            best, at = loss, epoch
    return at
