"""What the supervisors of all kinds share: state, wishes of others, and an end by signal."""

import signal
import time
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from types import FrameType

from jobs.kinds import Kind
from jobs.launch import LAUNCHERS, end_orphans
from jobs.store import Record, Store, now

POLL_SECONDS = 0.1

FAILURE_REASON_CHARACTERS = 1024
"""FailureReason in the SageMaker API."""


class Wish(StrEnum):
    """What another process asks of a supervisor: a file of that name in the job's folder."""

    STOP = "stop"
    INTERRUPT = "interrupt"
    """Take the machine away, as a spot instance is."""
    DELETE = "delete"


class ShutdownError(Exception):
    """The supervisor itself was told to end, as at a shutdown of the machine: the state stays as it is."""


class Supervisor:
    """Works for one job, in a process of its own."""

    def __init__(self, store: Store, kind: Kind, name: str, features: Path) -> None:
        self.store = store
        self.kind = kind
        self.name = name
        self.features = features
        self.folder = store.folder(kind, name)
        self.launcher = LAUNCHERS[store.read(kind, name).private["Target"]]
        self._shutdown = False
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        end_orphans(self.launcher, self.folder)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._shutdown = True

    @property
    def root(self) -> Path:
        """The /opt/ml tree."""
        return self.folder / "ml"

    def record(self) -> Record:
        """Read the state."""
        return self.store.read(self.kind, self.name)

    def wishes(self, wish: Wish) -> bool:
        """Tell whether another process asked for this. Raises ShutdownError."""
        if self._shutdown:
            raise ShutdownError
        return (self.folder / wish).exists()

    def fulfil(self, wish: Wish) -> None:
        """Take a wish down."""
        (self.folder / wish).unlink(missing_ok=True)

    def pause(self) -> None:
        """Wait for a moment. Raises ShutdownError."""
        if self._shutdown:
            raise ShutdownError
        time.sleep(POLL_SECONDS)

    def update(self, **members: object) -> None:
        """Change members of the description."""
        with self.store.change(self.kind, self.name) as record:
            record.description.update(members, LastModifiedTime=now())


def ask(store: Store, kind: Kind, name: str, wish: Wish) -> None:
    """Leave a wish for a supervisor."""
    with suppress(FileNotFoundError):
        (store.folder(kind, name) / wish).touch()


def shorten(reason: str) -> str:
    """Cut a failure reason to what the service shows."""
    return reason[:FAILURE_REASON_CHARACTERS]
