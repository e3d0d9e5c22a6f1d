"""From channels to the photographs of a job: finds the sources, and leaves reading them to a module for each format."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from container.errors import UserError
from container.paths import ContainerPaths
from train.class_folders import SUFFIXES, read_class_folders, subfolders
from train.source import Listing, Source
from train.split import Split, split_off

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val"),
    "test": ("test", "testing"),
}
"""The names that channels and folders have, by split."""

NOT_PHOTOGRAPHS = ("model",)
"""Channels with another purpose."""


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
    sources = find_splits(paths)
    listing = read_class_folders(sources["train"])
    check_classes(listing, sources["train"])
    splits = {
        name: in_order_of(listing.class_names, read_class_folders(source), source)
        for name, source in sources.items()
        if name != "train"
    }
    train, validation = listing.split, splits.get("validation")
    if validation is None:
        train, validation = split_off(train, validation_split, seed)
    if len(validation) == 0:
        raise UserError(f"{sources.get('validation', sources['train'])}: no photographs to validate with; add some")
    return Photographs(listing.class_names, train, validation, splits.get("test") or None)


def find_splits(paths: ContainerPaths) -> dict[str, Source]:
    """Find the source of each split: channels of those names, or one channel that holds such folders."""
    channels = {name: path for name, path in paths.channels().items() if name not in NOT_PHOTOGRAPHS}
    if not channels:
        raise UserError(f"{paths.input_data}: no channel there; give one named train, with a folder for each class")
    splits = named_splits(channels)
    if len(channels) == 1:
        (only,) = channels.values()
        inside = named_splits(subfolders(unwrap(only)))
        if "train" in inside:
            return {name: Source(only, folder) for name, folder in inside.items()}
        splits = splits or {"train": only}
    if "train" not in splits:
        raise UserError(f"channels {', '.join(channels)}: none is named train; rename the one to train with")
    return {name: Source(channel, channel) for name, channel in splits.items()}


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


def check_classes(listing: Listing, source: Source) -> None:
    """Raise UserError for fewer than two classes to train, or one without photographs."""
    names = listing.class_names
    if len(names) < 2:
        raise UserError(
            f"{source}: {len(names)} class folders{f' ({names[0]})' if names else ''}; expected one folder for each of "
            f"at least two classes, with its photographs"
        )
    counts = np.bincount(listing.split.labels, minlength=len(names))
    if empty := [name for name, count in zip(names, counts, strict=True) if not count]:
        raise UserError(
            f"{source}: no photographs in class {', '.join(empty[:10])}; add some ({', '.join(sorted(SUFFIXES))}) or "
            f"remove the folder"
        )


def in_order_of(class_names: tuple[str, ...], listing: Listing, source: Source) -> Split:
    """Give a listing's photographs labels in the order of the training classes. Raises UserError for another class."""
    places = {name: place for place, name in enumerate(class_names)}
    if unknown := [name for name in listing.class_names if name not in places]:
        raise UserError(f"{source}: class {', '.join(unknown[:10])} has no training photographs; add some or remove it")
    order = np.array([places[name] for name in listing.class_names], dtype=np.int64)
    return Split(listing.split.photographs, order[listing.split.labels])
