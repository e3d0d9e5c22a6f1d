"""What the process and Docker targets know, on disk: one folder a job, with its state, its /opt/ml tree and its logs.

    <root>/training-jobs/<name>/
        state.json       description and private state, replaced atomically
        state.lock       held for a moment by who changes the state
        alive.lock       held by the supervisor of the job for as long as it lives
        child.lock       held by the processes that the supervisor started
        ml/              the /opt/ml tree
        log.txt          what `train` or `serve` printed
        supervisor.txt   what the supervisor printed

Files rather than a data base: a folder is the whole truth of a job, can be read with `cat` and removed with `rm -r`; a
full disk or a torn write harms one job and not the list of all. A name is taken by renaming a finished folder into
place, which one of two launchers wins.
"""

import errno
import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.kinds import Kind

Description = dict[str, Any]
"""What Describe answers: members of the API's output shape."""

RESERVE_BYTES = 65536
"""Kept in a job's folder and given up when the disk is full, so that the failure itself can be written down."""

NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
"""Names of jobs, models and endpoints in the SageMaker API."""


class NotFoundError(Exception):
    """There is nothing of that name."""


class ExistsError(Exception):
    """The name is taken."""


@dataclass
class Record:
    """The state of one job, model, endpoint configuration or endpoint."""

    description: Description
    private: dict[str, Any] = field(default_factory=dict)
    """What the target needs and the API does not show."""


def now() -> datetime:
    """Tell the time as boto3's answers do: aware, in milliseconds."""
    return datetime.fromtimestamp(round(datetime.now(UTC).timestamp(), 3), UTC)


def encode(record: Record) -> bytes:
    """Write a record as JSON; a time is an object with seconds since 1970."""
    content = {"description": record.description, "private": record.private}
    return json.dumps(content, indent=1, default=encode_time).encode()


def encode_time(value: object) -> dict[str, float]:
    """Write a time. Raises TypeError for anything else that JSON has no word for."""
    if isinstance(value, datetime):
        return {"$time": value.timestamp()}
    raise TypeError(f"{type(value).__name__} has no place in a record")


def decode_time(content: dict[str, Any]) -> Any:
    """Read a time back."""
    if content.keys() == {"$time"}:
        return datetime.fromtimestamp(content["$time"], UTC)
    return content


class Store:
    """Records by kind and name."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, kind: Kind, name: str) -> Path:
        """Give the folder of a name. Raises NotFoundError for what no name can be, such as a path."""
        if not NAME.fullmatch(name):
            raise NotFoundError(name)
        return self.root / kind.folder / name

    def names(self, kind: Kind) -> list[str]:
        """List the names, sorted."""
        with suppress(FileNotFoundError):
            return sorted(name for name in os.listdir(self.root / kind.folder) if name[0] != ".")  # noqa: PTH208
        return []

    def create(self, kind: Kind, name: str, record: Record) -> int:
        """Take a name, and return the open and locked `alive.lock` of its folder.

        Raises ExistsError when the name is taken, OSError when the disk is full.
        """
        parent = self.root / kind.folder
        parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
        descriptor = os.open(made / "alive.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            made.chmod(0o755)
            (made / "reserve").write_bytes(b"-" * RESERVE_BYTES)
            (made / "state.json").write_bytes(encode(record))
            made.rename(self.folder(kind, name))
        except OSError as error:
            os.close(descriptor)
            shutil.rmtree(made, ignore_errors=True)
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                raise ExistsError(name) from error
            raise
        return descriptor

    def read(self, kind: Kind, name: str) -> Record:
        """Read a record. Raises NotFoundError."""
        try:
            content = json.loads((self.folder(kind, name) / "state.json").read_bytes(), object_hook=decode_time)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(name) from None
        return Record(content["description"], content["private"])

    @contextmanager
    def change(self, kind: Kind, name: str) -> Iterator[Record]:
        """Read a record, let it be changed, and write it; others wait. Raises NotFoundError."""
        folder = self.folder(kind, name)
        try:
            lock = (folder / "state.lock").open("ab")
        except FileNotFoundError:
            raise NotFoundError(name) from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            record = self.read(kind, name)
            before = encode(record)
            yield record
            after = encode(record)
            if after != before:
                self._replace(folder, after)

    def _replace(self, folder: Path, content: bytes) -> None:
        try:
            replace(folder / "state.json", content)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            (folder / "reserve").unlink(missing_ok=True)
            replace(folder / "state.json", content)

    def remove(self, kind: Kind, name: str) -> None:
        """Remove a folder at once, as others see it. Raises NotFoundError."""
        folder = self.folder(kind, name)
        doomed = folder.with_name(f".old-{name}-{os.getpid()}-{now().timestamp()}")
        try:
            folder.rename(doomed)
        except FileNotFoundError:
            raise NotFoundError(name) from None
        shutil.rmtree(doomed, ignore_errors=True)

    def take_over(self, kind: Kind, name: str) -> int | None:
        """Lock `alive.lock` and return it open; None when a supervisor holds it, or the name is gone."""
        try:
            descriptor = os.open(self.folder(kind, name) / "alive.lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        if try_lock(descriptor):
            return descriptor
        os.close(descriptor)
        return None


def replace(file: Path, content: bytes) -> None:
    """Write a file so that readers see the old content or the new one."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(file)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def try_lock(descriptor: int) -> bool:
    """Lock an open file unless another process holds its lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
