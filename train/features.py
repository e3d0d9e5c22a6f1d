"""Frozen features: each photograph passes the backbone once, on the machine's fastest engine."""

import contextlib
import logging
import time
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from classifier.engines import Array, Engine
from classifier.errors import ImageError
from classifier.inference import BATCH_SIZE, Outputs, run_ahead, run_photographs
from classifier.preprocessing import Pixels, Preprocessing, decode_image, eval_transform, load_pixels, read_bytes
from container.errors import UserError
from container.lifecycle import StopSignal
from train.feature_cache import FeatureCache, Half, content_digest
from train.split import Labels, Split

logger = logging.getLogger(__name__)

PRELOADED_BYTES = 512 * 1024 * 1024
"""Features up to this size, in float32, are held in memory while heads train; larger ones are read batch by batch."""

CHUNK = 4096

CROP_SIDE = (0.6, 1.0)
"""Share of each side of a photograph that a random view keeps."""

SMALLEST_DEVIATION = 1e-3


class UnreadablePhotographs:
    """Counts, names and limits the photographs that cannot be read."""

    def __init__(self, max_share: float) -> None:
        self._max_share = max_share
        self.reasons: dict[Path, str] = {}

    def add(self, unreadable: dict[Path, ImageError], num_photographs: int) -> None:
        """Note the unreadable ones among `num_photographs`. Raises UserError when they are too many."""
        for photograph, error in unreadable.items():
            logger.warning("skipped %s: %s", photograph, error)
            self.reasons[photograph] = str(error)
        if len(unreadable) > self._max_share * num_photographs:
            first = next(iter(unreadable.items()))
            raise UserError(
                f"{len(unreadable)} of {num_photographs} photographs are unreadable, {first[0]} ({first[1]}) among "
                f"them; repair or remove them, or allow more than max_unreadable={self._max_share}"
            )


@dataclass(frozen=True)
class Scaler:
    """Mean and standard deviation of each feature over the training photographs."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def fit(cls, array: Half, rows: npt.NDArray[np.int64]) -> "Scaler":
        """Measure the rows (num_images, num_features), in chunks."""
        total = np.zeros(array.shape[1])
        squares = np.zeros(array.shape[1])
        for start in range(0, len(rows), CHUNK):
            chunk = array[rows[start : start + CHUNK]].astype(np.float64)
            total += chunk.sum(axis=0)
            squares += (chunk**2).sum(axis=0)
        mean = total / len(rows)
        deviation = np.sqrt(np.maximum(squares / len(rows) - mean**2, 0))
        return cls(torch.from_numpy(mean).float(), torch.from_numpy(deviation).float() + SMALLEST_DEVIATION)

    def __call__(self, rows: Half) -> Tensor:
        """Standardise rows (batch, num_features)."""
        return (torch.from_numpy(rows.astype(np.float32)) - self.mean) / self.deviation

    def fold(self, weight: Tensor, bias: Tensor, head: nn.Linear) -> None:
        """Write a head for standardised features as the equal one for raw features."""
        with torch.no_grad():
            head.weight.copy_(weight.cpu() / self.deviation)
            head.bias.copy_(bias.cpu() - head.weight @ self.mean)


class Features:
    """Standardised features of the photographs of a split."""

    def __init__(
        self, array: Half, rows: npt.NDArray[np.int64], labels: Labels, scaler: Scaler, device: str = "cpu"
    ) -> None:
        self.device = torch.device(device)
        self.labels = torch.from_numpy(labels).to(self.device)
        self.num_features = array.shape[1]
        self._array = array
        self._rows = rows
        self.scaler = scaler
        is_small = 4 * len(rows) * array.shape[1] <= PRELOADED_BYTES
        self._preloaded: Tensor | None = None
        if is_small:
            # Chunk by chunk, as the copies on the way would take several times the memory.
            preloaded = torch.empty(len(rows), array.shape[1], device=self.device)
            for start in range(0, len(rows), CHUNK):
                preloaded[start : start + CHUNK] = scaler(array[rows[start : start + CHUNK]])
            self._preloaded = preloaded

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, indices: Tensor) -> Tensor:
        """Read features (batch, num_features) in float32 to the device; `indices` lie on the CPU."""
        if self._preloaded is not None:
            return self._preloaded[indices.to(self.device)]
        return self.scaler(self._array[self._rows[indices.numpy()]]).to(self.device)

    def batches(self, batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through all photographs in random order."""
        for indices in torch.randperm(len(self), generator=generator).split(batch_size):
            yield self.take(indices), self.labels[indices.to(self.device)]

    def chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through all photographs in order."""
        for indices in torch.arange(len(self)).split(CHUNK):
            yield self.take(indices), self.labels[indices.to(self.device)]

    def fold(self, weight: Tensor, bias: Tensor, head: nn.Linear) -> None:
        """Write a head for these features as the equal one for raw features."""
        self.scaler.fold(weight, bias, head)


@dataclass
class ExtractedBatch:
    """What became of a batch of photographs."""

    indices: list[int] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    values: dict[bytes, Array] = field(default_factory=dict)
    """Features of the photographs that were not in the cache."""
    unreadable: dict[int, ImageError] = field(default_factory=dict)
    decode_seconds: float = 0.0
    """To read, decode and transform; of one thread, as is the next."""
    engine_seconds: float = 0.0


class FeatureExtractor:
    """Makes the features of photographs, or finds them in a cache."""

    def __init__(self, engine: Engine, preprocessing: Preprocessing, cache: FeatureCache, num_threads: int) -> None:
        self._engine = engine
        self._preprocessing = preprocessing
        self._cache = cache
        self._num_threads = num_threads
        self.seconds = {"decode_seconds": 0.0, "engine_seconds": 0.0}
        """How long the last photographs took, added up over threads."""

    def rows(
        self, split: Split, unreadable: UnreadablePhotographs, *, name: str, stop: StopSignal, num_views: int = 1
    ) -> tuple[npt.NDArray[np.int64], Labels]:
        """Give the cache's rows and the labels (num_read * num_views,) of the photographs that can be read.

        A stop leaves the rest out. Raises UserError for too many unreadable photographs.
        """
        indices, rows = array("q"), array("q")
        errors: dict[int, ImageError] = {}
        num_known = len(self._cache)
        self.seconds = dict.fromkeys(self.seconds, 0.0)
        starts = range(0, len(split), BATCH_SIZE)
        with (
            tqdm(total=len(split), desc=f"{name} features", unit="image", disable=None) as bar,
            ThreadPoolExecutor(self._num_threads) as pool,
        ):
            batches = run_ahead(pool, lambda start: self._extract(split.photographs, start, num_views, stop), starts)
            for batch in batches:
                if batch.values:
                    self._cache.append(list(batch.values), np.stack(list(batch.values.values())))
                indices.extend(batch.indices)
                rows.extend(self._row(digest) for digest in batch.digests)
                errors |= batch.unreadable
                self.seconds = {name: total + getattr(batch, name) for name, total in self.seconds.items()}
                bar.update(min(BATCH_SIZE, len(split) - bar.n))
        if found := len(rows) - (len(self._cache) - num_known):
            logger.info("%s features: %d of %d were in the cache", name, found, len(rows))
        unreadable.add({split.photographs[index]: error for index, error in errors.items()}, len(split))
        return np.array(rows, dtype=np.int64), split.labels[np.array(indices, dtype=np.int64)]

    def _row(self, digest: bytes) -> int:
        row = self._cache.find(digest)
        assert row is not None, "a batch's features are in the cache before its rows are asked for"
        return row

    def _extract(self, photographs: Sequence[Path], start: int, num_views: int, stop: StopSignal) -> ExtractedBatch:
        batch, started = ExtractedBatch(), time.perf_counter()
        pixels: dict[bytes, Pixels] = {}
        if stop.requested:
            return batch
        for index in range(start, min(start + BATCH_SIZE, len(photographs))):
            try:
                data = read_bytes(photographs[index])
                digests = [content_digest(data, view) for view in range(num_views)]
                missing = [view for view, digest in enumerate(digests) if self._cache.find(digest) is None]
                if missing:
                    image = decode_image(data, min_side=self._preprocessing.resize_size)
                    made = {digests[view]: self._view(image, view, digests[view]) for view in missing}
                    pixels |= made
            except ImageError as error:
                batch.unreadable[index] = error
                continue
            batch.indices.extend([index] * num_views)
            batch.digests.extend(digests)
        decoded = time.perf_counter()
        batch.decode_seconds = decoded - started
        if pixels:
            outputs = self._engine.run(np.stack(list(pixels.values())))
            batch.engine_seconds = time.perf_counter() - decoded
            batch.values.update(zip(pixels, outputs, strict=True))
        return batch

    def _view(self, image: Image.Image, view: int, digest: bytes) -> Pixels:
        """Make a view: 0 is what serving sees, 1 its mirror image, others random crops, every other one mirrored."""
        if view > 1:
            image = random_crop(image, np.random.default_rng(int.from_bytes(digest, "little")))
        pixels = eval_transform(image, self._preprocessing)
        return pixels[:, ::-1] if view % 2 else pixels


def random_crop(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Cut a rectangle of half to all of each side, anywhere."""
    width, height = (max(1, round(length * generator.uniform(*CROP_SIDE))) for length in image.size)
    left, top = int(generator.integers(image.width - width + 1)), int(generator.integers(image.height - height + 1))
    return image.crop((left, top, left + width, top + height))


def run_split(
    engine: Engine,
    preprocessing: Preprocessing,
    split: Split,
    unreadable: UnreadablePhotographs,
    *,
    name: str,
    num_threads: int,
) -> tuple[Array, Split]:
    """Compute outputs (num_read, num_outputs) of the photographs that can be read, and say which those are.

    Raises UserError for too many unreadable photographs.
    """
    with tqdm(total=len(split), desc=name, unit="image", disable=None) as bar:
        outputs = run_photographs(
            engine, preprocessing, split.photographs, num_threads=num_threads, progress=bar.update
        )
    unreadable.add(by_photograph(outputs, split.photographs), len(split))
    return outputs.values, split.select(outputs.indices)


def read_batches(split: Split, preprocessing: Preprocessing, batch_size: int) -> Iterator[tuple[Pixels, Labels]]:
    """Read photographs as serving sees them, a batch at a time, and their labels; unreadable ones are left out."""
    for start in range(0, len(split), batch_size):
        pixels, indices = [], []
        for index in range(start, min(start + batch_size, len(split))):
            with contextlib.suppress(ImageError):
                pixels.append(load_pixels(split.photographs[index], preprocessing))
                indices.append(index)
        if pixels:
            yield np.stack(pixels), split.labels[indices]


def by_photograph(outputs: Outputs, photographs: Sequence[Path]) -> dict[Path, ImageError]:
    """Name the unreadable photographs."""
    return {photographs[index]: error for index, error in outputs.unreadable.items()}


def sample(split: Split, num_photographs: int) -> Split:
    """Take a few photographs at random, when a stop leaves no time for all."""
    return split.select(np.random.default_rng(0).permutation(len(split))[:num_photographs])


def shuffled(split: Split, seed: int) -> Split:
    """Shuffle a split, so that a stop in the middle leaves some photographs of every class."""
    return split.select(np.random.default_rng(seed).permutation(len(split)))
