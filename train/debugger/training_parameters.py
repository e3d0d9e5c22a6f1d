"""The parameters of the rules on what training does. Imports the standard library only."""

from dataclasses import dataclass

from container.settings import setting

PERCENT = "[0, 100]"
SHARE = "[0, 1]"
POSITIVE = "[0, inf)"
COUNT = "[1, 1000000]"


@dataclass(frozen=True)
class VanishingGradient:
    """Finds weights whose mean absolute gradient is below `threshold`, times the loss where that is below 1."""

    threshold: float = setting(1e-7, "Mean absolute gradient.", interval=POSITIVE)


@dataclass(frozen=True)
class ExplodingTensor:
    """Finds losses, weights, gradients and activations that are infinite or no number."""

    only_nan: bool = setting(False, "Look for what is no number only, not for what is infinite.")


@dataclass(frozen=True)
class DeadRelu:
    """Finds ReLU layers of which more than `threshold_layer` percent of the channels are hardly ever positive."""

    threshold_inactivity: float = setting(
        1.0, "A channel is dead when fewer of its values are positive.", unit="%", interval=PERCENT
    )
    threshold_layer: float = setting(50.0, "Share of dead channels.", unit="%", interval=PERCENT)


@dataclass(frozen=True)
class SaturatedActivation:
    """Finds tanh and sigmoid layers of which more than `threshold_layer` percent of the channels are saturated."""

    threshold_tanh_min: float = setting(-9.4999, "A tanh's input below this is saturated.")
    threshold_tanh_max: float = setting(9.4999, "A tanh's input above this is saturated.")
    threshold_sigmoid_min: float = setting(-23.0, "A sigmoid's input below this is saturated.")
    threshold_sigmoid_max: float = setting(16.99999, "A sigmoid's input above this is saturated.")
    threshold_inactivity: float = setting(
        1.0, "A channel is saturated when fewer of its values are not.", unit="%", interval=PERCENT
    )
    threshold_layer: float = setting(50.0, "Share of saturated channels.", unit="%", interval=PERCENT)


@dataclass(frozen=True)
class PoorWeightInitialization:
    """Finds first weights from which training does not get going, by three signs of AWS's, of which one is no trouble.

    In the first `steps` logged steps layers differ in variance by more than `threshold`, or gradients spread less than
    `distribution_range`, where the loss begins far above guessing; or both, in most layers, where it stays flat.
    """

    threshold: float = setting(
        10.0, "Ratio of the largest to the smallest variance of the inputs of ReLUs.", interval=POSITIVE
    )
    distribution_range: float = setting(0.001, "Percentile 95 less 5 of a gradient.", interval=POSITIVE)
    patience: int = setting(5, "Steps in which the loss must have begun to fall.", unit="steps", interval=COUNT)
    steps: int = setting(10, "Logged steps that are looked at.", unit="steps", interval=COUNT)


@dataclass(frozen=True)
class WeightUpdateRatio:
    """Finds weights that change by far too much or too little.

    It compares mean |change| / mean |weight| between two logged steps.
    """

    large_threshold: float = setting(10.0, "Ratio above which a change is too large.", interval=POSITIVE)
    small_threshold: float = setting(1e-8, "Ratio below which a change is too small.", interval=POSITIVE)


@dataclass(frozen=True)
class UnchangedTensor:
    """Finds weights that stayed the same through the whole stage: within `atol` + `rtol` * mean |weight|."""

    num_steps: int = setting(3, "Logged steps that it takes at least.", unit="steps", interval=COUNT)
    rtol: float = setting(1e-5, "Relative tolerance.", interval=POSITIVE)
    atol: float = setting(1e-8, "Absolute tolerance.", interval=POSITIVE)


@dataclass(frozen=True)
class TensorVariance:
    """Finds tensors whose variance is outside of limits; without limits it does not apply."""

    max_threshold: float | None = setting(None, "Largest variance; auto is no limit.", interval=POSITIVE, example="100")
    min_threshold: float | None = setting(
        None, "Smallest variance; auto is no limit.", interval=POSITIVE, example="1e-10"
    )


@dataclass(frozen=True)
class AllZero:
    """Finds inputs, outputs, weights and gradients that are zero, at least `threshold` percent, whenever logged."""

    threshold: float = setting(100.0, "Share of zeros.", unit="%", interval=PERCENT)


@dataclass(frozen=True)
class LossNotDecreasing:
    """Compares the training loss of the last third of a stage with the first, and the last steps with the best ones.

    It fires where the loss is not lower by `diff_percent` beyond its noise, is higher by `increase_threshold_percent`,
    has given back more than half of its fall, or ends above both guessing and its begin.
    """

    num_steps: int = setting(10, "Steps that a mean is taken over at least.", unit="steps", interval=COUNT)
    diff_percent: float = setting(0.1, "Fall that counts.", unit="%", interval=PERCENT)
    increase_threshold_percent: float = setting(5.0, "Rise that counts.", unit="%", interval=POSITIVE)


@dataclass(frozen=True)
class Overfit:
    """Compares the validation loss with the training loss: (validation - train) / train above `ratio_threshold`.

    It fires where validation also pays for it: a loss 10 % above its lowest, or an accuracy 0.05 behind training's.
    """

    start_step: int = setting(0, "Epochs that are passed over.", unit="epochs", interval="[0, 10000]")
    patience: int = setting(1, "Last epochs that must all show it.", unit="epochs", interval="[1, 10000]")
    ratio_threshold: float = setting(0.1, "Ratio.", interval=POSITIVE)


@dataclass(frozen=True)
class Overtraining:
    """Finds last epochs that improved neither the training nor the validation loss by `delta`."""

    patience_train: int = setting(
        5, "Epochs without a better training loss; a third of all, at least 3, in short stages.", unit="epochs",
        interval="[1, 10000]",
    )  # fmt: skip
    patience_validation: int = setting(
        10, "Epochs without a better validation loss; a third of all, at least 3, in short stages.", unit="epochs",
        interval="[1, 10000]",
    )  # fmt: skip
    delta: float = setting(0.01, "Fall of a loss that counts.", unit="nats", interval=POSITIVE)


@dataclass(frozen=True)
class ClassImbalance:
    """Compares the number of training photographs of the largest and smallest class, and how often each is missed."""

    threshold_imbalance: float = setting(10.0, "Ratio of the largest class to the smallest.", interval="[1, inf)")
    threshold_misprediction: float = setting(0.7, "Share of a class's photographs that are missed.", interval=SHARE)
    samples: int = setting(500, "Photographs that it takes; 50 are enough where there are no more.", interval=COUNT)


@dataclass(frozen=True)
class Confusion:
    """Finds pairs of classes of which one is often taken for the other, in the final evaluation."""

    min_diag: float = setting(0.9, "Share of a class that must be recognised.", interval=SHARE)
    max_off_diag: float = setting(0.1, "Share of a class that may be taken for another one.", interval=SHARE)


@dataclass(frozen=True)
class CheckInputImages:
    """Compares the mean of the normalised photographs with 0, and their standard deviation with 1."""

    threshold_mean: float = setting(0.2, "Absolute value of the mean.", interval=POSITIVE)
    threshold_samples: int = setting(500, "Photographs that it takes; 32 are enough in short jobs.", interval=COUNT)


@dataclass(frozen=True)
class Leakage:
    """Counts photographs that are in two splits. Kennel's own rule."""

    share_threshold: float = setting(
        0.01, "Share of a split from which it is a problem and no mere advice.", interval=SHARE
    )


@dataclass(frozen=True)
class UnreadablePhotographs:
    """Counts photographs that cannot be read. Kennel's own rule."""

    share_threshold: float = setting(
        0.01, "Share of all from which it is a problem and no mere advice.", interval=SHARE
    )
