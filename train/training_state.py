"""All that the rest of a training depends on, as tensors and as values of JSON."""

from dataclasses import dataclass, field
from typing import Any

import torch

from classifier.architectures import Network
from train.history import EarlyStopping, History
from train.step import Step

Tensors = dict[str, torch.Tensor]


@dataclass
class Progress:
    """How far a training is, and what the epoch in which it is has measured so far."""

    device: torch.device
    epoch: int = 0
    """Epochs that are over; all of them once training ended early."""
    batch: int = 0
    """Batches of the next epoch that are done."""
    num_images: int = 0
    unreadable: dict[int, str] = field(default_factory=dict)
    """Reasons by the index of a training photograph."""
    loss_sum: torch.Tensor = field(init=False)
    num_correct: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.end_epoch(self.epoch)

    def end_epoch(self, epoch: int) -> None:
        """Go to the next epoch."""
        self.epoch, self.batch, self.num_images = epoch, 0, 0
        self.loss_sum = torch.zeros((), device=self.device)
        self.num_correct = torch.zeros((), dtype=torch.int64, device=self.device)


@dataclass
class TrainingState:
    """A training between two updates of the weights."""

    network: Network
    step: Step
    history: History
    early: EarlyStopping
    progress: Progress

    def tensors(self) -> Tensors:
        """Name all tensors."""
        optimizer, device = self.step.optimizer.state_dict()["state"], self.progress.device
        named = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        if self.step.ema is not None:
            named |= {f"ema.{name}": tensor for name, tensor in self.step.ema.module.state_dict().items()}
        for index, values in optimizer.items():
            named |= {f"optimizer.{index}.{name}": v for name, v in values.items() if isinstance(v, torch.Tensor)}
        named |= {f"history.{name}": tensor for name, tensor in self.history.tensors().items()}
        named |= {"loss_sum": self.progress.loss_sum, "num_correct": self.progress.num_correct}
        named["random.cpu"] = torch.get_rng_state()
        if device.type == "cuda":
            named["random.cuda"] = torch.cuda.get_rng_state(device)
        return named

    def values(self) -> dict[str, Any]:
        """Give all that is no tensor."""
        groups = self.step.optimizer.param_groups
        return {
            "epoch": self.progress.epoch,
            "batch": self.progress.batch,
            "num_images": self.progress.num_images,
            "unreadable": list(self.progress.unreadable.items()),
            "groups": [{name: value for name, value in group.items() if name != "params"} for group in groups],
            "schedule": self.step.schedule.state_dict(),
            "scaler": self.step.scaler.state_dict(),
            "history": self.history.values(),
            "early_stopping": self.early.values(),
        }

    def restore(self, tensors: Tensors, values: dict[str, Any]) -> None:
        """Become the training that `tensors()` and `values()` were taken of."""
        self.network.load_state_dict(below("network.", tensors))
        if self.step.ema is not None:
            self.step.ema.module.load_state_dict(below("ema.", tensors))
        restore_optimizer(self.step.optimizer, below("optimizer.", tensors), values["groups"])
        self.step.schedule.load_state_dict(values["schedule"])
        # A scaler that is off, as on another device, has no state.
        if values["scaler"] and self.step.scaler.is_enabled():
            self.step.scaler.load_state_dict(values["scaler"])
        self.history.load(below("history.", tensors), values["history"])
        self.early.load(values["early_stopping"])
        progress = self.progress
        progress.end_epoch(values["epoch"])
        progress.batch, progress.num_images = values["batch"], values["num_images"]
        progress.unreadable = dict(values["unreadable"])
        progress.loss_sum.copy_(tensors["loss_sum"])
        progress.num_correct.copy_(tensors["num_correct"])
        torch.set_rng_state(tensors["random.cpu"])
        if progress.device.type == "cuda" and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"], progress.device)


def below(prefix: str, tensors: Tensors) -> Tensors:
    """Take the tensors whose names begin so, under the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Tensors, groups: list[dict[str, Any]]) -> None:
    """Put tensors, named `INDEX.NAME` by the index of their parameter, and groups of settings into an optimizer."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, Tensors] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        parameter = parameters[int(index)]
        if tensor.shape == parameter.shape:
            # Fused optimizers go through memory in order, so that it must be the parameter's (channels_last).
            tensor = torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)
        state.setdefault(int(index), {})[name] = tensor
    own = optimizer.state_dict()["param_groups"]
    # JSON has lists only; the settings of groups, such as betas, are tuples.
    given = [{name: tuple(v) if isinstance(v, list) else v for name, v in group.items()} for group in groups]
    merged = [{**values, "params": group["params"]} for group, values in zip(own, given, strict=True)]
    optimizer.load_state_dict({"state": state, "param_groups": merged})
