"""SageMaker's own local mode, with the image and the requests of `kennel`."""

import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from image.containers import QUICK, ROOT, docker, free_port, run

from jobs.config import KennelConfig
from jobs.requests import endpoint, endpoint_config, model, terms_of, training_job, transform_job
from jobs.uris import file_uri

PYTHON = ROOT / ".venv-local-mode" / "bin" / "python"
NETWORK = "sagemaker-local"


@pytest.fixture(scope="module")
def answer(image: str, photographs: Path, photograph: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Train, deploy, invoke and transform once."""
    folder = tmp_path_factory.mktemp("local-mode")
    terms = terms_of(KennelConfig(on="docker", image=image, output=str(folder / "output")))
    output = file_uri(folder / "transformed")
    request = {
        "training": training_job("kennel-train", {"training": file_uri(photographs)}, QUICK, terms),
        "model": model("kennel", "file:///known/after/training", terms, {}),
        "endpoint_config": endpoint_config("kennel", "kennel", terms),
        "endpoint": endpoint("kennel", "kennel"),
        "transform": transform_job("kennel-transform", "kennel", file_uri(photograph.parent), output, terms),
        "photograph": str(photograph),
        "folder": str(folder),
        "port": free_port(),
    }
    (folder / "request.json").write_text(json.dumps(request))
    environment = {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "DOCKER_HOST": os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"),
        "HOME": str(folder),
    }
    script = ROOT / "tests" / "image" / "local_mode_job.py"
    result = run(PYTHON, script, folder / "request.json", folder / "answer.json", environment=environment)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-4000:]
    yield json.loads((folder / "answer.json").read_text())
    remove_what_local_mode_leaves()


def remove_what_local_mode_leaves() -> None:
    """Remove the containers that have ended, and the network."""
    if left := docker("ps", "--all", "--quiet", "--filter", f"network={NETWORK}").split():
        docker("rm", "--force", *left)
    docker("network", "rm", NETWORK)


def test_local_mode_trains_and_packs_the_artifact(answer: Any) -> None:
    with tarfile.open(answer["model_data"].removeprefix("file://")) as archive:
        assert {"model.json", "model.safetensors"} <= set(archive.getnames())


def test_local_mode_deploys_and_invokes(answer: Any, photograph: Path) -> None:
    assert answer["invoked"]["predictions"][0]["label"] == photograph.parent.name


def test_local_mode_transforms_every_photograph_of_a_folder(answer: Any, photograph: Path) -> None:
    photographs = sorted(photograph.parent.iterdir())
    assert list(answer["transformed"]) == [f"{file.name}.out" for file in photographs]
    predictions = [content["predictions"] for content in answer["transformed"].values()]
    assert [best["label"] for best, *_ in predictions] == [photograph.parent.name] * len(photographs)
