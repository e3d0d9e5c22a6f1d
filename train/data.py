"""From channels with class folders to lists of photographs."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from container.errors import UserError
from container.paths import ContainerPaths
from container.photographs import SPLIT_NAMES, SUFFIXES

logger = logging.getLogger(__name__)

Labels = npt.NDArray[np.int64]

NOT_PHOTOGRAPHS = ("model",)
"""Channels with another purpose."""


@dataclass(frozen=True)
class Split:
    """Photographs and their labels."""

    photographs: list[Path]
    labels: Labels
    """Class indices (num_photographs,)."""

    def __len__(self) -> int:
        return len(self.photographs)

    def select(self, indices: npt.NDArray[np.int64]) -> "Split":
        """Keep some of the photographs."""
        return Split([self.photographs[i] for i in indices], self.labels[indices])


@dataclass(frozen=True)
class Photographs:
    """The data of a training job."""

    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split | None


def find_photographs(paths: ContainerPaths, validation_split: float, seed: int) -> Photographs:
    """Find the photographs of a job in its channels.

    Raises UserError for no photographs, fewer than two classes, an empty class, or a class that only validation or
    test has.
    """
    folders = find_splits(paths)
    class_names = list_classes(folders["train"])
    train = list_split(folders["train"], class_names)
    empty = [name for i, name in enumerate(class_names) if not (train.labels == i).any()]
    if empty:
        raise UserError(
            f"{folders['train']}: no photographs in class {', '.join(empty[:10])}; add some "
            f"({', '.join(sorted(SUFFIXES))}) or remove the folder"
        )
    test = list_split(folders["test"], class_names) if "test" in folders else None
    if "validation" in folders:
        validation = list_split(folders["validation"], class_names)
    else:
        train, validation = split_off(train, validation_split, seed)
    if len(validation) == 0:
        raise UserError(f"{folders.get('validation', folders['train'])}: no photographs to validate with; add some")
    return Photographs(tuple(class_names), train, validation, test if test is not None and len(test) else None)


def find_splits(paths: ContainerPaths) -> dict[str, Path]:
    """Find the folder of each split: channels of those names, or one channel that holds such folders."""
    channels = {name: path for name, path in paths.channels().items() if name not in NOT_PHOTOGRAPHS}
    if not channels:
        raise UserError(f"{paths.input_data}: no channel there; give one named train, with a folder for each class")
    splits = named_splits(channels)
    if len(channels) == 1:
        (only,) = channels.values()
        inside = named_splits(subfolders(unwrap(only)))
        if "train" in inside:
            return inside
        splits = splits or {"train": only}
    if "train" not in splits:
        raise UserError(f"channels {', '.join(channels)}: none is named train; rename the one to train with")
    return splits


def named_splits(folders: dict[str, Path]) -> dict[str, Path]:
    """Keep the folders that are named as a split. Raises UserError when two stand for the same one."""
    splits: dict[str, Path] = {}
    for split, names in SPLIT_NAMES.items():
        found = [folders[name] for name in names if name in folders]
        if len(found) > 1:
            raise UserError(f"{found[0]} and {found[1]}: both stand for {split}; keep one")
        if found:
            splits[split] = found[0]
    return splits


def unwrap(folder: Path) -> Path:
    """Go into a folder that holds nothing but one folder, as an uploaded directory does."""
    inside = subfolders(folder)
    while len(inside) == 1:
        (folder,) = inside.values()
        inside = subfolders(folder)
    return folder


def subfolders(folder: Path) -> dict[str, Path]:
    """List the folders in a folder by name, without hidden ones."""
    return {entry.name: entry for entry in sorted(folder.iterdir()) if entry.is_dir() and entry.name[0] != "."}


def list_classes(folder: Path) -> list[str]:
    """Name the classes: the folders in the training folder, sorted. Raises UserError for fewer than two."""
    names = list(subfolders(folder))
    if len(names) < 2:
        raise UserError(
            f"{folder}: {len(names)} class folders{f' ({names[0]})' if names else ''}; expected one folder for each of "
            f"at least two classes, with its photographs"
        )
    return names


def list_split(folder: Path, class_names: list[str]) -> Split:
    """List the photographs of a split. Raises UserError for a class that the training folder lacks."""
    unknown = [name for name in subfolders(folder) if name not in class_names]
    if unknown:
        raise UserError(f"{folder}: class {', '.join(unknown[:10])} has no training photographs; add some or remove it")
    photographs: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        of_class = sorted(walk(folder / name))
        photographs += of_class
        labels += [label] * len(of_class)
    return Split(photographs, np.array(labels, dtype=np.int64))


def walk(folder: Path) -> Iterator[Path]:
    """Find the photographs below a folder, by their ending, without hidden files."""
    for directory, _, names in os.walk(folder, followlinks=True):
        for name in names:
            if name[0] != "." and Path(name).suffix.lower() in SUFFIXES:
                yield Path(directory, name)


def split_off(train: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Take a share of each class for validation, at least one photograph where a class has two."""
    generator = np.random.default_rng(seed)
    chosen: list[npt.NDArray[np.int64]] = []
    for label in np.unique(train.labels):
        indices = generator.permutation(np.flatnonzero(train.labels == label))
        num_validation = min(max(1, round(share * len(indices))), len(indices) - 1)
        chosen.append(indices[:num_validation])
    validation = np.sort(np.concatenate(chosen))
    logger.info("no validation channel: %d of %d training photographs validate", len(validation), len(train))
    return train.select(np.setdiff1d(np.arange(len(train)), validation)), train.select(validation)
