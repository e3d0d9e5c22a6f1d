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
    choose = choose_by_class if train.labels.ndim == 1 else choose_by_labels
    validation = np.sort(choose(train.labels, share, generator))
    logger.info("no validation channel: %d of %d training photographs validate", len(validation), len(train))
    return train.select(np.setdiff1d(np.arange(len(train)), validation)), train.select(validation)


def choose_by_class(labels: Labels, share: float, generator: np.random.Generator) -> Indices:
    """Choose a share of each class."""
    chosen: list[Indices] = []
    for label in np.unique(labels):
        indices = generator.permutation(np.flatnonzero(labels == label))
        num_chosen = min(max(1, round(share * len(indices))), len(indices) - 1)
        chosen.append(indices[:num_chosen])
    return np.concatenate(chosen)


def choose_by_labels(labels: Labels, share: float, generator: np.random.Generator) -> Indices:
    """Choose a share of each label where photographs have several; every label stays on one that is not chosen.

    Iterative stratification (Sechidis et al., 2011), a label at a time: the one with the fewest photographs left goes
    first, and the others want that much less.
    """
    is_left, is_chosen = np.ones(len(labels), dtype=np.bool_), np.zeros(len(labels), dtype=np.bool_)
    num_all = labels.sum(axis=0, dtype=np.int64)
    num_left, num_chosen = num_all.copy(), np.zeros_like(num_all)
    while num_left.any():
        label = int(np.where(num_left > 0, num_left, len(labels) + 1).argmin())
        indices = generator.permutation(np.flatnonzero(is_left & (labels[:, label] > 0)))
        is_kept = num_all[label] > num_left[label] + num_chosen[label]
        wanted = max(round(share * num_all[label]) - num_chosen[label], 1 if num_chosen[label] == 0 else 0)
        chosen = indices[: min(wanted, len(indices) if is_kept else len(indices) - 1)]
        is_chosen[chosen], is_left[indices] = True, False
        num_chosen += labels[chosen].sum(axis=0, dtype=np.int64)
        num_left -= labels[indices].sum(axis=0, dtype=np.int64)
    without = generator.permutation(np.flatnonzero(is_left))
    is_chosen[without[: round(share * len(without))]] = True
    for label in np.flatnonzero((num_all > 0) & ~labels[~is_chosen].any(axis=0)):
        is_chosen[np.flatnonzero(is_chosen & (labels[:, label] > 0))[0]] = False
    return np.flatnonzero(is_chosen)
