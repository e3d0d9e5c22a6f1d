"""Photographs to normalised training batches, images a second on one core, beside torchvision's reference recipe.

    python benchmarks/input_pipeline.py FOLDER [--num-images 256] [--repeats 5] [--any-size]

FOLDER holds JPEGs, at any depth; those of about 500x375 pixels are taken (--any-size: all). The peer is what
torchvision's references/classification does: ImageFolder, PIL's RandomResizedCrop, flip, ToTensor, Normalize and
DataLoader, with its crop area of 0.08 to 1 and with Kennel's of 0.35 to 1. Every pipeline runs in the main process with
one thread and ends with float32 images. In each repeat all run one after another; ratios are of the same repeat.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms

from classifier.engines import Normalizer
from classifier.preprocessing import Preprocessing
from train.path_list import PathList
from train.pipeline import CROP_AREA, EpochSampler, TrainingCrops, create_loader, open_cache
from train.split import Split

PREPROCESSING = Preprocessing(256, 224, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
BATCH_SIZE = 32

Clock = Callable[[str, Callable[[], Iterable[torch.Tensor]]], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--num-images", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--any-size", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    files = sorted(file for file in arguments.folder.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg"))
    random.Random(0).shuffle(files)
    photographs = take(files, arguments.num_images, any_size=arguments.any_size)
    num_bytes = statistics.median(file.stat().st_size for file in photographs)
    print(
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, Pillow {PIL.__version__}; "
        f"{len(photographs)} photographs, median {num_bytes / 1000:.0f} kB, {arguments.repeats} repeats"
    )
    with tempfile.TemporaryDirectory() as folder:
        report(measure(photographs, Path(folder), arguments.repeats), len(photographs))


def take(files: list[Path], num_images: int, *, any_size: bool) -> list[Path]:
    """Take photographs whose size is near 500x375."""
    chosen = []
    for file in files:
        width, height = Image.open(file).size
        if any_size or (300 <= min(width, height) <= 420 and 400 <= max(width, height) <= 540):
            chosen.append(file)
        if len(chosen) == num_images:
            break
    return chosen


def measure(photographs: list[Path], folder: Path, repeats: int) -> dict[str, list[float]]:
    """Time every pipeline in every repeat, in seconds."""
    split = Split(PathList(photographs), np.arange(len(photographs)) % 2)
    seconds: dict[str, list[float]] = {}

    def clock(name: str, run: Callable[[], Iterable[torch.Tensor]]) -> None:
        started = time.perf_counter()
        count = sum(len(images) for images in run())
        seconds.setdefault(name, []).append(time.perf_counter() - started)
        assert count == len(photographs)

    for repeat in range(-1, repeats):
        if repeat == 0:
            seconds.clear()  # what came before was the warm-up
        measure_once(split, folder / str(repeat), clock)
    return seconds


def measure_once(split: Split, folder: Path, clock: Clock) -> None:
    """Run every pipeline once."""
    cache = open_cache(folder, split, PREPROCESSING, "crop_flip", wanted=True)
    assert cache is not None
    cached = TrainingCrops(split, PREPROCESSING, cache=cache)
    clock("peer, area 0.08-1", lambda: peer(split.photographs, (0.08, 1.0)))
    clock("peer, area 0.35-1", lambda: peer(split.photographs, CROP_AREA))
    clock("no cache", lambda: kennel(TrainingCrops(split, PREPROCESSING), split, 0))
    clock("first epoch, writing the cache", lambda: kennel(cached, split, 0))
    clock("later epoch, from the cache", lambda: kennel(cached, split, 1))
    cache.remove()


def kennel(crops: TrainingCrops, split: Split, epoch: int) -> Iterable[torch.Tensor]:
    """Run one of Kennel's epochs."""
    sampler = EpochSampler(split, 0, "none")
    sampler.epoch = epoch
    loader = create_loader(crops, sampler, BATCH_SIZE, 0, pin_memory=False, drop_last=False)
    normalize = Normalizer(PREPROCESSING, torch.device("cpu"))
    return (normalize(pixels) for pixels, _, _ in loader)


class Folder(torchvision.datasets.ImageFolder):  # type: ignore[misc]
    """ImageFolder over a list of files."""

    def __init__(self, photographs: Sequence[Path], transform: object) -> None:
        self.samples = [(str(file), i % 2) for i, file in enumerate(photographs)]
        self.loader = torchvision.datasets.folder.default_loader
        self.transform, self.target_transform = transform, None


def peer(photographs: Sequence[Path], area: tuple[float, float]) -> Iterable[torch.Tensor]:
    """Run an epoch of torchvision's reference recipe."""
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(PREPROCESSING.crop_size, scale=area),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(PREPROCESSING.mean, PREPROCESSING.std),
        ]
    )
    loader: DataLoader[tuple[torch.Tensor, int]] = DataLoader(
        Folder(photographs, transform), batch_size=BATCH_SIZE, shuffle=True
    )
    return (images for images, _ in loader)


def report(seconds: dict[str, list[float]], num_images: int) -> None:
    """Print medians and pairwise ratios."""
    print(f"{'pipeline':32} {'images/s':>9} {'min-max':>13}   {'times peer 0.08-1':>22}   {'times peer 0.35-1':>22}")
    for name, values in seconds.items():
        rates = sorted(num_images / value for value in values)
        cells = [f"{name:32} {statistics.median(rates):9.0f} {rates[0]:6.0f}-{rates[-1]:6.0f}"]
        for other in ("peer, area 0.08-1", "peer, area 0.35-1"):
            ratios = sorted(b / a for a, b in zip(values, seconds[other], strict=True))
            cells.append(f"{statistics.median(ratios):8.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})")
        print("   ".join(cells))


if __name__ == "__main__":
    main()
