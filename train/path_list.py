"""Paths of many photographs in one buffer: their bytes and 8 more each, where a Path takes hundreds."""

import hashlib
import os
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


class PathList(Sequence[Path]):
    """Paths as bytes in one buffer; a Path is made when it is asked for.

    Selections share the buffer, and so do processes forked from this one: reading it writes no reference counts there.
    """

    def __init__(self, paths: Iterable[Path | str | bytes] = ()) -> None:
        self._buffer = bytearray()
        ends = array("q", [0])
        for path in paths:
            self._buffer += os.fsencode(path)
            ends.append(len(self._buffer))
        self._ends = np.array(ends, dtype=np.int64)
        self._order: Indices | None = None
        """Places in the buffer, for a selection."""

    def select(self, indices: Indices) -> "PathList":
        """Keep some of the paths, in the order of `indices`."""
        chosen = PathList()
        chosen._buffer, chosen._ends = self._buffer, self._ends
        chosen._order = indices if self._order is None else self._order[indices]
        return chosen

    def digest(self) -> str:
        """Hash the paths in their order."""
        total = hashlib.blake2b(digest_size=16)
        for index in range(len(self)):
            # No path holds a zero byte.
            total.update(self._bytes(index) + b"\0")
        return total.hexdigest()

    def _bytes(self, index: int) -> bytes:
        place = index if self._order is None else self._order[index]
        return bytes(self._buffer[self._ends[place] : self._ends[place + 1]])

    def __len__(self) -> int:
        return len(self._ends) - 1 if self._order is None else len(self._order)

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice) -> "PathList": ...

    def __getitem__(self, index: int | slice) -> "Path | PathList":
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        # range turns an index from the end, and refuses one that is out of it
        return Path(os.fsdecode(self._bytes(range(len(self))[index])))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PathList) and self.digest() == other.digest()
