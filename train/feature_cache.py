"""Features on disk: a memory-mapped float16 array, found by the contents of photographs.

    features-KEY.f16     rows of num_features numbers, appended
    features-KEY.index   for each row the digest of the photograph's contents and that of the row

KEY names everything else that features depend on: network, weights, preprocessing, view and engine. A row that was half
written, or does not match its digest, is computed again.
"""

import errno
import fcntl
import hashlib
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

logger = logging.getLogger(__name__)

Half = npt.NDArray[np.float16]

DIGEST_BYTES = 16
ROW_DIGEST_BYTES = 8
ENTRY_BYTES = DIGEST_BYTES + ROW_DIGEST_BYTES
LARGEST_HALF = 65504
FREE_SHARE = 0.5
"""Share of the free disk that features may take; the rest is for checkpoints and the artifact."""


def content_digest(data: bytes, view: int = 0) -> bytes:
    """Digest the contents of a photograph, for one of its augmented views."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES, salt=view.to_bytes(2, "little")).digest()


def row_digest(row: Half) -> bytes:
    """Digest a row of features."""
    return hashlib.blake2b(row.tobytes(), digest_size=ROW_DIGEST_BYTES).digest()


class FeatureCache:
    """Rows of float16 features by content digest, kept in a folder. One process writes at a time; others read."""

    def __init__(self, directory: Path, key: str, num_features: int) -> None:
        """Open the cache of a key, or begin one. Raises OSError when the folder cannot be written."""
        directory.mkdir(parents=True, exist_ok=True)
        self._data_file = directory / f"features-{key}.f16"
        self._index_file = directory / f"features-{key}.index"
        self._num_features = num_features
        self._index = self._index_file.open("a+b")
        self._data = self._data_file.open("a+b")
        try:
            fcntl.flock(self._index, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise OSError(errno.EWOULDBLOCK, "another job is writing it", str(self._index_file)) from error
        self._rows: dict[bytes, int] = {}
        self._load()

    def _load(self) -> None:
        """Read the index; what was half written, or is not what was written, is left out."""
        row_bytes = 2 * self._num_features
        num_rows = min(self._index_file.stat().st_size // ENTRY_BYTES, self._data_file.stat().st_size // row_bytes)
        self._index.truncate(num_rows * ENTRY_BYTES)
        self._data.truncate(num_rows * row_bytes)
        self._num_rows = num_rows
        if num_rows == 0:
            return
        entries = self._index_file.read_bytes()
        num_broken = 0
        for number, row in enumerate(self.array()):
            entry = entries[number * ENTRY_BYTES : (number + 1) * ENTRY_BYTES]
            if row_digest(row) == entry[DIGEST_BYTES:]:
                self._rows[entry[:DIGEST_BYTES]] = number
            else:
                num_broken += 1
        if num_broken:
            logger.warning("%s: %d of %d rows are damaged and made again", self._data_file, num_broken, num_rows)

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, digest: bytes) -> int | None:
        """Find the row of a photograph."""
        return self._rows.get(digest)

    def append(self, digests: Sequence[bytes], values: npt.NDArray[np.float32]) -> list[int]:
        """Add rows and return their numbers; features beyond float16's range are clipped to it."""
        rows = values.clip(-LARGEST_HALF, LARGEST_HALF).astype(np.float16)
        self._data.write(rows.tobytes())
        # The index names a row only after the row is there.
        self._data.flush()
        self._index.write(b"".join(digest + row_digest(row) for digest, row in zip(digests, rows, strict=True)))
        self._index.flush()
        numbers = list(range(self._num_rows, self._num_rows + len(rows)))
        self._rows.update(zip(digests, numbers, strict=True))
        self._num_rows += len(rows)
        return numbers

    def array(self) -> Half:
        """Map all rows (num_rows, num_features) into memory, for reading."""
        if self._num_rows == 0:
            return np.zeros((0, self._num_features), np.float16)
        return np.memmap(self._data_file, np.float16, "r", shape=(self._num_rows, self._num_features))

    def release(self) -> None:
        """Let another process write; what has been read stays valid, since rows are only ever added."""
        fcntl.flock(self._index, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let another process write, and close the files."""
        self._data.close()
        self._index.close()


def check_room(directory: Path, num_rows: int, num_features: int) -> None:
    """Raise OSError when so many rows of features take more than half of the free disk."""
    directory.mkdir(parents=True, exist_ok=True)
    needed_bytes = num_rows * (2 * num_features + ENTRY_BYTES)
    if needed_bytes > FREE_SHARE * shutil.disk_usage(directory).free:
        raise OSError(errno.ENOSPC, f"{needed_bytes / 1e6:.0f} MB are over half of its free space", str(directory))
