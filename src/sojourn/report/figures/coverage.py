"""Concept by site as a heat map: how often each concept is recorded, in what unit, around which value."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from sojourn.report.formatting import NONE, count, significant
from sojourn.report.svg import Drawing, shorten, text_width

__all__ = ["CoverageCell", "coverage_figure", "order_concepts", "order_sites"]

_ROW, _TOP = 17, 64
_LEFT, _RIGHT = 214, 150
_LEAST, _MOST = 10.5, 58.0
"""Width of a column in pixels."""
_NAME, _SLANTED = 110.0, 14.0
"""Most pixels of a site's name, and from which width of a column on it is slanted rather than upright."""
_TEXT_FROM = 38.0
"""A column of this width has room for the median."""
_SLOWEST, _FASTEST = 0.05, 50.0
"""Events per subject and day at which the colour is faintest and fullest."""
_FAINTEST = 0.1
_MARKS = {"inferred": "ring", "mixed": "triangle", "refused": "diamond", "overridden": "square"}
_SAID = {
    "inferred": "unit inferred",
    "mixed": "several units, or values of none",
    "refused": "values left out: unit not sure",
    "overridden": "unit set by hand",
}


class CoverageCell(NamedTuple):
    """One concept at one site."""

    concept: str
    site: str
    unit: str
    """Empty for none."""
    rate: float
    """Events per subject and day."""
    median: float
    """NaN: none, or too few subjects to be told."""
    num_events: int
    num_subjects: int
    decision: str
    """On the unit: declared, inferred, mixed, refused, overridden, or empty."""
    num_refused: int = 0
    """Values whose unit could not be told."""


def coverage_figure(
    cells: Sequence[CoverageCell], *, groups: Sequence[tuple[str, Sequence[str]]] = (), standalone: bool = False
) -> str:
    """Draw which site records which concept.

    Parameters
    ----------
    cells
        Concepts at sites; what is not there was never recorded.
    groups
        Headings with the concepts below them, in order; concepts that no group names come last.
    standalone
        For a file of its own rather than a page that has the style sheet.
    """
    sites, blocks = order_sites(cells), order_concepts(cells, groups)
    by_place = {(cell.concept, cell.site): cell for cell in cells}
    step = min(max(760 / max(len(sites), 1), _LEAST), _MOST)
    longest = min(max((text_width(site, 11) for site in sites), default=0), _NAME)
    top = _TOP + (0 if longest <= step - 4 else longest * (0.87 if step > _SLANTED else 1))
    num_rows = sum(len(concepts) + 1.4 for _, concepts in blocks)
    width = max(_LEFT + step * len(sites) + _RIGHT, 700)
    drawing = Drawing(
        width, top + num_rows * _ROW + 14, "Concepts recorded at each site", _describe(cells, sites, blocks)
    )
    _legend(drawing, with_marks=any(cell.decision in _MARKS for cell in cells), many_sites=len(sites) > 1)
    _site_names(drawing, sites, step, top)
    y = top
    for heading, concepts in blocks:
        y += _ROW * 0.4
        drawing.text(4, y + 12, heading, style="strong small")
        drawing.line(_LEFT, y + 12, _LEFT + step * len(sites), y + 12)
        y += _ROW
        for concept in concepts:
            row = [by_place.get((concept, site)) for site in sites]
            _draw_row(drawing, y, step, concept, row)
            y += _ROW
    return drawing.render(standalone=standalone)


def order_sites(cells: Sequence[CoverageCell]) -> list[str]:
    """Sites with most concepts first, so that gaps gather at the right; then by name."""
    held: dict[str, int] = {}
    for cell in cells:
        held[cell.site] = held.get(cell.site, 0) + (cell.num_events > 0)
    return sorted(held, key=lambda site: (-held[site], site))


def order_concepts(
    cells: Sequence[CoverageCell], groups: Sequence[tuple[str, Sequence[str]]]
) -> list[tuple[str, list[str]]]:
    """Groups with the concepts that occur; within a group those recorded at most sites first."""
    held: dict[str, int] = {}
    for cell in cells:
        held[cell.concept] = held.get(cell.concept, 0) + 1
    named = {concept for _, concepts in groups for concept in concepts}
    every = [*groups, ("other", sorted(set(held) - named))]
    found = [
        (name, sorted((c for c in concepts if c in held), key=lambda c: (-held[c], c))) for name, concepts in every
    ]
    return [(name, concepts) for name, concepts in found if concepts]


def _site_names(drawing: Drawing, sites: Sequence[str], step: float, top: float) -> None:
    """Names above the columns, turned where they are narrow."""
    for k, site in enumerate(sites):
        x = _LEFT + (k + 0.5) * step
        if text_width(site, 11) <= step - 4:
            drawing.text(x, top - 4, site, style="small", anchor="middle")
        else:
            drawing.text(x + 3, top - 4, shorten(site, _NAME, 11), style="small", turn=-60 if step > _SLANTED else -90)


def _draw_row(drawing: Drawing, y: float, step: float, concept: str, row: Sequence[CoverageCell | None]) -> None:
    """One concept: its name with the unit, a cell for each site, and the medians in words."""
    told = [cell for cell in row if cell is not None]
    unit = next((cell.unit for cell in told if cell.unit), "")
    name = shorten(_plain(concept), _LEFT - 20 - text_width(unit, 11))
    drawing.text(12, y + 12.5, name)
    drawing.text(_LEFT - 8, y + 12.5, unit, role="faint", style="small", anchor="end")
    for k, cell in enumerate(row):
        x = _LEFT + k * step
        if cell is None:
            drawing.line(x + step / 2 - 1, y + _ROW / 2, x + step / 2 + 1, y + _ROW / 2, role="rule")
        else:
            _draw_cell(drawing, x, y, step, cell)
    medians = sorted(cell.median for cell in told if math.isfinite(cell.median))
    if medians and len(row) > 1:
        middle = significant(medians[len(medians) // 2])
        ends = f" ({significant(medians[0])} to {significant(medians[-1])})" if len(medians) > 1 else ""
        drawing.text(_LEFT + step * len(row) + 10, y + 12.5, middle + ends, style="small")


def _draw_cell(drawing: Drawing, x: float, y: float, step: float, cell: CoverageCell) -> None:
    """The rate as a shade, the median where there is room, and a mark where the unit is not simply the declared one."""
    shade = _shade(cell.rate)
    gap = 1.0 if step > 12 else 0.5
    drawing.rect(x + gap, y + 1, step - 2 * gap, _ROW - 2, role="ours", opacity=shade, tip=_tip(cell))
    if step >= _TEXT_FROM and math.isfinite(cell.median):
        role = "paper" if shade > 0.55 else "ink"
        drawing.text(x + step / 2, y + 12.5, significant(cell.median), role=role, style="small", anchor="middle")
    if cell.decision in _MARKS:
        at = x + step - 6 if step >= _TEXT_FROM else x + step / 2
        role = "rival" if cell.decision == "refused" else "fourth"
        drawing.marker(at, y + _ROW / 2, role=role, shape=_MARKS[cell.decision], size=3, tip=_tip(cell))


def _shade(rate: float) -> float:
    """Opacity of a rate, on a logarithmic scale."""
    if rate <= 0:
        return 0.0
    share = math.log(rate / _SLOWEST) / math.log(_FASTEST / _SLOWEST)
    return round(_FAINTEST + (1 - _FAINTEST) * min(max(share, 0.0), 1.0), 2)


def _tip(cell: CoverageCell) -> str:
    """Everything about a cell, in words."""
    median = significant(cell.median)
    middle = "median not told" if median == NONE else f"median {median} {cell.unit}".rstrip()
    said = f" · {_SAID[cell.decision]}" if cell.decision in _SAID else ""
    refused = f" ({count(cell.num_refused)} values)" if cell.num_refused else ""
    return (
        f"{_plain(cell.concept)} at {cell.site}: {significant(cell.rate)} a day, {middle}, "
        f"{count(cell.num_events)} events of {count(cell.num_subjects)} subjects{said}{refused}"
    )


def _plain(concept: str) -> str:
    """A concept's name as a reader expects it."""
    return concept.replace("_", " ").replace("//", " ")


def _legend(drawing: Drawing, *, with_marks: bool, many_sites: bool) -> None:
    """What shades and marks mean."""
    drawing.text(4, 14, "events per subject and day", role="faint", style="small")
    x = 8 + text_width("events per subject and day", 11)
    for rate in (0.05, 0.3, 1, 5, 20, 50):
        drawing.rect(x, 4, 26, 13, role="ours", opacity=_shade(rate))
        shown = ("≤ " if rate == _SLOWEST else "≥ " if rate == _FASTEST else "") + significant(rate)
        drawing.text(x + 13, 29, shown, role="faint", style="small", anchor="middle")
        x += 30
    if many_sites:
        drawing.text(x + 8, 14, "right: median over sites (range of the sites' medians)", role="faint", style="small")
    if with_marks:
        at = 8.0
        for kind, shape in _MARKS.items():
            drawing.marker(at, 44, role="rival" if kind == "refused" else "fourth", shape=shape, size=4)
            drawing.text(at + 8, 48, _SAID[kind], role="faint", style="small")
            at += 24 + text_width(_SAID[kind], 11)


def _describe(cells: Sequence[CoverageCell], sites: Sequence[str], blocks: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Say the main figures for those who cannot see them."""
    num_concepts = sum(len(concepts) for _, concepts in blocks)
    odd = sum(cell.decision in _MARKS for cell in cells)
    filled = sum(cell.num_events > 0 for cell in cells) / max(len(sites) * num_concepts, 1)
    return (
        f"{num_concepts} concepts at {len(sites)} sites; {filled:.0%} of the cells have events; "
        f"{odd} have a unit that is not simply the declared one."
    )
