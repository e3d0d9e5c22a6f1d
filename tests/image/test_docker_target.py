"""The docker target: the journey by the `kennel` command with containers, and what is left when something is killed."""

import json
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from image.containers import QUICK, ROOT, Result, docker, run

from jobs.config import KennelConfig
from jobs.kinds import TRAINING
from jobs.requests import endpoint, endpoint_config, model, terms_of, training_job
from jobs.store import Store
from jobs.targets.process import ProcessClient
from jobs.targets.runtime import RuntimeClient
from jobs.targets.supervision import STARTED
from jobs.uris import file_uri

PYTHON = ROOT / ".venv" / "bin" / "python"
ENDLESS = {"strategy": "finetune", "epochs": "10000", "batch_size": "4"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("home")
    assert containers() == []


def containers() -> list[str]:
    """Name the containers of the docker target, those that have ended too."""
    return docker("ps", "--all", "--format", "{{.Names}}", "--filter", "name=^/kennel-").split()


def kennel(home: Path, image: str, *arguments: str) -> Result:
    variables = {"KENNEL_HOME": str(home), "KENNEL_ON": "docker", "KENNEL_IMAGE": image, "KENNEL_CONFIG": "/dev/null"}
    result = run(PYTHON, "-m", "jobs", *arguments, environment=variables)
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def until(condition: Callable[[], Any], timeout: float = 120) -> Any:
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)
    return found


def test_the_journey_in_docker(home: Path, image: str, photographs: Path, photograph: Path, tmp_path: Path) -> None:
    quick = [part for name, text in QUICK.items() for part in ("--set", f"{name}={text}")]
    tuned = kennel(home, image, "tune", str(photographs), "--name", "tune", "--jobs", "3", "--parallel", "2", *quick)
    assert "tune: Completed" in tuned.stdout
    kennel(home, image, "best", "tune", "--out", str(tmp_path / "best.json"))
    kennel(home, image, "train", str(photographs), "--from", str(tmp_path / "best.json"), "--name", "final")
    assert "were in the cache" in kennel(home, image, "logs", "final").stdout
    with tarfile.open(home / "output" / "final" / "output" / "model.tar.gz") as archive:
        assert {"model.json", "model.safetensors"} <= set(archive.getnames())
    kennel(home, image, "deploy", "final", "--min", "2", "--name", "served")
    answers = json.loads(kennel(home, image, "predict", "served", str(photograph), "--json").stdout)
    assert answers[str(photograph)]["predictions"][0]["label"] == photograph.parent.name
    out = tmp_path / "out"
    kennel(home, image, "transform", "final", str(photographs / "test"), str(out), "--name", "batch")
    assert len(list(out.rglob("*.out"))) == len(list((photographs / "test").rglob("*.png")))
    kennel(home, image, "delete", "served", "batch", "final", "tune")


def test_stop_reaches_train_in_its_container_and_spot_goes_on_after_an_interruption(
    home: Path, image: str, photographs: Path
) -> None:
    client = ProcessClient(home, "docker")
    terms = terms_of(KennelConfig(on="docker", home=str(home), image=image))
    request = training_job("spot", {"training": file_uri(photographs)}, ENDLESS, terms, spot=True)
    client.create_training_job(**{**request, "EnableNetworkIsolation": True})
    log = Store(home / "docker").folder(TRAINING, "spot") / "log.txt"
    until(lambda: log.exists() and "#metric validation:loss" in log.read_text())
    client.interrupt_training_job("spot")
    until(lambda: log.read_text().count("photographs: ") == 2)
    STARTED[-1].kill()
    STARTED[-1].wait()
    # The next command finds the supervisor dead, ends the container that it left, and starts again.
    until(lambda: client.describe_training_job(TrainingJobName="spot") and log.read_text().count("photographs: ") == 3)
    assert len(containers()) == 1
    client.stop_training_job(TrainingJobName="spot")
    until(lambda: client.describe_training_job(TrainingJobName="spot")["TrainingJobStatus"] == "Stopped")
    states = [
        item["Status"] for item in client.describe_training_job(TrainingJobName="spot")["SecondaryStatusTransitions"]
    ]
    assert states.count("Interrupted") == 2
    assert log.read_text().count("SIGTERM: saving the best model so far") >= 2
    client.delete_training_job(TrainingJobName="spot")


def test_an_endpoint_whose_supervisor_was_killed_comes_back(
    home: Path, image: str, trained: Path, photograph: Path
) -> None:
    client = ProcessClient(home, "docker")
    terms = terms_of(KennelConfig(on="docker", home=str(home), image=image))
    client.create_model(**model("phoenix", file_uri(trained / "model"), terms, {}))
    client.create_endpoint_config(**endpoint_config("phoenix", "phoenix", terms))
    client.create_endpoint(**endpoint("phoenix", "phoenix"))
    waiter = {"Delay": 0.2, "MaxAttempts": 500}
    client.get_waiter("endpoint_in_service").wait(EndpointName="phoenix", WaiterConfig=waiter)
    STARTED[-1].kill()
    STARTED[-1].wait()
    until(lambda: client.describe_endpoint(EndpointName="phoenix")["EndpointStatus"] == "InService")
    answer = RuntimeClient(client).invoke_endpoint(
        EndpointName="phoenix", Body=photograph.read_bytes(), ContentType="image/png"
    )
    assert json.loads(answer["Body"].read())["predictions"][0]["label"] == photograph.parent.name
    client.delete_endpoint(EndpointName="phoenix")
    client.get_waiter("endpoint_deleted").wait(EndpointName="phoenix", WaiterConfig=waiter)
    client.delete_endpoint_config(EndpointConfigName="phoenix")
    client.delete_model(ModelName="phoenix")


def test_an_image_that_is_not_there_is_refused(home: Path, photographs: Path) -> None:
    terms = terms_of(KennelConfig(on="docker", home=str(home), image="kennel:nowhere"))
    request = training_job("none", {"training": file_uri(photographs)}, QUICK, terms)
    with pytest.raises(ClientError, match="image 'kennel:nowhere' is not on this machine; build it"):
        ProcessClient(home, "docker").create_training_job(**request)
