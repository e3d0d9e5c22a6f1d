"""The step of training: gradients of some batches, and the update that follows from them."""

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import nn

from classifier.architectures import Network
from train.config import Precision
from train.optim import Recipe


class Step:
    """Everything that a step of training changes: weights, optimizer, schedule, scaler and moving average."""

    def __init__(self, recipe: Recipe, network: Network, device: torch.device, num_batches: int) -> None:
        num_steps = -(-num_batches // recipe.gradient_accumulation_steps)
        self.dtype = choose_dtype(recipe.precision, device)
        self.optimizer, self.schedule = recipe.optimizer(network, recipe.epochs * num_steps)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        # With the warm-up the average of a short training is not that of its first, random weights.
        self.ema = ModelEmaV3(network, recipe.ema_decay, use_warmup=True) if recipe.ema_decay is not None else None
        self._recipe = recipe
        self._network = network
        self._num_batches = 0

    @property
    def is_whole(self) -> bool:
        """Tell whether no gradients wait for the next update."""
        return self._num_batches == 0

    @property
    def lr(self) -> float:
        """Tell the highest learning rate of the next update."""
        return max(float(group["lr"]) for group in self.optimizer.param_groups)

    def backward(self, loss: torch.Tensor) -> None:
        """Add a batch's gradients to those of the step."""
        self.scaler.scale(loss).backward()
        self._num_batches += 1

    def update(self) -> None:
        """Change the weights by the mean gradient of the batches since the last update."""
        if self._num_batches == 0:
            return
        if self._num_batches > 1:
            gradients = [p.grad for p in self._network.parameters() if p.grad is not None]
            torch._foreach_div_(gradients, float(self._num_batches))
        if self._recipe.max_grad_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self._network.parameters(), self._recipe.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        self._num_batches = 0
        if self.ema is not None:
            self.ema.update(self._network, step=self.schedule.last_epoch)


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype | None:
    """Choose the type that autocast computes in; None for plain float32."""
    if precision == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
