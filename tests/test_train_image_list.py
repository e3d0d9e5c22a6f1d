"""`.lst` files to photographs and labels."""

import os
import random
import re
import shutil
from pathlib import Path

import pytest
from make_test_dir import make_test_dir
from support import run_train

from container.errors import UserError
from container.paths import ContainerPaths
from train.data import Photographs, find_photographs


def lay(root: Path, files: dict[str, str | bytes], num_photographs: int = 10) -> ContainerPaths:
    """Write label files below the channels, and touch `train/img/0.jpg` and so on."""
    data = root / "input" / "data"
    (data / "train" / "img").mkdir(parents=True, exist_ok=True)
    for i in range(num_photographs):
        (data / "train" / "img" / f"{i}.jpg").touch()
    for name, content in files.items():
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return ContainerPaths(root)


def find(paths: ContainerPaths) -> Photographs:
    return find_photographs(paths, validation_split=0.5, seed=0)


def test_lists_in_channels_of_their_own_tell_the_labels_as_the_built_in_algorithm_has_it(tmp_path: Path) -> None:
    lines = "".join(f"{i}\t{label}\timg/{i}.jpg\r\n" for i, label in enumerate((10, 9, 10, 0)))
    validation = tmp_path / "input/data/validation/img"
    validation.mkdir(parents=True)
    (validation / "v.jpg").touch()
    files: dict[str, str | bytes] = {"train_lst/any.lst": lines, "validation_lst/v.lst": "7\t9.000000\timg/v.jpg\n\n"}
    photographs = find(lay(tmp_path, files))
    assert photographs.class_names == ("0", "9", "10")
    assert photographs.train.labels.tolist() == [2, 1, 2, 0]
    assert [path.name for path in photographs.train.photographs] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert list(photographs.validation.photographs) == [validation / "v.jpg"]
    assert photographs.validation.labels.tolist() == [1]


def test_a_list_beside_the_photographs_works_and_a_share_of_it_validates(tmp_path: Path) -> None:
    lines = "".join(f"{i}\t{i % 2}\timg/{i}.jpg\n" for i in range(8))
    for name in ("train/all.lst", "train_lst/all.lst"):
        photographs = find(lay(tmp_path / name[:6].strip("/"), {name: lines}))
        assert [len(photographs.train), len(photographs.validation)] == [4, 4]


def test_several_columns_of_labels_are_several_labels(tmp_path: Path) -> None:
    lines = "0\t1\t0\t1\timg/0.jpg\n1\t0\t0\t1\timg/1.jpg\n"
    photographs = find(lay(tmp_path, {"train/a.lst": lines, "validation/v.lst": "0\t1\t0\t0\t../train/img/0.jpg\n"}))
    assert photographs.class_names == ("0", "2")
    assert photographs.train.labels.tolist() == [[1, 1], [0, 1]]
    assert photographs.validation.labels.tolist() == [[1, 0]]


def test_names_of_any_bytes_are_found(tmp_path: Path) -> None:
    paths = lay(tmp_path, {"train/a.lst": b"0\t0\timg/\xff\xfe.jpg\n1\t1\timg/\xc3\xa4 b.jpg\n" * 2})
    for name in (b"\xff\xfe.jpg", "ä b.jpg".encode()):
        (tmp_path / "input/data/train/img" / os.fsdecode(name)).touch()
    assert len(find(paths).train) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"img/0.jpg", "1 columns; expected an index, a class number and a path, with tabs between them"),
        (b"5 1 img/0.jpg", "1 columns; expected"),
        (b"5\t1", "2 columns; expected"),
        (b"img/0.jpg\t1\t5", 'index "img/0.jpg"; expected'),
        (b"5\tpug\timg/0.jpg", 'label "pug"; expected'),
        (b"5\t-1\timg/0.jpg", 'label "-1"; expected'),
        (b"5\t1.5\timg/0.jpg", 'label "1.5"; expected'),
        (b"5\tnan\timg/0.jpg", 'label "nan"; expected'),
        (b"5\t1\t", "no path; expected"),
        (b"5\t1\timg/none.jpg", 'photograph "img/none.jpg" is not there; looked below .*train'),
        (b"5\t1\timg/\x00.jpg", "is not there"),
        (b"5\t2\t2\timg/0.jpg", "a class is there twice"),
    ],
)
def test_a_wrong_line_is_told_with_its_file_and_number(line: bytes, message: str, tmp_path: Path) -> None:
    paths = lay(tmp_path, {"train/a.lst": b"0\t0\timg/0.jpg\n\n" + line + b"\n2\t1\timg/1.jpg\n"})
    file = re.escape(str(tmp_path / "input/data/train/a.lst"))
    with pytest.raises(UserError, match=f"{file} line 3: .*{message}"):
        find(paths)


def test_five_hundred_spoilt_lists_are_each_read_or_told_by_file_and_line(tmp_path: Path) -> None:
    good = b"".join(b"%d\t%d\timg/%d.jpg\n" % (i, i % 2, i) for i in range(10))
    chance = random.Random(0)
    num_told = 0
    for _ in range(500):
        spoilt = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(spoilt))
            spoilt[place : place + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
        try:
            find(lay(tmp_path, {"train/a.lst": bytes(spoilt)}, num_photographs=10))
        except UserError as error:
            num_told += 1
            assert "a.lst" in str(error)
            assert re.search(r"a\.lst line \d+: ", str(error)) or "no photographs in class" in str(error), str(error)
    assert num_told > 250


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train_lst/x.txt": "x", "train/a/1.jpg": ""}, r"train_lst: no label file there \(.*\.lst\)"),
        ({"valid_lst/v.lst": "0\t0\t1.jpg", "train/a/1.jpg": ""}, "no channel named valid with its photographs"),
        ({"train/a.lst": "0\t0\t1.jpg", "train/b.jsonl": "{}"}, "label files of several formats; keep those of one"),
    ],
)
def test_a_wrong_layout_is_told_plainly(files: dict[str, str | bytes], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        find(lay(tmp_path, files))


def test_a_list_trains_to_the_weights_of_class_folders(faces: Path, tmp_path: Path) -> None:
    hyperparameters = {"epochs": "5", "search_trials": "1"}
    folders = make_test_dir(tmp_path / "folders", faces, hyperparameters)
    assert run_train(folders).returncode == 0
    lists = make_test_dir(tmp_path / "lists", faces, hyperparameters)
    data = lists / "input" / "data"
    shutil.rmtree(data)
    for split, name in (("train", "train"), ("valid", "validation"), ("test", "test")):
        shutil.copytree(faces / split, data / name)
        people = sorted((faces / split).iterdir())
        files = [(label, file) for label, person in enumerate(people) for file in sorted(person.iterdir())]
        lines = [f"{i}\t{label}\t{file.relative_to(faces / split)}\n" for i, (label, file) in enumerate(files)]
        (data / f"{name}_lst").mkdir()
        (data / f"{name}_lst" / f"{name}.lst").write_text("".join(lines))
    result = run_train(lists)
    assert result.returncode == 0, result.stderr
    weights = [(root / "model" / "model.safetensors").read_bytes() for root in (folders, lists)]
    assert weights[0] == weights[1]
