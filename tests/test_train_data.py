"""Channels and folders to photographs."""

from pathlib import Path

import numpy as np
import pytest

from container.errors import UserError
from container.paths import ContainerPaths
from train.data import Photographs, find_photographs


def lay(root: Path, *files: str) -> ContainerPaths:
    for name in files:
        file = root / "input" / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return ContainerPaths(root)


def find(paths: ContainerPaths) -> Photographs:
    return find_photographs(paths, validation_split=0.5, seed=0)


@pytest.mark.parametrize(
    "prefixes",
    [
        ("train", "validation", "test"),
        ("training", "valid", "test"),
        ("training/train", "training/valid", "training/test"),
        ("dogs/dogImages/train", "dogs/dogImages/valid", "dogs/dogImages/test"),
    ],
)
def test_splits_are_found_by_the_names_that_channels_and_folders_have(
    prefixes: tuple[str, ...], tmp_path: Path
) -> None:
    paths = lay(tmp_path, *(f"{prefix}/{name}/1.jpg" for prefix in prefixes for name in ("001.Beagle", "002.Pug")))
    photographs = find(paths)
    assert photographs.class_names == ("001.Beagle", "002.Pug")
    assert photographs.test is not None
    assert [len(split) for split in (photographs.train, photographs.validation, photographs.test)] == [2, 2, 2]
    assert photographs.train.labels.tolist() == [0, 1]


def test_a_validation_split_takes_its_share_of_each_class_and_repeats(tmp_path: Path) -> None:
    files = [f"train/{name}/{i}.jpg" for name, count in (("a", 10), ("b", 2), ("c", 1)) for i in range(count)]
    paths = lay(tmp_path, *files)
    first, second = find(paths), find(paths)
    assert np.bincount(first.validation.labels, minlength=3).tolist() == [5, 1, 0]
    assert np.bincount(first.train.labels, minlength=3).tolist() == [5, 1, 1]
    assert first.validation.photographs == second.validation.photographs
    assert not set(first.validation.photographs) & set(first.train.photographs)


def test_only_photographs_are_listed_at_any_depth(tmp_path: Path) -> None:
    names = ["a/1.JPG", "a/deep/er/2.png", "a/.DS_Store", "a/.hidden.jpg", "a/notes.txt", ".git/x.jpg", "b/ö ü.webp"]
    photographs = find(lay(tmp_path, *(f"train/{name}" for name in names), "validation/a/1.jpg"))
    assert sorted(p.name for p in photographs.train.photographs) == ["1.JPG", "2.png", "ö ü.webp"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "no channel there"),
        (("train/a/1.jpg",), r"1 classes \(a\); expected at least 2, each a folder with its photographs"),
        (("train/1.jpg", "train/2.jpg"), "0 classes; expected at least 2"),
        (("train/a/1.jpg", "train/b/x.txt"), "no photographs in class b"),
        (("train/a/1.jpg", "train/b/1.jpg", "test/c/1.jpg"), "class c has no training photographs"),
        (("train/a/1.jpg", "training/a/1.jpg"), "both stand for train"),
        (("validation/a/1.jpg", "test/a/1.jpg"), "none is named train"),
        (("train/a/1.jpg", "train/b/1.jpg", "validation/a/x.txt"), "no photographs to validate with"),
    ],
)
def test_a_wrong_layout_is_told_plainly(files: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        find(lay(tmp_path, *files))
