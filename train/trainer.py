"""Fine-tuning: all layers of a network on photographs."""

import contextlib
import copy
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from timm.utils.model_ema import ModelEmaV3
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from classifier.architectures import Network
from classifier.engines import Normalizer, TorchEngine
from classifier.errors import ImageError
from classifier.evaluation import Evaluation
from classifier.multilabel import MultiLabelEvaluation
from classifier.preprocessing import Preprocessing
from container.errors import UserError
from container.lifecycle import StopSignal
from train.augment import BatchMixer, class_weights, dominant, positive_weights
from train.config import Precision
from train.data import Photographs
from train.debugger.recorder import Recorder, StageRecorder
from train.debugger.watcher import Outcome, Stage
from train.features import UnreadablePhotographs, read_batches, run_split, sample
from train.history import EarlyStopping, History, Logits
from train.optim import Recipe
from train.photograph_cache import PhotographCache
from train.pipeline import EpochSampler, Item, TrainingCrops, choose_num_workers, create_loader, open_cache
from train.split import Labels

logger = logging.getLogger(__name__)

MIN_BATCH = 2
"""A batch of one image has no variance for batch normalisation."""


class Step:
    """Everything that a step of training changes: weights, optimizer, schedule, scaler and moving average."""

    def __init__(self, recipe: Recipe, network: Network, device: torch.device, num_batches: int) -> None:
        num_steps = -(-num_batches // recipe.gradient_accumulation_steps)
        self.dtype = choose_dtype(recipe.precision, device)
        self.optimizer, self.schedule = recipe.optimizer(network, recipe.epochs * num_steps)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        # With the warm-up the average of a short training is not that of its first, random weights.
        self.ema = ModelEmaV3(network, recipe.ema_decay, use_warmup=True) if recipe.ema_decay is not None else None
        self._recipe = recipe
        self._network = network
        self._num_batches = 0

    @property
    def lr(self) -> float:
        """Tell the highest learning rate of the next update."""
        return max(float(group["lr"]) for group in self.optimizer.param_groups)

    def backward(self, loss: torch.Tensor) -> None:
        """Add a batch's gradients to those of the step."""
        self.scaler.scale(loss).backward()
        self._num_batches += 1

    def update(self) -> None:
        """Change the weights by the mean gradient of the batches since the last update."""
        if self._num_batches == 0:
            return
        if self._num_batches > 1:
            gradients = [p.grad for p in self._network.parameters() if p.grad is not None]
            torch._foreach_div_(gradients, float(self._num_batches))
        if self._recipe.max_grad_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self._network.parameters(), self._recipe.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        self._num_batches = 0
        if self.ema is not None:
            self.ema.update(self._network, step=self.schedule.last_epoch)


@dataclass
class EpochResult:
    """What an epoch of training measured."""

    loss: float
    accuracy: float
    """Share of the crops whose class, or larger share after mixing, was recognised; of all labels, where several."""
    unreadable: dict[int, ImageError]


class FineTuner:
    """Trains all layers of a network on photographs."""

    def __init__(
        self,
        network: Network,
        photographs: Photographs,
        preprocessing: Preprocessing,
        unreadable: UnreadablePhotographs,
        *,
        device: str,
        num_workers: int | None,
        num_threads: int,
        photograph_cache: bool | None = False,
        cache_directory: Path | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        """Take the job's parts; `num_workers` and `photograph_cache` None let the tuner choose."""
        self._network = network
        self._photographs = photographs
        self._preprocessing = preprocessing
        self._unreadable = unreadable
        self._device = torch.device(device)
        self._num_workers = num_workers
        self._num_threads = num_threads
        self._photograph_cache = photograph_cache
        self._cache_directory = cache_directory
        self._normalize = Normalizer(preprocessing, self._device)
        self._recorder = recorder or Recorder()

    def run(self, recipe: Recipe, history: History, stop: StopSignal) -> None:
        """Train for the recipe's epochs; the best epoch's weights are left in the network."""
        # Dropout and mixing draw from here.
        torch.manual_seed(recipe.seed)
        cache = self._open_cache(recipe)
        try:
            self._run(recipe, history, stop, cache)
        finally:
            if cache is not None:
                cache.remove()
        history.restore(self._network)

    def _run(self, recipe: Recipe, history: History, stop: StopSignal, cache: PhotographCache | None) -> None:
        train = self._photographs.train
        crops = TrainingCrops(
            train, self._preprocessing, seed=recipe.seed, augmentation=recipe.augmentation, cache=cache
        )
        sampler = EpochSampler(train, recipe.seed, recipe.class_balance)
        loader = self._loader(crops, sampler, recipe)
        network = self._network.to(self._device).to(memory_format=torch.channels_last)
        step = Step(recipe, network, self._device, len(loader))
        forward = self._compiled(recipe, step) if recipe.compile else network
        early = EarlyStopping(recipe.early_stopping_patience, recipe.early_stopping_min_delta)
        steps = self.begin_stage(loader, recipe, forward, step)
        for epoch in range(recipe.epochs):
            started = time.perf_counter()
            sampler.epoch = epoch
            steps.begin_epoch(epoch + 1)
            result = self.train_one_epoch(loader, recipe, forward, step, steps, stop)
            if epoch == 0 and not stop.requested:
                skipped = {train.photographs[index]: error for index, error in result.unreadable.items()}
                self._unreadable.add(skipped, len(train))
            if stop.requested and history.best is not None:
                break
            with self._recorder.pause("validation", recipe.stage, epoch + 1):
                evaluation = self._evaluate(recipe, result, step, history, stop)
            diverged = {"train:loss": result.loss, "train:accuracy": result.accuracy, "validation:loss": math.nan}
            metrics = diverged if evaluation is None else history.rows[-1]
            self._recorder.epoch(recipe.stage, epoch + 1, time.perf_counter() - started, metrics, step.lr)
            steps.end_epoch(lambda: self._validation_batches(recipe.batch_size))
            if evaluation is None:
                tell_divergence(epoch + 1, history)
                break
            if stop.requested:
                break
            if early.is_over(evaluation.loss) and epoch + 1 < recipe.epochs:
                logger.info("early stopping after epoch %d of %d", epoch + 1, recipe.epochs)
                break
        steps.end()

    def _evaluate(
        self, recipe: Recipe, result: EpochResult, step: Step, history: History, stop: StopSignal
    ) -> Evaluation | MultiLabelEvaluation | None:
        """Validate and note an epoch; None when the network gives no numbers any more."""
        trained = step.ema.module if step.ema is not None else self._network
        logits, labels = self._validate(trained, stop)
        if not np.isfinite(logits).all():
            return None
        return history.record(recipe.stage, trained, result.loss, result.accuracy, (logits, labels))

    def begin_stage(self, loader: "DataLoader[Item]", recipe: Recipe, forward: nn.Module, step: Step) -> StageRecorder:
        """Begin to watch the epochs of a recipe."""
        train, num_classes = self._photographs.train, len(self._photographs.class_names)
        is_multi_label = train.labels.ndim == 2
        weights = None
        if recipe.class_balance == "loss":
            weights = positive_weights(train.labels) if is_multi_label else class_weights(train.labels, num_classes)
        stage = Stage(
            name=recipe.stage,
            epochs=recipe.epochs,
            steps_per_epoch=len(loader),
            batch_size=recipe.batch_size,
            num_workers=loader.num_workers,
            accumulation=recipe.gradient_accumulation_steps,
            network=self._network,
            criterion=recipe.criterion(weights, multi_label=is_multi_label).to(self._device),
            optimizer=step.optimizer,
            device=self._device,
            is_compiled=forward is not self._network,
            settings=asdict(recipe),
        )
        return self._recorder.begin_stage(stage)

    def _open_cache(self, recipe: Recipe) -> PhotographCache | None:
        # A single epoch reads nothing twice.
        if self._cache_directory is None or (recipe.epochs == 1 and self._photograph_cache is None):
            return None
        return open_cache(
            self._cache_directory,
            self._photographs.train,
            self._preprocessing,
            recipe.augmentation,
            wanted=self._photograph_cache,
        )

    def _loader(self, crops: TrainingCrops, sampler: EpochSampler, recipe: Recipe) -> "DataLoader[Item]":
        num_workers = choose_num_workers(
            self._num_workers, self._num_threads, len(crops), recipe.batch_size, self._preprocessing.crop_size
        )
        return create_loader(crops, sampler, recipe.batch_size, num_workers, pin_memory=self._device.type == "cuda")

    def _compiled(self, recipe: Recipe, step: Step) -> nn.Module:
        """Compile the network and try it; the network itself, with a line in the log, where that fails."""
        size = self._preprocessing.crop_size
        pixels = torch.zeros(recipe.batch_size, size, size, 3, dtype=torch.uint8)
        state = copy.deepcopy(self._network.state_dict())
        random_state = torch.get_rng_state()
        try:
            set_training(self._network, freeze_batch_norm=recipe.freeze_batch_norm)
            compiled = cast(nn.Module, torch.compile(self._network))
            with self._autocast(step.dtype):
                loss = compiled(self._normalize(pixels)).square().mean()
            loss.backward()
        except Exception as error:  # noqa: BLE001 - compilers raise anything; training goes on without them
            logger.warning("compile: torch.compile failed, going on without it: %s", str(error).strip()[:300])
            compiled = self._network
        self._network.zero_grad(set_to_none=True)
        self._network.load_state_dict(state)
        torch.set_rng_state(random_state)
        return compiled

    def _autocast(self, dtype: torch.dtype | None) -> "contextlib.AbstractContextManager[object]":
        return torch.autocast(self._device.type, dtype) if dtype is not None else contextlib.nullcontext()

    def train_one_epoch(
        self,
        loader: "DataLoader[Item]",
        recipe: Recipe,
        forward: nn.Module,
        step: Step,
        steps: StageRecorder,
        stop: StopSignal,
    ) -> EpochResult:
        """Train on every batch once. Nothing in the loop waits for the device."""
        set_training(self._network, freeze_batch_norm=recipe.freeze_batch_norm)
        is_multi_label = self._photographs.train.labels.ndim == 2
        num_classes = len(self._photographs.class_names)
        # A learning rate fits the sum over classes as it does one label's loss; the mean over them is what is reported.
        scale = num_classes if is_multi_label else 1
        mix = BatchMixer(recipe.mixup_alpha, recipe.cutmix_alpha, num_classes)
        loss_sum = torch.zeros((), device=self._device)
        num_correct = torch.zeros((), dtype=torch.int64, device=self._device)
        num_images, unreadable = 0, dict[int, ImageError]()
        batches = steps.batches(tqdm(loader, desc="train", unit="step", disable=None))
        for number, (pixels, labels, skipped) in enumerate(batches, 1):
            unreadable.update(skipped)
            if stop.requested:
                break
            if len(labels) >= MIN_BATCH:
                images, targets = mix(self._normalize(pixels), labels.to(self._device, non_blocking=True))
                steps.end_part("copy")
                with self._autocast(step.dtype):
                    logits = forward(images)
                    loss = steps.stage.criterion(logits, targets)
                steps.end_forward(Outcome(images, logits, loss))
                step.backward(loss * scale)
                steps.end_part("backward")
                loss_sum += loss.detach() * len(labels)
                num_correct += recognised(logits.detach(), targets, multi_label=is_multi_label).sum()
                num_images += len(labels)
            if number % recipe.gradient_accumulation_steps == 0 or number == len(loader):
                step.update()
            steps.end_step()
        steps.end_steps()
        return EpochResult(float(loss_sum) / max(1, num_images), float(num_correct) / max(1, num_images), unreadable)

    def _validate(self, network: nn.Module, stop: StopSignal) -> tuple[Logits, Labels]:
        split = self._photographs.validation
        if stop.is_urgent:
            # A stop in the first epoch: a taste of the validation photographs tells what is saved.
            split = sample(split, 4 * self._num_threads)
        engine = TorchEngine(network, self._preprocessing, str(self._device))
        collector = UnreadablePhotographs(max_share=1.0)
        logits, read = run_split(
            engine, self._preprocessing, split, collector, name="validation", num_threads=self._num_threads
        )
        self._unreadable.reasons.update(collector.reasons)
        return logits, read.labels

    def _validation_batches(self, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Give the validation photographs as images and labels on the device."""
        for pixels, labels in read_batches(self._photographs.validation, self._preprocessing, batch_size):
            yield self._normalize(torch.from_numpy(pixels)), torch.from_numpy(labels).to(self._device)


def tell_divergence(epoch: int, history: History) -> None:
    """Log that training diverged. Raises UserError when there is no better model."""
    advice = "set a lower lr, such as a tenth of this one, or max_grad_norm=1"
    if history.best is None:
        raise UserError(f"training diverged in epoch {epoch}: the network gives no numbers any more; {advice}")
    logger.warning("training diverged in epoch %d, and ends with the best model before; %s", epoch, advice)


def recognised(logits: torch.Tensor, targets: torch.Tensor, *, multi_label: bool) -> torch.Tensor:
    """Tell (batch,) which images have all their labels right, or the larger shares after mixing."""
    if multi_label:
        return ((logits > 0) == (targets > 0.5)).all(1)
    return logits.argmax(1) == dominant(targets)


def set_training(network: nn.Module, *, freeze_batch_norm: bool) -> None:
    """Switch a network to training; its batch normalisations, frozen, keep their statistics and train their scale.

    A head that was trained on features of the stored statistics fits no others.
    """
    network.train()
    if freeze_batch_norm:
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype | None:
    """Choose the type that autocast computes in; None for plain float32."""
    if precision == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
