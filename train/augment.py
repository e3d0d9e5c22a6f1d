"""Augmentation: policies on one photograph's crop, mixing within a batch, and weights of classes and photographs."""

from collections.abc import Callable

import torch
from torchvision.transforms import v2

from train.config import Augmentation
from train.split import Labels

Policy = Callable[[torch.Tensor], torch.Tensor]
"""Changes uint8 pixels (3, height, width)."""

MAX_POSITIVE_WEIGHT = 100.0
"""A label of one photograph in ten thousand would outweigh all others."""


def create_policy(augmentation: Augmentation) -> Policy | None:
    """Build the policy that follows crop and flip, with torchvision's default magnitudes."""
    if augmentation == "trivial_augment":
        return v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR)  # type: ignore[no-any-return]
    if augmentation == "rand_augment":
        return v2.RandAugment(interpolation=v2.InterpolationMode.BILINEAR)  # type: ignore[no-any-return]
    return None


class BatchMixer:
    """Mixes the images of a batch in pairs, on their device: mixup, cutmix, or one of both at random."""

    def __init__(self, mixup_alpha: float, cutmix_alpha: float, num_classes: int) -> None:
        transforms = []
        if mixup_alpha > 0:
            transforms.append(v2.MixUp(alpha=mixup_alpha, num_classes=num_classes))
        if cutmix_alpha > 0:
            transforms.append(v2.CutMix(alpha=cutmix_alpha, num_classes=num_classes))
        self._transform = v2.RandomChoice(transforms) if transforms else None

    def __call__(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mix images (batch, 3, height, width); labels become shares of classes (batch, num_classes).

        Labels are class indices (batch,), or 0 and 1 (batch, num_classes). Without a mixture both come back unchanged.
        """
        if self._transform is None:
            return images, labels
        mixed, shares = self._transform(images, labels)
        return mixed.contiguous(memory_format=torch.channels_last), shares


def dominant(labels: torch.Tensor) -> torch.Tensor:
    """Give the class (batch,) with the largest share in each image, of labels or of shares of classes."""
    return labels if labels.ndim == 1 else labels.argmax(1)


def class_weights(labels: Labels, num_classes: int) -> torch.Tensor:
    """Weigh classes (num_classes,) by the inverse of their photographs; the mean weight of a photograph is 1.

    A class without photographs has weight 0.
    """
    counts = torch.bincount(torch.from_numpy(labels), minlength=num_classes).double()
    weights = len(labels) / ((counts > 0).sum() * counts)
    return torch.where(counts > 0, weights, torch.zeros_like(weights)).float()


def positive_weights(labels: Labels) -> torch.Tensor:
    """Weigh the photographs that have a label (num_classes,) by how many times more lack it, within a limit."""
    num_set = torch.from_numpy(labels.sum(axis=0, dtype="int64")).double()
    return ((len(labels) - num_set) / num_set.clamp(min=1)).clamp(1 / MAX_POSITIVE_WEIGHT, MAX_POSITIVE_WEIGHT).float()


def photograph_weights(labels: Labels) -> torch.Tensor:
    """Weigh photographs (num_photographs,) by the inverse of how many are of their class, or of their rarest label.

    Photographs without a label are a class of their own.
    """
    if labels.ndim == 1:
        return class_weights(labels, int(labels.max()) + 1)[torch.from_numpy(labels)].double()
    counts = labels.sum(axis=0, dtype="int64")
    without = ~labels.any(axis=1)
    weights = torch.full((len(labels),), 1 / max(1, int(without.sum())), dtype=torch.float64)
    for place in counts.argsort()[::-1]:
        weights[torch.from_numpy(labels[:, place] > 0)] = 1 / max(1, int(counts[place]))
    return weights
