"""What makes a training run ill: changes to the running program, made in the process of one run only."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

import train.optim
import train.starting_point
import train.step
import train.trainer
from classifier.architectures import Network, create_network
from classifier.engines import Normalizer
from classifier.preprocessing import Preprocessing
from train.optim import Recipe
from train.pipeline import TrainingCrops

CROP = Preprocessing(36, 32, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Small images, so that a run takes seconds."""

Illness = Callable[[], None]
Change = Callable[[Network], None]


def change(owner: Any, name: str, value: Any) -> None:
    """Put something else in place of a part of the running program."""
    assert hasattr(owner, name), f"{owner} has no {name} to put something in place of"
    setattr(owner, name, value)


class Plain(nn.Module):
    """Convolutions without normalisation, each with an activation."""

    def __init__(self, activation: type[nn.Module], depth: int, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        for i in range(depth):
            stride = 2 if i in (0, 1) else 1
            self.layers.add_module(f"conv{i}", nn.Conv2d(width if i else 3, width, 3, stride, 1))
            self.layers.add_module(f"act{i}", activation())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute features (batch, width)."""
        features: torch.Tensor = self.layers(images).mean((2, 3))
        return features


PLAIN: dict[str, tuple[type[nn.Module], int]] = {
    "plain": (nn.ReLU, 4), "tanh": (nn.Tanh, 3), "sigmoid": (nn.Sigmoid, 2), "deep_sigmoid": (nn.Sigmoid, 10),
}  # fmt: skip
"""Networks of the corpus, by the name that stands for a timm network's."""


def prepare(network: str, *changes: Change) -> None:
    """Let the job build a network of the corpus, or timm's, and change its weights."""

    def create(arch: str, num_classes: int, state: Any = None) -> Network:
        made = create_network(arch, num_classes, state)
        if network in PLAIN:
            kind, depth = PLAIN[network]
            made = Network(Plain(kind, depth), nn.Linear(16, num_classes))
        with torch.no_grad():
            for alter in changes:
                alter(made)
        return made

    change(train.starting_point, "create_network", create)
    change(train.starting_point, "default_preprocessing", lambda _arch: CROP)


def layers(module: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    return [part for part in module.modules() if isinstance(part, nn.Conv2d | nn.Linear)]


def scale_weights(factor: float) -> Change:
    def scale(network: Network) -> None:
        for layer in layers(network):
            layer.weight.mul_(factor)

    return scale


def fill(value: float) -> Change:
    def apply(network: Network) -> None:
        for parameter in network.parameters():
            parameter.fill_(value)

    return apply


def kill_relus(network: Network) -> None:
    """Let all channels of the second half of the layers be negative, whatever they see."""
    biases = [parameter for name, parameter in network.backbone.named_parameters() if name.endswith("bias")]
    for bias in biases[len(biases) // 2 :]:
        bias.fill_(-1000.0)


def recipe(**changes: Any) -> Illness:
    """Change the recipe of fine-tuning, beyond what hyperparameters allow."""
    original = Recipe.for_all_layers

    def apply() -> None:
        def changed(_cls: type[Recipe], config: Any, *, after_probe: bool) -> Recipe:
            return replace(original(config, after_probe=after_probe), **changes)

        change(Recipe, "for_all_layers", classmethod(changed))

    return apply


def images(alter: Callable[[torch.Tensor], torch.Tensor]) -> Illness:
    """Change the normalised images that training sees."""

    class Changed(Normalizer):
        def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
            return alter(super().__call__(pixels))

    def apply() -> None:
        change(train.trainer, "Normalizer", Changed)

    return apply


def in_steps(action: Callable[[int], None]) -> Illness:
    """Do something in each step, told its number from 0."""

    def apply() -> None:
        original = train.step.Step.update
        number = iter(range(10**9))

        def update(step: train.step.Step) -> None:
            original(step)
            action(next(number))

        change(train.step.Step, "update", update)

    return apply


def in_loading(action: Callable[[int], None]) -> Illness:
    """Do something for each photograph that is loaded, told its index."""
    original = TrainingCrops.__getitem__

    def load(crops: TrainingCrops, key: tuple[int, int]) -> Any:
        action(key[1])
        return original(crops, key)

    def apply() -> None:
        change(TrainingCrops, "__getitem__", load)

    return apply


def sleep_at(step: int, seconds: float) -> Callable[[int], None]:
    return lambda number: time.sleep(seconds) if number == step else None


def sleep_each(every: int, seconds: float) -> Callable[[int], None]:
    return lambda number: time.sleep(seconds) if number % every == every - 1 else None


def keep_memory(megabytes: int) -> Callable[[int], None]:
    kept: list[bytes] = []
    return lambda number: kept.append(bytes([number % 255 + 1]) * (megabytes * 10**6))


def random_labels() -> None:
    """Give each photograph another label whenever it is loaded."""
    original = TrainingCrops.__getitem__

    def load(crops: TrainingCrops, key: tuple[int, int]) -> Any:
        item = original(crops, key)
        return (item[0], hash((key, 1)) % 3) if isinstance(item, tuple) else item

    change(TrainingCrops, "__getitem__", load)


def detach_backbone() -> None:
    """Cut the gradient between backbone and head."""

    def forward(network: Network, pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = network.head(network.backbone(pixels).detach())
        return logits

    change(Network, "forward", forward)


def forget_parameters() -> None:
    """Give the optimizer the head alone."""
    original = train.optim.parameter_groups

    def groups(module: Network, *settings: Any) -> Any:
        return original(module.head, *settings)

    change(train.optim, "parameter_groups", groups)


def ignore_images() -> None:
    """Let the network see the same grey whatever the photograph."""

    def forward(network: Network, pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = network.head(network.backbone(pixels * 0 + 0.1))
        return logits

    change(Network, "forward", forward)


def saturate(network: Network) -> None:
    """Push all inputs of activations far away from zero."""
    for layer in layers(network):
        if layer is not network.head and layer.bias is not None:
            layer.bias.fill_(-100.0)


def large_head(network: Network) -> None:
    """Give the head weights, which begin at zero."""
    nn.init.normal_(network.head.weight)


def sleep_once(seconds: float) -> Callable[[int], None]:
    """Sleep for one photograph, in the middle of the first epoch."""
    number = iter(range(10**9))
    return lambda _index: time.sleep(seconds) if next(number) == 100 else None


def slow_start(seconds: float) -> Illness:
    """Let the network take long to build."""

    def apply() -> None:
        create = vars(train.starting_point)["create_network"]

        def slowly(*arguments: Any) -> Network:
            time.sleep(seconds)
            made: Network = create(*arguments)
            return made

        change(train.starting_point, "create_network", slowly)

    return apply
