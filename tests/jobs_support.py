"""What the tests of jobs/ share: a client with a home of its own, requests, and botocore's word on answers."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from botocore.validate import ParamValidator
from support import ROOT

from jobs.config import KennelConfig
from jobs.requests import Terms, terms_of
from jobs.shapes import constraint_problems, service_model
from jobs.targets.process import ProcessClient
from jobs.uris import file_uri

QUICK = {"strategy": "linear_probe", "epochs": "3", "search_trials": "1"}
ENDLESS = {"strategy": "finetune", "epochs": "10000", "batch_size": "4"}
BROKEN = {"lr": "-1"}
"""`train` refuses it before it imports torch: a real failure within half a second."""


def terms(home: Path) -> Terms:
    return terms_of(KennelConfig(home=str(home)))


def channels(folder: Path) -> dict[str, str]:
    return {"training": file_uri(folder)}


def kennel(home: Path, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run the `kennel` command as a person does."""
    return subprocess.run(
        [sys.executable, "-m", "jobs", *arguments], cwd=ROOT, env=environment(home), capture_output=True, text=True,
        timeout=timeout,
    )  # fmt: skip


def environment(home: Path) -> dict[str, str]:
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(("KENNEL_", "AWS_"))}
    return {**inherited, "KENNEL_HOME": str(home), "KENNEL_CONFIG": os.devnull, "PYTHONPATH": str(ROOT)}


def until(condition: Callable[[], Any], timeout: float = 60) -> Any:
    """Wait for something to become true, and return it."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found


def state_of(client: ProcessClient, name: str) -> str:
    return str(client.describe_training_job(TrainingJobName=name)["TrainingJobStatus"])


def ended(client: ProcessClient, name: str, timeout: float = 90) -> dict[str, Any]:
    """Wait for the end of a training job, and return its description."""
    until(lambda: state_of(client, name) in ("Completed", "Failed", "Stopped"), timeout)
    return client.describe_training_job(TrainingJobName=name)


def assert_shape(operation: str, answer: dict[str, Any]) -> None:
    """Hold an answer against the output shape of botocore's service model."""
    shape = service_model().operation_model(operation).output_shape
    members = {key: value for key, value in answer.items() if key != "ResponseMetadata"}
    if shape is None:
        assert members == {}
        return
    report = ParamValidator().validate(members, shape)
    assert not report.has_errors(), report.generate_report()
    assert constraint_problems(shape, members) == []
