"""The training stages: the head on frozen features, and all layers on photographs."""

import logging
import signal
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torchvision
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from classifier.architectures import Network
from classifier.engines import Normalizer, TorchEngine
from classifier.errors import ImageError
from classifier.preprocessing import RESAMPLING, Preprocessing, decode_image, read_bytes
from container.lifecycle import StopSignal
from train.data import Photographs, Split
from train.features import UnreadablePhotographs, run_split, sample
from train.history import History, Labels, Logits
from train.optim import Recipe

logger = logging.getLogger(__name__)

CROP_AREA = (0.35, 1.0)
"""Share of a photograph's area that a training crop keeps; torchvision's 0.08 suits training from nothing."""

CROP_ASPECT = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class Unreadable:
    """A photograph that gives no crop."""

    index: int
    error: ImageError


class TrainingCrops(Dataset[tuple[torch.Tensor, int] | Unreadable]):
    """Random crops and flips of photographs, as uint8 pixels."""

    def __init__(self, split: Split, preprocessing: Preprocessing) -> None:
        self._split = split
        self._preprocessing = preprocessing

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int] | Unreadable:
        """Give pixels (crop_size, crop_size, 3) and the label of one photograph."""
        crop_size = self._preprocessing.crop_size
        try:
            image = decode_image(read_bytes(self._split.photographs[index]), min_side=2 * crop_size)
        except ImageError as error:
            return Unreadable(index, error)
        top, left, height, width = torchvision.transforms.RandomResizedCrop.get_params(
            image, list(CROP_AREA), list(CROP_ASPECT)
        )
        resampling = RESAMPLING[self._preprocessing.interpolation]
        crop = image.resize((crop_size, crop_size), resampling, box=(left, top, left + width, top + height))
        pixels = np.array(crop)
        if torch.rand(()) < 0.5:
            pixels = np.ascontiguousarray(pixels[:, ::-1])
        return torch.from_numpy(pixels), int(self._split.labels[index])


Batch = tuple[torch.Tensor, torch.Tensor, dict[int, ImageError]]


def collate(items: Sequence[tuple[torch.Tensor, int] | Unreadable]) -> Batch:
    """Stack the crops of a batch and set the unreadable photographs apart."""
    crops: list[torch.Tensor] = []
    labels: list[int] = []
    unreadable: dict[int, ImageError] = {}
    for item in items:
        if isinstance(item, Unreadable):
            unreadable[item.index] = item.error
        else:
            crops.append(item[0])
            labels.append(item[1])
    return torch.stack(crops) if crops else torch.empty(0), torch.tensor(labels), unreadable


def ignore_signals(_worker: int) -> None:
    """Leave SIGTERM and SIGINT, which a terminal sends to the whole group, to the main process."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


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
        num_workers: int,
        num_threads: int,
    ) -> None:
        self._network = network
        self._photographs = photographs
        self._preprocessing = preprocessing
        self._unreadable = unreadable
        self._device = torch.device(device)
        self._num_workers = num_workers
        self._num_threads = num_threads
        self._normalize = Normalizer(preprocessing, self._device)

    def run(self, recipe: Recipe, history: History, stop: StopSignal) -> None:
        """Train for the recipe's epochs; the best epoch's weights are left in the network."""
        loader = self._loader(recipe)
        network = self._network.to(self._device).to(memory_format=torch.channels_last)
        optimizer, schedule = recipe.optimizer(network, recipe.epochs * len(loader))
        for epoch in range(recipe.epochs):
            train_loss, train_accuracy, unreadable = self._train_one_epoch(loader, recipe, optimizer, schedule, stop)
            if epoch == 0 and not stop.requested:
                train = self._photographs.train.photographs
                self._unreadable.add({train[index]: error for index, error in unreadable.items()}, len(train))
            if stop.requested and history.best is not None:
                break
            history.record(recipe.stage, network, train_loss, train_accuracy, self._validate(stop))
            if stop.requested:
                break
        history.restore(network)

    def _loader(self, recipe: Recipe) -> "DataLoader[tuple[torch.Tensor, int]]":
        return DataLoader(
            TrainingCrops(self._photographs.train, self._preprocessing),  # type: ignore[arg-type]
            batch_size=recipe.batch_size,
            shuffle=True,
            # A last batch of one image has no variance for batch normalisation.
            drop_last=len(self._photographs.train) > recipe.batch_size,
            num_workers=self._num_workers,
            persistent_workers=self._num_workers > 0,
            collate_fn=collate,
            worker_init_fn=ignore_signals,
            pin_memory=self._device.type == "cuda",
            generator=torch.Generator().manual_seed(recipe.seed),
        )

    def _train_one_epoch(
        self,
        loader: "DataLoader[tuple[torch.Tensor, int]]",
        recipe: Recipe,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LambdaLR,
        stop: StopSignal,
    ) -> tuple[float, float, dict[int, ImageError]]:
        self._network.train()
        criterion = recipe.criterion()
        loss_sum = torch.zeros((), device=self._device)
        num_correct = torch.zeros((), dtype=torch.int64, device=self._device)
        num_images = 0
        unreadable: dict[int, ImageError] = {}
        for pixels, labels, skipped in tqdm(loader, desc="train", unit="step", disable=None):
            unreadable.update(skipped)
            if stop.requested:
                break
            if len(labels) < 2:
                continue
            images, labels = self._normalize(pixels), labels.to(self._device, non_blocking=True)
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
                logits = self._network(images)
                loss = criterion(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            loss_sum += loss.detach() * len(labels)
            num_correct += (logits.argmax(1) == labels).sum()
            num_images += len(labels)
        return float(loss_sum) / max(1, num_images), float(num_correct) / max(1, num_images), unreadable

    def _validate(self, stop: StopSignal) -> tuple[Logits, Labels]:
        split = self._photographs.validation
        if stop.requested:
            # A stop in the first epoch: a taste of the validation photographs tells what is saved.
            split = sample(split, 4 * self._num_threads)
        engine = TorchEngine(self._network, self._preprocessing, str(self._device))
        collector = UnreadablePhotographs(max_share=1.0)
        logits, labels = run_split(
            engine, self._preprocessing, split, collector, name="validation", num_threads=self._num_threads
        )
        self._unreadable.reasons.update(collector.reasons)
        return logits, labels
