"""Reads `.lst` files: lines of an index, a label and a path, with tabs between them.

    5	1	dogs/1.jpg
    6	0.000000	cats/2.jpg

Of several columns of labels, as im2rec has them for photographs with several, all count: class numbers, or a 0 or 1 for
each class. Source: "Image Classification - MXNet", input and output interface, in the SageMaker developer guide.
"""

from train.label_files import Finder, read_label_files
from train.labels import LabelTable, brief
from train.source import Listing, Source

EXPECTED = "expected an index, a class number and a path, with tabs between them"

MIN_COLUMNS = 3


def read_image_lists(source: Source, multi_label: bool | None, training: Listing | None) -> Listing:
    """List the photographs of all lines of a source's files. Raises UserError that names every wrong line, up to 10."""
    return read_label_files(source, multi_label, training, read_line)


def read_line(line: bytes, finder: Finder, table: LabelTable) -> str:
    """Find the photograph of a line and add its label to the table. Raises ValueError."""
    # A file's name may hold any bytes.
    columns = line.decode("utf-8", "surrogateescape").rstrip("\r\n").split("\t")
    if len(columns) < MIN_COLUMNS:
        raise ValueError(f"{len(columns)} columns; {EXPECTED}")
    index, *labels, reference = columns
    if not index.strip().isdecimal():
        raise ValueError(f"index {brief(index)}; {EXPECTED}")
    if not reference:
        raise ValueError(f"no path; {EXPECTED}")
    numbers = [parse_number(label) for label in labels]
    photograph = finder.find(reference)
    table.add(numbers[0] if len(numbers) == 1 else numbers)
    return photograph


def parse_number(text: str) -> int:
    """Read a class number, which im2rec writes as `1.000000`. Raises ValueError."""
    whole, _, decimals = text.strip().partition(".")
    if not (whole.isascii() and whole.isdecimal()) or decimals.strip("0"):
        raise ValueError(f"label {brief(text)}; {EXPECTED}")
    return int(whole)
