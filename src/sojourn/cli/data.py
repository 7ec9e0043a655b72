"""Commands that bring data: from raw tables to a store."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sojourn.cli.options import AsJson, Workers
from sojourn.cli.printing import literal, print_record, print_table, row, say


def fetch(
    name: Annotated[str, typer.Argument(help="Data set; an unknown name lists them.")],
    out: Annotated[Path, typer.Argument(help="Folder to fill.")],
) -> None:
    """Download an open data set from its public home: resumable, checksums verified.

    Example: [dim]sojourn fetch mimic-iv-demo raw/mimic-iv-demo[/]
    """
    from sojourn.sources.fetch import fetch as run

    report = run(name, out)
    place = literal(str(out))
    say(f"{place} was there already, with the right checksums" if report.already_there else f"fetched to {place}")


def ingest(
    source: Annotated[
        str,
        typer.Argument(
            help="mimic-iv, eicu, omop, fhir, clif, hirid, aumcdb, sicdb, csv, challenge-2012, challenge-2019, meds or "
            "simulator."
        ),
    ],
    raw: Annotated[
        str,
        typer.Argument(
            help="Folder, archive or table of the source; simulator: a YAML file; omop: also the URL of a database."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="MEDS data set to make.")],
    site: Annotated[str | None, typer.Option(help="Name of the site, instead of the source's own.")] = None,
    concepts: Annotated[Path | None, typer.Option(help="Your own tables: a CSV file or a folder of them.")] = None,
    units: Annotated[
        Path | None, typer.Option(help="Units that you know: CSV or YAML with site, concept, code, unit.")
    ] = None,
    workers: Workers = 1,
    as_json: AsJson = False,
) -> None:
    """Raw tables to a MEDS data set; every row becomes an event or is quarantined with a reason.

    Example: [dim]sojourn ingest mimic-iv raw/mimic-iv-demo data/mimic[/]
    """
    from sojourn.pipeline import ingest as run

    report = run(source, raw, out, site=site, workers=workers, concepts=concepts, units=units)
    for warning in report.warnings:
        say(f"[yellow]warning:[/] {literal(warning)}")
    if report.already_there:
        say(f"{literal(str(out))} was there already, made from the same source")
    print_record(
        report, as_json, table=[row(t, "table rows rows_to_events rows_quarantined events") for t in report.tables]
    )


def inspect(
    path: Annotated[Path, typer.Argument(help="MEDS data set, event store or run.")],
    picture: Annotated[
        Path | None, typer.Option(help="Also draw concepts by site (rate, unit, median) to a .svg, .html or .png file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a folder holds: counts, sites, codes, time span, units, quarantine.

    Example: [dim]sojourn inspect data/mimic[/]
    """
    from sojourn.events.inspect import inspect as run

    found = run(path)
    if picture is not None:
        from sojourn.report.coverage import coverage_picture

        say(f"wrote {literal(str(coverage_picture(path, picture)))}")
    if as_json:
        print(json.dumps(found.to_dict(), default=str))
        return
    for table in found.tables():
        print_table([dict(zip(table.columns, row, strict=True)) for row in table.rows], title=table.title)


def units(
    dataset: Annotated[Path, typer.Argument(help="MEDS data set.")],
    override: Annotated[
        Path | None, typer.Option(help="Units that you know: CSV or YAML with site, concept, code, unit.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decide again what unit each site records each concept in, and print what is not simply as declared.

    Example: [dim]sojourn units data/eicu --override units.csv[/]
    """
    from sojourn.pipeline import units as run

    report = run(dataset, overrides=override)
    print_record(report, as_json, table=list(report.table))


def build(
    store: Annotated[Path, typer.Argument(help="Event store to make.")],
    datasets: Annotated[list[Path], typer.Argument(help="MEDS data sets; several share one vocabulary.")],
    workers: Workers = 1,
    cluster: Annotated[
        str, typer.Option(help="Where the processes are: local, ray (of this machine) or ray:ADDRESS.")
    ] = "local",
    concepts: Annotated[
        bool, typer.Option("--concepts/--no-concepts", help="Keep every local code, for a comparison without mapping.")
    ] = True,
    outcomes: Annotated[
        Path | None, typer.Option(help="YAML file of your own outcomes, derived beside the built-in ones.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """MEDS data sets to one event store that training reads.

    Example: [dim]sojourn build stores/both data/mimic data/eicu[/]
    """
    from sojourn.pipeline import build as run

    report = run(store, datasets, workers=workers, cluster=cluster, use_concepts=concepts, outcomes=outcomes)
    if report.already_built:
        say(f"{literal(str(store))} was there already, made from the same data sets")
    told = {f"rows set aside: {reason}": count for reason, count in report.quarantined.items()}
    told |= {name.replace("_", " "): count for name, count in report.notes.items() if count}
    print_record(report, as_json, table=[{"worth knowing": name, "count": count} for name, count in told.items()])
