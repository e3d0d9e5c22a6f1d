"""A share of photographs with any number of labels for validation."""

import numpy as np
import pytest

from train.path_list import PathList
from train.split import Labels, Split, split_off


def split_of(labels: Labels) -> Split:
    return Split(PathList(str(i) for i in range(len(labels))), labels)


def draw(num_photographs: int, shares: list[float], seed: int) -> Labels:
    labels = np.random.default_rng(seed).random((num_photographs, len(shares))) < np.array(shares)
    return labels[:, labels.any(axis=0)].astype(np.uint8)


def test_every_label_has_its_share_on_both_sides_and_the_division_repeats() -> None:
    labels = draw(1000, [0.5, 0.3, 0.1, 0.05, 0.02, 0.01], seed=0)
    train, validation = split_off(split_of(labels), 0.2, seed=3)
    assert len(train) + len(validation) == 1000
    assert not set(train.photographs) & set(validation.photographs)
    counts = validation.labels.sum(axis=0, dtype=int)
    expected = 0.2 * labels.sum(axis=0, dtype=int)
    assert np.abs(counts - expected).max() <= np.maximum(1.5, 0.15 * expected).max()
    assert 150 <= len(validation) <= 250
    without = (~validation.labels.any(axis=1)).sum() / (~labels.any(axis=1)).sum()
    assert without == pytest.approx(0.2, abs=0.01)
    assert split_off(split_of(labels), 0.2, seed=3)[1].photographs == validation.photographs
    assert split_off(split_of(labels), 0.2, seed=4)[1].photographs != validation.photographs


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_every_label_keeps_a_training_photograph(seed: int, share: float) -> None:
    labels = draw(30, [0.5, 0.1, 0.05, 0.05, 0.05, 0.05, 0.03, 0.03], seed)
    train, validation = split_off(split_of(labels), share, seed)
    assert train.labels.any(axis=0).all()
    assert len(validation) > 0


def test_a_label_of_two_photographs_has_one_on_each_side() -> None:
    labels = np.zeros((50, 2), np.uint8)
    labels[:, 0] = 1
    labels[:2, 1] = 1
    train, validation = split_off(split_of(labels), 0.2, seed=0)
    assert train.labels[:, 1].sum() == validation.labels[:, 1].sum() == 1
