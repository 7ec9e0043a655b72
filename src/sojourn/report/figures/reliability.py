"""Reliability curves: of those with a predicted risk of 10 %, did 10 % have the event?"""

import math
from collections.abc import Sequence

from sojourn.report.artifacts import Bin, Entry, Estimate
from sojourn.report.axes import Panel, ticks
from sojourn.report.figures.forest import largest_sites
from sojourn.report.figures.legend import Key, draw_legend
from sojourn.report.formatting import NONE, count, interval, percent, plain_outcome
from sojourn.report.methods import OVERALL, look, main_entry, tasks_of
from sojourn.report.svg import Drawing, shorten, wrap

_COLUMNS = 3
_SIDE = 220
_COUNTS = 26
_MAX_SITES = 12


def reliability_figure(entries: Sequence[Entry], *, group: str = OVERALL) -> str:
    """Draw one reliability curve for each outcome: ours with intervals, LightGBM's, and each hospital's as a thin line.

    Parameters
    ----------
    entries
        Evaluated entries of any number of tasks, methods and groups.
    group
        The group whose curve is drawn thick.
    """
    tasks = [task for task in tasks_of(entries) if _curve(main_entry(entries, task, group, "ours"))]
    height = _SIDE + _COUNTS + 84
    drawing = Drawing(
        860,
        34 + math.ceil(len(tasks) / _COLUMNS) * height,
        "Reliability curves by outcome",
        _describe(entries, tasks, group),
    )
    sites = [site for site in largest_sites(entries, _MAX_SITES) if site != group]
    keys = [
        Key("Sojourn, 95 % interval", "circle", "ours"),
        Key("LightGBM", "dash", "rival"),
        Key("perfect", "dots", "faint"),
    ]
    draw_legend(drawing, 44, 14, keys + ([Key("Sojourn at one hospital", "line", "ours", 0.35)] if sites else []))
    for i, task in enumerate(tasks):
        x, y = 46 + (i % _COLUMNS) * (_SIDE + 58), 56 + (i // _COLUMNS) * height
        ours = main_entry(entries, task, group, "ours")
        rival = main_entry(entries, task, group, "baseline", "lightgbm")
        panel = _frame(drawing, x, y, _SIDE, [_curve(ours), _curve(rival)])
        panel.title(shorten(plain_outcome(task), _SIDE))
        for site in sites:
            _draw_curve(panel, main_entry(entries, task, site, "ours"), width=1.1, opacity=0.35)
        _draw_curve(panel, rival, width=1.6, dash="4 3")
        _draw_curve(panel, ours, width=2.2, points=True)
        _draw_counts(panel, _curve(ours))
    return drawing.render()


def site_reliability_figure(entries: Sequence[Entry], *, unseen: Sequence[str] = ()) -> str:
    """Draw the reliability of ours by hospital (rows, the largest if there are many) and outcome (columns)."""
    sites = largest_sites(entries, _MAX_SITES)
    tasks = [
        task for task in tasks_of(entries) if any(_curve(main_entry(entries, task, site, "ours")) for site in sites)
    ][:6]
    gap = 30
    side = min(130.0, (860 - 104 - gap * len(tasks)) / max(len(tasks), 1))
    drawing = Drawing(860, 56 + len(sites) * (side + 34), "Reliability curves at each hospital, by outcome")
    for j, site in enumerate(sites):
        y = 42 + j * (side + 34)
        mark = "unseen" if site in unseen else ""
        drawing.text(4, y + side / 2, shorten(site, 84), style="strong")
        drawing.text(4, y + side / 2 + 15, mark, role="faint", style="small")
        for i, task in enumerate(tasks):
            entry = main_entry(entries, task, site, "ours")
            panel = _frame(drawing, 104 + i * (side + gap), y, side, [_curve(entry)], small=True)
            if j == 0:
                title = wrap(plain_outcome(task), side + gap - 8, 12.4)
                for k, line in enumerate(title):
                    drawing.text(panel.x, y - 9 - 14 * (len(title) - 1 - k), line, style="small strong")
            _draw_curve(panel, entry, width=1.6, points=True)
            if entry is None or not _curve(entry):
                drawing.text(
                    panel.x + side / 2, y + side / 2, "not computed", role="faint", style="small", anchor="middle"
                )
    return drawing.render()


def _curve(entry: Entry | None) -> list[Bin]:
    """Bins that can be drawn, by predicted risk."""
    bins = (
        [b for b in entry.reliability if math.isfinite(b.mean_predicted) and math.isfinite(b.observed)] if entry else []
    )
    return sorted(bins, key=lambda b: b.mean_predicted)


def _frame(
    drawing: Drawing, x: float, y: float, side: float, curves: Sequence[list[Bin]], *, small: bool = False
) -> Panel:
    """Draw the axes and the diagonal, from 0 to a little above the largest risk."""
    highest = max((v for curve in curves for b in curve for v in (b.mean_predicted, b.observed)), default=1.0)
    top = min(1.0, max(highest * 1.15, 0.01))
    panel = Panel(drawing, x, y, side, side, (0.0, top), (0.0, top))
    at = ticks(0, top, 2 if small else 5)
    panel.left_axis(values=at)
    panel.bottom_axis(values=at, label="" if small else "predicted risk")
    if not small:
        drawing.text(x - 36, y + side / 2, "observed share", role="faint", style="small", anchor="middle", turn=-90)
    drawing.path([(x, y + side), (x + side, y)], role="faint", width=1.2, dash="1 4")
    return panel


def _draw_curve(
    panel: Panel, entry: Entry | None, *, width: float, dash: str = "", opacity: float = 1.0, points: bool = False
) -> None:
    """Draw a curve inside the frame and, with `points`, its bins with intervals."""
    curve = _curve(entry)
    if entry is None or not curve:
        return
    drawn = look(entry.method)
    panel.drawing.open_window(panel.x - 4, panel.y, panel.width + 8, panel.height + 4)
    line = panel.points([b.mean_predicted for b in curve], [b.observed for b in curve])
    panel.drawing.path(
        line, role=drawn.role, width=width, dash=dash, opacity=opacity, tip=f"{drawn.label}, {entry.group}"
    )
    for b, (x, y) in zip(curve, line, strict=True) if points else []:
        if math.isfinite(b.lower) and math.isfinite(b.upper):
            panel.drawing.path([(x, panel.at_y(b.lower)), (x, panel.at_y(b.upper))], role=drawn.role, width=1.4)
        tip = f"predicted {percent(b.mean_predicted)}, observed {percent(b.observed)}, {count(b.num)} predictions"
        panel.drawing.marker(x, y, role=drawn.role, size=3.4 if width > 2 else 2.6, tip=tip)
    panel.drawing.close_window()


def _draw_counts(panel: Panel, curve: Sequence[Bin]) -> None:
    """Draw how many predictions each bin holds, below the frame."""
    most = max((b.num for b in curve if math.isfinite(b.num)), default=0.0)
    top = panel.y + panel.height + 40
    for b in curve if most > 0 else []:
        if math.isfinite(b.num):
            size = b.num / most * _COUNTS
            x = panel.at_x(b.mean_predicted)
            panel.drawing.rect(
                x - 3, top + _COUNTS - size, 6, size, role="muted", opacity=0.55, tip=f"{count(b.num)} predictions"
            )


def _describe(entries: Sequence[Entry], tasks: Sequence[str], group: str) -> str:
    """Say the calibration for those who cannot see it."""
    said = []
    for task in tasks:
        entry = main_entry(entries, task, group, "ours")
        ratio = entry.metrics.get("expected_observed") if entry else None
        text = interval(*(ratio or Estimate(math.nan, math.nan, math.nan)))
        if text != NONE:
            said.append(f"{plain_outcome(task)}: expected to observed {text}")
    return ". ".join(said)
