"""What commands print: records, tables and messages. Rich is imported when something is printed."""

import json
import re
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

_MOST_SITES = 20
"""More rows than this are no table to read."""


def say(text: str) -> None:
    """Print a line to the error stream, where progress goes; rich's markup is read."""
    from sojourn.progress import console

    console.print(text, highlight=False, soft_wrap=True)


def literal(text: str) -> str:
    """The text as part of what `say` prints: its brackets are no markup."""
    from rich.markup import escape

    return escape(_printable(text))


def print_record(result: Any, as_json: bool, *, table: list[dict[str, Any]] | None = None) -> None:
    """Print a record of what was done; with a table of its parts where it has some."""
    content = asdict(result) if is_dataclass(result) and not isinstance(result, type) else dict(result)
    if as_json:
        print(json.dumps(_named(content), default=str))
        return
    if table:
        print_table(table)
    plain = {k: v for k, v in content.items() if isinstance(v, str | int | float | bool | Path) and v is not None}
    print_table([{"": in_words(name), " ": value} for name, value in plain.items()])


def in_words(name: str) -> str:
    """The name of a field as a reader expects it.

    Examples
    --------
    >>> in_words("num_subjects"), in_words("bytes_per_event"), in_words("tick_s")
    ('subjects', 'bytes per event', 'tick (s)')
    """
    return re.sub(r" s$", " (s)", name.removeprefix("num_").replace("_", " "))


def _named(content: Any) -> Any:
    """The same content with named tuples as objects: JSON would drop their names."""
    if isinstance(content, dict):
        return {name: _named(value) for name, value in content.items()}
    if hasattr(content, "_asdict"):
        return _named(content._asdict())
    return [_named(value) for value in content] if isinstance(content, list | tuple) else content


def row(record: Any, names: str) -> dict[str, Any]:
    """The named fields of a record, as a row of `print_table`."""
    return {name: getattr(record, name) for name in names.split()}


def print_table(rows: Any, title: str | None = None) -> None:
    """Print rows with the same names; numbers to the right, and no line broken where nobody looks.

    Cells are shown as they are: neither markup nor control characters of a text do anything.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = list(rows.iter_rows(named=True)) if hasattr(rows, "iter_rows") else list(rows)
    if not rows:
        return
    has_header = any(name.strip() for name in rows[0])
    table = Table(
        title=None if title is None else Text(title), title_justify="left", header_style="bold", show_header=has_header
    )
    for name in rows[0]:
        is_number = all(isinstance(row[name], int | float) or row[name] is None for row in rows)
        table.add_column(in_words(name), justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row.values()))  # brackets are no markup: nothing is hidden
    console = Console()
    if not console.is_terminal:  # a log has no width
        whole = console.measure(table, options=console.options.update(max_width=1000)).maximum
        console = Console(width=max(console.width, whole))
    console.print(table)


def flow_rows(report: Any) -> list[dict[str, Any]]:
    """One row for each step of a labelling; with stays for tasks over stays."""
    rows = [{"step": a.step, "predictions": a.num_rows, "subjects": a.num_subjects} for a in report.attrition]
    if not report.flow:
        return rows
    # A choice of subjects comes after the exclusions, and counts predictions alone.
    stays = [(step.num_excluded, step.num_stays) for step in report.flow] + [(None, None)] * len(rows)
    return [
        {"step": row["step"], "excluded": out, "stays": left} | row
        for (out, left), row in zip(stays, rows, strict=False)
    ]


def print_sites(report: Any) -> None:
    """Stays left at each site after each exclusion, and how many labels another rule changes, where a task has them."""
    steps = [f"{k}" for k in range(len(report.flow))]
    if 1 < len(report.by_site) <= _MOST_SITES:
        rows = [{"site": site} | dict(zip(steps, left, strict=True)) for site, left in report.by_site.items()]
        print_table(rows, title="stays left after each step, by site")
    elif len(report.by_site) > _MOST_SITES:
        say(f"the stays left at each of {len(report.by_site):,} sites are in the file's metadata, as flow_by_site")
    if report.rules:
        print_table([{"": in_words(name), " ": count} for name, count in report.rules.items()], title="the other rule")


def interval(lower: float, upper: float) -> str:
    """Both ends of an interval, as the cell of a table.

    Examples
    --------
    >>> interval(1.23456, 2000)
    '1.235 to 2,000'
    """
    return f"{_cell(lower)} to {_cell(upper)}"


def print_evaluation(rows: list[dict[str, str]]) -> None:
    """Two tables per task, since all metrics with their intervals fit no screen."""
    parts = (("predictions", "prevalence", "auroc", "auprc"), ("expected_observed", "calibration_slope", "brier"))
    for task in dict.fromkeys(row["task"] for row in rows):
        mine = [row for row in rows if row["task"] == task]
        for names in parts:
            shown = ("method", "group", *names)
            short = [{name.replace("_", " "): row[name] for name in shown} for row in mine]
            print_table(short, title=task if names is parts[0] else None)
    if rows:
        say("brackets hold 95 % intervals; log-loss, intercept and reliability are in evaluation.json")


def print_numbers(rows: list[dict[str, str]]) -> None:
    """One table per task whose labels are numbers, with errors in the unit of the label."""
    for task in dict.fromkeys(row["task"] for row in rows):
        mine = [{name: text for name, text in row.items() if name != "task"} for row in rows if row["task"] == task]
        print_table(mine, title=task)
    if rows:
        say("mae and rmse are in the unit of the label, which stands as mean ± deviation; brackets: 95 % intervals")


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "" if value is None else ("yes" if value else "no")
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}"
    return _printable(str(value))


def _printable(text: str) -> str:
    """The text without control characters, which could write over what stands before them."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
