"""A small canvas for inline SVG: shapes and text in, one accessible `<svg>` out, the same bytes for the same input.

Hand-made rather than drawn by Matplotlib, because the marks carry class names instead of colours: one style sheet
then serves light, dark and paper, and a figure weighs a few kilobytes.
"""

import math
import re
from collections.abc import Iterable, Sequence
from html import escape

from sojourn.report.style import INK, OURS, PALETTE, colour_of

SERIES = ("ours", "rival", "third", "fourth", "fifth", "muted")
"""Roles of colours, most important first."""

# Light screens and paper have the colours of every other figure; the dark set is the same hues, lightened for contrast.
_LIGHT = (OURS, *PALETTE[1:5], colour_of("random-weights"))
_DARK = ("#58b7da", "#f0915a", "#b59be0", "#e2bb45", "#7cc796", "#9aa4b0")
_INK = {"ink": (INK, "#e6e9ed"), "faint": ("#5b6773", "#9aa4b0"), "rule": ("#e1e6ea", "#30363e")}
_PAPER = ("#ffffff", "#14181d")

_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")

Points = Iterable[tuple[float, float]]


def _colours(column: int) -> str:
    """CSS rules that give every class its colour; column 0 is light, 1 dark."""
    series = (_LIGHT, _DARK)[column]
    rules = [f".fig .l-{name}{{stroke:{c}}}.fig .f-{name}{{fill:{c}}}" for name, c in zip(SERIES, series, strict=True)]
    rules += [
        f".fig .l-{name}{{stroke:{pair[column]}}}.fig .f-{name}{{fill:{pair[column]}}}" for name, pair in _INK.items()
    ]
    rules.append(f".fig .f-paper{{fill:{_PAPER[column]}}}.fig .l-paper{{stroke:{_PAPER[column]}}}")
    return "".join(rules)


def style_sheet() -> str:
    """Return the CSS that colours every figure, for light and dark screens; paper always prints light."""
    return (
        f".fig text{{font-family:{_FONT};font-size:12px}}.fig .small{{font-size:11px}}.fig .strong{{font-weight:600}}"
        f"{_colours(0)}@media screen and (prefers-color-scheme:dark){{{_colours(1)}}}"
    )


def clean(text: object) -> str:
    """Escape text for SVG and HTML, and drop the control characters that XML forbids.

    Examples
    --------
    >>> clean("a < b\\x00 & 'c'")
    'a &lt; b &amp; &#x27;c&#x27;'
    """
    return escape(_CONTROL.sub("", str(text)), quote=True)


def text_width(text: str, size: float = 12.0) -> float:
    """Estimate the width of a text in pixels, for margins; right to about a tenth for usual sans-serif fonts."""
    narrow, wide = set("iljtfrI.,:;'|!()[]/ "), set("mwMW%@—≥≤")
    units = sum(0.34 if c in narrow else 0.92 if c in wide else 0.68 if c.isupper() else 0.6 for c in text)
    return units * size


def shorten(text: object, width: float, size: float = 12.0) -> str:
    """Cut a text to an estimated width in pixels, with an ellipsis where something was cut."""
    whole = " ".join(_CONTROL.sub("", str(text)).split())
    if text_width(whole, size) <= width:
        return whole
    while whole and text_width(whole + "…", size) > width:
        whole = whole[:-1]
    return whole.rstrip() + "…"


def wrap(text: object, width: float, size: float = 12.0, *, num_lines: int = 2) -> list[str]:
    """Break a text into at most `num_lines` lines of an estimated width in pixels; the last is cut where it must be.

    Examples
    --------
    >>> wrap("Mean arterial pressure", 92)
    ['Mean arterial', 'pressure']
    """
    words, lines = str(text).split(), list[str]()
    while words and len(lines) < num_lines - 1:
        num = 1
        while num < len(words) and text_width(" ".join(words[: num + 1]), size) <= width:
            num += 1
        lines.append(shorten(" ".join(words[:num]), width, size))
        words = words[num:]
    return [*lines, shorten(" ".join(words), width, size)] if words else lines


def _px(x: float) -> str:
    """A coordinate with at most one decimal."""
    return f"{x:.1f}".removesuffix(".0").replace("-0", "0") if abs(x) < 0.05 else f"{x:.1f}".removesuffix(".0")


class Drawing:
    """A canvas of `width` x `height` pixels with the origin at the top left.

    Parameters
    ----------
    width, height
        Size in pixels; on a page the figure shrinks with its column.
    title
        What the figure shows, read aloud in its place.
    description
        Longer text for those who cannot see the figure.
    """

    def __init__(self, width: float, height: float, title: str, description: str = "") -> None:
        self.width, self.height = width, height
        self._title, self._description = title, description
        self._parts: list[str] = []

    def _add(self, shape: str, tip: str | None) -> None:
        name = shape.split(" ", 1)[0]
        self._parts.append(f"<{shape}/>" if tip is None else f"<{shape}><title>{clean(tip)}</title></{name}>")

    def line(
        self, x1: float, y1: float, x2: float, y2: float, *, role: str = "rule", width: float = 1.0, dash: str = ""
    ) -> None:
        """Draw one straight line."""
        extra = f' stroke-dasharray="{dash}"' if dash else ""
        at = f'x1="{_px(x1)}" y1="{_px(y1)}" x2="{_px(x2)}" y2="{_px(y2)}"'
        self._add(f'line class="l-{role}" stroke-width="{width:g}"{extra} {at}', None)

    def path(
        self,
        points: Points,
        *,
        role: str = "ours",
        width: float = 1.8,
        dash: str = "",
        opacity: float = 1.0,
        tip: str | None = None,
    ) -> None:
        """Draw a line through points; a NaN breaks it, a lone point becomes a dot."""
        pieces, at_start = [], True
        for x, y in points:
            if math.isfinite(x) and math.isfinite(y):
                pieces.append(f"{'M' if at_start else 'L'}{_px(x)} {_px(y)}")
                at_start = False
            else:
                at_start = True
        if not pieces:
            return
        extra = f' stroke-dasharray="{dash}"' if dash else ""
        extra += f' stroke-opacity="{opacity:g}"' if opacity < 1 else ""
        data = "".join(pieces) + ("h0" if len(pieces) == 1 else "")
        ends = 'stroke-linejoin="round" stroke-linecap="round"'
        shape = f'path class="l-{role}" fill="none" stroke-width="{width:g}" {ends}{extra} d="{data}"'
        self._add(shape, tip)

    def area(
        self, lower: Sequence[tuple[float, float]], upper: Sequence[tuple[float, float]], *, role: str, opacity: float
    ) -> None:
        """Fill the band between two lines; points where either is NaN are left out."""
        pairs = [(a, b) for a, b in zip(lower, upper, strict=True) if all(map(math.isfinite, (*a, *b)))]
        if len(pairs) < 2:
            return
        ring = [b for _, b in pairs] + [a for a, _ in reversed(pairs)]
        data = "M" + "L".join(f"{_px(x)} {_px(y)}" for x, y in ring) + "Z"
        self._add(f'path class="f-{role}" fill-opacity="{opacity:g}" d="{data}"', None)

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        role: str,
        opacity: float = 1.0,
        tip: str | None = None,
    ) -> None:
        """Fill a rectangle."""
        extra = f' fill-opacity="{opacity:g}"' if opacity < 1 else ""
        at = f'x="{_px(x)}" y="{_px(y)}" width="{_px(width)}" height="{_px(height)}"'
        self._add(f'rect class="f-{role}"{extra} {at}', tip)

    def marker(
        self,
        x: float,
        y: float,
        *,
        role: str = "ours",
        shape: str = "circle",
        size: float = 4.0,
        tip: str | None = None,
    ) -> None:
        """Draw a marker (circle, square, diamond, triangle or ring): shape tells series apart as well as colour."""
        if not (math.isfinite(x) and math.isfinite(y)):
            return
        if shape == "circle":
            self._add(f'circle class="f-{role}" cx="{_px(x)}" cy="{_px(y)}" r="{size:g}"', tip)
        elif shape == "ring":
            self._add(
                f'circle class="l-{role} f-paper" stroke-width="1.6" cx="{_px(x)}" cy="{_px(y)}" r="{size - 0.6:g}"',
                tip,
            )
        else:
            s = size
            corners = {
                "square": [(-s * 0.9, -s * 0.9), (s * 0.9, -s * 0.9), (s * 0.9, s * 0.9), (-s * 0.9, s * 0.9)],
                "diamond": [(0, -s * 1.25), (s * 1.25, 0), (0, s * 1.25), (-s * 1.25, 0)],
                "triangle": [(0, -s * 1.15), (s * 1.1, s * 0.85), (-s * 1.1, s * 0.85)],
            }[shape]
            data = "M" + "L".join(f"{_px(x + dx)} {_px(y + dy)}" for dx, dy in corners) + "Z"
            self._add(f'path class="f-{role}" d="{data}"', tip)

    def text(
        self,
        x: float,
        y: float,
        text: object,
        *,
        role: str = "ink",
        anchor: str = "start",
        style: str = "",
        turn: float = 0,
    ) -> None:
        """Write one line of text; `anchor` is start, middle or end, `style` any of small and strong."""
        extra = f' text-anchor="{anchor}"' if anchor != "start" else ""
        extra += f' transform="rotate({turn:g} {_px(x)} {_px(y)})"' if turn else ""
        css = f"f-{role} {style}".strip()
        self._parts.append(f'<text class="{css}" x="{_px(x)}" y="{_px(y)}"{extra}>{clean(text)}</text>')

    def open_window(self, x: float, y: float, width: float, height: float) -> None:
        """Clip what follows to a rectangle, until `close_window`; coordinates stay those of the whole drawing."""
        box = f"{_px(x)} {_px(y)} {_px(width)} {_px(height)}"
        at = f'x="{_px(x)}" y="{_px(y)}" width="{_px(width)}" height="{_px(height)}"'
        self._parts.append(f'<svg {at} viewBox="{box}" overflow="hidden">')

    def close_window(self) -> None:
        """End what `open_window` began."""
        self._parts.append("</svg>")

    def render(self, *, standalone: bool = False) -> str:
        """Return the SVG: for a page that has `style_sheet` already or, with `standalone`, for a file of its own."""
        size = f'viewBox="0 0 {self.width:g} {self.height:g}" width="{self.width:g}" height="{self.height:g}"'
        space = ' xmlns="http://www.w3.org/2000/svg"' if standalone else ""
        title = clean(self._title)
        head = f'<svg{space} class="fig" role="img" aria-label="{title}" {size}><title>{title}</title>'
        if self._description:
            head += f"<desc>{clean(self._description)}</desc>"
        if standalone:
            head += f"<style>{style_sheet()}</style>"
            head += f'<rect class="f-paper" width="{self.width:g}" height="{self.height:g}"/>'
        return head + "".join(self._parts) + "</svg>"
