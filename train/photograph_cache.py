"""Decoded photographs on disk, so that later epochs do not decode: one sparse file, mapped into memory."""

import contextlib
import hashlib
import logging
import mmap
import os
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from classifier.preprocessing import Pixels

logger = logging.getLogger(__name__)

PIXELS, INDEX = "pixels.bin", "index.bin"

RECORD = np.dtype([("key", "u8"), ("height", "u4"), ("width", "u4"), ("check", "u4"), ("unused", "u4")])

SAMPLED_BYTES = 4096
"""Bytes at either end of an entry that its check covers: a write that was cut short lacks the last ones."""

MAX_SHARE = 0.5
"""Share of the free disk, and of the free memory, that the photographs may take."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class PhotographCache:
    """Keeps the pixels of photographs by their index; processes forked from one another share it.

    An entry counts when its record fits the photograph's path, size and time of change, and the entry's ends fit the
    record's check. A folder from before the machine started is discarded, as its pages may not all be on disk.
    """

    def __init__(self, directory: Path, photographs: Sequence[Path], slot_bytes: int, num_kept: int) -> None:
        """Open the cache of the first `num_kept` of some photographs, of which each takes `slot_bytes` at most.

        Raises OSError when the folder cannot be written.
        """
        self._photographs = photographs
        self._slot_bytes = -(-slot_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self._num_kept = min(num_kept, len(photographs))
        self._directory = directory
        prepare(directory, f"{self._slot_bytes} {len(photographs)}")
        self._records = np.memmap(
            resized(directory / INDEX, len(photographs) * RECORD.itemsize), RECORD, "r+", shape=(len(photographs),)
        )
        self._file = os.open(resized(directory / PIXELS, max(1, self._num_kept) * self._slot_bytes), os.O_RDWR)
        self._map = np.memmap(directory / PIXELS, np.uint8, "r")
        self._is_full = False
        self._verified = np.zeros(len(photographs), dtype=np.bool_)

    def get(self, index: int) -> Pixels | None:
        """Give the pixels (height, width, 3) of a photograph, mapped and read-only; None when they are not there."""
        if index >= self._num_kept:
            return None
        record = self._records[index]
        height, width = int(record["height"]), int(record["width"])
        num_bytes = height * width * 3
        if not 0 < num_bytes <= self._slot_bytes:
            return None
        start = index * self._slot_bytes
        pixels: Pixels = self._map[start : start + num_bytes]
        if not self._verified[index]:
            key = photograph_key(self._photographs[index])
            if int(record["key"]) != key or int(record["check"]) != checksum(pixels, height, width, key):
                return None
            self._verified[index] = True
        return pixels.reshape(height, width, 3).view(np.ndarray)

    def put(self, index: int, pixels: Pixels) -> None:
        """Keep the pixels of a photograph; a full disk ends keeping, with a line in the log."""
        height, width, _ = pixels.shape
        if index >= self._num_kept or self._is_full or pixels.nbytes > self._slot_bytes:
            return
        key = photograph_key(self._photographs[index])
        flat = np.ascontiguousarray(pixels).reshape(-1)
        try:
            written, start = 0, index * self._slot_bytes
            while written < flat.nbytes:
                # A store to mapped memory on a full disk would be a bus error; a write says so.
                written += os.pwrite(self._file, flat[written:].data, start + written)
        except OSError as error:
            self._is_full = True
            logger.warning("photograph_cache: %s; the other photographs are decoded in each epoch", error.strerror)
            return
        self._records[index] = (key, height, width, checksum(flat, height, width, key), 0)

    def remove(self) -> None:
        """Delete the cache from disk."""
        os.close(self._file)
        shutil.rmtree(self._directory, ignore_errors=True)


def prepare(directory: Path, form: str) -> None:
    """Make the folder ready: empty when it was of another form or from before the machine started."""
    boot = BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""
    expected = f"1 {form} {boot}"
    marker = directory / "form"
    if directory.exists() and not (marker.exists() and marker.read_text() == expected):
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    marker.write_text(expected)


def resized(file: Path, num_bytes: int) -> Path:
    """Give a file its length; what was not written takes no room on disk."""
    with file.open("ab"):
        pass
    os.truncate(file, num_bytes)
    return file


def photograph_key(photograph: Path) -> int:
    """Hash the path, size and time of change of a photograph; 0 for one that is not there."""
    with contextlib.suppress(OSError):
        status = photograph.stat()
        text = f"{photograph}\0{status.st_size}\0{status.st_mtime_ns}"
        return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8).digest(), "little")
    return 0


def checksum(pixels: npt.NDArray[np.uint8], height: int, width: int, key: int) -> int:
    """Check the two ends of flat pixels together with what the record says of them."""
    head = zlib.crc32(pixels[:SAMPLED_BYTES].data, zlib.crc32(f"{height} {width} {key}".encode()))
    return zlib.crc32(pixels[-SAMPLED_BYTES:].data, head)


def num_that_fit(directory: Path, mean_bytes: float, num_photographs: int) -> int:
    """Count the photographs of a mean size that fit a share of the free disk and of the free memory."""
    existing = next(folder for folder in (directory, *directory.parents) if folder.exists())
    allowed = MAX_SHARE * min(shutil.disk_usage(existing).free, free_memory_bytes())
    return min(num_photographs, int(allowed / max(1.0, mean_bytes)))


def free_memory_bytes() -> float:
    """Read the memory that is free for cached files, within the container's limit."""
    free = float("inf")
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = dict(line.split(":") for line in meminfo.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and (text := limit.read_text().strip()) != "max":
        free = min(free, int(text) - int(used.read_text()))
    return max(0.0, free)
