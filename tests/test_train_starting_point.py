"""The `model` channel: going on from an artifact, and archives that are not safe."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from make_test_dir import make_test_dir
from safetensors.torch import load_file
from support import NUM_CLASSES, run_train

from container.errors import UserError
from train.starting_point import find_starting_point
from train.unpack import unpack

ARCH = "timm/tf_efficientnet_lite0"


@pytest.fixture(scope="session")
def archive(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A channel with the model.tar.gz of a job on the faces."""
    folder = tmp_path_factory.mktemp("channel")
    with tarfile.open(folder / "model.tar.gz", "w:gz", compresslevel=1) as tar:
        tar.add(trained / "model", ".")
    return folder


def test_the_same_classes_go_on_from_the_head_in_whatever_order(archive: Path, trained: Path) -> None:
    names = tuple(f"person_{i:02d}" for i in range(1, NUM_CLASSES + 1))
    expected = load_file(trained / "model" / "model.safetensors")
    for channel in (archive, trained / "model", trained):
        start = find_starting_point(ARCH, names[::-1], "single_label", channel, [], pretrained=True)
        assert start.has_head
        assert torch.equal(start.network.head.weight, expected["head.weight"].flip(0))
        state = start.network.state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in expected.items() if "head" not in name)


def test_other_classes_get_a_new_head_on_the_same_backbone(
    archive: Path, trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    start = find_starting_point(ARCH, ("person_01", "dog"), "single_label", archive, [], pretrained=True)
    assert not start.has_head
    assert start.network.head.weight.shape[0] == 2 and not start.network.head.weight.any()
    expected = load_file(trained / "model" / "model.safetensors")
    state = start.network.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items() if "head" not in name)
    assert "other classes (1 new, 4 gone); its backbone goes on, with a new head" in caplog.text


def test_an_artifact_of_another_network_is_refused_with_the_way_out(archive: Path) -> None:
    with pytest.raises(UserError, match=f"an artifact of arch={ARCH}, and this job has arch=resnet18; set arch={ARCH}"):
        find_starting_point("resnet18", ("a", "b"), "single_label", archive, [], pretrained=True)


def test_fine_tuning_goes_on_from_an_earlier_jobs_accuracy(faces: Path, archive: Path, tmp_path: Path) -> None:
    root = make_test_dir(tmp_path, faces, {"strategy": "lp_ft", "epochs": "1", "lr": "1e-9", "batch_size": "8"})
    (root / "input" / "data" / "model").symlink_to(archive)
    result = run_train(root)
    assert result.returncode == 0, result.stderr
    assert "an artifact with the same 5 classes; its backbone and head go on" in result.stderr
    assert json.loads((root / "output" / "data" / "metrics.json").read_text())["test:accuracy"] >= 0.9
    assert "linear_probe" not in (root / "output" / "data" / "history.csv").read_text()


def member(name: str, size: int = 4, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def good(tar: tarfile.TarFile) -> None:
    tar.addfile(member("model.json"), io.BytesIO(b"good"))


HOSTILE: dict[str, tuple[Callable[[tarfile.TarFile], None], str]] = {
    "absolute": (lambda tar: tar.addfile(member("/tmp/evil"), io.BytesIO(b"evil")), "lies outside the folder"),
    "parent": (lambda tar: tar.addfile(member("a/../../evil"), io.BytesIO(b"evil")), "lies outside the folder"),
    "symlink": (
        lambda tar: tar.addfile(member("a", 0, type=tarfile.SYMTYPE, linkname="/etc/passwd")), "is a link or a device",
    ),
    "hardlink": (
        lambda tar: tar.addfile(member("a", 0, type=tarfile.LNKTYPE, linkname="model.json")), "is a link or a device",
    ),
    "device": (lambda tar: tar.addfile(member("a", 0, type=tarfile.CHRTYPE)), "is a link or a device"),
    "bomb": (
        lambda tar: tar.addfile(member("a", 200_000_000), io.BytesIO(bytes(200_000_000))), "to more than 20 times",
    ),
    "long name": (
        lambda tar: tar.addfile(member("a", 200_000_000, type=tarfile.XHDTYPE), io.BytesIO(bytes(200_000_000))),
        "to more than 20 times",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_refused_before_anything_is_written(kind: str, tmp_path: Path) -> None:
    add, message = HOSTILE[kind]
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz", compresslevel=1) as tar:
        good(tar)
        add(tar)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(UserError, match=message):
        unpack(tmp_path / "model.tar.gz", target)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"text", b"\x1f\x8b\x08\x00cut"])
def test_a_file_that_is_no_archive_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.tar.gz").write_bytes(content)
    with pytest.raises(UserError, match=r"not a readable \.tar\.gz"):
        unpack(tmp_path / "model.tar.gz", tmp_path)
