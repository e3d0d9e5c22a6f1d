"""Fine-tuning on a CPU, images a second with decoding, beside torchvision's reference loop.

    python benchmarks/finetune_cpu.py FOLDER [--arch resnet18] [--num-images 192] [--repeats 3]

FOLDER holds class folders of JPEGs. The peer is the loop of torchvision's references/classification: PIL transforms,
DataLoader, SGD, cross-entropy, loss.item() and accuracy each step. All train the same random weights with the same
optimizer, learning rate and order of photographs, crops of the same area, batch 32 and two workers that stay alive.
In each repeat all train one epoch, one after another; ratios are of the same repeat.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torchvision
from input_pipeline import Folder
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms

from classifier.architectures import Network, create_network
from classifier.preprocessing import Preprocessing
from container.lifecycle import StopSignal
from container.resources import num_cpus
from train.config import Precision
from train.data import Photographs
from train.features import UnreadablePhotographs
from train.history import EarlyStopping, History
from train.optim import Recipe
from train.path_list import PathList
from train.pipeline import CROP_AREA, EpochSampler, TrainingCrops, create_loader
from train.split import Split
from train.step import Step
from train.trainer import FineTuner
from train.training_state import Progress, TrainingState

PREPROCESSING = Preprocessing(256, 224, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
RECIPE = Recipe(
    "finetune", epochs=1000, batch_size=32, lr=0.01, weight_decay=1e-4, label_smoothing=0.0, seed=0,
    optimizer_name="sgd", lr_schedule="constant", lr_warmup_epochs=0.0,
)  # fmt: skip
NUM_WORKERS = 2

Epoch = Callable[[int], float]
"""Trains one epoch and gives its mean loss."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--num-images", type=int, default=192)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precision", nargs="+", default=["float32", "bf16"])
    arguments = parser.parse_args()
    torch.set_num_threads(num_cpus())
    torch.manual_seed(0)
    split = take(arguments.folder, arguments.num_images)
    network = create_network(arguments.arch, int(split.labels.max()) + 1)
    loops: dict[str, Epoch] = {"peer": peer(copy.deepcopy(network), split)}
    for precision in arguments.precision:
        loops[f"kennel {precision}"] = kennel(copy.deepcopy(network), split, precision)
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    losses: dict[str, list[float]] = {name: [] for name in loops}
    for epoch in range(arguments.repeats + 1):
        for name, loop in loops.items():
            started = time.perf_counter()
            losses[name].append(loop(epoch))
            seconds[name].append(time.perf_counter() - started)
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, {arguments.arch}, {num_cpus()} threads")
    report(seconds, losses, len(split))


def take(folder: Path, num_images: int) -> Split:
    """Take photographs of the classes in turn."""
    classes = [sorted(path.iterdir()) for path in sorted(folder.iterdir()) if path.is_dir()]
    photographs = [photograph for group in zip(*classes, strict=False) for photograph in group][:num_images]
    return Split(PathList(photographs), np.arange(len(photographs)) % len(classes))


def peer(network: Network, split: Split) -> Epoch:
    """Make torchvision's reference loop."""
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(PREPROCESSING.crop_size, scale=CROP_AREA),
            transforms.RandomHorizontalFlip(),
            transforms.PILToTensor(),
            transforms.ConvertImageDtype(torch.float),
            transforms.Normalize(PREPROCESSING.mean, PREPROCESSING.std),
        ]
    )
    sampler = EpochSampler(split, RECIPE.seed, "none")
    order = [index for _, index in sampler]
    loader: DataLoader[tuple[torch.Tensor, int]] = DataLoader(
        Folder(split.photographs, transform), 32, sampler=order, num_workers=NUM_WORKERS, persistent_workers=True
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=RECIPE.lr, momentum=0.9, weight_decay=RECIPE.weight_decay)
    criterion = nn.CrossEntropyLoss()

    def epoch(number: int) -> float:
        sampler.epoch = number
        order[:] = [index for _, index in sampler]
        network.train()
        losses: list[float] = []
        for images, labels in loader:
            logits = network(images)
            loss = criterion(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            (logits.argmax(1) == labels).float().mean().item()
        return sum(losses) / len(losses)

    return epoch


def kennel(network: Network, split: Split, precision: Precision) -> Epoch:
    """Make Kennel's loop, without the cache of photographs."""
    recipe = replace(RECIPE, precision=precision)
    names = tuple(str(label) for label in range(int(split.labels.max()) + 1))
    photographs = Photographs(names, split, split, None)
    options = {"device": "cpu", "num_workers": NUM_WORKERS, "num_threads": num_cpus()}
    tuner = FineTuner(network, photographs, PREPROCESSING, UnreadablePhotographs(0.0), **options)  # type: ignore[arg-type]
    sampler = EpochSampler(split, recipe.seed, "none")
    loader = create_loader(TrainingCrops(split, PREPROCESSING), sampler, 32, NUM_WORKERS, pin_memory=False)
    network.to(memory_format=torch.channels_last)
    device = torch.device("cpu")
    step = Step(recipe, network, device, len(loader))
    training = TrainingState(network, step, History(names), EarlyStopping(None, 0.0), Progress(device))
    steps = tuner.begin_stage(loader, recipe, network, step)

    def epoch(number: int) -> float:
        sampler.epoch = number
        training.progress.end_epoch(number)
        return tuner.train_one_epoch(loader, recipe, network, training, steps, StopSignal()).loss

    return epoch


def report(seconds: dict[str, list[float]], losses: dict[str, list[float]], num_images: int) -> None:
    """Print throughput without the first epoch, pairwise ratios, and the losses of all epochs."""
    for name, values in seconds.items():
        rates = sorted(num_images / value for value in values[1:])
        ratios = sorted(b / a for a, b in zip(values[1:], seconds["peer"][1:], strict=True))
        print(
            f"{name:16} {statistics.median(rates):6.1f} images/s ({rates[0]:.1f}-{rates[-1]:.1f}), "
            f"{statistics.median(ratios):.2f} times the peer ({ratios[0]:.2f}-{ratios[-1]:.2f}), "
            f"loss by epoch {' '.join(f'{loss:.3f}' for loss in losses[name])}"
        )


if __name__ == "__main__":
    main()
