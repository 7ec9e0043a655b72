"""Risks and calibration, over all and at each hospital, with every figure in tables."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from sojourn.report.artifacts import Entry, Estimate, RunFolder, unseen_sites
from sojourn.report.blocks import Block, Figure, Fold, Section, Table, paragraph
from sojourn.report.figures.forest import forest_figure, site_forest_figure
from sojourn.report.figures.reliability import reliability_figure, site_reliability_figure
from sojourn.report.formatting import count, interval_cell, percent, plain_outcome
from sojourn.report.methods import OVERALL, headline_group, in_order, look, select, sites_of, tasks_of
from sojourn.report.sections.missing import missing

# name in the file -> name in the table, decimals
_METRICS = {
    "auroc": ("AUROC", 3),
    "auprc": ("AUPRC", 3),
    "log_loss": ("Log-loss", 3),
    "brier": ("Brier", 3),
    "calibration_slope": ("Calibration slope", 2),
    "calibration_intercept": ("Calibration intercept", 2),
    "expected_observed": ("Expected: observed", 2),
}
_NO_ESTIMATE = Estimate(math.nan, math.nan, math.nan)


def risks_section(run: RunFolder) -> Section:
    """Build forest plots, reliability curves and the tables of all metrics."""
    entries, unseen = run.entries, unseen_sites(run)
    if not entries:
        return Section("risks", "Risks and calibration", (missing("evaluation", run.name),))
    group = headline_group(entries, unseen)
    together = "over all evaluated hospitals" if sites_of(entries) else "over all predictions"
    where = together if group == OVERALL else f"at hospital {group}"
    drawn = in_order(entry.intervals for entry in select(entries, group=group) if entry.intervals)
    blocks: list[Block] = [
        paragraph(
            "<strong>AUROC</strong> says how well the risks rank (0.5 is chance). <strong>Calibration</strong> says "
            "whether they mean what they say: with an expected:observed of 1.5 the model expects half as many "
            "events again as there were. Intervals hold 95 % of bootstrap resamples{}. Every outcome that was "
            "evaluated is here, also those that miss.",
            f" that draw whole {' or '.join(drawn)}" if drawn else "",
        ),
        Figure(Markup(forest_figure(entries, group=group)), f"Discrimination {where}, by outcome and method."),
        Figure(
            Markup(reliability_figure(entries, group=group)),
            f"Reliability {where}. A point on the dotted diagonal is a group of predictions whose mean risk equals "
            "the share with the event. Bars below: number of predictions at each risk. Axes end a little above the "
            "largest risk.",
        ),
    ]
    if sites_of(entries):
        blocks += [
            Figure(Markup(site_forest_figure(entries, unseen=unseen)), "Discrimination at each hospital."),
            Fold(
                "Reliability at each hospital",
                (
                    Figure(
                        Markup(site_reliability_figure(entries, unseen=unseen)),
                        "Reliability of Sojourn's risks, hospitals in rows.",
                    ),
                ),
            ),
        ]
    blocks.append(
        Fold(
            f"All metrics {where}",
            (_table(entries, group, f"All metrics {where}, with 95 % intervals."),),
            is_open=True,
        )
    )
    blocks += _folds(entries, group)
    return Section("risks", "Risks and calibration", blocks)


def _columns(entries: Sequence[Entry]) -> list[str]:
    """Metrics that are in any entry, known ones first."""
    found = in_order(name for entry in entries for name in entry.metrics)
    return [name for name in _METRICS if name in found] + [name for name in found if name not in _METRICS]


def _cells(entry: Entry, columns: Sequence[str]) -> list[str]:
    """An entry's metrics with their intervals."""
    return [
        interval_cell(*entry.metrics.get(name, _NO_ESTIMATE), digits=_METRICS.get(name, ("", 3))[1]) for name in columns
    ]


def _labels(columns: Sequence[str]) -> tuple[str, ...]:
    """Column heads of metrics."""
    return tuple(_METRICS[name][0] if name in _METRICS else name.replace("_", " ") for name in columns)


def _table(entries: Sequence[Entry], group: str, caption: str) -> Table:
    """All methods at all outcomes in one group."""
    columns = _columns(entries)
    rows, strong = list[tuple[str, ...]](), set[int]()
    for task in tasks_of(entries):
        _add_rows(rows, strong, select(entries, task=task, group=group), plain_outcome(task), columns)
    return Table(caption, ("Method", *_labels(columns)), tuple(rows), strong=frozenset(strong))


def _add_rows(
    rows: list[tuple[str, ...]], strong: set[int], entries: Sequence[Entry], name: str, columns: Sequence[str]
) -> None:
    """Add a heading row and one row for each method; ours are noted in `strong`."""
    if not entries:
        return
    head = entries[0]
    rows.append(
        (
            f"{name}: {count(head.num_predictions)} predictions of {count(head.num_subjects)} subjects, events "
            f"{percent(head.prevalence)}",
        )
    )
    for entry in entries:
        if look(entry.method).kind == "ours":
            strong.add(len(rows))
        rows.append((look(entry.method).label, *_cells(entry, columns)))


def _folds(entries: Sequence[Entry], shown: str) -> list[Block]:
    """One folded table for each outcome: every other group, every method."""
    columns, folds = _columns(entries), list[Block]()
    groups = [group for group in [OVERALL, *sites_of(entries)] if group != shown]
    for task in tasks_of(entries):
        rows, strong = list[tuple[str, ...]](), set[int]()
        for group in groups:
            name = "All hospitals" if group == OVERALL else group
            _add_rows(rows, strong, select(entries, task=task, group=group), name, columns)
        if rows:
            caption = f"{plain_outcome(task)}: all metrics by hospital, with 95 % intervals."
            table = Table(caption, ("Method", *_labels(columns)), tuple(rows), strong=frozenset(strong))
            folds.append(Fold(f"{plain_outcome(task)}, every hospital", (table,)))
    return folds
