"""What a section of the report is made of; the template knows how each kind of block looks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

__all__ = [
    "Block",
    "Commands",
    "Figure",
    "Fold",
    "Missing",
    "Paragraph",
    "Section",
    "Table",
    "Tile",
    "Tiles",
    "paragraph",
]


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text; only what the code itself wrote is markup."""

    text: Markup
    kind: str = "paragraph"


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a caption."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """Cells; a row of one cell in a wider table is a heading over the rows below it."""
    numeric_from: int = 1
    """Columns from this one on are numbers, set to the right."""
    strong: frozenset[int] = frozenset()
    """Rows to set in bold, counted from 0."""
    alert_column: int = -1
    """Column whose text is a warning, counted from 0; -1 is none."""
    kind: str = "table"


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing with a caption."""

    svg: Markup
    caption: str
    kind: str = "figure"


@dataclass(frozen=True, slots=True)
class Tile:
    """One key figure."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Tiles:
    """Key figures side by side."""

    tiles: tuple[Tile, ...]
    kind: str = "tiles"


@dataclass(frozen=True, slots=True)
class Missing:
    """An artifact that is not there, and the command that makes it."""

    what: str
    command: str
    kind: str = "missing"


@dataclass(frozen=True, slots=True)
class Commands:
    """Lines to type."""

    lines: tuple[str, ...]
    kind: str = "commands"


@dataclass(frozen=True, slots=True)
class Fold:
    """Blocks behind a line that opens them."""

    summary: str
    blocks: "tuple[Block, ...]"
    is_open: bool = False
    kind: str = "fold"


Block = Paragraph | Table | Figure | Tiles | Missing | Commands | Fold


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the report, with its place in the table of contents."""

    anchor: str
    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)


def paragraph(template: str, *values: Any) -> Paragraph:
    """Fill a template, which may hold markup, with values, which are escaped.

    Examples
    --------
    >>> paragraph("at <b>{}</b>", "A & B").text
    Markup('at <b>A &amp; B</b>')
    """
    return Paragraph(Markup(template).format(*values))
