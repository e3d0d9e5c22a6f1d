"""From photographs to batches of training crops: decode, crop, augment, and the processes that do it."""

import contextlib
import hashlib
import logging
import math
import multiprocessing
import shutil
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import RandomResizedCrop

from classifier.errors import ImageError
from classifier.preprocessing import RESAMPLING, Pixels, Preprocessing, load_pixels, read_bytes
from train.augment import create_policy, photograph_weights
from train.config import Augmentation, ClassBalance
from train.decode import MIN_SHRINK, decode_pixels, read_header, shrink
from train.photograph_cache import PhotographCache, num_that_fit
from train.split import Labels, Split

logger = logging.getLogger(__name__)

CROP_AREA = (0.35, 1.0)
"""Share of a photograph's area that a training crop keeps; torchvision's 0.08 suits training from nothing."""

CROP_ASPECT = (3 / 4, 4 / 3)

CACHED_SCALE = 1.15
"""Shorter side of a kept photograph, relative to the preprocessing's resize_size."""

MAX_ASPECT = 2
"""Photographs longer than this are not kept; the others' size bounds the cache."""

NUM_MEASURED = 16
"""Photographs that tell the mean size of a kept one."""

TORCH_INTERPOLATION = ("bilinear", "bicubic")
"""What torch resizes in uint8 with vector instructions; Pillow does the others."""

PREFETCH = 2
"""Batches that each worker keeps ready, torch's own default."""

MAX_WORKERS = 32

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where torch passes batches between processes

Label = np.integer[Any] | Labels
"""A class index, or 0 and 1 (num_classes,)."""

Key = tuple[int, int]
"""Epoch and index of a photograph: on these and the seed alone depends what is drawn for it."""


@dataclass(frozen=True)
class Unreadable:
    """A photograph that gives no crop."""

    index: int
    error: ImageError


Item = tuple[torch.Tensor, Label] | Unreadable
Batch = tuple[torch.Tensor, torch.Tensor, dict[int, ImageError]]


class TrainingCrops(Dataset[Item]):
    """Random crops and flips of photographs, as uint8 pixels; what serving sees with augmentation `none`."""

    def __init__(
        self,
        split: Split,
        preprocessing: Preprocessing,
        *,
        seed: int = 0,
        augmentation: Augmentation = "crop_flip",
        cache: PhotographCache | None = None,
    ) -> None:
        self._split = split
        self._preprocessing = preprocessing
        self._seed = seed
        self._augmentation = augmentation
        self._policy = create_policy(augmentation)
        self._cache = cache

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, key: Key) -> Item:
        """Give pixels (crop_size, crop_size, 3) and the label of one photograph in one epoch."""
        epoch, index = key
        # torchvision draws from torch's generator; the caller's place in it stays as it was.
        state = torch.get_rng_state()
        sequence = np.random.SeedSequence([self._seed, epoch, index])
        torch.default_generator.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))
        try:
            return self._crop(index), self._split.labels[index]
        except ImageError as error:
            return Unreadable(index, error)
        finally:
            torch.set_rng_state(state)

    def _crop(self, index: int) -> torch.Tensor:
        if self._augmentation == "none":
            # A copy, as what the cache maps cannot be written to, which torch wants of its arrays.
            return torch.from_numpy(np.array(self._kept(index)))
        size = self._preprocessing.crop_size
        if self._cache is None:
            data = read_bytes(self._split.photographs[index])
            header = read_header(data)
            if header is not None:
                box = draw_box(header.height, header.width)
                pixels = decode_pixels(data, header, min_side=box.side_for(size, header.height, header.width))
                box = box.scaled(pixels.shape[0] / header.height, pixels.shape[1] / header.width)
            else:
                pixels = decode_pixels(data, None, min_side=size)
                box = draw_box(pixels.shape[0], pixels.shape[1])
        else:
            pixels = self._kept(index)
            box = draw_box(pixels.shape[0], pixels.shape[1])
        crop = torch.from_numpy(resize(pixels, box, size, self._preprocessing.interpolation))
        if torch.rand(()) < 0.5:
            # numpy takes 0.36 ms for this, torch 0.01
            crop = crop.flip(1)
        if self._policy is not None:
            crop = self._policy(crop.permute(2, 0, 1)).permute(1, 2, 0).contiguous()
        return crop

    def _kept(self, index: int) -> Pixels:
        """Take the pixels that every epoch begins with from the cache, or make and keep them."""
        pixels = self._cache.get(index) if self._cache else None
        if pixels is None:
            pixels = keepable(self._split.photographs[index], self._preprocessing, self._augmentation)
            if self._cache:
                self._cache.put(index, pixels)
        return pixels


@dataclass(frozen=True)
class Box:
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def scaled(self, vertical: float, horizontal: float) -> "Box":
        """Give the same part of the image at another size."""
        top, left = round(self.top * vertical), round(self.left * horizontal)
        bottom, right = (self.top + self.height) * vertical, (self.left + self.width) * horizontal
        return Box(top, left, max(1, round(bottom) - top), max(1, round(right) - left))

    def side_for(self, size: int, height: int, width: int) -> int:
        """Compute how long an image's shorter side must stay for this part to have `size` pixels each way."""
        return math.ceil(min(height, width) * size / min(self.height, self.width))


def draw_box(height: int, width: int) -> Box:
    """Draw the part of an image that a training crop shows."""
    # get_params reads nothing of the image but its size
    return Box(*RandomResizedCrop.get_params(torch.empty(1, height, width), list(CROP_AREA), list(CROP_ASPECT)))


def resize(pixels: Pixels, box: Box, size: int, interpolation: str) -> Pixels:
    """Resize a part of pixels (height, width, 3) to (size, size, 3)."""
    part = pixels[box.top : box.top + box.height, box.left : box.left + box.width]
    if interpolation not in TORCH_INTERPOLATION:
        return np.array(Image.fromarray(part).resize((size, size), RESAMPLING[interpolation]))
    # A part is no dense array, which the fast kernel wants, and what the cache maps cannot be written to: hence a copy.
    tensor = torch.from_numpy(np.array(part)).unsqueeze(0).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(tensor, (size, size), mode=interpolation, antialias=True)
    return np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy())


def keepable(photograph: Path, preprocessing: Preprocessing, augmentation: Augmentation) -> Pixels:
    """Make the pixels of a photograph that do not change from epoch to epoch. Raises ImageError."""
    if augmentation == "none":
        return load_pixels(photograph, preprocessing)
    data = read_bytes(photograph)
    side = round(CACHED_SCALE * preprocessing.resize_size)
    return shrink(decode_pixels(data, read_header(data), min_side=side), side)


def open_cache(
    directory: Path,
    split: Split,
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    *,
    wanted: bool | None,
) -> PhotographCache | None:
    """Open the cache of a split's photographs; None where it is not wanted, or with `wanted` None does not fit.

    With `wanted` true, as many photographs are kept as fit.
    """
    if wanted is False:
        return None
    mean_bytes = mean_kept_bytes(split, preprocessing, augmentation)
    num_kept = num_that_fit(directory, mean_bytes, len(split))
    if num_kept < len(split):
        logger.info(
            "photograph_cache: %.1f GB of decoded photographs, room for %d of %d in %s",
            mean_bytes * len(split) / 1e9, num_kept, len(split), directory,
        )  # fmt: skip
        if wanted is None:
            return None
    side = round(MIN_SHRINK * round(CACHED_SCALE * preprocessing.resize_size))
    slot_bytes = 3 * (preprocessing.crop_size**2 if augmentation == "none" else side * MAX_ASPECT * side)
    # What is kept depends on these too.
    parts = f"{preprocessing} {augmentation == 'none'} {split.photographs.digest()}"
    kind = hashlib.sha256(parts.encode()).hexdigest()[:16]
    try:
        return PhotographCache(directory / kind, split.photographs, slot_bytes, num_kept)
    except OSError as error:
        logger.warning("photograph_cache: %s (%s); photographs are decoded in each epoch", error.strerror, directory)
        return None


def mean_kept_bytes(split: Split, preprocessing: Preprocessing, augmentation: Augmentation) -> float:
    """Estimate from a few photographs how many bytes each takes in the cache."""
    sizes = []
    for index in range(0, len(split), max(1, len(split) // NUM_MEASURED)):
        with contextlib.suppress(ImageError):
            sizes.append(keepable(split.photographs[index], preprocessing, augmentation).nbytes)
    return float(np.mean(sizes)) if sizes else 0.0


class EpochSampler(Sampler[Key]):
    """Draws the photographs of an epoch; the order depends on the seed and the epoch only."""

    def __init__(self, split: Split, seed: int, class_balance: ClassBalance) -> None:
        self.epoch = 0
        self.num_skipped = 0
        """Photographs at the beginning of the epoch that are left out, as training went through them before."""
        self._num_photographs = len(split)
        self._seed = seed
        self._weights = None
        if class_balance == "sampling":
            self._weights = photograph_weights(split.labels)

    def __len__(self) -> int:
        return self._num_photographs

    def __iter__(self) -> Iterator[Key]:
        sequence = np.random.SeedSequence([self._seed, self.epoch])
        generator = torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0]))
        if self._weights is None:
            order = torch.randperm(len(self), generator=generator)
        else:
            order = torch.multinomial(self._weights, len(self), replacement=True, generator=generator)
        return ((self.epoch, int(index)) for index in order[self.num_skipped :].numpy())


def collate(items: Sequence[Item]) -> Batch:
    """Stack the crops of a batch and set the unreadable photographs apart."""
    readable = [item for item in items if not isinstance(item, Unreadable)]
    unreadable = {item.index: item.error for item in items if isinstance(item, Unreadable)}
    crops = torch.stack([crop for crop, _ in readable]) if readable else torch.empty(0, dtype=torch.uint8)
    labels = np.stack([label for _, label in readable]) if readable else np.empty(0, dtype=np.int64)
    return crops, torch.from_numpy(labels), unreadable


def ignore_signals(_worker: int) -> None:
    """Leave SIGTERM and SIGINT, which a terminal sends to the whole group, to the main process."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def create_loader(
    crops: TrainingCrops,
    sampler: EpochSampler,
    batch_size: int,
    num_workers: int,
    *,
    pin_memory: bool,
    drop_last: bool = True,
) -> "DataLoader[Item]":
    """Build the loader of batches, whose workers live until it is collected."""
    return DataLoader(
        crops,
        batch_size=batch_size,
        sampler=sampler,
        # A last batch of one image has no variance for batch normalisation.
        drop_last=drop_last and len(crops) > batch_size,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        prefetch_factor=PREFETCH if num_workers else None,
        multiprocessing_context=multiprocessing.get_context("fork") if num_workers else None,
        collate_fn=collate,
        worker_init_fn=ignore_signals,
        pin_memory=pin_memory,
        # Seeds of the workers: drawn from here, so that torch's own generator stays where it is.
        generator=torch.Generator().manual_seed(0),
    )


def choose_num_workers(asked: int | None, num_cpus: int, num_images: int, batch_size: int, crop_size: int) -> int:
    """Choose how many processes decode: those asked for, or one a core, as far as /dev/shm holds their batches."""
    num_batches = math.ceil(num_images / batch_size)
    wanted = min(num_cpus, MAX_WORKERS, num_batches) if asked is None else asked
    if not SHARED_MEMORY.is_dir() or wanted == 0:
        return wanted
    batch_bytes = min(batch_size, num_images) * crop_size**2 * 3
    # Beside the batches that wait, each worker fills one and the main process holds one.
    free_bytes = shutil.disk_usage(SHARED_MEMORY).free - batch_bytes
    allowed = max(0, free_bytes // ((PREFETCH + 1) * batch_bytes))
    if allowed < wanted:
        logger.warning(
            "num_workers=%d instead of %d: %s has %.0f MB free; start the container with a larger --shm-size",
            allowed, wanted, SHARED_MEMORY, free_bytes / 1e6,
        )  # fmt: skip
    return min(wanted, allowed)
