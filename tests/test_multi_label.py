"""Photographs with any number of labels: from a manifest to answers over HTTP, as processes."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from colours import RECIPE, train
from make_test_dir import make_test_dir
from PIL import Image
from support import SHAPES, draw_shapes, run_train
from test_serve import JPEG, Server, serving, wait_until_ready

from classifier.artifact import read_artifact
from classifier.inference import ImageClassifier
from classifier.multilabel import evaluate_multi_label
from container.metrics import METRICS
from train.data import Photographs
from train.path_list import PathList
from train.split import Split

NUM_TEST = 60


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.jsonl, validation.jsonl, test.jsonl, and the pictures that they name."""
    folder = tmp_path_factory.mktemp("shapes")
    for seed, (name, number) in enumerate({"train": 160, "validation": 60, "test": NUM_TEST}.items()):
        lines = draw_shapes(folder / f"{name}_images", number, seed)
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def job(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An /opt/ml tree after a linear probe."""
    root = make_test_dir(tmp_path_factory.mktemp("job"), shapes, {"strategy": "linear_probe", "search_trials": "8"})
    result = run_train(root)
    assert result.returncode == 0, result.stderr
    (root / "log.json").write_text(json.dumps({"stdout": result.stdout, "stderr": result.stderr}))
    return root


@pytest.fixture(scope="module")
def server(job: Path) -> Iterator[Server]:
    with serving(job) as running:
        wait_until_ready(running.url)
        yield running


def manifest(shapes: Path, name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (shapes / f"{name}.jsonl").read_text().splitlines()]


def test_a_job_finds_the_shapes(job: Path) -> None:
    metrics = json.loads((job / "output" / "data" / "metrics.json").read_text())
    expected = {m.name for m in METRICS if "multi_label" in m.tasks and not m.name.startswith("train")}
    assert set(metrics) == expected
    assert metrics["test:mean_average_precision"] > 0.93
    assert metrics["test:micro_f1"] > 0.85
    assert metrics["test:macro_f1"] > 0.85
    assert metrics["test:accuracy"] > 0.6
    assert metrics["test:loss"] < 0.3


def test_every_metric_of_the_task_is_read_back_by_its_pattern_and_no_other_is_printed(job: Path) -> None:
    log = json.loads((job / "log.json").read_text())["stdout"]
    for definition in METRICS:
        assert bool(re.findall(definition.regex, log)) == ("multi_label" in definition.tasks), definition.name


def test_the_log_says_that_photographs_have_any_number_of_labels(job: Path) -> None:
    log = json.loads((job / "log.json").read_text())["stderr"]
    assert "4 classes, any number of them a photograph; photographs: 160 train, 60 validation, 60 test" in log


def test_the_artifact_holds_the_task_and_thresholds_chosen_on_validation(job: Path, shapes: Path) -> None:
    artifact = read_artifact(job / "model")
    assert artifact.task == "multi_label"
    assert artifact.class_names == tuple(sorted(SHAPES))
    assert len(artifact.thresholds) == len(SHAPES)
    classifier = ImageClassifier.load(job / "model", device="cpu", num_threads=1)
    lines = manifest(shapes, "test")
    logits = np.stack([classifier.engine.run(classifier.read(shapes / str(line["image"]))[None])[0] for line in lines])
    labels = np.array([[name in str(line["labels"]) for name in artifact.class_names] for line in lines], np.uint8)
    expected = evaluate_multi_label(logits, labels, artifact.class_names, np.array(artifact.thresholds))
    metrics = json.loads((job / "output" / "data" / "metrics.json").read_text())
    assert metrics == {**metrics, **{name: pytest.approx(value) for name, value in expected.metrics("test").items()}}


def test_the_report_has_thresholds_and_bars_in_place_of_a_confusion_matrix(job: Path) -> None:
    folder = job / "output" / "data"
    with (folder / "per_class.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["class_name"] for row in rows] == sorted(SHAPES)
    assert all(0 < float(row["threshold"]) < 1 and float(row["average_precision"]) > 0.8 for row in rows)
    assert min(Image.open(folder / "per_class.png").size) > 300
    assert not list(folder.glob("confusion_matrix*"))


def test_answers_name_labels_and_whether_they_are_selected(server: Server, job: Path, shapes: Path) -> None:
    thresholds = dict(zip(sorted(SHAPES), read_artifact(job / "model").thresholds, strict=True))
    num_right = 0
    for line in manifest(shapes, "test"):
        predictions = server.ask((shapes / str(line["image"])).read_bytes()).json()["predictions"]
        assert [set(prediction) for prediction in predictions] == [{"label", "probability", "selected"}] * 4
        probabilities = [prediction["probability"] for prediction in predictions]
        assert probabilities == sorted(probabilities, reverse=True)
        for prediction in predictions:
            assert prediction["selected"] == (prediction["probability"] >= thresholds[prediction["label"]])
        num_right += {p["label"] for p in predictions if p["selected"]} == set(line["labels"])  # type: ignore[call-overload]
    metrics = json.loads((job / "output" / "data" / "metrics.json").read_text())
    assert num_right / NUM_TEST == pytest.approx(metrics["test:accuracy"])


def test_top_k_limits_an_answer_and_no_top_k_keeps_all_that_is_selected(job: Path, shapes: Path) -> None:
    line = max(manifest(shapes, "test"), key=lambda line: len(str(line["labels"])))
    photograph = (shapes / str(line["image"])).read_bytes()
    with serving(job, KENNEL_TOP_K="1") as running:
        wait_until_ready(running.url)
        predictions = running.ask(photograph).json()["predictions"]
        assert len(predictions) > 1
        assert all(prediction["selected"] for prediction in predictions)
        asked = requests.post(f"{running.url}/invocations?top_k=2", data=photograph, headers=JPEG, timeout=30)
        assert asked.json()["predictions"] == predictions[:2]


def test_fine_tuning_takes_several_labels_with_mixing_weights_and_a_share_for_validation(tmp_path: Path) -> None:
    channel = tmp_path / "data"
    lines = draw_shapes(channel / "images", 40, seed=7)
    (channel / "metadata.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    hyperparameters = {
        "strategy": "lp_ft", "epochs": "1", "batch_size": "8", "search_trials": "1", "mixup_alpha": "0.2",
        "label_smoothing": "0.1", "class_balance": "loss", "num_workers": "1",
    }  # fmt: skip
    root = make_test_dir(tmp_path / "ml", channel, hyperparameters)
    result = run_train(root)
    assert result.returncode == 0, result.stderr
    with (root / "output" / "data" / "history.csv").open() as stream:
        last = list(csv.DictReader(stream))[-1]
    assert last["stage"] == "finetune"
    assert 0 < float(last["train:loss"]) < 1
    assert read_artifact(root / "model").task == "multi_label"


def test_a_wrong_line_ends_the_job_with_its_file_and_number(shapes: Path, tmp_path: Path) -> None:
    root = make_test_dir(tmp_path, shapes, {})
    file = root / "input" / "data" / "training" / "train.jsonl"
    text = file.read_text()
    file.unlink()
    file.write_text(text + '{"image": "train_images/0000.jpg"}\n')
    result = run_train(root)
    assert result.returncode == 1
    failure = (root / "output" / "failure").read_text()
    assert re.match(r"UserError: .*train\.jsonl line 161: fields image; expected one of label, labels, class", failure)


@pytest.mark.parametrize("changes", [{}, {"class_balance": "sampling", "mixup_alpha": 0.2}, {"precision": "bf16"}])
def test_fine_tuning_learns_labels_that_are_independent_of_one_another(changes: dict[str, Any], tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    labels = (generator.random((96, 3)) < 0.5).astype(np.uint8)
    files = []
    for number, row in enumerate(labels):
        files.append(tmp_path / f"{number:02d}.png")
        noise = generator.integers(0, 100, (48, 40, 3)) + 100 * row
        Image.fromarray(noise.astype(np.uint8)).save(files[-1])
    splits = [Split(PathList(files[part]), labels[part]) for part in (slice(0, 64), slice(64, 96))]
    photographs = Photographs(("red", "green", "blue"), splits[0], splits[1], None)
    _, history = train(photographs, replace(RECIPE, epochs=8, **changes))
    assert history.best.loss < 0.35
    assert history.best.mean_average_precision > 0.95
    assert history.rows[-1]["train:accuracy"] > history.rows[0]["train:accuracy"]
