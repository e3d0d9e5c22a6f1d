"""Reads metrics out of a log with the regular expressions of the request, as the service does."""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path


class LogReader:
    """Reads the lines that were added to a log since the last look; a line without its end waits."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._position = 0

    def lines(self) -> list[str]:
        """Give the new lines, without their ends."""
        try:
            with self._file.open("rb") as stream:
                stream.seek(self._position)
                content = stream.read()
        except FileNotFoundError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._position += len(whole)
        return whole.decode("utf-8", "replace").splitlines()


class MetricReader:
    """Finds the values of metrics in lines."""

    def __init__(self, definitions: Iterable[Mapping[str, str]]) -> None:
        """Take MetricDefinitions; the value is the first group of a Regex. Raises ValueError for a bad Regex."""
        self._patterns: dict[str, re.Pattern[str]] = {}
        for definition in definitions:
            try:
                self._patterns[definition["Name"]] = re.compile(definition["Regex"])
            except re.error as error:
                raise ValueError(f"{definition['Name']}: {definition['Regex']!r} is no pattern ({error})") from error

    def values(self, lines: Iterable[str]) -> list[tuple[str, float]]:
        """List name and value of each metric found, in the order of the log; what is no number is left out."""
        found = []
        for line in lines:
            for name, pattern in self._patterns.items():
                for match in pattern.finditer(line):
                    with suppress(ValueError, IndexError):
                        found.append((name, float(match[1])))
        return found
