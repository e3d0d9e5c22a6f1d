"""The artifact, its refusals, and the agreement of engines."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from classifier.architectures import create_network
from classifier.artifact import FORMAT, digest, read_artifact
from classifier.engines import TorchEngine
from classifier.errors import ArtifactError
from classifier.evaluation import softmax
from classifier.inference import ImageClassifier, run_photographs


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained / "model", tmp_path / "model"))


def load(model: Path) -> ImageClassifier:
    return ImageClassifier.load(model, device="cpu", num_threads=1)


def rewrite(model: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a manifest and sign it again, as somebody would who knows how."""
    manifest = json.loads((model / "model.json").read_text())
    del manifest["sha256"]
    change(manifest)
    (model / "model.json").write_text(json.dumps({**manifest, "sha256": digest(manifest)}))


def test_both_engines_give_the_same_probabilities(trained: Path, many_photographs: list[Path]) -> None:
    classifier = load(trained / "model")
    artifact = classifier.artifact
    network = create_network(artifact.architecture, len(artifact.class_names))
    network.load_state_dict(load_file(artifact.weights))
    engines = classifier.engine, TorchEngine(network, artifact.preprocessing, "cpu")
    results = [run_photographs(engine, artifact.preprocessing, many_photographs, num_threads=2) for engine in engines]
    assert len(results[0].values) == 200
    assert np.abs(softmax(results[0].values) - softmax(results[1].values)).max() < 1e-4


def test_an_artifact_one_level_down_is_found(model: Path) -> None:
    assert read_artifact(model.parent).directory == model


@pytest.mark.parametrize("name", ["model.safetensors", "model.xml", "model.bin", "probe.png"])
def test_a_missing_file_is_named(name: str, model: Path) -> None:
    (model / name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name}: missing"):
        load(model)


@pytest.mark.parametrize("name", ["model.safetensors", "model.xml", "model.bin", "probe.png"])
def test_an_altered_file_is_named(name: str, model: Path) -> None:
    data = bytearray((model / name).read_bytes())
    data[len(data) // 2] ^= 1
    (model / name).write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match=rf"{name}: altered"):
        load(model)


def test_an_altered_class_name_is_noticed(model: Path) -> None:
    text = (model / "model.json").read_text()
    (model / "model.json").write_text(text.replace("person_01", "person_99"))
    with pytest.raises(ArtifactError, match=r"model\.json: altered"):
        load(model)


@pytest.mark.parametrize("change", [{"version": 3}, {"format": "other"}])
def test_another_version_is_refused_and_says_what_is_read(change: dict[str, Any], model: Path) -> None:
    rewrite(model, lambda manifest: manifest.update(change))
    with pytest.raises(ArtifactError, match=f"this image reads {FORMAT} version 1 and 2"):
        load(model)


def test_an_artifact_of_version_1_is_of_images_with_one_label(model: Path) -> None:
    expected = load(model)
    pixels = expected.read(model / "probe.png")[None]

    def age(manifest: dict[str, Any]) -> None:
        del manifest["task"], manifest["thresholds"]
        manifest["version"] = 1

    rewrite(model, age)
    assert load(model).artifact.task == "single_label"
    assert load(model).predict(pixels, 3) == expected.predict(pixels, 3)


def test_another_preprocessing_than_in_training_fails_the_probe(model: Path) -> None:
    rewrite(model, lambda manifest: manifest["preprocessing"].update(interpolation="nearest"))
    with pytest.raises(ArtifactError, match="gives other logits than training did"):
        load(model)


def test_a_folder_without_an_artifact_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "model.pth").touch()
    with pytest.raises(ArtifactError, match=r"no model\.json there; the folder holds model\.pth"):
        load(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", "\x00"])
def test_a_manifest_that_is_none_is_refused(content: str, model: Path) -> None:
    (model / "model.json").write_text(content)
    with pytest.raises(ArtifactError, match="not a manifest"):
        load(model)


def test_every_user_may_read_the_artifact(trained: Path) -> None:
    assert all(file.stat().st_mode & 0o044 == 0o044 for file in (trained / "model").iterdir())
