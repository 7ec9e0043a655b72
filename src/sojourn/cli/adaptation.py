"""Commands that use a finished run further: states, fine-tuning, another hospital."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sojourn.cli.options import AsJson, Seed, one_of, parse_hours
from sojourn.cli.printing import literal, print_record, say

_Run = Annotated[Path, typer.Argument(help="Run made by `sojourn pretrain`; it is not changed.")]
_NewRun = Annotated[Path, typer.Argument(help="Folder of the run to make.")]
_Rate = Annotated[float | None, typer.Option(help="Peak learning rate; by default one that goes with the method.")]


def embed(
    run: Annotated[Path, typer.Argument(help="Run made by `sojourn pretrain`.")],
    store: Annotated[Path, typer.Argument(help="Event store with the subjects.")],
    out: Annotated[Path, typer.Argument(help="Parquet file to write: subject_id, time, site, state.")],
    labels: Annotated[Path | None, typer.Option(help="Label file: a state at every prediction time.")] = None,
    every: Annotated[str | None, typer.Option(help="A state every so often after a record's start, as 24h.")] = None,
    end: Annotated[bool, typer.Option("--end", help="The state at the end of each record.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the network's states at times, for any other tool; nothing later than a time is read.

    Example: [dim]sojourn embed runs/mimic stores/mimic out/states.parquet --every 24h[/]
    """
    if (labels is not None) + (every is not None) + end != 1:
        raise typer.BadParameter("needs exactly one of --labels, --every and --end")
    from sojourn.adaptation.embed import embed as write

    hours = None if every is None else parse_hours(every)
    report = write(run, store, out, labels=labels, every_hours=hours, end=end)
    _say_finished(report, out)
    print_record(report, as_json)


def finetune(
    run: _Run,
    store: Annotated[Path, typer.Argument(help="Event store with the subjects of the labels.")],
    labels: Annotated[Path, typer.Argument(help="Labels to learn from; never those that are predicted later.")],
    new_run: _NewRun,
    tuning: Annotated[
        Path | None, typer.Option(help="Labels of other subjects that choose the epoch; a share of LABELS by default.")
    ] = None,
    method: Annotated[str, typer.Option(help="full, lora (low-rank changes) or head (first-event head).")] = "full",
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the labels at most.")] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="Rank of the changes, for lora.")] = None,
    learning_rate: _Rate = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Teach a run a task by labels; it starts from zero-shot, and `sojourn predict` reads the new run.

    Example: [dim]sojourn finetune runs/mimic stores/mimic labels/train.parquet runs/mimic-death --method lora[/]
    """
    one_of("--method", method, ("full", "lora", "head"))
    if rank is not None and method != "lora":
        raise typer.BadParameter("--rank is of low-rank changes: add --method lora")
    from sojourn.adaptation.finetune import finetune as train

    asked = {"method": method, "epochs": epochs, "rank": rank, "learning_rate": learning_rate, "seed": seed}
    report = train(run, store, labels, new_run, tuning=tuning, config=_given(asked))
    _say_finished(report, new_run)
    if not report.best_epoch:
        say("no epoch was better than the run as it was on the tuning labels: its weights were kept")
    print_record(report, as_json)


def adapt(
    run: _Run,
    store: Annotated[Path, typer.Argument(help="Event store with the hospital's records.")],
    new_run: _NewRun,
    site: Annotated[str, typer.Option(help="Name of the hospital in the store.")],
    what: Annotated[
        str, typer.Option(help="site: its vector alone. all: every weight, at a low rate. looking, levels: see above.")
    ] = "site",
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the records; 5 for site, 1 for all.")] = None,
    outcomes: Annotated[
        bool, typer.Option("--outcomes/--no-outcomes", help="Whether the site's OUTCOME// events may be learnt from.")
    ] = False,
    max_subjects: Annotated[int | None, typer.Option(min=2, help="Subjects that are read at most.")] = None,
    level_prior: Annotated[
        float | None, typer.Option(min=0, help="For looking, levels: how far a log-level may lie from 0 (default 0.5).")
    ] = None,
    learning_rate: _Rate = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Fit a run to a hospital by its records, which need no labels.

    looking: risks of what shows in a measured value (a lactate above 4) rise or fall with how often the hospital looks.
    levels: those of treatments (vasopressors, ventilation) too, with how often it starts them.

    Example: [dim]sojourn adapt runs/five stores/sixth runs/six --site rowan --what levels[/]
    """
    one_of("--what", what, ("site", "all", "looking", "levels"))
    is_level = what in ("looking", "levels")
    if level_prior is not None and not is_level:
        raise typer.BadParameter("--level-prior is of levels: add --what looking or --what levels")
    if (epochs, learning_rate) != (None, None) and is_level:
        raise typer.BadParameter(f"--what {what} trains nothing: leave out --epochs and --learning-rate")
    from sojourn.adaptation.adapt import adapt as fit

    asked = {"what": what, "epochs": epochs, "outcomes": outcomes, "max_subjects": max_subjects}
    config = _given(asked | {"level_prior": level_prior, "learning_rate": learning_rate, "seed": seed})
    report = fit(run, store, new_run, site=site, config=config)
    _say_finished(report, new_run)
    levels = [{"outcome": name, "hazard x": round(factor, 3)} for name, factor in report.levels.items()]
    print_record(report, as_json, table=levels)


def extend(
    run: _Run,
    store: Annotated[Path, typer.Argument(help="Event store of the hospital that uses codes of its own.")],
    new_run: _NewRun,
    site: Annotated[
        list[str] | None, typer.Option(help="Hospital whose records are read; may be repeated. By default all.")
    ] = None,
    min_count: Annotated[int, typer.Option(min=1, help="Codes with fewer events stay unknown.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Teach a run the codes that only another hospital uses, from their descriptions; nothing is trained.

    Example: [dim]sojourn extend runs/five stores/sixth runs/six-words --site rowan[/]
    """
    from sojourn.adaptation.codes import extend as teach

    report = teach(run, store, new_run, sites=site, min_count=min_count)
    _say_finished(report, new_run)
    print_record(report, as_json)


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that were asked for; the others keep their defaults."""
    return {name: value for name, value in settings.items() if value is not None}


def _say_finished(report: Any, out: Path) -> None:
    if report.was_finished:
        say(f"{literal(str(out))} was there already, made by the same call")
