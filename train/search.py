"""Heads on frozen features: many trials, each with hyperparameters of its own, trained together.

The heads of all trials with the same batch size are one wide linear layer, so that a step is one matrix product for the
logits and one for the gradients, whatever the number of trials.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from container.errors import UserError
from container.lifecycle import StopSignal
from train.calibration import fit_temperatures
from train.config import TrainingConfig
from train.debugger.recorder import Recorder
from train.debugger.step_times import SummedSteps
from train.features import Features
from train.history import History
from train.losses import heads_gradient, heads_losses, heads_recognised

EPOCHS_RANGE, NUM_SEEN = (20, 100), 100_000
"""Epochs that are chosen: as many as show the heads so many photographs, within the range."""

TRIALS_RANGE, SEARCH_FLOP = (1, 32), 1e12
"""Trials that are chosen: as many as keep the search to so many multiplications and additions, within the range."""

DEFAULT_LR, LR_RANGE = 0.01, (3e-4, 0.1)
DEFAULT_WEIGHT_DECAY, WEIGHT_DECAY_RANGE = 0.01, (1e-3, 3.0)
DEFAULT_LABEL_SMOOTHING, LABEL_SMOOTHING_RANGE = 0.0, (0.0, 0.2)
DEFAULT_BATCH_SIZE, BATCH_SIZES = 32, (32, 128, 512)
"""For standardised features. The ranges hold the best values found on photographs of faces and of cats and dogs."""

WARMUP_SHARE = 0.05
"""Share of the steps in which the learning rate rises from 0 to its peak."""

STAGE = "linear_probe"

CPU = torch.device("cpu")

BETAS = (0.9, 0.999)
EPSILON = 1e-8

PRUNING = ((0.05, 0.5), (0.1, 0.25), (0.2, 0.125), (0.4, 0.0625))
"""After these shares of the epochs, these shares of the trials go on, but not fewer than are averaged."""

NUM_AVERAGED = 4
"""Heads whose mean is the model: test loss 0.028 on faces, 0.027 on cats and dogs; the best alone 0.048 and 0.028."""

CACHED_NUMBERS = 65536
"""Numbers of a tensor of which four fit a processor's second-level cache of 1 MiB."""


@dataclass(frozen=True)
class Trial:
    """The hyperparameters of one head."""

    number: int
    lr: float
    weight_decay: float
    batch_size: int
    label_smoothing: float


@dataclass(frozen=True)
class TrialResult:
    """How good one trial was."""

    trial: Trial
    epoch: int
    """The last one that it was trained for; a trial that fell behind ends early."""
    validation_loss: float
    """Mean cross-entropy after temperature scaling, in nats; binary where photographs have any number of labels."""
    validation_accuracy: float
    """Share of the photographs whose labels are all right."""

    def row(self) -> dict[str, float | int]:
        """Write the result as a row of a table."""
        result = {name: value for name, value in vars(self).items() if name != "trial"}
        return {**asdict(self.trial), **result}


def choose_epochs(num_photographs: int) -> int:
    """Choose the epochs of the heads for a number of training photographs."""
    low, high = EPOCHS_RANGE
    return min(max(NUM_SEEN // max(1, num_photographs), low), high)


def choose_num_trials(num_photographs: int, num_features: int, num_classes: int, epochs: int) -> int:
    """Choose the number of trials that a few seconds of a processor train together."""
    low, high = TRIALS_RANGE
    # logits and gradients are a product and a sum each for every weight; pruning leaves a fifth of the work
    flop = 4 * num_photographs * num_features * num_classes * epochs / 5
    return min(max(int(SEARCH_FLOP / flop), low), high)


def propose_trials(config: TrainingConfig, num_trials: int, *, fix_lr: bool) -> list[Trial]:
    """Choose trials: the defaults first, then a scrambled Sobol sequence; a hyperparameter that was given stays fixed.

    Without `fix_lr` the given lr is that of another stage, and is not used.

    A quasi-random design fits trials that train together, which no sequential method can.
    """
    points = torch.quasirandom.SobolEngine(4, scramble=True, seed=config.seed).draw(num_trials).tolist()
    trials = []
    for number, point in enumerate(points):
        is_default = number == 0
        lr = DEFAULT_LR if is_default else logarithmic(point[0], LR_RANGE)
        decay = DEFAULT_WEIGHT_DECAY if is_default else logarithmic(point[1], WEIGHT_DECAY_RANGE)
        smoothing = DEFAULT_LABEL_SMOOTHING if is_default else point[2] * LABEL_SMOOTHING_RANGE[1]
        size = DEFAULT_BATCH_SIZE if is_default else BATCH_SIZES[int(point[3] * len(BATCH_SIZES))]
        trials.append(
            Trial(
                number,
                lr if config.lr is None or not fix_lr else config.lr,
                decay if config.weight_decay is None else config.weight_decay,
                size if config.batch_size is None else config.batch_size,
                smoothing if config.label_smoothing is None else config.label_smoothing,
            )
        )
    return trials


def logarithmic(position: float, interval: tuple[float, float]) -> float:
    """Map a position in [0, 1] to an interval, evenly in the logarithm."""
    low, high = interval
    return float(low * (high / low) ** position)


def warmup_cosine(step: int, num_steps: int) -> float:
    """Give the share of the peak learning rate at a step: a linear rise, then half a cosine to 0."""
    num_warmup = max(1, round(WARMUP_SHARE * num_steps))
    if step < num_warmup:
        return (step + 1) / num_warmup
    return 0.5 * (1 + math.cos(math.pi * (step - num_warmup) / max(1, num_steps - num_warmup)))


TRIAL_TENSORS = (
    "weight", "bias", "_lr", "_weight_decay", "_smoothing",
    "_weight_first", "_weight_second", "_bias_first", "_bias_second",
)  # fmt: skip
"""What a group holds for each trial."""


class HeadGroup:
    """The heads of the trials with one batch size."""

    def __init__(
        self,
        trials: Sequence[Trial],
        num_features: int,
        num_classes: int,
        num_steps: int,
        device: torch.device = CPU,
    ) -> None:
        self.trials = list(trials)
        self._device = device
        self.weight = torch.zeros(len(trials), num_classes, num_features, device=device)
        self.bias = torch.zeros(len(trials), num_classes, device=device)
        self._lr = torch.tensor([trial.lr for trial in trials], device=device)
        self._weight_decay = torch.tensor([trial.weight_decay for trial in trials], device=device)
        self._smoothing = torch.tensor([trial.label_smoothing for trial in trials], device=device)[:, None]
        self._weight_first, self._weight_second = torch.zeros_like(self.weight), torch.zeros_like(self.weight)
        self._bias_first, self._bias_second = torch.zeros_like(self.bias), torch.zeros_like(self.bias)
        self._num_steps = num_steps
        self._step = 0
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Forget the losses of the epoch before."""
        self.loss_sum = torch.zeros(len(self.trials), device=self._device)
        self.num_correct = torch.zeros(len(self.trials), device=self._device)

    def keep(self, indices: list[int]) -> None:
        """Go on with some of the trials only."""
        self.trials = [self.trials[index] for index in indices]
        for name in TRIAL_TENSORS:
            setattr(self, name, getattr(self, name)[indices])

    def logits(self, features: Tensor) -> Tensor:
        """Compute logits (batch, num_trials, num_classes) of features (batch, num_features)."""
        flat = features @ self.weight.flatten(0, 1).T
        return flat.view(len(features), *self.bias.shape) + self.bias

    def lr(self, index: int) -> float:
        """Tell a trial's learning rate in the last step."""
        return float(self._lr[index]) * warmup_cosine(max(0, self._step - 1), self._num_steps)

    def step(self, features: Tensor, labels: Tensor, end_part: Callable[[str], None] = lambda _part: None) -> None:
        """Train every head on a batch: cross-entropy with label smoothing, AdamW."""
        logits = self.logits(features)
        losses, gradient = heads_gradient(logits, labels, self._smoothing)
        self.loss_sum += losses
        self.num_correct += heads_recognised(logits, labels).sum(0)
        end_part("forward")
        weight_gradient = (gradient.flatten(1).T @ features).view_as(self.weight)
        end_part("backward")
        lr = (self._lr * warmup_cosine(self._step, self._num_steps))[:, None]
        self._step += 1
        keep = 1 - lr * self._weight_decay[:, None]
        weight, first, second = (tensor.flatten(1) for tensor in (self.weight, self._weight_first, self._weight_second))
        # A few trials at a time, so that all that an update reads and writes stays in the processor's cache.
        num_at_once = max(1, CACHED_NUMBERS // weight.shape[1]) if self._device == CPU else len(weight)
        for start in range(0, len(weight), num_at_once):
            part = slice(start, start + num_at_once)
            weight[part].mul_(keep[part])
            self._adam(weight[part], weight_gradient.flatten(1)[part], first[part], second[part], lr[part])
        self._adam(self.bias, gradient.sum(0), self._bias_first, self._bias_second, lr)
        end_part("optimizer")

    def _adam(self, parameter: Tensor, gradient: Tensor, first: Tensor, second: Tensor, lr: Tensor) -> None:
        """Kingma and Ba, "Adam" (2015), algorithm 1, with a learning rate for each trial."""
        first.lerp_(gradient, 1 - BETAS[0])
        second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        size = lr * (math.sqrt(1 - BETAS[1] ** self._step) / (1 - BETAS[0] ** self._step))
        parameter.sub_((first / second.sqrt().add_(EPSILON)).mul_(size))


@dataclass(frozen=True)
class JudgedHead:
    """A head and how good it is."""

    result: TrialResult
    temperature: float
    group: HeadGroup
    index: int


class HeadSearch:
    """Trains the heads of many trials; the mean of the best ones is the model.

    A head is judged at the end of its schedule, by its validation loss after temperature scaling. The lowest loss
    of any epoch of any trial would be a choice among thousands, which fits the validation photographs, not the task.
    For the same reason the best few heads are averaged, each divided by its temperature: the mean of linear heads is a
    linear head that gives the mean of their logits.
    """

    def __init__(
        self, train: Features, validation: Features, num_classes: int, trials: Sequence[Trial], epochs: int
    ) -> None:
        self._train = train
        self._validation = validation
        self._epochs = epochs
        self._results: list[TrialResult] = []
        self._groups = [
            HeadGroup(
                [trial for trial in trials if trial.batch_size == size],
                train.num_features,
                num_classes,
                epochs * -(-len(train) // size),
                train.device,
            )
            for size in sorted({trial.batch_size for trial in trials})
        ]

    def run(
        self, head: nn.Linear, history: History, seed: int, stop: StopSignal, recorder: Recorder | None = None
    ) -> list[TrialResult]:
        """Train for all epochs and leave the model, for raw features, in `head`; return all results, best first."""
        generator = torch.Generator().manual_seed(seed)
        prune_at = {math.ceil(share * self._epochs): kept for share, kept in PRUNING}
        num_trials = sum(len(group.trials) for group in self._groups)
        times = SummedSteps(
            recorder or Recorder(), STAGE, epochs=self._epochs, steps_per_epoch=self._steps_per_epoch(),
            num_trials=num_trials, batch_size=min(group.trials[0].batch_size for group in self._groups),
        )  # fmt: skip
        for epoch in range(1, self._epochs + 1):
            times.begin()
            for group in self._groups:
                group.begin_epoch()
                for features, labels in self._train.batches(group.trials[0].batch_size, generator):
                    times.end_part("data_wait")
                    group.step(features, labels, times.end_part)
            with times.validation(epoch):
                lr = self._record(history)
            times.end(epoch, self._steps_per_epoch(), len(self._groups) * len(self._train), history.rows[-1], lr)
            if stop.requested or epoch == self._epochs:
                return self._finish(head, history, epoch)
            if epoch in prune_at:
                self._prune(max(NUM_AVERAGED, round(prune_at[epoch] * num_trials)), epoch)
        raise AssertionError("the last epoch returns")

    def _steps_per_epoch(self) -> int:
        return sum(-(-len(self._train) // group.trials[0].batch_size) for group in self._groups)

    def _record(self, history: History) -> float:
        """Validate every head, and note the epoch of the one with the lowest loss; return its learning rate."""
        lowest, chosen = math.inf, None
        for group in self._groups:
            logits = self._logits(group)
            losses = heads_losses(logits, self._validation.labels).nan_to_num(math.inf, math.inf)
            index = int(losses.argmin())
            if float(losses[index]) < lowest:
                # A copy, so that the logits of all heads are in memory for one group at a time.
                lowest, chosen = float(losses[index]), (group, index, logits[:, index].contiguous())
        if chosen is None:
            raise UserError("training diverged; set a lower lr, such as a tenth of this one")
        group, index, logits = chosen
        train_loss = float(group.loss_sum[index]) / len(self._train)
        train_accuracy = float(group.num_correct[index]) / len(self._train)
        validation = logits.cpu().numpy(), self._validation.labels.cpu().numpy()
        history.note(STAGE, train_loss, train_accuracy, validation)
        return group.lr(index)

    def _logits(self, group: HeadGroup) -> Tensor:
        return torch.cat([group.logits(features) for features, _ in self._validation.chunks()])

    def _judge(self, epoch: int) -> list[JudgedHead]:
        """Judge the heads that are left, best first."""
        judged = []
        for group in self._groups:
            logits = self._logits(group)
            accuracies = heads_recognised(logits, self._validation.labels).float().mean(0)
            temperatures, losses = fit_temperatures(logits.cpu().numpy(), self._validation.labels.cpu().numpy())
            for index, trial in enumerate(group.trials):
                result = TrialResult(trial, epoch, float(losses[index]), float(accuracies[index]))
                judged.append(JudgedHead(result, float(temperatures[index]), group, index))
        return sorted(judged, key=lambda head: loss_or_infinity(head.result))

    def _prune(self, num_kept: int, epoch: int) -> None:
        """Go on with the best heads only: successive halving (Jamieson and Talwalkar, 2016)."""
        judged = self._judge(epoch)
        self._results += [head.result for head in judged[num_kept:]]
        for group in self._groups:
            group.keep(sorted(head.index for head in judged[:num_kept] if head.group is group))
        self._groups = [group for group in self._groups if group.trials]

    def _finish(self, head: nn.Linear, history: History, epoch: int) -> list[TrialResult]:
        judged = self._judge(epoch)
        averaged = [each for each in judged[:NUM_AVERAGED] if math.isfinite(each.result.validation_loss)] or judged[:1]
        # The mean has the temperature of its heads, so that calibration is measured before and after scaling.
        temperature = math.exp(sum(math.log(each.temperature) for each in averaged) / len(averaged))
        scaled = [(each.group, each.index, temperature / each.temperature) for each in averaged]
        weight = torch.stack([scale * group.weight[index] for group, index, scale in scaled]).mean(0)
        bias = torch.stack([scale * group.bias[index] for group, index, scale in scaled]).mean(0)
        self._train.fold(weight, bias, head)
        logits = torch.cat([features @ weight.T + bias for features, _ in self._validation.chunks()])
        history.replace(head, (logits.cpu().numpy(), self._validation.labels.cpu().numpy()))
        pruned = sorted(self._results, key=lambda result: (-result.epoch, loss_or_infinity(result)))
        return [each.result for each in judged] + pruned


def loss_or_infinity(result: TrialResult) -> float:
    """Give the validation loss of a trial, by which it is sorted; infinity where it diverged."""
    return result.validation_loss if math.isfinite(result.validation_loss) else math.inf
