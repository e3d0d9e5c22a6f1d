"""Exit codes and output/failure."""

import errno
import os
import signal
import time
from pathlib import Path

import pytest

from container.errors import FAILURE_REASON_CHARACTERS, AlgorithmError, ContainerError, PlatformError, UserError
from container.lifecycle import StopSignal, run_training
from container.paths import ContainerPaths


def failing(error: Exception, tmp_path: Path) -> tuple[int, str]:
    def job(_: StopSignal) -> None:
        raise error

    paths = ContainerPaths(tmp_path)
    code = run_training(job, paths)
    return code, paths.failure.read_text()


@pytest.mark.parametrize("family", [UserError, AlgorithmError, PlatformError])
def test_the_cause_is_the_first_line_of_the_failure_file(family: type[ContainerError], tmp_path: Path) -> None:
    code, failure = failing(family("lr=-1: must be in\n(0, 1]"), tmp_path)
    assert code == family.exit_code != 0
    assert failure == f"{family.__name__}: lr=-1: must be in (0, 1]\n"


def test_a_defect_keeps_its_traceback_after_the_cause(tmp_path: Path) -> None:
    code, failure = failing(ZeroDivisionError("division by zero"), tmp_path)
    assert code == AlgorithmError.exit_code
    assert failure.splitlines()[0] == "AlgorithmError: ZeroDivisionError: division by zero"
    assert "Traceback" in failure
    assert "division by zero" in failure[:FAILURE_REASON_CHARACTERS]


def test_a_full_disk_is_the_platforms_error_without_a_traceback(tmp_path: Path) -> None:
    code, failure = failing(OSError(errno.ENOSPC, "No space left on device", "/opt/ml/model/x"), tmp_path)
    assert code == PlatformError.exit_code
    assert failure.startswith("PlatformError: /opt/ml/model/x: No space left on device")
    assert "Traceback" not in failure


def test_a_job_that_succeeds_removes_the_failure_of_an_earlier_one(tmp_path: Path) -> None:
    failing(UserError("x"), tmp_path)
    paths = ContainerPaths(tmp_path)
    assert run_training(lambda _: None, paths) == 0
    assert not paths.failure.exists()


def test_sigterm_asks_the_job_to_stop_and_the_job_ends_well(tmp_path: Path) -> None:
    def job(stop: StopSignal) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + 5
        while not stop.requested:
            assert time.monotonic() < deadline

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    try:
        assert run_training(job, ContainerPaths(tmp_path)) == 0
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
