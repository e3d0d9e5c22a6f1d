"""A split: photographs and their labels, and how one is divided in two."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from train.path_list import Indices, PathList

logger = logging.getLogger(__name__)

Labels = npt.NDArray[np.integer[Any]]
"""Class indices (num_photographs,), or 0 and 1 (num_photographs, num_classes) where photographs have several labels."""


@dataclass(frozen=True)
class Split:
    """Photographs and their labels."""

    photographs: PathList
    labels: Labels

    def __len__(self) -> int:
        return len(self.photographs)

    def select(self, indices: Indices) -> "Split":
        """Keep some of the photographs."""
        return Split(self.photographs.select(indices), self.labels[indices])


def split_off(train: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Take a share of each class for validation, at least one photograph where a class has two."""
    generator = np.random.default_rng(seed)
    chosen: list[Indices] = []
    for label in np.unique(train.labels):
        indices = generator.permutation(np.flatnonzero(train.labels == label))
        num_validation = min(max(1, round(share * len(indices))), len(indices) - 1)
        chosen.append(indices[:num_validation])
    validation = np.sort(np.concatenate(chosen))
    logger.info("no validation channel: %d of %d training photographs validate", len(validation), len(train))
    return train.select(np.setdiff1d(np.arange(len(train)), validation)), train.select(validation)
