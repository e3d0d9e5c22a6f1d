"""The recipe of a training stage: optimizer, schedule, and the best epoch."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from train.config import TrainingConfig

WARMUP_SHARE = 0.05
"""Share of the steps in which the learning rate rises from 0 to its peak."""

EPOCHS, LR, BATCH_SIZE, WEIGHT_DECAY = 5, 3e-4, 32, 0.01


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
    def for_all_layers(cls, config: TrainingConfig) -> "Recipe":
        """Recipe of fine-tuning."""
        return cls(
            "finetune",
            config.epochs or EPOCHS,
            config.batch_size or BATCH_SIZE,
            config.lr or LR,
            WEIGHT_DECAY if config.weight_decay is None else config.weight_decay,
            config.label_smoothing or 0.0,
            config.seed,
        )

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
