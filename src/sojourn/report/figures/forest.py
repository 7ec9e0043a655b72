"""Forest plots: the AUROC of every method with its interval, by outcome and by hospital."""

import math
from collections.abc import Sequence

from sojourn.report.artifacts import Entry, Estimate
from sojourn.report.axes import Panel, ticks
from sojourn.report.figures.legend import Key, draw_legend
from sojourn.report.formatting import NONE, count, interval, percent, plain_outcome
from sojourn.report.methods import OVERALL, look, main_entry, select, sites_of, tasks_of
from sojourn.report.svg import Drawing, shorten, text_width

_ROW = 19
_MAX_SITES = 24
_NAME_SIZE = 14.8
"""Estimated size of a site's name in pixels: bold letters are wider than those of 12.6 pixels."""
_NO_ESTIMATE = Estimate(math.nan, math.nan, math.nan)


def forest_figure(entries: Sequence[Entry], *, group: str = OVERALL) -> str:
    """Draw the AUROC of all methods but the controls, one block of rows for each outcome.

    Parameters
    ----------
    entries
        Evaluated entries of any number of tasks, methods and groups.
    group
        The group to show.
    """
    blocks = [
        (task, select(entries, task=task, group=group, kinds=("ours", "baseline", "other", "ceiling")))
        for task in tasks_of(entries)
    ]
    blocks = [(task, block) for task, block in blocks if block]
    shown = [auroc(entry) for _, block in blocks for entry in block]
    height = 40 + sum(len(block) * _ROW + 34 for _, block in blocks)
    drawing = Drawing(860, height, "AUROC by outcome and method, with 95 % intervals", _describe(blocks))
    panel = Panel(drawing, 236, 14, 424, height - 54, auroc_range(shown), (0, 1))
    panel.bottom_axis(values=ticks(*panel.across, 6), grid=True, label="AUROC (0.5 = chance, 1 = perfect)")
    drawing.line(panel.at_x(0.5), panel.y, panel.at_x(0.5), panel.y + panel.height, role="faint", dash="1 4")
    y = panel.y + 8.0
    for task, block in blocks:
        head = block[0]
        drawing.text(4, y + 8, shorten(plain_outcome(task), 226, 12.6), style="strong")
        facts = f"n = {count(head.num_predictions)}, events {percent(head.prevalence)}"
        drawing.text(panel.x + panel.width + 10, y + 8, facts, role="faint", style="small")
        for i, entry in enumerate(block):
            _draw_row(panel, y + 26 + i * _ROW, entry)
        y += len(block) * _ROW + 34
    return drawing.render()


def site_forest_figure(entries: Sequence[Entry], *, unseen: Sequence[str] = ()) -> str:
    """Draw the AUROC at each hospital (the largest if there are many), ours beside LightGBM, a panel an outcome."""
    sites = largest_sites(entries, _MAX_SITES)
    tasks = [task for task in tasks_of(entries) if any(main_entry(entries, task, site, "ours") for site in sites)]
    shown = [auroc(e) for e in entries if e.group in sites and look(e.method).kind in ("ours", "baseline")]
    num_columns, num_rows = min(3, max(len(tasks), 1)), math.ceil(len(tasks) / 3)
    step = 26
    names = {site: site + (" (unseen)" if site in unseen else "") for site in sites}
    left = 16 + min(max((text_width(name, _NAME_SIZE) for name in names.values()), default=0.0), 200.0)
    height, width = len(sites) * step + 8, (860 - left - 26 * num_columns) / num_columns
    drawing = Drawing(860, 34 + num_rows * (height + 80), "AUROC at each hospital, by outcome, with 95 % intervals")
    keys = [
        Key("Sojourn", "circle", "ours"),
        Key("LightGBM", "square", "rival"),
        Key("Sojourn over all hospitals", "dash", "ours"),
    ]
    draw_legend(drawing, 4, 14, keys)
    for i, task in enumerate(tasks):
        x, y = left + (i % num_columns) * (width + 26), 56 + (i // num_columns) * (height + 80)
        panel = Panel(drawing, x, y, width, height, auroc_range(shown), (0, 1))
        panel.title(shorten(plain_outcome(task), width))
        panel.bottom_axis(num=4, grid=True, label="AUROC")
        whole = main_entry(entries, task, OVERALL, "ours")
        if whole and math.isfinite(auroc(whole).value):
            at = panel.at_x(auroc(whole).value)
            drawing.line(at, y, at, y + height, role="ours", dash="4 3")
        for j, site in enumerate(sites):
            at = y + (j + 0.5) * step + 4
            if i % num_columns == 0:
                style = "strong" if site in unseen else ""
                drawing.text(x - 10, at + 4, shorten(names[site], left - 16, _NAME_SIZE), anchor="end", style=style)
            _draw_marks(panel, at - 4, main_entry(entries, task, site, "ours"))
            _draw_marks(panel, at + 5, main_entry(entries, task, site, "baseline", "lightgbm"))
    return drawing.render()


def auroc(entry: Entry) -> Estimate:
    """Return an entry's AUROC; NaN where it was not computed."""
    return entry.metrics.get("auroc", _NO_ESTIMATE)


def auroc_range(estimates: Sequence[Estimate]) -> tuple[float, float]:
    """Return the scale for AUROCs: from chance to 1, further down only where something lies there."""
    lowest = min((bound for e in estimates for bound in (e.value, e.lower) if math.isfinite(bound)), default=0.5)
    return min(0.48, max(0.0, lowest - 0.02)), 1.0


def largest_sites(entries: Sequence[Entry], limit: int) -> list[str]:
    """Return the sites with most predictions, at most `limit`, in the order of their names."""
    size = dict.fromkeys(sites_of(entries), 0.0)
    for entry in entries:
        if entry.group in size and math.isfinite(entry.num_predictions):
            size[entry.group] = max(size[entry.group], entry.num_predictions)
    kept = set(sorted(size, key=lambda site: -size[site])[:limit])
    return [site for site in size if site in kept]


def _draw_row(panel: Panel, y: float, entry: Entry) -> None:
    """Draw one method: its name, marker with interval, and figure."""
    drawing, estimate = panel.drawing, auroc(entry)
    style = "strong" if look(entry.method).kind == "ours" else ""
    drawing.text(18, y + 4, shorten(look(entry.method).label, 210), style=style)
    _draw_marks(panel, y, entry)
    text = interval(*estimate)
    drawing.text(
        panel.x + panel.width + 10,
        y + 4,
        "not computed" if text == NONE else text,
        style=style,
        role="faint" if text == NONE else "ink",
    )


def _draw_marks(panel: Panel, y: float, entry: Entry | None) -> None:
    """Draw a marker on its interval; nothing where there is no estimate."""
    if entry is None or not math.isfinite(auroc(entry).value):
        return
    estimate, drawn = auroc(entry), look(entry.method)
    if math.isfinite(estimate.lower) and math.isfinite(estimate.upper):
        panel.drawing.line(panel.at_x(estimate.lower), y, panel.at_x(estimate.upper), y, role=drawn.role, width=2)
    tip = f"{drawn.label}, {entry.group}: {interval(*estimate, digits=3)}"
    panel.drawing.marker(panel.at_x(estimate.value), y, role=drawn.role, shape=drawn.shape, size=4.4, tip=tip)


def _describe(blocks: Sequence[tuple[str, Sequence[Entry]]]) -> str:
    """Say the figures for those who cannot see them."""
    said = [
        f"{plain_outcome(task)}: "
        + ", ".join(f"{look(entry.method).label} {interval(*auroc(entry))}" for entry in block)
        for task, block in blocks
    ]
    return ". ".join(said)
