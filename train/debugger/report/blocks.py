"""What a section of the report is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class Table:
    """Rows of text; the first cell of each names the row."""

    kind: ClassVar[str] = "table"
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    num_text: int = 1
    """Columns of words, from the left; the others hold numbers."""
    is_folded: bool = False
    """Whether a click opens it."""

    @property
    def is_wide(self) -> bool:
        """Whether it takes the width of two charts."""
        return len(self.header) > 4 or self.is_prose

    @property
    def is_prose(self) -> bool:
        """Whether it is all words, which read better below one another on a phone."""
        return self.num_text >= len(self.header) > 2


@dataclass(frozen=True)
class Chart:
    """A drawing."""

    kind: ClassVar[str] = "chart"
    title: str
    description: str
    """What a person who cannot see it should know."""
    svg: str


@dataclass(frozen=True)
class Photograph:
    """A small picture, or the reason why there is none."""

    source: str
    """A data URI; empty without a picture."""
    missing: str
    name: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Gallery:
    """Photographs side by side."""

    kind: ClassVar[str] = "gallery"
    caption: str
    photographs: Sequence[Photograph]


Block = Table | Chart | Gallery


@dataclass(frozen=True)
class Section:
    """A part of the report under a heading."""

    title: str
    intro: str
    """What there is to see and how to read it."""
    blocks: Sequence[Block] = ()
    notes: Sequence[str] = ()
    """What stands out here, a sentence each."""
    empty: str = ""
    """Why there is nothing to show."""
    rules: Sequence[str] = ()
    """Whose verdicts belong here."""
    data: Mapping[str, object] = field(default_factory=dict)
    """The section for programs."""

    @property
    def anchor(self) -> str:
        """Name the section in links."""
        return self.title.lower().replace(",", "").replace(" ", "-")
