"""The data: where the records came from, how many there are, and which rows were set aside and why."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from markupsafe import Markup

from sojourn.concepts.coverage import COVERAGE_SCHEMA
from sojourn.report.artifacts import RunFolder, as_list, as_mapping, unseen_sites
from sojourn.report.blocks import Block, Figure, Fold, Section, Table, paragraph
from sojourn.report.coverage import coverage_cells, coverage_groups
from sojourn.report.figures.coverage import coverage_figure
from sojourn.report.formatting import NONE, count, number, percent, significant
from sojourn.report.sections.missing import missing


def data_section(run: RunFolder) -> Section:
    """Build the account of the data."""
    datasets = [as_mapping(dataset) for dataset in as_list(run.data.get("datasets"))]
    store = as_mapping(run.data.get("store"))
    blocks: list[Block] = []
    if datasets:
        blocks += [
            paragraph(
                "Raw tables became events: one event is a subject, a time, a code and perhaps a value. Every raw "
                "row either gave events or was set aside with its reason and kept whole; nothing was dropped "
                "silently."
            ),
            _datasets_table(datasets),
            *_site_blocks(datasets, unseen_sites(run)),
            *_quarantine_blocks(datasets),
            *_unit_blocks(datasets),
            *_coverage_blocks(as_mapping(run.data.get("coverage"))),
            *_warnings(datasets),
        ]
    if store:
        blocks.append(_store_table(store))
    return Section("data", "The data", blocks or (missing("data.json", run.name),))


def _name(dataset: Mapping[str, Any]) -> str:
    """What the data set is called."""
    return str(dataset.get("name") or dataset.get("source") or "unnamed")


def _total(dataset: Mapping[str, Any], key: str) -> float:
    """Sum of a count over the tables of a data set; NaN where no table has it."""
    values = [number(as_mapping(table).get(key)) for table in as_list(dataset.get("tables"))]
    values = [value for value in values if math.isfinite(value)]
    return sum(values) if values else math.nan


def _datasets_table(datasets: Sequence[Mapping[str, Any]]) -> Table:
    """One row for each data set, and their sum where there are several."""
    rows, sums = [], [0.0] * 5
    for dataset in datasets:
        sites = as_mapping(dataset.get("sites"))
        figures = [
            float(len(sites)) if sites else math.nan,
            number(dataset.get("num_subjects")),
            number(dataset.get("num_events")),
            _total(dataset, "rows"),
            _total(dataset, "rows_quarantined"),
        ]
        sums = [a + b for a, b in zip(sums, figures, strict=True)]
        share = percent(figures[4] / figures[3]) if figures[3] > 0 else NONE
        rows.append((_name(dataset), str(dataset.get("source") or NONE), *map(count, figures), share))
    if len(datasets) > 1:
        rows.append(("Together", "", *map(count, sums), percent(sums[4] / sums[3]) if sums[3] > 0 else NONE))
    header = ("Data set", "Source", "Sites", "Subjects", "Events", "Raw rows", "Set aside", "Share")
    strong = frozenset({len(datasets)}) if len(datasets) > 1 else frozenset()
    return Table("Data sets that the run was given.", header, tuple(rows), numeric_from=2, strong=strong)


def _site_blocks(datasets: Sequence[Mapping[str, Any]], unseen: Sequence[str]) -> list[Block]:
    """Subjects by site; a long list is folded."""
    rows = []
    for dataset in datasets:
        for site, subjects in as_mapping(dataset.get("sites")).items():
            rows.append(
                (str(site), _name(dataset), "never seen in training" if str(site) in unseen else "", count(subjects))
            )
    if not rows:
        return []
    table = Table("Subjects by hospital.", ("Hospital", "Data set", "Role", "Subjects"), tuple(rows), numeric_from=3)
    return [table] if len(rows) <= 12 else [Fold(f"Subjects by hospital ({len(rows)} hospitals)", (table,))]


def _quarantine_blocks(datasets: Sequence[Mapping[str, Any]]) -> list[Block]:
    """What was set aside, by table and reason, and the account of every table."""
    reasons, accounts = [], []
    for dataset in datasets:
        for table in map(as_mapping, as_list(dataset.get("tables"))):
            name, rows = str(table.get("table", NONE)), number(table.get("rows"))
            kept, aside = number(table.get("rows_to_events")), number(table.get("rows_quarantined"))
            accounts.append((name, _name(dataset), count(rows), count(kept), count(aside), count(table.get("events"))))
            for reason, num in as_mapping(table.get("reasons")).items():
                reasons.append(
                    (
                        number(num),
                        (
                            str(reason),
                            name,
                            _name(dataset),
                            count(num),
                            percent(number(num) / rows) if rows > 0 else NONE,
                        ),
                    )
                )
    reasons.sort(key=lambda pair: (-pair[0] if math.isfinite(pair[0]) else 0, pair[1]))
    blocks: list[Block] = []
    if reasons:
        header = ("Reason", "Table", "Data set", "Rows", "Of the table")
        blocks.append(
            Table(
                "Rows that were set aside (quarantined), and why.",
                header,
                tuple(row for _, row in reasons),
                numeric_from=3,
            )
        )
    elif accounts:
        blocks.append(paragraph("No row was set aside."))
    if accounts:
        heads = ("Table", "Data set", "Rows", "Gave events", "Set aside", "Events")
        caption = "Every table's account: rows = rows that gave events + rows set aside."
        blocks.append(Fold("Account of every raw table", (Table(caption, heads, tuple(accounts), numeric_from=2),)))
    return blocks


_MOST_SITES = 60
"""More sites are a picture of their own; a page with it would weigh megabytes."""


def _coverage_blocks(coverage: Mapping[str, Any]) -> list[Block]:
    """Concepts by site as a picture, from the columns of `sojourn.concepts.coverage.coverage`."""
    columns = [as_list(coverage.get(name)) for name in COVERAGE_SCHEMA]
    if not columns[0] or len({len(column) for column in columns}) != 1:
        return []
    cells = coverage_cells(pl.DataFrame(dict(zip(COVERAGE_SCHEMA, columns, strict=True)), schema=COVERAGE_SCHEMA))
    num_sites = len({cell.site for cell in cells})
    if num_sites > _MOST_SITES:
        text = (
            "{} sites are too many for this page: <code>sojourn inspect STORE --picture coverage.svg</code> draws them."
        )
        return [paragraph(text, num_sites)]
    figure = coverage_figure(cells, groups=coverage_groups())
    caption = "Concepts recorded at each site: rate, unit and median. A median of fewer than five subjects is not told."
    return [Figure(Markup(figure), caption)]


_DECIDED = ("declared", "inferred", "mixed", "refused", "overridden")


def _unit_blocks(datasets: Sequence[Mapping[str, Any]]) -> list[Block]:
    """How the unit of each code at each site was decided, and every pair where it is not simply the declared one."""
    counts, rows = [], []
    for dataset in datasets:
        units = as_mapping(dataset.get("units"))
        if not units:
            continue
        decided = (count(units.get(kind)) for kind in _DECIDED)
        counts.append((_name(dataset), count(units.get("num_pairs")), *decided, count(units.get("values_refused"))))
        for row in map(as_mapping, as_list(units.get("table"))):
            words = (str(row.get(key) or NONE) for key in ("site", "code", "declared_unit", "unit", "decision"))
            reason = str(row.get("reason") or NONE).replace("_", " ")
            rows.append((*words, reason, percent(row.get("confidence")), count(row.get("num_values"))))
    if not counts:
        return []
    heads = ("Data set", "Codes at a site", *(kind.capitalize() for kind in _DECIDED), "Values left out")
    caption = (
        "Units of the codes that stand for a shared concept: used as declared, inferred from the values, told apart "
        "value by value, refused (kept under the local code), or set by hand."
    )
    blocks: list[Block] = [Table(caption, heads, tuple(counts), numeric_from=1)]
    if rows:
        names = ("Site", "Code", "Declared", "Used", "Decision", "Reason", "Confidence", "Values")
        table = Table("Codes whose unit is not simply the declared one.", names, tuple(rows), numeric_from=6)
        blocks.append(Fold(f"Units that were not simply taken as declared ({len(rows)})", (table,)))
    return blocks


def _warnings(datasets: Sequence[Mapping[str, Any]]) -> list[Block]:
    """What the sources warned about."""
    rows = [(_name(dataset), str(warning)) for dataset in datasets for warning in as_list(dataset.get("warnings"))]
    if not rows:
        return []
    table = Table(
        "What is lost because a table or column was not there, and other warnings.",
        ("Data set", "Warning"),
        tuple(rows),
        numeric_from=2,
    )
    return [Fold(f"Warnings while reading ({len(rows)})", (table,))]


def _store_table(store: Mapping[str, Any]) -> Block:
    """The event store's summary in words."""
    names = _dataset_names(store)
    rows = [("Data sets", _listed(names))] if names else []
    for key, value in store.items():
        if key in ("datasets", "inputs"):
            continue
        if isinstance(value, Mapping | list | tuple):
            shown = _listed(list(value))
        elif isinstance(value, bool) or not isinstance(value, int | float):
            shown = str(value)
        else:
            shown = count(value) if isinstance(value, int) else significant(value, 4)
        rows.append((str(key).removeprefix("num_").replace("_", " ").capitalize(), shown))
    return Fold(
        "The event store", (Table("Summary of the event store that training read.", ("Fact", "Value"), tuple(rows)),)
    )


def _dataset_names(store: Mapping[str, Any]) -> list[Any]:
    """Names of the data sets that a store was built from; earlier runs kept all that it was built from."""
    if "datasets" in store:
        return as_list(store["datasets"])
    datasets = as_list(as_mapping(store.get("inputs")).get("datasets"))
    return [as_mapping(dataset).get("name", "unnamed") for dataset in datasets]


_MOST_NAMES = 8


def _listed(names: Sequence[Any]) -> str:
    """How many there are, and their names where a line holds them."""
    if not names:
        return NONE
    more = ", ..." if len(names) > _MOST_NAMES else ""
    return f"{count(len(names))}: {', '.join(map(str, names[:_MOST_NAMES]))}{more}"
