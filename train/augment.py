"""Augmentation: policies on one photograph's crop, mixing within a batch, and weights of classes."""

from collections.abc import Callable

import torch
from torchvision.transforms import v2

from train.config import Augmentation
from train.split import Labels

Policy = Callable[[torch.Tensor], torch.Tensor]
"""Changes uint8 pixels (3, height, width)."""


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
        """Mix images (batch, 3, height, width); labels (batch,) become shares of classes (batch, num_classes).

        Without a mixture both come back as they are.
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
