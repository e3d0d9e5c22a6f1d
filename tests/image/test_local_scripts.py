"""local_test's scripts: train, serve and ask, as in AWS's own sample."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from image.containers import ROOT, becomes_ready, copy_project, free_port, run

PREDICT = ROOT / "local_test" / "predict.sh"


@pytest.fixture(scope="module")
def local_test(image: str, photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train with the scripts, in a folder with a space in its name."""
    folder = copy_project(tmp_path_factory.mktemp("scripts") / "a project") / "local_test"
    make = (sys.executable, folder / "make_test_dir.py", "--data", photographs)
    made = run(*make, "--set", "strategy=linear_probe", "--set", "epochs=20")
    assert made.returncode == 0, made.stderr
    (folder / "test_dir" / "model" / "of an earlier run").touch()
    trained = run(folder / "train_local.sh", image, "--network", "none")
    assert trained.returncode == 0, trained.stderr
    return folder


@pytest.fixture(scope="module")
def port(image: str, local_test: Path) -> Iterator[str]:
    """Serve with the script, and end it as Ctrl-C does."""
    port = free_port()
    process = subprocess.Popen([local_test / "serve_local.sh", image], env={**os.environ, "PORT": str(port)})
    try:
        assert becomes_ready(f"http://127.0.0.1:{port}")
        yield str(port)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


def test_train_local_leaves_this_runs_model_only(local_test: Path) -> None:
    files = {file.name for file in (local_test / "test_dir" / "model").iterdir()}
    assert "model.json" in files
    assert "of an earlier run" not in files
    assert (local_test / "test_dir" / "output" / "data" / "metrics.json").exists()


def test_predict_names_what_is_on_a_photograph(port: str, local_test: Path, photograph: Path) -> None:
    with_space = local_test / "a photograph; of @ person.PNG"
    with_space.write_bytes(photograph.read_bytes())
    result = run(local_test / "predict.sh", with_space, environment={"PORT": port})
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["predictions"][0]["label"] == photograph.parent.name


def test_predict_takes_the_content_type_that_is_given(port: str, local_test: Path, photograph: Path) -> None:
    unnamed = local_test / "photograph"
    unnamed.write_bytes(photograph.read_bytes())
    assert run(PREDICT, unnamed, "application/x-image", environment={"PORT": port}).returncode == 0
    refused = run(PREDICT, photograph, "text/csv", environment={"PORT": port})
    assert refused.returncode != 0
    assert "text/csv" in json.loads(refused.stdout)["error"]["message"]


def test_predict_says_what_is_wrong_with_its_arguments(photograph: Path, tmp_path: Path) -> None:
    unnamed = tmp_path / "photograph"
    unnamed.write_bytes(photograph.read_bytes())
    port = str(free_port())
    assert "usage" in run(PREDICT).stderr
    assert "no such file" in run(PREDICT, tmp_path / "missing.jpg").stderr
    assert "give the content type" in run(PREDICT, unnamed).stderr
    assert f"nothing listens at http://localhost:{port}" in run(PREDICT, photograph, environment={"PORT": port}).stderr


def test_train_and_serve_say_what_is_missing(image: str, tmp_path: Path) -> None:
    folder = copy_project(tmp_path / "fresh") / "local_test"
    assert "usage" in run(folder / "train_local.sh").stderr
    assert "usage" in run(folder / "serve_local.sh").stderr
    assert "make_test_dir.py" in run(folder / "train_local.sh", image).stderr
    assert "train_local.sh" in run(folder / "serve_local.sh", image).stderr
