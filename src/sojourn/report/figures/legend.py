"""Legends: what each mark of a figure stands for, in one line above it."""

from collections.abc import Sequence
from typing import NamedTuple

from sojourn.report.svg import Drawing, text_width


class Key(NamedTuple):
    """One entry of a legend."""

    label: str
    mark: str
    """`line`, `dash`, `dots`, `band`, or the shape of a marker."""
    role: str
    opacity: float = 1.0


def draw_legend(drawing: Drawing, x: float, y: float, keys: Sequence[Key]) -> float:
    """Draw a legend with its first entry at (x, y), wrapped at the drawing's width; return the y of its last line."""
    left = x
    for key in keys:
        width = 26 + text_width(key.label) + 18
        if left > x and left + width > drawing.width:
            left, y = x, y + 18
        _draw_mark(drawing, left, y - 4, key)
        drawing.text(left + 26, y, key.label, role="faint")
        left += width
    return y


def _draw_mark(drawing: Drawing, x: float, y: float, key: Key) -> None:
    """Draw a sample of the mark, 20 pixels wide."""
    if key.mark in ("line", "dash", "dots"):
        dash = {"line": "", "dash": "4 3", "dots": "1 4"}[key.mark]
        drawing.path([(x, y), (x + 20, y)], role=key.role, width=2, dash=dash, opacity=key.opacity)
    elif key.mark == "band":
        drawing.rect(x, y - 5, 20, 10, role=key.role, opacity=key.opacity)
    else:
        drawing.marker(x + 10, y, role=key.role, shape=key.mark, size=4.5)
