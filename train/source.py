"""What a reader of photographs takes and gives; there is one reader for each format, a module each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from train.split import Split


@dataclass(frozen=True)
class Source:
    """Where the photographs of a split are."""

    channel: Path
    """Folder of the channel."""
    folder: Path
    """The channel, or a folder in it."""

    def __str__(self) -> str:
        return str(self.folder)


@dataclass(frozen=True)
class Listing:
    """The photographs of a source, with labels in the source's own order of classes."""

    split: Split
    class_names: tuple[str, ...]


Reader = Callable[[Source], Listing]
"""Lists the photographs of a source. Raises UserError."""
