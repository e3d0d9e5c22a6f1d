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
from train.checkpoint import Checkpoints
from train.data import Photographs
from train.debugger.recorder import Recorder, StageRecorder
from train.debugger.watcher import Outcome, Stage
from train.features import UnreadablePhotographs, read_batches, run_split, sample
from train.history import EarlyStopping, History, Logits
from train.optim import Recipe
from train.photograph_cache import PhotographCache
from train.pipeline import EpochSampler, Item, TrainingCrops, choose_num_workers, create_loader, open_cache
from train.split import Labels
from train.step import Step
from train.training_state import Progress, TrainingState

logger = logging.getLogger(__name__)

MIN_BATCH = 2
"""A batch of one image has no variance for batch normalisation."""


@dataclass
class EpochResult:
    """What an epoch of training measured."""

    loss: float
    accuracy: float
    """Share of the crops whose class, or larger share after mixing, was recognised; of all labels, where several."""


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
        checkpoints: Checkpoints | None = None,
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
        self._checkpoints = checkpoints or Checkpoints(None, {}, None)

    def run(self, recipe: Recipe, history: History, stop: StopSignal) -> None:
        """Train for the recipe's epochs, or what a checkpoint leaves of them; keep the best epoch's weights."""
        # Dropout and mixing draw from here.
        torch.manual_seed(recipe.seed)
        cache = self._open_cache(recipe)
        try:
            self._run(recipe, history, stop, cache)
        finally:
            if cache is not None:
                cache.remove()
        history.restore(self._network)

    def note_start(self, history: History) -> None:
        """Validate the network as it is, so that training never ends with a worse one."""
        history.replace(self._network, self._validate(self._network.to(self._device), is_urgent=False))
        logger.info(
            "validation:loss of the model before training: %.4f", history.best.loss if history.best else math.nan
        )

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
        progress = Progress(self._device)
        training = TrainingState(network, step, history, early, progress)
        self._checkpoints.restore(training)
        if progress.epoch > 0:
            self._tell_unreadable(progress)
        steps = self.begin_stage(loader, recipe, forward, step)
        while progress.epoch < recipe.epochs:
            started, epoch = time.perf_counter(), progress.epoch
            sampler.epoch, sampler.num_skipped = epoch, progress.batch * recipe.batch_size
            steps.begin_epoch(epoch + 1)
            result = self.train_one_epoch(loader, recipe, forward, training, steps, stop)
            is_cut = stop.requested
            if is_cut:
                self._checkpoints.save(training)
                if history.best is not None:
                    break
            elif epoch == 0:
                self._tell_unreadable(progress)
            with self._recorder.pause("validation", recipe.stage, epoch + 1):
                evaluation = self._evaluate(recipe, result, training, is_urgent=is_cut and stop.is_urgent)
            diverged = {"train:loss": result.loss, "train:accuracy": result.accuracy, "validation:loss": math.nan}
            metrics = diverged if evaluation is None else history.rows[-1]
            self._recorder.epoch(recipe.stage, epoch + 1, time.perf_counter() - started, metrics, step.lr)
            steps.end_epoch(lambda: self._validation_batches(recipe.batch_size))
            if evaluation is None:
                tell_divergence(epoch + 1, history)
                break
            if is_cut:
                break
            is_over = early.is_over(evaluation.loss) and epoch + 1 < recipe.epochs
            progress.end_epoch(recipe.epochs if is_over else epoch + 1)
            self._checkpoints.save_after_epoch(training, now=stop.requested)
            if is_over:
                logger.info("early stopping after epoch %d of %d", epoch + 1, recipe.epochs)
            if stop.requested:
                break
        steps.end()

    def _evaluate(
        self, recipe: Recipe, result: EpochResult, training: TrainingState, *, is_urgent: bool
    ) -> Evaluation | MultiLabelEvaluation | None:
        """Validate and note an epoch; None when the network gives no numbers any more."""
        ema = training.step.ema
        trained = ema.module if ema is not None else self._network
        logits, labels = self._validate(trained, is_urgent=is_urgent)
        if not np.isfinite(logits).all():
            return None
        return training.history.record(recipe.stage, trained, result.loss, result.accuracy, (logits, labels))

    def _tell_unreadable(self, progress: Progress) -> None:
        train = self._photographs.train
        skipped = {train.photographs[index]: ImageError(reason) for index, reason in progress.unreadable.items()}
        self._unreadable.add(skipped, len(train))

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
        training: TrainingState,
        steps: StageRecorder,
        stop: StopSignal,
    ) -> EpochResult:
        """Train on every batch once that is left of the epoch. Nothing in the loop waits for the device."""
        set_training(self._network, freeze_batch_norm=recipe.freeze_batch_norm)
        is_multi_label = self._photographs.train.labels.ndim == 2
        num_classes = len(self._photographs.class_names)
        # A learning rate fits the sum over classes as it does one label's loss; the mean over them is what is reported.
        scale = num_classes if is_multi_label else 1
        mix = BatchMixer(recipe.mixup_alpha, recipe.cutmix_alpha, num_classes)
        step, progress = training.step, training.progress
        batches = steps.batches(tqdm(loader, desc="train", unit="step", initial=progress.batch, disable=None))
        for pixels, labels, skipped in batches:
            # Gradients that wait for their update are in no checkpoint.
            if stop.requested and step.is_whole:
                break
            progress.unreadable.update({index: str(error) for index, error in skipped.items()})
            if len(labels) >= MIN_BATCH:
                images, targets = mix(self._normalize(pixels), labels.to(self._device, non_blocking=True))
                steps.end_part("copy")
                with self._autocast(step.dtype):
                    logits = forward(images)
                    loss = steps.stage.criterion(logits, targets)
                steps.end_forward(Outcome(images, logits, loss))
                step.backward(loss * scale)
                steps.end_part("backward")
                progress.loss_sum += loss.detach() * len(labels)
                progress.num_correct += recognised(logits.detach(), targets, multi_label=is_multi_label).sum()
                progress.num_images += len(labels)
            progress.batch += 1
            if progress.batch % recipe.gradient_accumulation_steps == 0 or progress.batch == len(loader):
                step.update()
            steps.end_step()
            if step.is_whole and not stop.requested:
                self._checkpoints.save_after_update(training)
        steps.end_steps()
        num_images = max(1, progress.num_images)
        return EpochResult(float(progress.loss_sum) / num_images, float(progress.num_correct) / num_images)

    def _validate(self, network: nn.Module, *, is_urgent: bool) -> tuple[Logits, Labels]:
        split = self._photographs.validation
        if is_urgent:
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
