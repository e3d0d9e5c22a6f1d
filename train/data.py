"""From channels to the photographs of a job: finds the sources, and leaves reading them to a module for each format."""

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from container.errors import UserError
from container.paths import ContainerPaths
from container.photographs import SPLIT_NAMES, SUFFIXES
from train.class_folders import read_class_folders, subfolders
from train.image_list import read_image_lists
from train.manifest import read_manifests
from train.source import Listing, Reader, Source
from train.split import Labels, Split, split_off

logger = logging.getLogger(__name__)

NOT_PHOTOGRAPHS = ("model",)
"""Channels with another purpose."""

READERS: dict[str, Reader] = {".jsonl": read_manifests, ".manifest": read_manifests, ".lst": read_image_lists}
"""Readers of label files, by their ending."""

LIST_SUFFIX = "_lst"
"""Behind the name of a channel with photographs: a channel with their label files, as the built-in algorithm has it."""


@dataclass(frozen=True)
class Photographs:
    """The data of a training job."""

    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split | None


def find_photographs(
    paths: ContainerPaths, validation_split: float, seed: int, multi_label: bool | None = None
) -> Photographs:
    """Find the photographs of a job in its channels; `multi_label` None takes what the training labels are.

    Raises UserError for no photographs, too few classes, an empty class, a class that only validation or test has, or
    wrong lines in a file.
    """
    sources = find_sources(paths)
    training = read(sources["train"], multi_label, None)
    check_classes(training, sources["train"])
    is_multi_label = training.split.labels.ndim == 2
    splits = {
        name: in_order_of(training.class_names, read(source, is_multi_label, training), source)
        for name, source in sources.items()
        if name != "train"
    }
    train, validation = training.split, splits.get("validation")
    if validation is None:
        train, validation = split_off(train, validation_split, seed)
    if len(validation) == 0:
        raise UserError(f"{sources.get('validation', sources['train'])}: no photographs to validate with; add some")
    return Photographs(training.class_names, train, validation, splits.get("test") or None)


def find_sources(paths: ContainerPaths) -> dict[str, Source]:
    """Find the source of each split: channels of those names, or one channel with such label files or folders."""
    channels = {name: path for name, path in paths.channels().items() if name not in NOT_PHOTOGRAPHS}
    if not channels:
        raise UserError(
            f"{paths.input_data}: no channel there; give one named train, with a folder for each class or a manifest"
        )
    lists = take_lists(channels)
    splits = named_splits(channels.items())
    if len(channels) == 1 and not lists:
        (only,) = channels.values()
        folder = unwrap(only)
        files = label_files(folder)
        if "train" in (by_file := named_splits((file.stem, file) for file in files)):
            return {name: Source(only, folder, (file,)) for name, file in by_file.items()}
        if files:
            return {"train": Source(only, folder, files)}
        if "train" in (by_folder := named_splits(subfolders(folder).items())):
            return {name: Source(only, path, label_files(path)) for name, path in by_folder.items()}
        splits = splits or {"train": only}
    if "train" not in splits:
        raise UserError(f"channels {', '.join(channels)}: none is named train; rename the one to train with")
    return {
        name: Source(channel, channel, lists.get(channel.name) or label_files(channel))
        for name, channel in splits.items()
    }


def take_lists(channels: dict[str, Path]) -> dict[str, tuple[Path, ...]]:
    """Take the channels with label files of another channel out; give the files by that channel's name."""
    lists: dict[str, tuple[Path, ...]] = {}
    for name in [name for name in channels if name.endswith(LIST_SUFFIX)]:
        channel, of = channels.pop(name), name.removesuffix(LIST_SUFFIX)
        lists[of] = label_files(channel)
        if not lists[of]:
            raise UserError(f"{channel}: no label file there ({', '.join(READERS)}); add one, or leave the channel out")
        if of not in channels:
            raise UserError(f"{channel}: no channel named {of} with its photographs; add it, or leave this one out")
    return lists


def named_splits(candidates: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Keep what is named as a split. Raises UserError when two stand for the same one."""
    splits: dict[str, Path] = {}
    for name, path in candidates:
        for split in (split for split, names in SPLIT_NAMES.items() if name in names):
            if split in splits:
                raise UserError(f"{splits[split]} and {path}: both stand for {split}; keep one")
            splits[split] = path
    return splits


def label_files(folder: Path) -> tuple[Path, ...]:
    """List the label files in a folder, without hidden ones."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name.lower().endswith(tuple(READERS)))
    return tuple(folder / name for name in names if name[0] != "." and (folder / name).is_file())


def unwrap(folder: Path) -> Path:
    """Go into a folder that holds nothing but one folder, as an uploaded directory does."""
    while len(inside := subfolders(folder)) == 1 and not label_files(folder):
        (folder,) = inside.values()
    return folder


def read(source: Source, multi_label: bool | None, training: Listing | None) -> Listing:
    """List the photographs of a source with the reader of its format."""
    if not source.files:
        listing = read_class_folders(source, multi_label, training)
    else:
        reader, *others = {READERS[file.suffix.lower()] for file in source.files}
        if others:
            raise UserError(f"{source}: label files of several formats; keep those of one")
        listing = reader(source, multi_label, training)
        logger.info("%s: %d photographs", source, len(listing.split))
    if multi_label and listing.split.labels.ndim == 1:
        matrix = one_hot(listing.split.labels, len(listing.class_names))
        return replace(listing, split=Split(listing.split.photographs, matrix))
    return listing


def one_hot(labels: Labels, num_classes: int) -> Labels:
    """Turn class indices (num_photographs,) into 0 and 1 (num_photographs, num_classes)."""
    matrix = np.zeros((len(labels), num_classes), dtype=np.uint8)
    matrix[np.arange(len(labels)), labels] = 1
    return matrix


def check_classes(training: Listing, source: Source) -> None:
    """Raise UserError for too few classes to train, or one without photographs."""
    names, labels = training.class_names, training.split.labels
    needed = 2 if labels.ndim == 1 else 1
    if len(names) < needed:
        raise UserError(
            f"{source}: {len(names)} classes{f' ({names[0]})' if names else ''}; expected at least {needed}, each a "
            f"folder with its photographs, or named by labels in a file ({', '.join(READERS)})"
        )
    counts = np.bincount(labels, minlength=len(names)) if labels.ndim == 1 else labels.sum(axis=0)
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
    photographs, labels = listing.split.photographs, listing.split.labels
    if labels.ndim == 1:
        return Split(photographs, order[labels])
    ordered = np.zeros((len(labels), len(class_names)), dtype=np.uint8)
    ordered[:, order] = labels
    return Split(photographs, ordered)
