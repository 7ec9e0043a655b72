"""The command line: each command parses, calls one function and prints."""

import json
import re
import sys
from dataclasses import asdict, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from sojourn.errors import SojournError

app = typer.Typer(
    name="sojourn",
    help="Foundation models of clinical event streams that hold up at the next hospital.\n\n"
    "The way through: fetch or bring raw tables, [b]ingest[/b] them, [b]build[/b] a store, [b]pretrain[/b], "
    "[b]label[/b] tasks, [b]predict[/b], [b]evaluate[/b], [b]report[/b]. Try [b]sojourn demo[/b] first.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_INTERRUPTED = 130
AsJson = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON instead of a table.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes.")]
Seed = Annotated[int, typer.Option(help="Seed of all random draws.")]


def main() -> NoReturn:
    """Run the command line: 0 is success, 1 an error that the message explains, 2 a wrong command line."""
    try:
        app(standalone_mode=True)
    except SojournError as error:
        _fail(str(error))
    except OSError as error:  # a full disk, a folder that may not be written: nothing a traceback would explain
        _fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            _say("stopped; what was finished is kept, the same command goes on from there")
        raise
    sys.exit(0)


def _fail(message: str) -> NoReturn:
    from rich.markup import escape

    _say(f"[bold red]error:[/] {escape(message)}")
    sys.exit(1)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything that the demo makes.")] = Path("demo"),
    quick: Annotated[bool, typer.Option("--quick", help="Smaller network of hospitals: a few minutes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Simulate six hospitals, learn from five, predict at the sixth and write a report.

    Example: [dim]sojourn demo --out demo[/]
    """
    from sojourn.demo import demo as run_demo

    result = run_demo(out, quick=quick)
    _show(result, as_json, table=result.table())


@app.command()
def ingest(
    source: Annotated[str, typer.Argument(help="mimic-iv, eicu, challenge-2012, challenge-2019, meds or simulator.")],
    raw: Annotated[Path, typer.Argument(help="Folder, archive or table of the source; for simulator a YAML file.")],
    out: Annotated[Path, typer.Argument(help="MEDS data set to make.")],
    site: Annotated[str | None, typer.Option(help="Name of the site, instead of the source's own.")] = None,
    workers: Workers = 1,
    as_json: AsJson = False,
) -> None:
    """Raw tables to a MEDS data set; every row becomes an event or is quarantined with a reason.

    Example: [dim]sojourn ingest mimic-iv raw/mimic-iv-demo data/mimic[/]
    """
    from sojourn.pipeline import ingest as run

    report = run(source, raw, out, site=site, workers=workers)
    for warning in report.warnings:
        _say(f"[yellow]warning:[/] {warning}")
    if report.already_there:
        _say(f"{out} was there already, made from the same source")
    _show(report, as_json, table=[_row(t, "table rows rows_to_events rows_quarantined events") for t in report.tables])


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Data set; an unknown name lists them.")],
    out: Annotated[Path, typer.Argument(help="Folder to fill.")],
) -> None:
    """Download an open data set from its public home: resumable, checksums verified.

    Example: [dim]sojourn fetch mimic-iv-demo raw/mimic-iv-demo[/]
    """
    from sojourn.sources.fetch import fetch as run

    _say(f"fetched to {run(name, out)}")


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="MEDS data set, event store or run.")],
    as_json: AsJson = False,
) -> None:
    """Say what a folder holds: counts, sites, codes, time span, quarantine.

    Example: [dim]sojourn inspect data/mimic[/]
    """
    from sojourn.events.inspect import inspect as run

    found = run(path)
    if as_json:
        print(json.dumps(found.to_dict(), default=str))
        return
    for table in found.tables():
        _print_table([dict(zip(table.columns, row, strict=True)) for row in table.rows], title=table.title)


@app.command()
def build(
    store: Annotated[Path, typer.Argument(help="Event store to make.")],
    datasets: Annotated[list[Path], typer.Argument(help="MEDS data sets; several share one vocabulary.")],
    workers: Workers = 1,
    as_json: AsJson = False,
) -> None:
    """MEDS data sets to one event store that training reads.

    Example: [dim]sojourn build stores/both data/mimic data/eicu[/]
    """
    from sojourn.pipeline import build as run

    report = run(store, datasets, workers=workers)
    if report.already_built:
        _say(f"{store} was there already, made from the same data sets")
    _show(report, as_json)


@app.command()
def pretrain(
    store: Annotated[Path, typer.Argument(help="Event store.")],
    run: Annotated[Path, typer.Argument(help="Folder of the run; an interrupted run is taken up again.")],
    config: Annotated[
        Path | None, typer.Option(help="YAML file of settings, such as `epochs: 5` and `model: {d_model: 128}`.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Train a run further, with more epochs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Pre-train a generative model of the events in a store.

    Settings and their defaults are those of `sojourn.PretrainConfig`; docs/pretrain.md lists them.

    Example: [dim]sojourn pretrain stores/mimic runs/mimic --config pretrain.yaml[/]
    """
    from sojourn.training.pretrain import pretrain as train

    summary = train(store, run, config=config, resume=resume)
    if summary.was_finished:
        _say(f"{run} was finished already")
    _show(summary, as_json)


@app.command()
def tasks(as_json: AsJson = False) -> None:
    """List the built-in tasks.

    Example: [dim]sojourn tasks[/]
    """
    from sojourn.tasks.definitions import get_task, list_tasks

    rows = [{"task": name, "description": get_task(name).description} for name in list_tasks()]
    if as_json:
        print(json.dumps(rows))
    else:
        _print_table(rows)


@app.command()
def label(
    task: Annotated[str, typer.Argument(help="Built-in task (see `sojourn tasks`) or an ACES YAML file.")],
    dataset: Annotated[Path, typer.Argument(help="MEDS data set or event store.")],
    out: Annotated[Path, typer.Argument(help="Parquet file to write, in the MEDS label schema.")],
    split: Annotated[
        list[str] | None, typer.Option(help="Only subjects of a store's train, tuning or held_out; repeatable.")
    ] = None,
    site: Annotated[list[str] | None, typer.Option(help="Only subjects of this site of a store; repeatable.")] = None,
    exclude_site: Annotated[list[str] | None, typer.Option(help="No subjects of this site; repeatable.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find who is asked when, and what came true.

    Example: [dim]sojourn label death-24h stores/mimic labels/death-24h.parquet --split held_out[/]
    """
    from sojourn.tasks.label import label as run

    report = run(task, dataset, out, splits=split or None, sites=site or None, exclude_sites=exclude_site or None)
    _show(report, as_json, table=[a._asdict() for a in report.attrition])


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Run made by `sojourn pretrain`.")],
    store: Annotated[Path, typer.Argument(help="Event store with the subjects of the labels.")],
    labels: Annotated[Path, typer.Argument(help="Labels made by `sojourn label`.")],
    out: Annotated[Path, typer.Argument(help="Parquet file to write, in the columns of meds-evaluation.")],
    method: Annotated[str, typer.Option(help="query: one pass. simulate: sampled futures, counted.")] = "query",
    num_samples: Annotated[int, typer.Option(min=1, help="Futures per prediction, for simulate.")] = 64,
    control: Annotated[
        str | None, typer.Option(help="random-weights or shuffled-values: what a risk is made of.")
    ] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Zero-shot risks with intervals, for every row of a label file.

    Example: [dim]sojourn predict runs/mimic stores/mimic labels/death-24h.parquet out/death-24h.parquet[/]
    """
    from sojourn.inference.predict import predict as ask

    _one_of("--method", method, ("query", "simulate"))
    _one_of("--control", control, (None, "random-weights", "shuffled-values"))
    report = ask(run, store, labels, out, method=method, num_samples=num_samples, control=control, seed=seed)  # type: ignore[arg-type]
    if report.unknown_codes:
        _say(f"{report.unknown_codes:,} codes ({report.unknown_events:,} events) of the store are new to the run")
    _show(report, as_json)


@app.command()
def baseline(
    method: Annotated[str, typer.Argument(help="lightgbm, logistic, prevalence, or probe (needs --run).")],
    train_store: Annotated[Path, typer.Argument(help="Event store of the training labels.")],
    train_labels: Annotated[Path, typer.Argument(help="Labels to learn from.")],
    test_store: Annotated[Path, typer.Argument(help="Event store of the test labels.")],
    test_labels: Annotated[Path, typer.Argument(help="Labels to predict.")],
    out: Annotated[Path, typer.Argument(help="Parquet file to write, as `sojourn predict` does.")],
    run: Annotated[Path | None, typer.Option(help="Run whose states the probe reads.")] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Probe the same network with random weights.")
    ] = False,
    seed: Seed = 0,
) -> None:
    """What a risk must beat: boosted trees and regressions on hand features, or a probe of the network's states.

    Example: [dim]sojourn baseline lightgbm stores/a labels/a.parquet stores/b labels/b.parquet out/lgbm.parquet[/]
    """
    if method == "probe":
        from sojourn.inference.probe import probe

        if run is None:
            raise typer.BadParameter("probe needs the run whose states it reads", param_hint="--run")
        probe(run, train_store, train_labels, test_store, test_labels, out, random_weights=random_weights, seed=seed)
    else:
        from sojourn.tasks.baseline import baseline as fit

        fit(method, train_store, train_labels, test_store, test_labels, out, seed=seed)
    _say(f"wrote {out}")


@app.command()
def evaluate(
    predictions: Annotated[list[Path], typer.Argument(help="Prediction files, then the folder to write.")],
    by: Annotated[str | None, typer.Option(help="site: also for every site, and intervals over sites.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure predictions: discrimination, calibration and intervals, as JSON, figures and a table.

    The last argument is the folder to write; RUN/artifacts/evaluation/NAME puts it into the run's report.

    Example: [dim]sojourn evaluate out/ours.parquet out/lgbm.parquet runs/a/artifacts/evaluation/death --by site[/]
    """
    from sojourn.report.evaluation import evaluate as run

    _one_of("--by", by, (None, "site"))
    *files, out = predictions
    if not files:
        raise typer.BadParameter("needs at least one prediction file and the folder to write")
    result = run(files, out, by=by)  # type: ignore[arg-type]
    if as_json:
        print((out / "evaluation.json").read_text())
    else:
        _print_evaluation(result.table())


@app.command()
def likelihood(
    run: Annotated[Path, typer.Argument(help="Run made by `sojourn pretrain`.")],
    store: Annotated[Path, typer.Argument(help="Event store.")],
    out: Annotated[
        Path, typer.Argument(help="JSON file to write; RUN/artifacts/likelihood.json keeps it with the run.")
    ],
    split: Annotated[str, typer.Option(help="Subjects that are scored.")] = "held_out",
    as_json: AsJson = False,
) -> None:
    """Bits per event of held-out records, beside a simple baseline and random weights.

    Example: [dim]sojourn likelihood runs/mimic stores/mimic runs/mimic/artifacts/likelihood.json[/]
    """
    from sojourn.inference.likelihood import likelihood as score

    rows = [asdict(line) for line in score(run, store, out, split=split)]
    if as_json:
        print(json.dumps(rows))
    else:
        _print_table(rows)


@app.command()
def simulate(
    run: Annotated[Path, typer.Argument(help="Run made by `sojourn pretrain`.")],
    store: Annotated[Path, typer.Argument(help="Event store with the subject.")],
    out: Annotated[Path, typer.Argument(help="Folder to write: futures.parquet and timeline.json.")],
    subject: Annotated[int, typer.Option(help="subject_id.")],
    at: Annotated[datetime, typer.Option(help="Moment; nothing later is read.")],
    horizon: Annotated[str, typer.Option(help="How far ahead, such as 48h, 90min or 3d.")] = "48h",
    num_samples: Annotated[int, typer.Option(min=1, help="Futures.")] = 256,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Sample possible futures of one patient: conditional predictions, not effects of treatments.

    Example: [dim]sojourn simulate runs/mimic stores/mimic --subject 10005817 --at "2132-12-17 08:00:00" out/sim[/]
    """
    from sojourn.inference.simulate import simulate as run_futures

    hours = parse_hours(horizon)
    report = run_futures(
        run, store, subject=subject, at=at, horizon_hours=hours, num_samples=num_samples, out=out, seed=seed
    )
    _show(report, as_json)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Run made by `sojourn pretrain`.")],
    out: Annotated[Path, typer.Argument(help="HTML file to write.")],
) -> None:
    """One self-contained page about a run: data, model, risks and calibration by hospital, fits.

    Example: [dim]sojourn report runs/mimic report.html[/]
    """
    from sojourn.report.html import report as write

    _say(f"wrote {write(run, out)}")


def parse_hours(text: str) -> float:
    """Hours of a duration such as ``48h``, ``90min`` or ``3d``.

    Examples
    --------
    >>> parse_hours("90min"), parse_hours("2d")
    (1.5, 48.0)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(min|h|d)\s*", text)
    if not found or float(found[1]) <= 0:
        raise typer.BadParameter(f"must be a positive number with min, h or d, such as 48h; got {text!r}")
    return float(found[1]) * {"min": 1 / 60, "h": 1.0, "d": 24.0}[found[2]]


def _one_of(option: str, value: str | None, known: tuple[str | None, ...]) -> None:
    if value not in known:
        raise typer.BadParameter(f"must be {' or '.join(k for k in known if k)}; got {value!r}", param_hint=option)


def _say(text: str) -> None:
    from sojourn.progress import console

    console.print(text, highlight=False, soft_wrap=True)


def _show(result: Any, as_json: bool, *, table: list[dict[str, Any]] | None = None) -> None:
    """Print a record of what was done; with a table of its parts where it has some."""
    content = asdict(result) if is_dataclass(result) and not isinstance(result, type) else dict(result)
    if as_json:
        print(json.dumps(_named(content), default=str))
        return
    if table:
        _print_table(table)
    plain = {k: v for k, v in content.items() if isinstance(v, str | int | float | bool | Path) and v is not None}
    _print_table([{"": name, " ": value} for name, value in plain.items()])


def _named(content: Any) -> Any:
    """The same content with named tuples as objects: JSON would drop their names."""
    if isinstance(content, dict):
        return {name: _named(value) for name, value in content.items()}
    if hasattr(content, "_asdict"):
        return _named(content._asdict())
    return [_named(value) for value in content] if isinstance(content, list | tuple) else content


def _row(record: Any, names: str) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names.split()}


def _print_table(rows: Any, title: str | None = None) -> None:
    from rich.console import Console
    from rich.table import Table

    rows = list(rows.iter_rows(named=True)) if hasattr(rows, "iter_rows") else list(rows)
    if not rows:
        return
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in rows[0]:
        is_number = all(isinstance(row[name], int | float) or row[name] is None for row in rows)
        table.add_column(str(name), justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    console = Console()
    if not console.is_terminal:  # a log has no width
        whole = console.measure(table, options=console.options.update(max_width=1000)).maximum
        console = Console(width=max(console.width, whole))
    console.print(table)


def _print_evaluation(rows: list[dict[str, str]]) -> None:
    """Two tables per task, since all metrics with their intervals fit no screen."""
    parts = (("predictions", "prevalence", "auroc", "auprc"), ("expected_observed", "calibration_slope", "brier"))
    for task in dict.fromkeys(row["task"] for row in rows):
        mine = [row for row in rows if row["task"] == task]
        for names in parts:
            shown = ("method", "group", *names)
            short = [{name.replace("_", " "): row[name] for name in shown} for row in mine]
            _print_table(short, title=task if names is parts[0] else None)
    _say("brackets hold 95 % intervals; log-loss, intercept and reliability are in evaluation.json")


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "" if value is None else ("yes" if value else "no")
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
