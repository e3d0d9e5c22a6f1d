"""Frozen features: each photograph passes the backbone once, on the machine's fastest engine."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from classifier.engines import Array, Engine
from classifier.errors import ImageError
from classifier.inference import Outputs, run_photographs
from classifier.preprocessing import Preprocessing
from container.errors import UserError
from container.lifecycle import StopSignal
from train.data import Labels, Split

logger = logging.getLogger(__name__)


class UnreadablePhotographs:
    """Counts, names and limits the photographs that cannot be read."""

    def __init__(self, max_share: float) -> None:
        self._max_share = max_share
        self.reasons: dict[Path, str] = {}

    def add(self, unreadable: dict[Path, ImageError], num_photographs: int) -> None:
        """Note the unreadable ones among `num_photographs`. Raises UserError when they are too many."""
        for photograph, error in unreadable.items():
            logger.warning("skipped %s: %s", photograph, error)
            self.reasons[photograph] = str(error)
        if len(unreadable) > self._max_share * num_photographs:
            first = next(iter(unreadable.items()))
            raise UserError(
                f"{len(unreadable)} of {num_photographs} photographs are unreadable, {first[0]} ({first[1]}) among "
                f"them; repair or remove them, or allow more than max_unreadable={self._max_share}"
            )


def run_split(
    engine: Engine,
    preprocessing: Preprocessing,
    split: Split,
    unreadable: UnreadablePhotographs,
    *,
    name: str,
    num_threads: int,
    stop: StopSignal | None = None,
) -> tuple[Array, Labels]:
    """Compute outputs (num_read, num_outputs) and labels (num_read,) of the photographs that can be read.

    A stop leaves the rest out. Raises UserError for too many unreadable photographs.
    """
    with tqdm(total=len(split), desc=name, unit="image", disable=None) as bar:
        outputs = run_photographs(
            engine,
            preprocessing,
            split.photographs,
            num_threads=num_threads,
            progress=bar.update,
            is_stopped=(lambda: stop.requested) if stop else lambda: False,
        )
    unreadable.add(by_photograph(outputs, split.photographs), len(split))
    return outputs.values, split.labels[outputs.indices]


def by_photograph(outputs: Outputs, photographs: Sequence[Path]) -> dict[Path, ImageError]:
    """Name the unreadable photographs."""
    return {photographs[index]: error for index, error in outputs.unreadable.items()}


def sample(split: Split, num_photographs: int) -> Split:
    """Take a few photographs at random, when a stop leaves no time for all."""
    return split.select(np.random.default_rng(0).permutation(len(split))[:num_photographs])


def shuffled(split: Split, seed: int) -> Split:
    """Shuffle a split, so that a stop in the middle leaves some photographs of every class."""
    return split.select(np.random.default_rng(seed).permutation(len(split)))
