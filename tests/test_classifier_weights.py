"""Where pretrained weights come from."""

import logging
from pathlib import Path

import pytest
import torch
import torchvision
from sample_data import imagenet_photographs

from classifier.architectures import Network, create_network
from classifier.engines import TorchEngine
from classifier.errors import WeightsError
from classifier.inference import run_photographs
from classifier.weights import default_preprocessing, fetch_weights, imagenet_network, load_pretrained, read_weights


def test_the_default_network_recognises_imagenet_photographs_without_a_download() -> None:
    backbone, head, preprocessing = imagenet_network("timm/tf_efficientnet_lite0", [])
    engine = TorchEngine(Network(backbone, head), preprocessing, "cpu")
    photographs = imagenet_photographs()
    outputs = run_photographs(engine, preprocessing, list(photographs), num_threads=1)
    assert (outputs.values.argmax(axis=1) == list(photographs.values())).sum() >= 18


@pytest.mark.parametrize("name", ["resnet18.pth", "resnet18.safetensors", "resnet18-f37072fd.pth"])
def test_weights_in_a_folder_are_found_by_the_names_they_are_published_under(name: str, tmp_path: Path) -> None:
    state = torchvision.models.get_model("resnet18", weights=None).state_dict()
    if name.endswith(".safetensors"):
        from safetensors.torch import save_file

        save_file(state, tmp_path / name)
    else:
        torch.save(state, tmp_path / name)
    pretrained = load_pretrained("resnet18", [tmp_path / "empty", tmp_path])
    assert pretrained.source == str(tmp_path / name)
    assert torch.equal(pretrained.state["fc.weight"], state["fc.weight"])
    assert create_network("resnet18", 2, pretrained.state).backbone is not None


def test_preprocessing_belongs_to_the_file_that_was_found(tmp_path: Path) -> None:
    state = torchvision.models.get_model("resnet50", weights=None).state_dict()
    torch.save(state, tmp_path / "resnet50-0676ba61.pth")
    assert load_pretrained("resnet50", [tmp_path]).preprocessing.resize_size == 256
    assert default_preprocessing("resnet50").resize_size == 232


def test_baked_weights_are_found_again(tmp_path: Path) -> None:
    file = fetch_weights("timm/tf_efficientnet_lite0", tmp_path)
    assert file == tmp_path / "timm__tf_efficientnet_lite0.safetensors"
    packaged = load_pretrained("timm/tf_efficientnet_lite0", []).state
    assert all(torch.equal(packaged[name], tensor) for name, tensor in read_weights(file).items())


def test_without_weights_and_network_the_error_says_how_to_bake_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with caplog.at_level(logging.INFO), pytest.raises(WeightsError) as caught:
        load_pretrained("resnet18", [tmp_path])
    assert "downloading" in caplog.text
    assert "--build-arg WEIGHTS=resnet18" in str(caught.value)
    assert "resnet18-f37072fd.pth" in str(caught.value)


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code ran",)


def test_a_file_with_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"x": Hostile()}, tmp_path / "resnet18.pth")
    with pytest.raises(WeightsError, match="not a file of tensors only"):
        load_pretrained("resnet18", [tmp_path])
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04"])
def test_a_broken_file_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    for name in ("resnet18.pth", "resnet18.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=name):
            read_weights(tmp_path / name)
