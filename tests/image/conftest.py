"""The image under test, photographs, and a model that the image trained."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from image.containers import LABEL, QUICK, build, docker, opt_ml, run, train
from sample_data import copy_classes, sample_photographs

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
IMAGE = "kennel:test"
NUM_CLASSES = 5


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.image)


@pytest.fixture(scope="session", autouse=True)
def engine() -> Iterator[None]:
    """Need a Docker engine; remove the containers that a failed test left."""
    if run("docker", "info").returncode != 0:
        pytest.exit("no Docker engine answers; run `make test-image`, which starts one", returncode=2)
    if CERTIFICATES.exists():
        os.environ.setdefault("PIP_CERT", str(CERTIFICATES))
    yield
    if left := docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}").split():
        docker("rm", "--force", *left)


@pytest.fixture(scope="session")
def image() -> str:
    """Build the image of this working tree, in the place of the one that an earlier run built."""
    earlier = docker("image", "ls", "--quiet", "--no-trunc", IMAGE)
    build(IMAGE)
    if earlier not in ("", docker("image", "ls", "--quiet", "--no-trunc", IMAGE)):
        docker("image", "rm", earlier)
    return IMAGE


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out a few classes of the sample photographs, as train, valid and test."""
    return copy_classes(sample_photographs(), tmp_path_factory.mktemp("photographs"), NUM_CLASSES)


@pytest.fixture(scope="session")
def photograph(photographs: Path) -> Path:
    """Choose a photograph that was not trained on."""
    return next((photographs / "test" / "person_02").iterdir())


@pytest.fixture(scope="session")
def trained(image: str, photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the /opt/ml tree of a finished job."""
    root = opt_ml(tmp_path_factory.mktemp("trained"), photographs, QUICK)
    result = train(image, root, "train")
    assert result.returncode == 0, result.stderr
    return root


@pytest.fixture(scope="session")
def class_names(trained: Path) -> list[str]:
    """Read the class names that the artifact holds."""
    names: list[str] = json.loads((trained / "model" / "model.json").read_text())["class_names"]
    return names
