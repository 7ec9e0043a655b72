"""The command that adds scores to a data set."""

from pathlib import Path
from typing import Annotated

import typer

from sojourn.cli.options import AsJson
from sojourn.cli.printing import print_record


def derive(
    dataset: Annotated[Path, typer.Argument(help="MEDS data set made by `sojourn ingest`.")],
    out: Annotated[Path, typer.Argument(help="MEDS data set to make.")],
    scores: Annotated[
        list[str] | None, typer.Option(help="Score to add; may be repeated. An unknown name lists them. Default: all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add SOFA, KDIGO stages, urine rates, vasopressor doses and episodes of treatment to a data set.

    Example: [dim]sojourn derive data/mimic data/mimic-scored --scores sofa --scores kdigo[/]
    """
    from sojourn.concepts.derived.dataset import derive as run

    report = run(dataset, out, scores=scores or None)
    table = [{"code": code, "events": count} for code, count in report.events.items()]
    print_record(report, as_json, table=table)
