"""JSON Lines manifests to photographs and labels."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from container.errors import UserError
from container.paths import ContainerPaths
from train.data import Photographs, find_photographs
from train.split import Split

Files = Mapping[str, str | Sequence[object]]

PUG = '{"image": "1.jpg", "label": "pug"}'
"""A good line, for files that need one more."""


def lay(root: Path, files: Files) -> ContainerPaths:
    """Write label files, given as text or as objects, and touch the photographs, given without content."""
    for name, content in files.items():
        file = root / "input" / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else "".join(f"{json.dumps(line)}\n" for line in content))
    return ContainerPaths(root)


def find(paths: ContainerPaths, multi_label: bool | None = None) -> Photographs:
    return find_photographs(paths, validation_split=0.5, seed=0, multi_label=multi_label)


def labels(split: Split, photographs: Photographs) -> dict[str, object]:
    """Name the labels of each photograph: one name, or a list where it may have several."""
    names = photographs.class_names
    if split.labels.ndim == 1:
        return {path.name: names[label] for path, label in zip(split.photographs, split.labels, strict=True)}
    return {
        path.name: [name for name, is_set in zip(names, row, strict=True) if is_set]
        for path, row in zip(split.photographs, split.labels, strict=True)
    }


def in_train(*lines: object) -> Files:
    """Lay a training manifest, another for validation with its first line, and ten photographs."""
    files: Files = {f"train/{i}.jpg": "" for i in range(10)}
    return {**files, "train/manifest.jsonl": list(lines), "validation/0.jpg": "", "validation/v.jsonl": [lines[0]]}


@pytest.mark.parametrize(
    ("first", "second", "expected", "class_names"),
    [
        ({"image": "0.jpg", "label": "pug"}, {"image": "1.jpg", "label": "mop"}, ["pug", "mop"], ("mop", "pug")),
        ({"file_name": "0.jpg", "label": 1}, {"file_name": "1.jpg", "label": 10}, ["1", "10"], ("1", "10")),
        (
            {"source-ref": "s3://bucket/dogs/train/0.jpg", "class": "0"},
            {"source-ref": "s3://bucket/dogs/train/1.jpg", "class": "1", "class-metadata": {"class-name": "cat"}},
            ["0", "cat"], ("0", "cat"),
        ),
        (
            {"source-ref": "s3://b/0.jpg", "sport": 1, "sport-metadata": {"class-name": "football"}},
            {"source-ref": "s3://b/1.jpg", "sport": 0, "sport-metadata": {"class-name": "golf"}, "other": 5},
            ["football", "golf"], ("golf", "football"),
        ),
        (
            {"image": "0.jpg", "labels": ["beagle", "puppy"]}, {"image": "1.jpg", "labels": []},
            [["beagle", "puppy"], []], ("beagle", "puppy"),
        ),
        (
            {"image": "0.jpg", "labels": "beagle"}, {"image": "1.jpg", "labels": ["puppy"]},
            [["beagle"], ["puppy"]], ("beagle", "puppy"),
        ),
        (
            {"source-ref": "s3://b/0.jpg", "class": "[0, 2]", "class-metadata": {"class-map": {"0": "x", "2": "a"}}},
            {"source-ref": "s3://b/1.jpg", "class": "[2]", "class-metadata": {"class-map": {"2": "a"}}},
            [["x", "a"], ["a"]], ("x", "a"),
        ),
        (
            {"source-ref": "s3://b/0.jpg", "job": [8, 1], "job-metadata": {"class-map": {"1": "b", "8": "a"}}},
            {"source-ref": "s3://b/1.jpg", "job": [], "job-metadata": {"class-map": {}}},
            [["b", "a"], []], ("b", "a"),
        ),
        (
            {"image-ref": "s3://b/0.jpg", "class": [1, 0, 1]}, {"image-ref": "s3://b/1.jpg", "class": [0, 0, 1]},
            [["0", "2"], ["2"]], ("0", "2"),
        ),
        (
            {"image-ref": "s3://b/0.jpg", "class": [0, 2]}, {"image-ref": "s3://b/1.jpg", "class": [2]},
            [["0", "2"], ["2"]], ("0", "2"),
        ),
    ],
)  # fmt: skip
def test_lines_of_every_kind_are_read(
    first: object, second: object, expected: list[object], class_names: tuple[str, ...], tmp_path: Path
) -> None:
    photographs = find(lay(tmp_path, in_train(first, second)))
    assert photographs.class_names == class_names
    found = labels(photographs.train, photographs)
    assert found == {"0.jpg": expected[0], "1.jpg": expected[1]}
    assert labels(photographs.validation, photographs) == {"0.jpg": expected[0]}


def test_one_channel_with_a_file_for_each_split(tmp_path: Path) -> None:
    lines = [{"image": f"images/{i}.jpg", "label": "ab"[i % 2]} for i in range(4)]
    files = {f"images/{i}.jpg": "" for i in range(4)}
    manifests = {"train.jsonl": lines, "valid.jsonl": lines[:1], "test.manifest": lines[1:2]}
    content = {f"dogs/{name}": value for name, value in {**files, **manifests}.items()}
    photographs = find(lay(tmp_path, content))
    assert photographs.test is not None
    assert [len(split) for split in (photographs.train, photographs.validation, photographs.test)] == [4, 1, 1]
    assert labels(photographs.test, photographs) == {"1.jpg": "b"}


def test_a_manifest_beside_class_folders_tells_the_labels_and_a_share_validates(tmp_path: Path) -> None:
    files: Files = {f"training/one/folder/{i}.jpg": "" for i in range(8)}
    lines = [{"file_name": f"folder/{i}.jpg", "label": "ab"[i % 2]} for i in range(8)]
    photographs = find(lay(tmp_path, {**files, "training/one/metadata.jsonl": lines}))
    assert photographs.class_names == ("a", "b")
    assert [len(photographs.train), len(photographs.validation)] == [4, 4]


def test_photographs_are_found_beside_the_manifest_and_in_a_channel_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "absolute.jpg").touch()
    references = ["near.jpg", "images/own.jpg", "s3://bucket/a/images/c/tail.jpg", str(tmp_path / "absolute.jpg")]
    files: Files = {"train/near.jpg": "", "images/own.jpg": "", "images/c/tail.jpg": ""}
    lines = [{"image": reference, "label": "ab"[i % 2]} for i, reference in enumerate(references)]
    photographs = find(lay(tmp_path, {**files, "train/m.jsonl": lines}))
    found = {path.name for split in (photographs.train, photographs.validation) for path in split.photographs}
    assert found == {"near.jpg", "own.jpg", "tail.jpg", "absolute.jpg"}


def test_photographs_of_all_splits_may_lie_in_one_folder_of_the_channel(tmp_path: Path) -> None:
    files: Files = {"dogs/images/0.jpg": "", "dogs/images/1.jpg": ""}
    lines = [{"image": f"images/{i}.jpg", "label": i} for i in range(2)]
    photographs = find(lay(tmp_path, {**files, "dogs/train/m.jsonl": lines, "dogs/valid/m.jsonl": lines}))
    assert [len(photographs.train), len(photographs.validation)] == [2, 2]


def test_the_longest_tail_of_a_uri_that_is_there_counts(tmp_path: Path) -> None:
    files: Files = {"train/a/1.jpg": "", "train/b/1.jpg": "", "train/1.jpg": ""}
    lines = [{"source-ref": f"s3://bucket/x/{name}/1.jpg", "class": name} for name in ("a", "b", "elsewhere")] * 2
    photographs = find(lay(tmp_path, {**files, "train/m.jsonl": lines}))
    channel = tmp_path / "input" / "data" / "train"
    assert set(photographs.train.photographs) | set(photographs.validation.photographs) == {
        channel / "a/1.jpg", channel / "b/1.jpg", channel / "1.jpg",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{broken", r"not JSON \(Expecting property name.*expected one object a line"),
        (b"\xff\xfe\xff", "not JSON"),
        ("[]", r"holds \[\]; expected an object, with a photograph and its label"),
        ('{"label": "pug"}', "fields label; expected one of image, file_name, source-ref, image-ref"),
        ('{"image": "0.jpg"}', "fields image; expected one of label, labels, class"),
        ('{"image": "0.jpg", "label": "a", "class": 1}', "expected one of label, labels, class"),
        ('{"image": "0.jpg", "a": 1, "a-metadata": {}, "b": 2, "b-metadata": {}}', "expected one of a, b"),
        ('{"image": 5, "label": "pug"}', "photograph 5; expected a path or an S3 URI"),
        ('{"image": "", "label": "pug"}', 'photograph ""; expected a path'),
        ('{"image": "none.jpg", "label": "pug"}', 'photograph "none.jpg" is not there; looked below .*train'),
        ('{"image": "a\\u0000b.jpg", "label": "pug"}', "is not there"),
        ('{"image": "0.jpg", "label": null}', "label null; expected a class name, a class number, or a list of them"),
        ('{"image": "0.jpg", "label": true}', "label true; expected a class name"),
        ('{"image": "0.jpg", "label": ""}', 'label ""; expected a class name'),
        ('{"image": "0.jpg", "label": -1}', "label -1; expected a class name"),
        ('{"image": "0.jpg", "label": 1.5}', "label 1.5; expected a class name"),
        ('{"image": "0.jpg", "label": {"a": 1}}', 'label {"a": 1}; expected a class name'),
        ('{"image": "0.jpg", "label": "[0, 1"}', "is no list"),
        ('{"image": "0.jpg", "labels": [["a"]]}', r'label \["a"\]; expected a class name'),
        ('{"image": "0.jpg", "labels": ["a", "a"]}', "a class is there twice; expected each once"),
        ('{"image": "0.jpg", "class": 3, "class-metadata": {"class-name": 4}}', "class 3 is named 4; expected a name"),
        ('{"image": "0.jpg", "class": 7, "class-metadata": {"class-name": "x"}}', "class 7 is named 'x', and 'seven'"),
    ],
)
def test_a_wrong_line_is_told_with_its_file_and_number(line: str | bytes, message: str, tmp_path: Path) -> None:
    seven = '{"image": "1.jpg", "class": 7, "class-metadata": {"class-name": "seven"}}'
    paths = lay(tmp_path, in_train({"image": "0.jpg", "label": "a"}))
    data = line if isinstance(line, bytes) else line.encode()
    file = tmp_path / "input/data/train/manifest.jsonl"
    file.write_bytes(f"{PUG}\n\n{seven}\n".encode() + data + b"\n" + PUG.encode())
    with pytest.raises(UserError, match=rf"{file} line 4: .*{message}"):
        find(paths)


def test_wrong_lines_are_told_together_up_to_ten(tmp_path: Path) -> None:
    lines: list[object] = [{"image": "0.jpg", "label": "a"}, *({"image": "0.jpg", "label": -i} for i in range(1, 15))]
    with pytest.raises(UserError) as error:
        find(lay(tmp_path, in_train(*lines)))
    assert str(error.value).count("manifest.jsonl line") == 10
    assert "line 2: label -1" in str(error.value) and "line 11: label -10" in str(error.value)


def test_a_label_of_another_length_than_the_zeros_and_ones_before_is_wrong(tmp_path: Path) -> None:
    lines = [{"image": f"{i}.jpg", "class": label} for i, label in enumerate(([0, 1], [1, 1], [1, 0, 1]))]
    with pytest.raises(UserError, match=r"line 3: label \[1, 0, 1\]; expected 2 numbers 0 or 1, as before"):
        find(lay(tmp_path, in_train(*lines)))


def test_numbers_mean_in_other_splits_what_they_mean_in_training(tmp_path: Path) -> None:
    files = in_train(
        {"image": "0.jpg", "class": 0, "class-metadata": {"class-name": "cat"}},
        {"image": "1.jpg", "class": 1, "class-metadata": {"class-name": "dog"}},
    )
    photographs = find(lay(tmp_path, {**files, "validation/v.jsonl": [{"image": "0.jpg", "class": 1}]}))
    assert labels(photographs.validation, photographs) == {"0.jpg": "dog"}
    multi_hot = [{"image": f"{i}.jpg", "class": label} for i, label in enumerate(([1, 1, 0], [0, 1, 0]))]
    files = {**in_train(*multi_hot), "validation/v.jsonl": [{"image": "0.jpg", "class": [0, 1, 0]}]}
    photographs = find(lay(tmp_path / "other", files))
    assert labels(photographs.validation, photographs) == {"0.jpg": ["1"]}


def test_a_class_that_training_lacks_is_told(tmp_path: Path) -> None:
    files = in_train({"image": "0.jpg", "label": "a"}, {"image": "1.jpg", "label": "b"})
    with pytest.raises(UserError, match=r"v\.jsonl: class c has no training photographs"):
        find(lay(tmp_path, {**files, "validation/v.jsonl": [{"image": "0.jpg", "label": "c"}]}))


def test_multi_label_may_be_set_against_what_the_labels_are(tmp_path: Path) -> None:
    lists = in_train({"image": "0.jpg", "labels": ["a"]}, {"image": "1.jpg", "labels": ["b"]})
    assert find(lay(tmp_path / "1", lists), multi_label=False).train.labels.tolist() == [0, 1]
    several = in_train({"image": "0.jpg", "labels": ["a", "b"]}, {"image": "1.jpg", "labels": ["b"]})
    with pytest.raises(UserError, match=r'line 1: 2 labels \(\["a", "b"\]\); expected one, as multi_label is false'):
        find(lay(tmp_path / "2", several), multi_label=False)
    folders: Files = {f"train/{name}/{i}.jpg": "" for name in "ab" for i in range(2)}
    assert find(lay(tmp_path / "3", folders), multi_label=True).train.labels.tolist() == [[1, 0], [0, 1]]
