"""Histograms of the probability integral transform: flat where the predicted distributions fit."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sojourn.report.artifacts import as_list, as_mapping
from sojourn.report.axes import Panel
from sojourn.report.figures.legend import Key, draw_legend
from sojourn.report.formatting import count, fixed, number, plain_code
from sojourn.report.svg import Drawing, shorten

_COLUMNS = 4
_MAX_PANELS = 24


def pit_figure(fits: Mapping[str, Any]) -> str:
    """Draw one histogram for the gaps between instants and one for the values of each code.

    Parameters
    ----------
    fits
        Content of `fits.json`: `gap` {pit, n} and `value` [{code, description, unit, pit, n}]; `pit` are the shares of
        the transform's values in equal bins of [0, 1].
    """
    panels = pit_panels(fits)[:_MAX_PANELS]
    width, height = 176, 84
    num_rows = math.ceil(len(panels) / _COLUMNS)
    drawing = Drawing(
        860, 34 + num_rows * (height + 78), "Histograms of the probability integral transform", _describe(panels)
    )
    keys = [Key("observed", "band", "ours", 0.75), Key("flat, with its 95 % range by chance", "band", "muted", 0.3)]
    draw_legend(drawing, 36, 14, keys)
    for i, (name, unit, shares, n) in enumerate(panels):
        x, y = 36 + (i % _COLUMNS) * (width + 36), 80 + (i // _COLUMNS) * (height + 78)
        drawing.text(x, y - 37, shorten(name, width + 8, 13.4), style="strong")
        size = f"{shorten(unit, 80)}, n = {count(n)}" if unit else f"n = {count(n)}"
        drawing.text(x, y - 22, size, role="faint", style="small")
        drawing.text(x, y - 8, f"uneven by {fixed(unevenness(shares) * 100, 1)} %", role="faint", style="small")
        _draw_histogram(drawing, (x, y, width, height), shares, n)
    return drawing.render()


def pit_panels(fits: Mapping[str, Any]) -> list[tuple[str, str, list[float], float]]:
    """Return name, unit, shares and count of each histogram, gaps first, then codes by their count."""
    panels = []
    gap = as_mapping(fits.get("gap"))
    if _shares(gap):
        panels.append(("Time to the next instant", "", _shares(gap), number(gap.get("n"))))
    values = [as_mapping(value) for value in as_list(fits.get("value"))]
    values = sorted(
        (v for v in values if _shares(v)),
        key=lambda v: (-(n if math.isfinite(n := number(v.get("n"))) else 0), str(v.get("code"))),
    )
    panels += [
        (plain_code(v.get("code"), v.get("description")), str(v.get("unit") or ""), _shares(v), number(v.get("n")))
        for v in values
    ]
    return panels


def unevenness(shares: Sequence[float]) -> float:
    """Return the share of observations that would have to move for the histogram to be flat (0 is perfect).

    Examples
    --------
    >>> unevenness([0.5, 0.25, 0.25, 0.0])
    0.25
    """
    return sum(abs(share - 1 / len(shares)) for share in shares) / 2


def _shares(fit: Mapping[str, Any]) -> list[float]:
    """Shares of the bins; empty where one of them is not a number."""
    shares = [number(share) for share in as_list(fit.get("pit"))]
    return shares if len(shares) > 1 and all(map(math.isfinite, shares)) else []


def _draw_histogram(
    drawing: Drawing, box: tuple[float, float, float, float], shares: Sequence[float], n: float
) -> None:
    """Draw the bars over the range that chance alone would give."""
    flat = 1 / len(shares)
    top = max(1.6 * flat, *shares) * 1.04
    panel = Panel(drawing, *box, (0.0, 1.0), (0.0, top))
    for i, share in enumerate(shares):
        x, y = panel.at_x(i * flat), panel.at_y(share)
        tip = f"{fixed(share * 100, 1)} % in {fixed(i * flat)}–{fixed((i + 1) * flat)}"
        drawing.rect(x + 0.5, y, panel.width * flat - 1, panel.y + panel.height - y, role="ours", opacity=0.75, tip=tip)
    if n > 0:
        half = 1.96 * math.sqrt(flat * (1 - flat) / n)
        upper, lower = panel.at_y(min(flat + half, top)), panel.at_y(max(flat - half, 0))
        drawing.rect(panel.x, upper, panel.width, max(lower - upper, 1), role="muted", opacity=0.3)
    drawing.line(panel.x, panel.at_y(flat), panel.x + panel.width, panel.at_y(flat), role="ink", dash="3 3")
    panel.bottom_axis(values=(0, 0.5, 1))


def _describe(panels: Sequence[tuple[str, str, list[float], float]]) -> str:
    """Say how uneven each histogram is."""
    return "Share that would have to move to be flat. " + "; ".join(
        f"{name}: {fixed(unevenness(s) * 100, 1)} %" for name, _, s, _ in panels
    )
