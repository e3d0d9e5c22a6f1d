"""`docker run IMAGE train`."""

import json
import time
from pathlib import Path

import pytest
from image.containers import LABEL, QUICK, USER, container, docker, exit_code, opt_ml, run, train

STOP_SECONDS = 30


def test_training_needs_no_network_and_leaves_artifact_and_metrics(trained: Path, class_names: list[str]) -> None:
    assert {"model.json", "model.safetensors"} <= {file.name for file in (trained / "model").iterdir()}
    assert class_names == ["person_01", "person_02", "person_03", "person_04", "person_05"]
    metrics = json.loads((trained / "output" / "data" / "metrics.json").read_text())
    assert metrics["test:accuracy"] >= 0.8
    assert not (trained / "output" / "failure").exists()


def test_no_word_means_train_and_no_place_but_tmp_and_opt_ml_is_written_to(
    image: str, photographs: Path, tmp_path: Path
) -> None:
    root = opt_ml(tmp_path, photographs, QUICK)
    result = train(image, root, options=("--read-only", "--tmpfs", "/tmp", "--user", USER))
    assert result.returncode == 0, result.stderr
    assert (root / "model" / "model.json").exists()


def test_only_opt_ml_and_tmp_differ_after_training(image: str, photographs: Path, tmp_path: Path) -> None:
    root = opt_ml(tmp_path, photographs, QUICK)
    mount = f"type=bind,source={root},target=/opt/ml"
    with container(image, "train", options=("--network", "none", "--mount", mount)) as name:
        docker("wait", name, timeout=300)
        assert exit_code(name) == 0
        changed = [line.split(maxsplit=1)[1] for line in docker("diff", name).splitlines()]
    outside = [path for path in changed if not path.startswith(("/tmp", "/opt/ml")) and path != "/opt"]
    assert outside == []


@pytest.mark.parametrize(
    ("hyperparameters", "cause"),
    [({"lr": "-1"}, "lr=-1"), ({"epocs": "3"}, "epocs"), ({"arch": "resnet5000"}, "resnet5000")],
)
def test_a_mistake_is_the_first_line_of_failure_and_no_traceback(
    image: str, photographs: Path, tmp_path: Path, hyperparameters: dict[str, str], cause: str
) -> None:
    root = opt_ml(tmp_path, photographs, hyperparameters)
    result = train(image, root, "train")
    assert result.returncode not in (0, 137)
    first_line = (root / "output" / "failure").read_text().splitlines()[0]
    assert cause in first_line
    assert first_line in result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_a_disk_with_no_room_for_the_artifact_is_the_platforms_error(
    image: str, photographs: Path, tmp_path: Path
) -> None:
    root = opt_ml(tmp_path, photographs, QUICK)
    result = train(image, root, options=("--tmpfs", "/opt/ml/model:size=20m,mode=1777"))
    failure = (root / "output" / "failure").read_text()
    assert result.returncode == 3
    assert failure.startswith("PlatformError: /opt/ml/model: no space for the artifact (31 MB needed, 21 MB free)")
    assert "Traceback" not in failure + result.stderr


def test_a_stop_signal_ends_training_in_time_with_the_best_model(image: str, photographs: Path, tmp_path: Path) -> None:
    root = opt_ml(tmp_path, photographs, {"strategy": "finetune", "epochs": "1000"})
    mount = f"type=bind,source={root},target=/opt/ml"
    with container(image, "train", options=("--network", "none", "--mount", mount)) as name:
        wait_for_epochs(name, 2)
        started = time.monotonic()
        docker("stop", "--time", "60", name)
        assert time.monotonic() - started < STOP_SECONDS
        assert exit_code(name) == 0
    program = (
        "from pathlib import Path; from classifier.inference import ImageClassifier;"
        "print(len(ImageClassifier.load(Path('/opt/ml/model'), device='cpu', num_threads=1).artifact.class_names))"
    )
    mount = f"{mount},readonly"
    assert docker("run", "--rm", "--label", LABEL, "--mount", mount, image, "python", "-c", program) == "5"


def wait_for_epochs(name: str, num_epochs: int, timeout_seconds: float = 180) -> None:
    """Wait until a training container has logged the metrics of some epochs."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        logs = run("docker", "logs", name)
        if logs.stdout.count("validation:accuracy") >= num_epochs:
            return
        time.sleep(0.5)
    raise AssertionError(f"no epoch in {timeout_seconds} s: {logs.stdout}{logs.stderr}")
