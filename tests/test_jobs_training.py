"""Training jobs of the process target: real processes, and what becomes of them when something is killed."""

import json
import os
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jobs_support import ENDLESS, QUICK, assert_shape, channels, ended, state_of, terms, until

from container.metrics import METRICS
from jobs.kinds import TRAINING
from jobs.requests import training_job
from jobs.store import try_lock
from jobs.targets.process import ProcessClient
from jobs.targets.supervision import STARTED


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> ProcessClient:
    return ProcessClient(tmp_path_factory.mktemp("home"), "process")


def start(client: ProcessClient, faces: Path, name: str, hyperparameters: dict[str, str], **options: Any) -> Path:
    """Start a job and return its folder."""
    client.create_training_job(**training_job(name, channels(faces), hyperparameters, terms(client.home), **options))
    return client.store.folder(TRAINING, name)


def wait_for_training(client: ProcessClient, name: str, folder: Path) -> None:
    """Wait until `train` has imported torch and begun."""
    until(lambda: "photographs: 30 train" in (folder / "log.txt").read_text() if (folder / "log.txt").exists() else "")
    assert client.describe_training_job(TrainingJobName=name)["SecondaryStatus"] == "Training"


def is_alone(folder: Path) -> bool:
    """Tell whether every process of a job's child has ended."""
    lock = os.open(folder / "child.lock", os.O_RDWR)
    try:
        return try_lock(lock)
    finally:
        os.close(lock)


@pytest.fixture(scope="module")
def done(client: ProcessClient, faces: Path) -> Iterator[dict[str, Any]]:
    """The description of a job that went to its end."""
    start(client, faces, "done", QUICK)
    client.get_waiter("training_job_completed_or_stopped").wait(
        TrainingJobName="done", WaiterConfig={"Delay": 0.2, "MaxAttempts": 500}
    )
    yield client.describe_training_job(TrainingJobName="done")
    client.delete_training_job(TrainingJobName="done")


def test_a_job_goes_through_the_states_of_the_service(done: dict[str, Any]) -> None:
    assert_shape("DescribeTrainingJob", done)
    assert done["TrainingJobStatus"] == "Completed"
    transitions = done["SecondaryStatusTransitions"]
    assert [item["Status"] for item in transitions] == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert all(item["EndTime"] >= item["StartTime"] for item in transitions)
    assert done["CreationTime"] <= done["TrainingStartTime"] <= done["TrainingEndTime"]
    assert done["TrainingTimeInSeconds"] >= 1


def test_metrics_are_read_from_the_log_by_their_patterns(done: dict[str, Any]) -> None:
    metrics = {item["MetricName"]: item["Value"] for item in done["FinalMetricDataList"]}
    assert set(metrics) == {definition.name for definition in METRICS if "single_label" in definition.tasks}
    assert metrics["test:accuracy"] >= 0.7


def test_outputs_are_packed_where_the_service_puts_them(done: dict[str, Any], client: ProcessClient) -> None:
    output = client.home / "output" / "done" / "output"
    assert done["ModelArtifacts"]["S3ModelArtifacts"] == f"file://{output}/model.tar.gz"
    with tarfile.open(output / "model.tar.gz") as archive:
        assert {"model.json", "model.safetensors"} <= set(archive.getnames())
    with tarfile.open(output / "output.tar.gz") as archive:
        assert "metrics.json" in archive.getnames()


def test_the_tree_is_that_of_a_container(done: dict[str, Any], client: ProcessClient) -> None:
    del done
    config = client.store.folder(TRAINING, "done") / "ml" / "input" / "config"
    assert json.loads((config / "hyperparameters.json").read_text()) == QUICK
    inputs = json.loads((config / "inputdataconfig.json").read_text())
    expected = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}
    assert inputs == {"training": expected}
    resources = json.loads((config / "resourceconfig.json").read_text())
    assert resources["hosts"] == ["algo-1"] and resources["current_host"] == "algo-1"


def test_stop_keeps_the_best_model_and_a_spot_job_goes_on_after_an_interruption(
    client: ProcessClient, faces: Path
) -> None:
    folder = start(client, faces, "spot", ENDLESS, spot=True)
    wait_for_training(client, "spot", folder)
    client.interrupt_training_job("spot")
    until(lambda: "Interrupted" in [item["Status"] for item in transitions(client, "spot")])
    until(lambda: [item["Status"] for item in transitions(client, "spot")][-1] == "Training")
    until(lambda: (folder / "log.txt").read_text().count("#metric validation:loss") >= 2)
    assert (folder / "ml" / "checkpoints").is_symlink()
    client.stop_training_job(TrainingJobName="spot")
    assert state_of(client, "spot") in ("Stopping", "Stopped")
    told = ended(client, "spot")
    assert_shape("DescribeTrainingJob", told)
    assert told["TrainingJobStatus"] == told["SecondaryStatus"] == "Stopped"
    states = [item["Status"] for item in told["SecondaryStatusTransitions"]]
    first, last = ["Starting", "Downloading", "Training", "Interrupted"], ["Stopping", "Uploading", "Stopped"]
    assert states == [*first, *first[:3], *last]
    with tarfile.open(told["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("file://")) as archive:
        assert "model.safetensors" in archive.getnames()


def transitions(client: ProcessClient, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.describe_training_job(TrainingJobName=name)["SecondaryStatusTransitions"]
    return found


def test_a_job_that_runs_too_long_is_stopped(client: ProcessClient, faces: Path) -> None:
    start(client, faces, "long", ENDLESS, max_runtime_seconds=1)
    told = ended(client, "long")
    assert (told["TrainingJobStatus"], told["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


def test_a_killed_train_fails_the_job_and_says_so(client: ProcessClient, faces: Path) -> None:
    folder = start(client, faces, "killed", ENDLESS)
    until((folder / "child.pid").exists)
    os.killpg(int((folder / "child.pid").read_text().split()[0]), signal.SIGKILL)
    told = ended(client, "killed")
    assert told["FailureReason"].startswith("AlgorithmError: train was ended by signal 9: out of memory?")


def test_a_killed_supervisor_fails_the_job_and_leaves_no_process(client: ProcessClient, faces: Path) -> None:
    folder = start(client, faces, "orphan", ENDLESS)
    until((folder / "child.pid").exists)
    STARTED[-1].kill()
    STARTED[-1].wait()
    told = ended(client, "orphan")
    assert told["TrainingJobStatus"] == "Failed"
    assert told["FailureReason"].startswith("InternalServerError: the process that supervised the job was ended")
    assert is_alone(folder)
    client.delete_training_job(TrainingJobName="orphan")


def test_a_spot_job_whose_supervisor_was_killed_goes_on_with_the_features_of_another_job(
    client: ProcessClient, faces: Path, done: dict[str, Any]
) -> None:
    del done
    folder = start(client, faces, "phoenix", QUICK, spot=True)
    until((folder / "child.pid").exists)
    STARTED[-1].kill()
    STARTED[-1].wait()
    told = ended(client, "phoenix")
    assert told["TrainingJobStatus"] == "Completed"
    assert "Interrupted" in [item["Status"] for item in told["SecondaryStatusTransitions"]]
    assert "train features: 30 of 30 were in the cache" in (folder / "log.txt").read_text()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("a small file system takes root and the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_fails_the_job_with_the_reason_and_the_next_command_works(small_disk: Path, faces: Path) -> None:
    client = ProcessClient(small_disk / "home", "process")
    start(client, faces, "big", QUICK)
    told = ended(client, "big")
    assert told["TrainingJobStatus"] == "Failed"
    assert "no space" in told["FailureReason"]
    client.delete_training_job(TrainingJobName="big")
    assert client.list_training_jobs()["TrainingJobSummaries"] == []


def test_a_job_is_not_begun_on_a_full_disk(small_disk: Path, faces: Path) -> None:
    client = ProcessClient(small_disk / "home", "process")
    with pytest.raises(OSError, match="No space left on device"), (small_disk / "fill").open("wb") as stream:
        stream.write(b"-" * 4_000_000)
    with pytest.raises(OSError, match="No space left on device"):
        start(client, faces, "none", QUICK)
    assert client.list_training_jobs()["TrainingJobSummaries"] == []
