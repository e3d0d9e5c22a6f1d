"""The recipe of a training stage: optimizer, schedule, loss, and the best epoch."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from timm.models import group_parameters
from timm.optim._param_groups import param_groups_weight_decay
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from train.config import Augmentation, ClassBalance, OptimizerName, Precision, ScheduleName, TrainingConfig
from train.losses import MultiLabelLoss

WARMUP_SHARE = 0.05
"""Share of the steps in which the learning rate rises from 0 to its peak."""

ONE_CYCLE_WARMUP_SHARE = 0.3
"""The same in one_cycle, as torch has it."""

EPOCHS, BATCH_SIZE, WEIGHT_DECAY = 5, 32, 0.01
LR: dict[OptimizerName, float] = {
    "adamw": 3e-4, "adam": 3e-4, "sgd": 0.01, "nag": 0.01, "rmsprop": 1e-4, "adagrad": 3e-3, "adadelta": 1.0,
}  # fmt: skip

AFTER_PROBE = 0.1
"""Factor of the learning rate when a trained head is there (Kumar et al., 2022, fine-tune at a lower rate too)."""

CONTAINERS = (nn.Sequential, nn.ModuleList)

MIN_STACK = 5
"""A module with a container of so many items is a stack of blocks, not a block."""


@dataclass(frozen=True)
class Recipe:
    """How a stage trains; the fields mean what the hyperparameters of the same names do."""

    stage: str
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    label_smoothing: float
    seed: int
    optimizer_name: OptimizerName = "adamw"
    momentum: float = 0.9
    beta_1: float = 0.9
    beta_2: float = 0.999
    eps: float | None = None
    lr_schedule: ScheduleName = "cosine"
    lr_warmup_epochs: float | None = None
    lr_gamma: float = 0.1
    lr_step_epochs: int | None = None
    layer_decay: float = 1.0
    gradient_accumulation_steps: int = 1
    max_grad_norm: float | None = None
    ema_decay: float | None = None
    early_stopping_patience: int | None = None
    early_stopping_min_delta: float = 0.0
    freeze_batch_norm: bool = False
    augmentation: Augmentation = "crop_flip"
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    class_balance: ClassBalance = "none"
    precision: Precision = "auto"
    compile: bool = False

    @classmethod
    def for_all_layers(cls, config: TrainingConfig, *, after_probe: bool) -> "Recipe":
        """Recipe of fine-tuning; `after_probe` the head is trained already, and the backbone must not run from it."""
        return cls(
            stage="finetune",
            epochs=config.epochs or EPOCHS,
            batch_size=config.batch_size or BATCH_SIZE,
            lr=config.lr or LR[config.optimizer] * (AFTER_PROBE if after_probe else 1),
            weight_decay=WEIGHT_DECAY if config.weight_decay is None else config.weight_decay,
            label_smoothing=config.label_smoothing or 0.0,
            seed=config.seed,
            optimizer_name=config.optimizer,
            momentum=config.momentum,
            beta_1=config.beta_1,
            beta_2=config.beta_2,
            eps=config.eps,
            lr_schedule=config.lr_schedule,
            lr_warmup_epochs=config.lr_warmup_epochs,
            lr_gamma=config.lr_gamma,
            lr_step_epochs=config.lr_step_epochs,
            layer_decay=config.layer_decay,
            gradient_accumulation_steps=config.gradient_accumulation_steps,
            max_grad_norm=config.max_grad_norm,
            ema_decay=config.ema_decay,
            early_stopping_patience=config.early_stopping_patience,
            early_stopping_min_delta=config.early_stopping_min_delta,
            freeze_batch_norm=config.pretrained if config.freeze_batch_norm is None else config.freeze_batch_norm,
            augmentation=config.augmentation,
            mixup_alpha=config.mixup_alpha,
            cutmix_alpha=config.cutmix_alpha,
            class_balance=config.class_balance,
            precision=config.precision,
            compile=config.compile,
        )

    def criterion(self, class_weights: torch.Tensor | None = None, *, multi_label: bool = False) -> nn.Module:
        """Build the loss that is minimised; `class_weights` has shape (num_classes,)."""
        if multi_label:
            return MultiLabelLoss(self.label_smoothing, class_weights)
        return nn.CrossEntropyLoss(weight=class_weights, label_smoothing=self.label_smoothing)

    def optimizer(self, module: nn.Module, num_steps: int) -> tuple[torch.optim.Optimizer, LRScheduler]:
        """Build the optimizer, without decay on biases and norms, and its schedule over `num_steps` steps in all."""
        optimizer = create_optimizer(self, parameter_groups(module, self.lr, self.weight_decay, self.layer_decay))
        return optimizer, create_schedule(self, optimizer, num_steps)


def create_optimizer(recipe: Recipe, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Build one of torch's optimizers, in its fused implementation where there is one for CPU and CUDA."""
    lr, betas = recipe.lr, (recipe.beta_1, recipe.beta_2)
    eps: dict[str, Any] = {} if recipe.eps is None else {"eps": recipe.eps}
    builders: dict[OptimizerName, Callable[[], torch.optim.Optimizer]] = {
        "adamw": lambda: torch.optim.AdamW(groups, lr, betas, **eps, fused=True),
        "adam": lambda: torch.optim.Adam(groups, lr, betas, **eps, fused=True),
        "sgd": lambda: torch.optim.SGD(groups, lr, recipe.momentum, fused=True),
        # Nesterov's momentum is none without momentum, which torch refuses
        "nag": lambda: torch.optim.SGD(groups, lr, recipe.momentum, nesterov=recipe.momentum > 0, fused=True),
        "rmsprop": lambda: torch.optim.RMSprop(groups, lr, momentum=recipe.momentum, **eps),
        "adagrad": lambda: torch.optim.Adagrad(groups, lr, **eps),
        "adadelta": lambda: torch.optim.Adadelta(groups, lr, **eps),
    }
    return builders[recipe.optimizer_name]()


def create_schedule(recipe: Recipe, optimizer: torch.optim.Optimizer, num_steps: int) -> LRScheduler:
    """Build the schedule of the learning rate; it moves one step with each step of the optimizer."""
    steps_per_epoch = num_steps / recipe.epochs
    share = ONE_CYCLE_WARMUP_SHARE if recipe.lr_schedule == "one_cycle" else WARMUP_SHARE
    num_warmup = share * num_steps if recipe.lr_warmup_epochs is None else recipe.lr_warmup_epochs * steps_per_epoch
    if recipe.lr_schedule == "one_cycle":
        peaks = [group["lr"] for group in optimizer.param_groups]
        rising = min(num_warmup / max(1, num_steps), 1.0)
        has_momentum = recipe.optimizer_name not in ("adagrad", "adadelta") and recipe.momentum > 0
        # The scheduler steps once more than the optimizer: at the end of the last step.
        return OneCycleLR(optimizer, peaks, num_steps + 1, pct_start=rising, cycle_momentum=has_momentum)
    step_epochs = recipe.lr_step_epochs or max(1, math.ceil(recipe.epochs / 3))
    num_rising = round(num_warmup) if recipe.lr_warmup_epochs is not None else max(1, round(num_warmup))

    def factor(step: int) -> float:
        if step < num_rising:
            return (step + 1) / num_rising
        if recipe.lr_schedule == "constant":
            return 1.0
        if recipe.lr_schedule == "step":
            return float(recipe.lr_gamma ** int(step / steps_per_epoch / step_epochs))
        return 0.5 * (1 + math.cos(math.pi * (step - num_rising) / max(1, num_steps - num_rising)))

    return LambdaLR(optimizer, factor)


def parameter_groups(module: nn.Module, lr: float, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """Group what trains by weight decay (none on biases and norms) and by learning rate.

    With `layer_decay` below 1, the head of a Network keeps the learning rate, and each block of its backbone has
    `layer_decay` times that of the next one, as in BEiT (Bao et al., 2021).
    """
    if layer_decay == 1 or not hasattr(module, "backbone"):
        groups: list[dict[str, Any]] = param_groups_weight_decay(module, weight_decay)
        return [group for group in groups if group["params"]]
    depths = block_depths(module.backbone)  # type: ignore[arg-type]
    num_blocks = max(depths.values()) + 1
    by_kind: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            depth = depths.get(name.removeprefix("backbone."), num_blocks)
            by_kind.setdefault((depth, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": lr * layer_decay ** (num_blocks - depth),
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (depth, decays), parameters in by_kind.items()
    ]


def block_depths(backbone: nn.Module) -> dict[str, int]:
    """Number the blocks of a backbone from its input, 0, and give each parameter the number of its block.

    timm's networks name their blocks themselves; torchvision's are the items of their containers, in order.
    """
    if hasattr(backbone, "group_matcher"):
        matcher: dict[str, Any] = backbone.group_matcher(coarse=False)  # type: ignore[operator]
        matched: dict[str, int] = group_parameters(backbone, matcher, reverse=True)
        order = {layer: depth for depth, layer in enumerate(sorted(set(matched.values())))}
        return {name: order[layer] for name, layer in matched.items()}
    depths: dict[str, int] = {}
    depth = 0
    for path in block_paths(backbone):
        parameters = dict(backbone.get_submodule(path).named_parameters(path))
        # A norm beside a convolution belongs to it.
        depth += 1 if any(parameter.ndim > 1 for parameter in parameters.values()) else 0
        depths |= dict.fromkeys(parameters, depth)
    # What lies outside blocks, such as a position embedding, belongs to the input.
    depths = {name: depths.get(name, 0) for name, _ in backbone.named_parameters()}
    order = {depth: i for i, depth in enumerate(sorted(set(depths.values())))}
    return {name: order[depth] for name, depth in depths.items()}


def block_paths(backbone: nn.Module) -> list[str]:
    """Name the blocks of a backbone in order: its children, where a container stands for its items."""
    found: list[str] = []

    def add(module: nn.Module, path: str, *, is_item: bool) -> None:
        if next(module.parameters(), None) is None:
            return
        # A stack such as a transformer's encoder is no item itself; subclasses of containers are blocks.
        is_stack = any(type(child) in CONTAINERS and len(child) >= MIN_STACK for child in module.children())  # type: ignore[arg-type]
        if type(module) in CONTAINERS or (is_stack and not is_item):
            for name, child in module.named_children():
                add(child, f"{path}.{name}", is_item=type(module) in CONTAINERS or type(child) not in CONTAINERS)
        else:
            found.append(path)

    for name, child in backbone.named_children():
        add(child, name, is_item=False)
    return found
