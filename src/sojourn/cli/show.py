"""Commands that show what came out."""

from pathlib import Path
from typing import Annotated

import typer

from sojourn.cli.options import AsJson, one_of
from sojourn.cli.printing import literal, print_evaluation, print_numbers, print_record, say


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything that the demo makes.")] = Path("demo"),
    quick: Annotated[bool, typer.Option("--quick", help="Smaller network of hospitals: a few minutes.")] = False,
    federated: Annotated[
        bool, typer.Option("--federated", help="The hospitals train together; no record leaves its hospital.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Simulate six hospitals, learn from five, predict at the sixth and write a report.

    Example: [dim]sojourn demo --out demo[/]
    """
    from sojourn.demo import demo as run_demo

    result = run_demo(out, quick=quick, federated=federated)
    print_record(result, as_json, table=result.table())


def evaluate(
    predictions: Annotated[
        list[Path],
        typer.Argument(metavar="PREDICTIONS... OUT", help="Prediction files, and last the folder to write."),
    ],
    by: Annotated[str | None, typer.Option(help="site: also for every site, and intervals over sites.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure predictions: discrimination, calibration and intervals, as JSON, figures and a table.

    The last argument is the folder to write; RUN/artifacts/evaluation/NAME puts it into the run's report.

    Example: [dim]sojourn evaluate out/ours.parquet out/lgbm.parquet runs/a/artifacts/evaluation/death --by site[/]
    """
    from sojourn.report.evaluation import evaluate as run

    one_of("--by", by, (None, "site"))
    *files, out = predictions
    if not files:
        raise typer.BadParameter("needs at least one prediction file and the folder to write")
    result = run(files, out, by=by)  # type: ignore[arg-type]
    if as_json:
        print((out / "evaluation.json").read_text())
    else:
        print_evaluation(result.table())
        print_numbers([entry.row() for entry in result.numbers])


def report(
    run: Annotated[Path, typer.Argument(help="Run made by `sojourn pretrain`.")],
    out: Annotated[Path, typer.Argument(help="HTML file to write.")],
) -> None:
    """One self-contained page about a run: data, model, risks and calibration by hospital, fits.

    Example: [dim]sojourn report runs/mimic report.html[/]
    """
    from sojourn.report.html import report as write

    say(f"wrote {literal(str(write(run, out)))}")
