"""Commands that turn a data set into tables for other tools."""

from pathlib import Path
from typing import Annotated

import typer

from sojourn.cli.options import AsJson, one_of, parse_hours
from sojourn.cli.printing import literal, print_record, say


def grid(
    dataset: Annotated[Path, typer.Argument(help="MEDS data set or event store.")],
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    every: Annotated[str, typer.Option(help="Length of a cell, as 1h or 15min.")] = "1h",
    concepts: Annotated[
        list[str] | None,
        typer.Option(help="Column: a shared concept or an abbreviation of YAIB; repeatable. By default every concept."),
    ] = None,
    yaib: Annotated[bool, typer.Option("--yaib", help="YAIB's 48 variables as columns.")] = False,
    anchor: Annotated[str, typer.Option(help="icu_admission or hospital_admission: hour 0.")] = "icu_admission",
    max_hours: Annotated[float, typer.Option(min=0, help="Hours of a stay at most.")] = 168,
    aggregate: Annotated[
        str | None,
        typer.Option(help="median, mean, last, first, min, max or sum for every column, instead of its own."),
    ] = None,
    fill: Annotated[str, typer.Option(help="none: what nobody measured is null. forward: repeat the last.")] = "none",
    layout: Annotated[
        str, typer.Option(help="sojourn, or yaib: its files (dyn.parquet, sta.parquet), 48 variables and limits.")
    ] = "sojourn",
    counts: Annotated[bool, typer.Option("--counts", help="Also write how many values each cell holds.")] = False,
    as_json: AsJson = False,
) -> None:
    """Lay an hourly grid over each stay: a row per stay and hour, a column per concept, null where nobody looked.

    Example: [dim]sojourn grid data/eicu grids/eicu --concepts heart_rate --concepts lactate[/]

    For tools that read YAIB's cohorts: [dim]sojourn grid data/eicu grids/yaib --layout yaib[/]
    """
    one_of("--anchor", anchor, ("icu_admission", "hospital_admission"))
    one_of("--fill", fill, ("none", "forward"))
    one_of("--layout", layout, ("sojourn", "yaib"))
    if yaib and concepts:
        raise typer.BadParameter("needs --concepts or --yaib, not both")
    from sojourn.tasks.grid import hourly_grid

    report = hourly_grid(
        dataset,
        out,
        concepts="yaib" if yaib else concepts or None,
        every_hours=parse_hours(every),
        anchor=anchor,
        max_hours=max_hours,
        aggregate=aggregate,
        fill=fill,  # type: ignore[arg-type]
        layout=layout,  # type: ignore[arg-type]
        counts=counts,
    )
    if report.absent and not as_json:
        say(f"nothing in {literal(str(dataset))} stands for {', '.join(report.absent)}: these columns are null")
    rows = [
        {"column": name, "cells with a value": count, "share": f"{count / report.num_rows:.1%}"}
        for name, count in report.observed.items()
        if count
    ]
    print_record(report, as_json, table=rows)
