"""Losses of photographs with one label each, labels (batch,), and with any number, 0/1 labels (batch, num_classes)."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class MultiLabelLoss(nn.modules.loss._Loss):
    """Mean binary cross-entropy with logits over photographs and classes.

    Label smoothing spreads a share of each label over its two outcomes.
    """

    def __init__(self, label_smoothing: float, positive_weights: Tensor | None) -> None:
        """Take weights (num_classes,) of the photographs that have a label."""
        super().__init__()
        self._label_smoothing = label_smoothing
        self.register_buffer("_positive_weights", positive_weights)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of logits and targets (batch, num_classes), targets in [0, 1]."""
        smooth = targets.float() * (1 - self._label_smoothing) + self._label_smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits, smooth, pos_weight=self._positive_weights)  # type: ignore[arg-type]


def heads_gradient(logits: Tensor, labels: Tensor, smoothing: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the loss of each head and the gradient of its logits (batch, num_heads, num_classes).

    `smoothing` has shape (num_heads, 1). Losses (num_heads,) are sums over the batch; the gradient is that of the mean.
    Binary cross-entropies are averaged over classes for the loss and summed for the gradient, so that a learning rate
    fits both tasks.
    """
    batch, num_heads, num_classes = logits.shape
    num_outcomes = num_classes if labels.ndim == 1 else 2
    off = smoothing / num_outcomes
    on = 1 - smoothing + off
    if labels.ndim == 2:
        target = torch.where(labels[:, None, :] > 0, on, off)
        losses = (functional.softplus(logits) - logits * target).mean(2).sum(0)
        return losses, (logits.sigmoid() - target) / batch
    log_probabilities = functional.log_softmax(logits, dim=-1)
    target = off.expand(num_heads, num_classes).repeat(batch, 1, 1)
    target[torch.arange(batch, device=logits.device), :, labels] = on[:, 0]
    return -(target * log_probabilities).sum(dim=(0, 2)), (log_probabilities.exp() - target) / batch


def heads_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the mean loss of each head (num_heads,), of logits (batch, num_heads, num_classes)."""
    if labels.ndim == 2:
        return (functional.softplus(logits) - logits * labels[:, None, :]).mean((0, 2))
    places = labels[:, None, None].expand(-1, logits.shape[1], 1)
    return -functional.log_softmax(logits, dim=-1).gather(2, places).mean((0, 2))


def heads_recognised(logits: Tensor, labels: Tensor) -> Tensor:
    """Tell (batch, num_heads) where all labels are right, of logits (batch, num_heads, num_classes)."""
    if labels.ndim == 2:
        return ((logits > 0) == (labels[:, None, :] > 0)).all(-1)
    return logits.argmax(-1) == labels[:, None]
