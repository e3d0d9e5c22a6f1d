"""The life of a training job: exit codes, output/failure, and a stop that saves the best model."""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType

from container.errors import AlgorithmError, ContainerError, PlatformError
from container.paths import ContainerPaths

PLATFORM_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.ENOMEM})


class StopSignal:
    """Whether the service, a person or the job itself asked the job to stop.

    SageMaker sends SIGTERM, then SIGKILL 120 s later (StopTrainingJob in the API). Loops look at `requested`
    between steps; nothing is interrupted in the middle. A second Ctrl-C ends the process at once.
    """

    def __init__(self) -> None:
        self.requested = False
        self.is_urgent = False
        """Whether the process will be killed soon, so that only the model can be saved."""
        self.reason = ""

    def install(self) -> None:
        """Answer SIGTERM and SIGINT from now on."""
        signal.signal(signal.SIGTERM, self._request)
        signal.signal(signal.SIGINT, self._request)

    def request(self, reason: str) -> None:
        """Stop training early; there is time to evaluate what was trained."""
        self.requested = True
        self.reason = self.reason or reason

    def _request(self, number: int, _frame: FrameType | None) -> None:
        self.requested = self.is_urgent = True
        self.reason = self.reason or signal.Signals(number).name
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        # os.write, as print is not safe inside a signal handler that may interrupt another print
        os.write(sys.stderr.fileno(), f"{signal.Signals(number).name}: saving the best model so far\n".encode())


def run_training(job: Callable[[StopSignal], None], paths: ContainerPaths) -> int:
    """Run a training job and return its exit code: 0, or that of the error's family.

    The cause of a failure becomes the first line of output/failure; a traceback follows only for a defect.
    """
    stop = StopSignal()
    stop.install()
    try:
        paths.failure.unlink(missing_ok=True)
        job(stop)
    except ContainerError as error:
        return fail(error, paths)
    except MemoryError as error:
        return fail(PlatformError(f"out of memory: lower batch_size or take a larger instance ({error})"), paths)
    except OSError as error:
        if error.errno in PLATFORM_ERRNOS:
            return fail(
                PlatformError(f"{error.filename or 'output'}: {error.strerror}; free space or fix rights"), paths
            )
        return fail(AlgorithmError(f"{type(error).__name__}: {error}"), paths, traceback.format_exc())
    except Exception as error:  # noqa: BLE001 - the last frame of the process: whatever it is must reach output/failure
        return fail(AlgorithmError(f"{type(error).__name__}: {error}"), paths, traceback.format_exc())
    return 0


def fail(error: ContainerError, paths: ContainerPaths, details: str = "") -> int:
    """Report an error to the log and to output/failure, and return its exit code."""
    cause = f"{type(error).__name__}: {' '.join(str(error).split())}"
    text = f"{cause}\n{details}" if details else f"{cause}\n"
    print(text, file=sys.stderr, flush=True)
    try:
        paths.failure.parent.mkdir(parents=True, exist_ok=True)
        # A file's name in it may hold any bytes.
        paths.failure.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as problem:
        print(f"{paths.failure}: not written ({problem})", file=sys.stderr, flush=True)
    return error.exit_code
