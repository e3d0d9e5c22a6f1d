"""Reads files with a photograph and its label in each line, whatever the format of a line."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from container.errors import UserError
from train.labels import LabelTable, brief
from train.path_list import PathList
from train.source import Listing, Source
from train.split import Split

MAX_ERRORS = 10
"""Wrong lines that are told together."""

MAX_FOLDERS = 4096
"""Folders whose place on disk is remembered."""


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


LineReader = Callable[[bytes, Finder, LabelTable], str]
"""Finds the photograph of a line and adds its label to the table. Raises ValueError."""


def read_label_files(
    source: Source, multi_label: bool | None, training: Listing | None, read_line: LineReader
) -> Listing:
    """List the photographs of all lines of a source's files. Raises UserError that names every wrong line, up to 10."""
    table = LabelTable(multi_label, training)
    errors: list[str] = []
    photographs = PathList(read_lines(source, table, errors, read_line))
    if errors:
        raise UserError("; ".join(errors))
    labels, class_names, multi_hot_width = table.finish()
    return Listing(Split(photographs, labels), class_names, table.names_by_number, multi_hot_width)


def read_lines(source: Source, table: LabelTable, errors: list[str], read_line: LineReader) -> Iterator[str]:
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
