"""Unpacks an archive that somebody else made: nothing is written before all of it was looked at."""

import gzip
import io
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from container.errors import UserError

MAX_RATIO = 20
"""Weights hardly compress; an archive that grows more is a bomb."""
FREE_BYTES = 100_000_000
"""May be unpacked whatever the ratio."""
MAX_MEMBERS = 10_000


class LimitedReader(io.RawIOBase):
    """Reads a compressed file up to a limit. Raises UserError beyond it."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._stream = gzip.open(archive)  # noqa: SIM115 - closed in close()
        self._left = FREE_BYTES + MAX_RATIO * archive.stat().st_size

    def read(self, size: int = -1) -> bytes:
        """Read some bytes."""
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise UserError(
                f"{self._archive}: grows to more than {MAX_RATIO} times its size; give an archive of weights as "
                f"training left it"
            )
        return data

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        super().close()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .tar.gz of files and folders. Raises UserError for anything else, and for an archive that is broken."""
    try:
        with LimitedReader(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            for number, member in enumerate(tar, 1):
                check(member, archive, number)
        with LimitedReader(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{archive}: not a readable .tar.gz ({error}); give the file as training left it") from error


def check(member: tarfile.TarInfo, archive: Path, number: int) -> None:
    """Raise UserError for a member that is neither file nor folder or lies outside, and for too many."""
    path = PurePosixPath(member.name)
    problem = ""
    if number > MAX_MEMBERS:
        problem = f"more than {MAX_MEMBERS} members"
    elif path.is_absolute() or ".." in path.parts:
        problem = f"{member.name!r} lies outside the folder"
    elif not (member.isreg() or member.isdir()) or member.issparse():
        problem = f"{member.name!r} is a link or a device, or sparse"
    if problem:
        raise UserError(f"{archive}: {problem}; nothing was unpacked; give an archive with files and folders only")
