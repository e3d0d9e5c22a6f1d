"""The recipe of a training stage: optimizer, schedule, and the best epoch."""

import copy
import math
from dataclasses import dataclass

import torch
from torch import nn

from classifier.evaluation import Evaluation
from container.metrics import print_metrics
from train.config import TrainingConfig

WARMUP_SHARE = 0.05
"""Share of the steps in which the learning rate rises from 0 to its peak."""

HEAD_EPOCHS, HEAD_LR = 100, 3e-3
ALL_LAYERS_EPOCHS, ALL_LAYERS_LR = 5, 3e-4


@dataclass(frozen=True)
class Recipe:
    """How a stage trains."""

    stage: str
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    label_smoothing: float
    seed: int

    @classmethod
    def for_head(cls, config: TrainingConfig, *, is_last: bool) -> "Recipe":
        """Recipe of the head on frozen features; the configured epochs and lr count when it is the last stage."""
        epochs, lr = (config.epochs or HEAD_EPOCHS, config.lr or HEAD_LR) if is_last else (HEAD_EPOCHS, HEAD_LR)
        return cls(
            "linear_probe", epochs, config.batch_size, lr, config.weight_decay, config.label_smoothing, config.seed
        )

    @classmethod
    def for_all_layers(cls, config: TrainingConfig) -> "Recipe":
        """Recipe of fine-tuning."""
        epochs, lr = config.epochs or ALL_LAYERS_EPOCHS, config.lr or ALL_LAYERS_LR
        return cls("finetune", epochs, config.batch_size, lr, config.weight_decay, config.label_smoothing, config.seed)

    def criterion(self) -> nn.CrossEntropyLoss:
        """Build the loss that is minimised."""
        return nn.CrossEntropyLoss(label_smoothing=self.label_smoothing)

    def optimizer(
        self, module: nn.Module, num_steps: int
    ) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
        """Build AdamW, without decay on biases and norms, and its warm-up and cosine schedule over `num_steps`."""
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=self.lr)
        num_warmup = max(1, round(WARMUP_SHARE * num_steps))

        def factor(step: int) -> float:
            if step < num_warmup:
                return (step + 1) / num_warmup
            return 0.5 * (1 + math.cos(math.pi * (step - num_warmup) / max(1, num_steps - num_warmup)))

        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


class History:
    """The epochs of a job, and the weights of the best one: the lowest validation loss."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float | int | str]] = []
        self.best: Evaluation | None = None
        self._best_state: dict[str, torch.Tensor] = {}

    def record(
        self, recipe: Recipe, module: nn.Module, train_loss: float, train_accuracy: float, validation: Evaluation
    ) -> None:
        """Note an epoch, print its metrics, and keep the module's weights when they are the best so far."""
        epoch = len(self.rows) + 1
        values = {"train:loss": train_loss, "train:accuracy": train_accuracy, **validation.metrics("validation")}
        print_metrics(values, epoch)
        self.rows.append({"epoch": epoch, "stage": recipe.stage, **values})
        if self.best is None or validation.loss < self.best.loss:
            self.best = validation
            self._best_state = copy.deepcopy(module.state_dict())

    def widen(self, module: nn.Module) -> None:
        """Keep the weights of a module that the best one so far is a part of, before the next stage trains it whole."""
        if self.best is not None:
            self._best_state = copy.deepcopy(module.state_dict())

    def restore(self, module: nn.Module) -> None:
        """Put the best weights back; a module that was never recorded stays as it is."""
        if self._best_state:
            module.load_state_dict(self._best_state)
