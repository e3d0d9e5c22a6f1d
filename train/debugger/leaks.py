"""Photographs with equal contents in two splits, which make results look better than they are."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

import numpy as np

from train.data import Photographs

HEAD_BYTES = 4096
"""Read of photographs of equal size, before whole ones are."""

Found = tuple[str, Path]
"""A split and a photograph of it."""


def find_leaks(photographs: Photographs) -> list[tuple[Found, Found]]:
    """Pair each photograph of validation and test with one of an earlier split that has the same contents.

    Only photographs of equal size are opened, and only those with the same beginning are read to their end.
    """
    splits = {"train": photographs.train, "validation": photographs.validation, "test": photographs.test}
    paths = {name: split.photographs for name, split in splits.items() if split is not None}
    sizes = {name: np.fromiter(map(size_of, files), np.int64, len(files)) for name, files in paths.items()}
    distinct, num_splits = np.unique(np.concatenate([*map(np.unique, sizes.values())]), return_counts=True)
    common = distinct[(num_splits > 1) & (distinct > 0)]
    groups: dict[Hashable, list[Found]] = defaultdict(list)
    for name, files in paths.items():
        for index in np.flatnonzero(np.isin(sizes[name], common)):
            groups[int(sizes[name][index])].append((name, files[index]))
    same = list(groups.values())
    for measure in (head_of, digest_of):
        same = [smaller for group in same for smaller in shared(group, measure)]
    return [(later, group[0]) for group in same for later in group[1:] if later[0] != group[0][0]]


def shared(group: Sequence[Found], measure: Callable[[Path], Hashable]) -> list[list[Found]]:
    """Group photographs of which something is equal, and keep the groups with more than one split."""
    groups: dict[Hashable, list[Found]] = defaultdict(list)
    for split, file in group:
        try:
            groups[measure(file)].append((split, file))
        except OSError:
            # An unreadable photograph is told of where it is decoded.
            continue
    return [same for same in groups.values() if len({split for split, _ in same}) > 1]


def size_of(file: Path) -> int:
    """Tell the bytes of a file; 0 for one that is not there."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def head_of(file: Path) -> bytes:
    """Read the beginning of a file."""
    with file.open("rb") as stream:
        return stream.read(HEAD_BYTES)


def digest_of(file: Path) -> bytes:
    """Digest the contents of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").digest()
