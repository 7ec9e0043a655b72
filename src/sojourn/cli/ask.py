"""Commands that ask a trained model, or what it must beat."""

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from sojourn.cli.options import AsJson, Seed, one_of, parse_hours
from sojourn.cli.printing import flow_rows, interval, literal, print_record, print_sites, print_table, say


def tasks(as_json: AsJson = False) -> None:
    """List the built-in tasks.

    Example: [dim]sojourn tasks[/]
    """
    from sojourn.tasks.definitions import list_tasks

    rows = [{"task": name, "description": description} for name, description in list_tasks().items()]
    if as_json:
        print(json.dumps(rows))
    else:
        print_table(rows)


def label(
    task: Annotated[
        str,
        typer.Argument(
            help="Built-in task (see `sojourn tasks`), a phrase such as 'first(lactate > 4, 24h)', or an ACES file."
        ),
    ],
    dataset: Annotated[Path, typer.Argument(help="MEDS data set or event store.")],
    out: Annotated[Path, typer.Argument(help="Parquet file to write, in the MEDS label schema.")],
    split: Annotated[
        list[str] | None, typer.Option(help="Only subjects of this split: train, tuning or held_out; repeatable.")
    ] = None,
    site: Annotated[list[str] | None, typer.Option(help="Only subjects of this site; repeatable.")] = None,
    exclude_site: Annotated[list[str] | None, typer.Option(help="No subjects of this site; repeatable.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find who is asked when, and what came true.

    Example: [dim]sojourn label death-24h stores/mimic labels/death-24h.parquet --split held_out[/]
    """
    from sojourn.tasks.label import label as run

    report = run(task, dataset, out, splits=split or None, sites=site or None, exclude_sites=exclude_site or None)
    print_record(report, as_json, table=flow_rows(report))
    if not as_json:
        print_sites(report)
    if not report.num_labels:
        say(f"no prediction is left: {literal(str(out))} has no row")
    elif report.num_positive == 0:
        say(f"the outcome occurs in none of the {report.num_labels:,} predictions: nothing can be learnt or measured")


def predict(
    run: Annotated[Path, typer.Argument(help="Run made by `sojourn pretrain`.")],
    store: Annotated[Path, typer.Argument(help="Event store with the subjects of the labels.")],
    labels: Annotated[Path, typer.Argument(help="Labels made by `sojourn label`.")],
    out: Annotated[Path, typer.Argument(help="Parquet file to write, in the columns of meds-evaluation.")],
    method: Annotated[str, typer.Option(help="query: one pass. simulate: sampled futures.")] = "query",
    num_samples: Annotated[
        int | None, typer.Option(min=1, help="Futures per prediction, for simulate; 64 if not given.")
    ] = None,
    estimator: Annotated[
        str | None,
        typer.Option(
            help="For simulate. conditional: chances along the futures, if not given. count: share of the futures."
        ),
    ] = None,
    control: Annotated[
        str | None, typer.Option(help="random-weights or shuffled-values: what a risk is made of.")
    ] = None,
    members: Annotated[
        list[Path] | None,
        typer.Option("--with", help="Further run, averaged with RUN: an ensemble. May be repeated; for query."),
    ] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Zero-shot risks with intervals, for every row of a label file.

    Example: [dim]sojourn predict runs/mimic stores/mimic labels/death-24h.parquet out/death-24h.parquet[/]
    """
    from sojourn.inference.futures import DEFAULT_SAMPLES
    from sojourn.inference.predict import predict as ask

    one_of("--method", method, ("query", "simulate"))
    one_of("--estimator", estimator, (None, "conditional", "count"))
    if method == "query" and (num_samples is not None or estimator is not None):
        raise typer.BadParameter("--num-samples and --estimator are of sampled futures: add --method simulate")
    one_of("--control", control, (None, "random-weights", "shuffled-values"))
    report = ask(
        run,
        store,
        labels,
        out,
        method=method,  # type: ignore[arg-type]
        num_samples=num_samples or DEFAULT_SAMPLES,
        estimator=estimator or "conditional",  # type: ignore[arg-type]
        control=control,  # type: ignore[arg-type]
        members=members or (),
        seed=seed,
    )
    if report.estimator is not None and report.estimator != (estimator or "conditional"):
        say(f"no single event brings {literal(report.task)} about: its futures were counted")
    if report.unknown_codes:
        say(f"{report.unknown_codes:,} codes ({report.unknown_events:,} events) of the store are new to the run")
    print_record(report, as_json)


def baseline(
    method: Annotated[
        str,
        typer.Argument(help="lightgbm, logistic, prevalence, or probe (needs --run); for numbers lightgbm or mean."),
    ],
    train_store: Annotated[Path, typer.Argument(help="Event store of the training labels.")],
    train_labels: Annotated[Path, typer.Argument(help="Labels to learn from.")],
    test_store: Annotated[Path, typer.Argument(help="Event store of the test labels.")],
    test_labels: Annotated[Path, typer.Argument(help="Labels to predict.")],
    out: Annotated[Path, typer.Argument(help="Parquet file to write, as `sojourn predict` does.")],
    run: Annotated[Path | None, typer.Option(help="Run whose states the probe reads.")] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Probe the same network with random weights.")
    ] = False,
    head: Annotated[str, typer.Option(help="What a probe fits to the states: logistic or lightgbm.")] = "logistic",
    features: Annotated[
        str, typer.Option(help="What a probe reads: states, or states+table with the hand features beside them.")
    ] = "states",
    seed: Seed = 0,
) -> None:
    """What a risk must beat: boosted trees and regressions on hand features, or a probe of the network's states.

    Example: [dim]sojourn baseline lightgbm stores/a labels/a.parquet stores/b labels/b.parquet out/lgbm.parquet[/]
    """
    if method == "probe":
        from sojourn.inference.probe import probe

        if run is None:
            raise typer.BadParameter("probe needs the run whose states it reads", param_hint="--run")
        one_of("--head", head, ("logistic", "lightgbm"))
        one_of("--features", features, ("states", "states+table"))
        probe(
            run,
            train_store,
            train_labels,
            test_store,
            test_labels,
            out,
            head=head,  # type: ignore[arg-type]
            features=features,  # type: ignore[arg-type]
            random_weights=random_weights,
            seed=seed,
        )
    else:
        if run is not None or random_weights or (head, features) != ("logistic", "states"):
            raise typer.BadParameter(
                f"--run, --random-weights, --head and --features are of a probe; got {literal(method)} (method: probe)"
            )
        from sojourn.tasks.baseline import baseline as fit

        fit(method, train_store, train_labels, test_store, test_labels, out, seed=seed)
    say(f"wrote {literal(str(out))}")


def blend(
    predictions: Annotated[
        list[Path],
        typer.Argument(
            metavar="PREDICTIONS... OUT", help="Prediction files about the same labels, and last the file to write."
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of the result in tables and figures.")] = "blend",
) -> None:
    """Make one prediction of several: the mean of their log odds, each counting the same.

    Methods that err at different patients, such as a run and boosted trees, may be better together: evaluate it.

    Example: [dim]sojourn blend out/query.parquet out/lgbm.parquet out/both.parquet[/]
    """
    from sojourn.tasks.blend import blend as pool

    if len(predictions) < 3:
        raise typer.BadParameter("needs at least two prediction files and the file to write")
    *files, out = predictions
    pool(files, out, name=name)
    say(f"wrote {literal(str(out))}")


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
        print_table(rows)


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
    print_record(report, as_json)


def synthesise(
    run: Annotated[Path, typer.Argument(help="Run made by `sojourn pretrain`.")],
    out: Annotated[Path, typer.Argument(help="Folder to write: a MEDS data set.")],
    num_subjects: Annotated[int, typer.Option(min=1, help="Synthetic patients.")] = 1000,
    horizon: Annotated[str, typer.Option(help="Records that have not ended by then are cut, such as 7d.")] = "7d",
    age_mean: Annotated[float, typer.Option(help="Mean age in years; a run holds no ages.")] = 62.0,
    age_sd: Annotated[float, typer.Option(min=0, help="Standard deviation of the ages.")] = 16.0,
    site: Annotated[str | None, typer.Option(help="Known site whose habits of measuring are drawn.")] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Draw synthetic patients from a run alone: no record is read.

    They are as private as the run is: a run can repeat what it learnt by heart.

    Example: [dim]sojourn synthesise runs/mimic out/synthetic --num-subjects 500[/]
    """
    from sojourn.inference.synthesis import Drawing
    from sojourn.inference.synthesis import synthesise as draw

    hours = parse_hours(horizon)
    how = Drawing(num_subjects, horizon_hours=hours, age_years=(age_mean, age_sd), seed=seed, site=site)
    print_record(draw(run, out, how), as_json)


def value(
    run: Annotated[Path, typer.Argument(help="Run made by `sojourn pretrain`.")],
    store: Annotated[Path, typer.Argument(help="Event store with the subject.")],
    subject: Annotated[int, typer.Option(help="subject_id.")],
    at: Annotated[datetime, typer.Option(help="Moment; nothing later is read.")],
    code: Annotated[str, typer.Option(help="Code that carries values, such as CONCEPT//lactate.")],
    after: Annotated[list[str], typer.Option(help="How long after the moment, such as 6h, 90min or 3d; repeatable.")],
    as_json: AsJson = False,
) -> None:
    """What a measurement would show, were it taken some time from now: median and intervals.

    Nobody needs to measure, and nothing later is read: a prediction, not the effect of measuring or treating.

    Example: [dim]sojourn value runs/a stores/a --subject 10005817 --at 2132-12-17 --code CONCEPT//lactate --after 6h[/]
    """
    from sojourn.inference.values import future_value

    found = future_value(run, store, subject=subject, at=at, code=code, hours=[parse_hours(text) for text in after])
    rows = found.to_dicts()
    if as_json:
        print(json.dumps(rows))
        return
    print_table(
        (
            {
                "after": text.strip(),
                "median": row["q50"],
                "50 % interval": interval(row["q25"], row["q75"]),
                "90 % interval": interval(row["q05"], row["q95"]),
                "unit": row["unit"],
            }
            for text, row in zip(after, rows, strict=True)
        ),
        title=code,
    )
