"""The image: what is in it, and what a change rebuilds."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from image.containers import build, copy_project, docker, layers, run

CHANGED = "kennel:test-changed"
# Above base, Python, dependencies and weights: the project, the entry point and the working directory.
NUM_CODE_LAYERS = 3


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """Copy the project to a folder with a space in its name."""
    yield copy_project(tmp_path / "a project")
    run("docker", "image", "rm", CHANGED)


@pytest.mark.parametrize("module", ["train/config.py", "classifier/errors.py"])
def test_a_change_of_code_rebuilds_neither_dependencies_nor_weights(image: str, project: Path, module: str) -> None:
    with (project / module).open("a") as file:
        file.write("\nCHANGED = True\n")
    build(CHANGED, root=project)
    before, after = layers(image), layers(CHANGED)
    assert after[:-NUM_CODE_LAYERS] == before[:-NUM_CODE_LAYERS]
    assert after[-NUM_CODE_LAYERS] != before[-NUM_CODE_LAYERS]
    imported = f"import {module.removesuffix('.py').replace('/', '.')} as module; print(module.CHANGED)"
    assert docker("run", "--rm", CHANGED, "python", "-c", imported) == "True"


def test_a_change_of_documents_and_tests_rebuilds_nothing(project: Path) -> None:
    build(CHANGED, root=project)
    before = layers(CHANGED)
    (project / "docs").mkdir()
    (project / "docs" / "architecture.md").write_text("changed")
    (project / "local_test" / "predict.sh").write_text("changed")
    build(CHANGED, root=project)
    assert layers(CHANGED) == before


def test_weights_of_the_default_network_are_baked(image: str) -> None:
    listing = docker("run", "--rm", image, "sh", "-c", "ls $KENNEL_WEIGHTS_DIR")
    assert listing.split() == ["timm__tf_efficientnet_lite0.safetensors"]


def test_an_unknown_network_stops_the_build_with_its_cause(project: Path) -> None:
    with pytest.raises(AssertionError, match=r"ArchitectureError: .*resnet5000"):
        build(CHANGED, "--build-arg", "WEIGHTS=resnet5000", root=project)


def test_labels_say_what_sagemaker_may_ask_of_it(image: str) -> None:
    labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", image))
    assert labels["com.amazonaws.sagemaker.capabilities.accept-bind-to-port"] == "true"
    assert labels["com.amazonaws.sagemaker.capabilities.multi-models"] == "true"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_gpus_are_asked_for_and_no_driver_is_brought(image: str) -> None:
    environment = docker("run", "--rm", image, "env").splitlines()
    assert "NVIDIA_VISIBLE_DEVICES=all" in environment
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in environment
    assert docker("run", "--rm", image, "find", "/", "-xdev", "-name", "libcuda.so*") == ""


def test_nothing_lies_below_opt_ml_and_no_certificate_is_kept(image: str) -> None:
    places = "/opt/ml /run/secrets /root/.cache /tmp"
    assert docker("run", "--rm", image, "sh", "-c", f"find {places} -type f 2>/dev/null || true") == ""


def test_the_code_is_compiled_and_comes_from_the_image(image: str) -> None:
    program = "import train.config as module; print(module.__file__); print(module.__cached__)"
    source, compiled = docker("run", "--rm", image, "python", "-c", program).splitlines()
    assert source.startswith("/opt/venv/lib/")
    assert docker("run", "--rm", image, "ls", compiled) == compiled


def test_openvino_reports_to_nobody(image: str) -> None:
    program = "import openvino.tools.ovc as ovc; print(type(ovc.telemetry).__module__)"
    assert docker("run", "--rm", image, "python", "-c", program) == "openvino.tools.ovc.telemetry_stub"
