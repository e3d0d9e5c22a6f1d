"""Pictures that a small network can tell apart in seconds, and that network."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from classifier.architectures import Network
from classifier.preprocessing import Preprocessing
from container.lifecycle import StopSignal
from train.data import Photographs
from train.features import UnreadablePhotographs
from train.history import History
from train.optim import Recipe
from train.path_list import PathList
from train.split import Split
from train.trainer import FineTuner

PREPROCESSING = Preprocessing(36, 32, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))

RECIPE = Recipe("finetune", epochs=3, batch_size=8, lr=0.02, weight_decay=0.01, label_smoothing=0.0, seed=0)


def make_photographs(folder: Path) -> Photographs:
    """Make reddish, greenish and bluish noise: 36 to train, 12 to validate."""
    generator = np.random.default_rng(0)
    files: dict[str, list[Path]] = {"train": [], "validation": []}
    for i in range(48):
        pixels = generator.integers(0, 160, (48, 40, 3))
        pixels[..., i % 3] += 60
        name = "train" if i < 36 else "validation"
        file = folder / f"{i:02d}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(file)
        files[name].append(file)
    splits = {name: Split(PathList(paths), np.arange(len(paths)) % 3) for name, paths in files.items()}
    return Photographs(("red", "green", "blue"), splits["train"], splits["validation"], None)


def network() -> Network:
    """Make a network that learns colours in a few steps, with a batch normalisation and a dropout."""
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8, momentum=0.5), nn.ReLU(), nn.Dropout(0.1)]
    return Network(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(8, 3))


def train(photographs: Photographs, recipe: Recipe, stop: StopSignal | None = None, **options: Any) -> Any:
    """Fine-tune a small network; return its weights and its history."""
    chosen = {"device": "cpu", "num_workers": 0, "num_threads": 1, **options}
    trained = network()
    tuner = FineTuner(trained, photographs, PREPROCESSING, UnreadablePhotographs(0.0), **chosen)
    history = History(photographs.class_names)
    tuner.run(recipe, history, stop or StopSignal())
    return trained.state_dict(), history


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Tell whether weights are the same bit for bit."""
    return all(torch.equal(a[name], b[name]) for name in a)
