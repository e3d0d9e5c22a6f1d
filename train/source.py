"""What a reader of photographs takes and gives; there is one reader for each format, a module each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from train.split import Split


@dataclass(frozen=True)
class Source:
    """Where the photographs of a split are, and what tells their classes."""

    channel: Path
    """Folder of the channel."""
    folder: Path
    """The channel, or a folder in it."""
    files: tuple[Path, ...] = ()
    """Files that tell the labels, all of one format; without them the folder holds class folders."""

    def __str__(self) -> str:
        return ", ".join(str(file) for file in self.files or (self.folder,))


@dataclass(frozen=True)
class Listing:
    """The photographs of a source, with labels in the source's own order of classes."""

    split: Split
    class_names: tuple[str, ...]
    names_by_number: Mapping[int, str] = field(default_factory=dict)
    """Names that label files give to class numbers."""
    multi_hot_width: int = 0
    """Classes in each label where labels are one 0 or 1 a class; 0 where they are not."""


Reader = Callable[[Source, bool | None, Listing | None], Listing]
"""Lists the photographs of a source. Raises UserError.

Takes the source, whether photographs have several labels (None: as the source says), and for other splits the listing
of the training photographs, whose class numbers mean the same.
"""
