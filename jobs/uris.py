"""`file://` URIs, and the archives behind them."""

import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

FAST_COMPRESSION = 1
"""Weights hardly shrink; a higher level takes seconds and saves nothing."""


def file_uri(path: Path) -> str:
    """Write a path as a `file://` URI."""
    return f"file://{path.absolute()}"


def local_path(uri: str) -> Path:
    """Read the path in a `file://` URI. Raises ValueError for any other URI."""
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise ValueError(
            f"{uri}: this target reads and writes file:// URIs; take --on aws for S3, or copy it here first"
        )
    return Path(unquote(parts.path))


def walk_files(folder: Path) -> Iterator[Path]:
    """List the files below a folder, or the file itself, sorted."""
    if folder.is_file():
        yield folder
        return
    for directory, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        for name in sorted(names):
            yield Path(directory, name)


def pack(folder: Path, archive: Path) -> None:
    """Put what a folder holds into a .tar.gz, which appears when it is whole."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    temporary = archive.with_name(f".{archive.name}.{os.getpid()}")
    try:
        with tarfile.open(temporary, "w:gz", compresslevel=FAST_COMPRESSION) as tar:
            for entry in sorted(folder.iterdir()):
                tar.add(entry, entry.name)
        temporary.replace(archive)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def unpack(archive: Path, folder: Path) -> None:
    """Take a .tar.gz apart. Members that would leave the folder are refused (tarfile's `data` filter).

    Raises ValueError for no such archive.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{archive}: not a .tar.gz archive ({error})") from error


def fetch(source: Path, folder: Path) -> None:
    """Put a model into a folder: an archive is taken apart, a folder's files are copied."""
    if source.is_dir():
        shutil.copytree(source, folder, dirs_exist_ok=True)
    elif source.is_file():
        unpack(source, folder)
    else:
        raise ValueError(f"{source}: no such file or folder")
