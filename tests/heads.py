"""What the heads of a search are compared with."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from train.search import Trial, warmup_cosine


def train_with_torch(
    head: nn.Linear,
    trial: Trial,
    num_steps: int,
    features: Tensor,
    loss_of: Callable[[Tensor], Tensor],
    scale: float = 1,
) -> list[float]:
    """Train a head from zero as a trial says, in torch's AdamW on one batch; return the loss of each step.

    The gradients are those of the loss times `scale`.
    """
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    decays = {head.weight: trial.weight_decay, head.bias: 0.0}
    optimizer = torch.optim.AdamW([{"params": [p], "weight_decay": d} for p, d in decays.items()], lr=trial.lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warmup_cosine(step, num_steps))
    losses = []
    for _ in range(num_steps):
        optimizer.zero_grad()
        loss = loss_of(head(features))
        losses.append(loss.item())
        (loss * scale).backward()
        optimizer.step()
        schedule.step()
    return losses
