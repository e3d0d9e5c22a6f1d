"""Reads JSON Lines manifests: one object a line, with a photograph and its label or labels.

    {"image": "images/1.jpg", "label": "beagle"}
    {"file_name": "images/1.jpg", "labels": ["beagle", "puppy"]}
    {"source-ref": "s3://bucket/dogs/1.jpg", "class": 0, "class-metadata": {"class-name": "beagle"}}
    {"source-ref": "s3://dogs/1.jpg", "tags": [1, 0], "tags-metadata": {"class-map": {"0": "beagle", "1": "puppy"}}}

The last two are SageMaker's augmented manifests and what Ground Truth writes, whose users choose the label's name.
Sources: "Image Classification - MXNet" and "Labeling job output data" in the SageMaker developer guide.
"""

import json
from collections.abc import Mapping, Sequence

from train.label_files import Finder, read_label_files
from train.labels import LabelTable, brief, parse_class
from train.source import Listing, Source

IMAGE_FIELDS = ("image", "file_name", "source-ref", "image-ref")
LABEL_FIELDS = ("label", "labels", "class")
METADATA = "-metadata"


def read_manifests(source: Source, multi_label: bool | None, training: Listing | None) -> Listing:
    """List the photographs of all lines of a source's files. Raises UserError that names every wrong line, up to 10."""
    return read_label_files(source, multi_label, training, read_line)


def read_line(line: bytes, finder: Finder, table: LabelTable) -> str:
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
