"""A look at photographs before they train."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from container.errors import UserError
from jobs.data import check, contact_sheet, split


def test_good_photographs_are_counted_and_usable(faces: Path) -> None:
    report, photographs = check(faces)
    assert report.is_usable
    assert {name: sum(classes.values()) for name, classes in report.counts.items()} == {
        "train": 30, "validation": 10, "test": 10,
    }  # fmt: skip
    assert (report.unreadable, report.duplicates, report.leaks, report.conflicts) == ({}, [], [], [])
    assert report.sizes == {"min": 92, "median": 92, "max": 92}
    assert len(photographs) == 50


def test_what_misleads_training_is_found(faces: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(faces, data)
    one, two = data / "train" / "person_01", data / "train" / "person_02"
    first = sorted(one.iterdir())[0]
    shutil.copy(first, one / "again.png")
    shutil.copy(sorted(one.iterdir())[2], data / "test" / "person_01" / "leak.png")
    shutil.copy(sorted(one.iterdir())[3], two / "wrong.png")
    cut = one / "cut.png"
    cut.write_bytes(first.read_bytes()[:2000])
    (one / "text.jpg").write_text("no image")
    for file in sorted(two.iterdir())[1:]:
        file.unlink()
    report, _ = check(data)
    assert not report.is_usable
    assert [len(group) for group in (report.duplicates, report.leaks)] == [1, 1]
    assert sorted(Path(file).name for file in report.unreadable) == ["cut.png", "text.jpg"]
    text = "\n".join(report.warnings)
    assert "1 photographs lie in several splits" in text
    assert "unbalanced: " in text and "of person_01" in text and "1 of person_02; try --set class_balance=loss" in text


def test_the_same_photograph_in_two_classes_is_a_conflict(faces: Path, tmp_path: Path) -> None:
    shutil.copytree(faces / "train", tmp_path / "data")
    shutil.copy(sorted((tmp_path / "data" / "person_01").iterdir())[0], tmp_path / "data" / "person_02" / "wrong.png")
    report, _ = check(tmp_path / "data")
    assert len(report.conflicts) == 1 and not report.is_usable


def test_a_class_that_only_the_test_split_has_is_told(faces: Path, tmp_path: Path) -> None:
    shutil.copytree(faces, tmp_path / "data")
    shutil.copytree(faces / "test" / "person_01", tmp_path / "data" / "test" / "stranger")
    report, _ = check(tmp_path / "data")
    assert "test has classes that train lacks: stranger; training refuses them" in report.warnings


def test_a_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no photographs; expected a folder for each class"):
        check(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        check(tmp_path / "none")


def test_a_contact_sheet_shows_every_class(faces: Path, tmp_path: Path) -> None:
    _, photographs = check(faces)
    contact_sheet(photographs, tmp_path / "sheet.png")
    width, height = Image.open(tmp_path / "sheet.png").size
    assert width == 8 * 134 + 6
    assert height == 5 * 152 + 6


def test_a_split_keeps_the_shares_of_each_class_and_tears_no_copies_apart(faces: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(faces / "train", data)
    for folder in data.iterdir():
        for file in sorted(folder.iterdir()):
            shutil.copy(file, folder / f"copy-{file.name}")
    counts = split(data, tmp_path / "out", validation=1 / 6, test=1 / 6)
    assert counts == {
        name: {f"person_{i:02d}": number for i in range(1, 6)}
        for name, number in (("validation", 2), ("test", 2), ("train", 8))
    }
    report, _ = check(tmp_path / "out")
    assert report.leaks == [] and report.is_usable
    assert counts == split(data, tmp_path / "again", validation=1 / 6, test=1 / 6)
    names = [sorted(str(file.relative_to(tmp_path / name)) for file in (tmp_path / name).rglob("*.png"))
             for name in ("out", "again")]  # fmt: skip
    assert names[0] == names[1]


@pytest.mark.parametrize(("validation", "test"), [(0.6, 0.5), (-0.5, 0.1)])
def test_shares_that_leave_nothing_to_train_are_refused(
    validation: float, test: float, faces: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="together they must be under 1"):
        split(faces / "train", tmp_path / "out", validation=validation, test=test)


def test_a_folder_that_is_split_or_not_empty_is_refused(faces: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has been split already"):
        split(faces, tmp_path / "out", validation=0.1, test=0.1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UserError, match="is there and not empty"):
        split(faces / "train", tmp_path / "full", validation=0.1, test=0.1)
