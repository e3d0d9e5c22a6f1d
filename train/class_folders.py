"""Reads class folders: a folder's name is the class of all photographs below it."""

import os
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from container.photographs import SUFFIXES
from train.path_list import PathList
from train.source import Listing, Source
from train.split import Split


def read_class_folders(source: Source, _multi_label: bool | None = None, _training: Listing | None = None) -> Listing:
    """List the photographs of every folder in the source's folder, class by class, each with one label."""
    class_names = tuple(subfolders(source.folder))
    labels = array("q")

    def paths() -> Iterator[str]:
        for label, name in enumerate(class_names):
            for path in walk(os.path.join(source.folder, name)):  # noqa: PTH118 - a Path each would take longer
                labels.append(label)
                yield path

    photographs = PathList(paths())
    return Listing(Split(photographs, np.array(labels, dtype=np.int64)), class_names)


def subfolders(folder: Path) -> dict[str, Path]:
    """List the folders in a folder by name, without hidden ones."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name[0] != "." and entry.is_dir())
    return {name: folder / name for name in names}


def walk(folder: str) -> Iterator[str]:
    """Find the photographs below a folder, by their ending, without hidden files; sorted, so that jobs repeat."""
    photographs: list[str] = []
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name[0] == ".":
                continue
            if entry.is_dir():
                folders.append(entry.name)
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:  # noqa: PTH122 - as above
                photographs.append(entry.name)
    photographs.sort()
    for name in photographs:
        yield f"{folder}/{name}"
    for name in sorted(folders):
        yield from walk(f"{folder}/{name}")
