"""Reads JSON Lines manifests: one object a line, with a photograph and its label or labels.

    {"image": "images/1.jpg", "label": "beagle"}
    {"file_name": "images/1.jpg", "labels": ["beagle", "puppy"]}
    {"source-ref": "s3://bucket/dogs/1.jpg", "class": 0, "class-metadata": {"class-name": "beagle"}}
    {"source-ref": "s3://dogs/1.jpg", "tags": [1, 0], "tags-metadata": {"class-map": {"0": "beagle", "1": "puppy"}}}

The last two are SageMaker's augmented manifests and what Ground Truth writes, whose users choose the label's name.
Sources: "Image Classification - MXNet" and "Labeling job output data" in the SageMaker developer guide.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from container.errors import UserError
from train.labels import LabelTable, brief, parse_class
from train.path_list import PathList
from train.source import Listing, Source
from train.split import Split

IMAGE_FIELDS = ("image", "file_name", "source-ref", "image-ref")
LABEL_FIELDS = ("label", "labels", "class")
METADATA = "-metadata"

MAX_ERRORS = 10
"""Wrong lines that are told together."""

MAX_FOLDERS = 4096
"""Folders whose place on disk is remembered."""


def read_manifests(source: Source, multi_label: bool | None, training: Listing | None) -> Listing:
    """List the photographs of all lines of a source's files. Raises UserError that names every wrong line, up to 10."""
    table = LabelTable(multi_label, training)
    errors: list[str] = []
    photographs = PathList(read_lines(source, table, errors))
    if errors:
        raise UserError("; ".join(errors))
    labels, class_names, multi_hot_width = table.finish()
    return Listing(Split(photographs, labels), class_names, table.names_by_number, multi_hot_width)


def read_lines(source: Source, table: LabelTable, errors: list[str]) -> Iterator[str]:
    """Give the photograph of each line and put its label into the table; what is wrong goes to `errors`."""
    for file in source.files:
        # The last one finds photographs in a channel of their own.
        finder = Finder([file.parent, source.channel, source.channel.parent])
        with file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if not line.strip():
                    continue
                try:
                    photograph = read_line(line, finder, table)
                except ValueError as error:
                    errors.append(f"{file} line {number}: {error}")
                    if len(errors) == MAX_ERRORS:
                        return
                else:
                    yield photograph


def read_line(line: bytes, finder: "Finder", table: LabelTable) -> str:
    """Find the photograph of a line and add its label to the table. Raises ValueError."""
    try:
        record = json.loads(line)
    except ValueError as error:
        raise ValueError(f"not JSON ({error}); expected one object a line") from error
    if not isinstance(record, dict):
        raise ValueError(f"holds {brief(record)}; expected an object, with a photograph and its label")
    reference = record[only_field(record, IMAGE_FIELDS)]
    if not isinstance(reference, str) or not reference:
        raise ValueError(f"photograph {brief(reference)}; expected a path or an S3 URI")
    # What Ground Truth calls the label stands beside a field of the same name with `-metadata` behind it.
    described = [name for name in record if f"{name}{METADATA}" in record]
    is_named = any(name in record for name in LABEL_FIELDS)
    field = only_field(record, LABEL_FIELDS if is_named or not described else described)
    note_names(record.get(f"{field}{METADATA}"), record[field], table)
    photograph = finder.find(reference)
    table.add(record[field])
    return photograph


def only_field(record: Mapping[str, object], names: Sequence[str]) -> str:
    """Find the one field of some names. Raises ValueError."""
    found = [name for name in names if name in record]
    if len(found) != 1:
        raise ValueError(f"fields {', '.join(record)}; expected one of {', '.join(names)}")
    return found[0]


def note_names(metadata: object, value: object, table: LabelTable) -> None:
    """Put the names of class numbers that a label's metadata tells into the table. Raises ValueError."""
    if not isinstance(metadata, dict):
        return
    class_map, class_name = metadata.get("class-map"), metadata.get("class-name")
    if isinstance(class_map, dict):
        names = class_map
    else:
        names = {value: class_name} if class_name is not None and isinstance(value, int | str) else {}
    for given, name in names.items():
        number = parse_class(given)
        if not isinstance(name, str) or not name:
            raise ValueError(f"class {given} is named {brief(name)}; expected a name")
        if isinstance(number, int):
            table.name(number, name)


class Finder:
    """Finds on disk what manifests refer to.

    A relative path is looked for in each of some folders. Of a URI or an absolute path, the longest tail that is there
    counts, as a channel holds what lies below some prefix.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = list(dict.fromkeys(str(root) for root in roots))
        self._folders: dict[str, list[str]] = {}

    def find(self, reference: str) -> str:
        """Give the path of a photograph. Raises ValueError when it is not there."""
        directory, _, name = reference.rpartition("/")
        folders = self._folders.get(directory)
        if folders is None:
            if len(self._folders) == MAX_FOLDERS:
                self._folders.clear()
            folders = [folder for folder in self._candidates(directory) if os.path.isdir(folder)]  # noqa: PTH112
            self._folders[directory] = folders
        for folder in folders:
            path = f"{folder}/{name}"
            if os.path.isfile(path):  # noqa: PTH113 - a Path for each photograph would take longer
                return path
        raise ValueError(f"photograph {brief(reference)} is not there; looked below {', '.join(self._roots)}")

    def _candidates(self, directory: str) -> Iterator[str]:
        _, separator, rest = directory.partition("://")
        if separator or directory.startswith("/"):
            if not separator:
                yield directory
            # The first part is S3's bucket, or nothing.
            parts = (rest if separator else directory).split("/")[1:]
            tails = ["/".join(parts[start:]) for start in range(len(parts) + 1)]
        else:
            tails = [directory]
        for tail in tails:
            for root in self._roots:
                yield f"{root}/{tail}" if tail else root
