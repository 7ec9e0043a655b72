"""Rooms put together where one command needs two: concepts are named at ingest, outcomes derived at build."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from sojourn.events.build import build_store
from sojourn.events.fan_out import LOCAL
from sojourn.events.meds import write_table
from sojourn.events.records import BuildReport
from sojourn.events.units import UNITS, UnitsReport
from sojourn.sources.accounting import IngestReport
from sojourn.tasks.outcomes import codes_read, derive_outcomes
from sojourn.tasks.own_outcomes import keep_outcomes, read_outcomes

_CODES = Path("metadata/codes.parquet")


def ingest(
    source: str,
    raw: Path | str,
    out: Path,
    *,
    site: str | None = None,
    workers: int = 1,
    concepts: Path | None = None,
    units: Path | None = None,
) -> IngestReport:
    """Turn raw tables into a MEDS data set, name the codes that mean a shared concept, and look at their units.

    Parameters and errors are those of `sojourn.sources.ingest.ingest`; the concepts come from
    `sojourn.concepts.name_codes` and stand in ``metadata/codes.parquet``, the events keep their local codes. `concepts`
    is a file or folder of one's own tables, see `sojourn.concepts.custom.read_tables`. What
    unit each site records a code in is decided by `sojourn.concepts.units.infer_units` and stands in
    ``metadata/units.parquet``; `units` is its override file.
    """
    # A build need not load what only reads raw tables.
    from sojourn.concepts import concept_table, name_codes
    from sojourn.concepts.custom import read_tables
    from sojourn.concepts.units import infer_units
    from sojourn.sources import get_source
    from sojourn.sources.ingest import ingest as ingest_source
    from sojourn.sources.records import NamingSource

    own = None if concepts is None else read_tables(concepts, source=source)  # a wrong table stops it at once
    origin = get_source(source)
    if isinstance(origin, NamingSource):
        origin.check_concepts(Path(raw), {*concept_table()["name"], *([] if own is None else own.concepts["name"])})
    report = ingest_source(source, raw, out, site=site, workers=workers)
    codes = pl.read_parquet(out / _CODES, glob=False)
    annotated = name_codes(codes, source, own=own)
    is_new = not annotated.equals(codes)
    if is_new:
        write_table(annotated, out / _CODES)
    if is_new or units is not None or not (out / UNITS).exists():
        infer_units(out, overrides=units)
    return report


def check_mapping(raw: Path) -> dict[str, tuple[str, ...]]:
    """Check the mapping of a hospital's own tables against its files, without reading their rows.

    Returns
    -------
    Table -> names of its files.

    Raises
    ------
    ConfigError, DataError
        As `ingest` would; the message has the line of the mapping.
    """
    from sojourn.concepts import concept_table
    from sojourn.sources.csv_mapping import SOURCE

    SOURCE.check_concepts(raw, concept_table()["name"].to_list())
    return SOURCE.tables(raw)


def units(dataset: Path, *, overrides: Path | None = None) -> UnitsReport:
    """Decide again what unit each site of a MEDS data set records each concept in.

    Parameters and errors are those of `sojourn.concepts.units.infer_units`.
    """
    from sojourn.concepts.units import infer_units

    return infer_units(dataset, overrides=overrides)


def build(
    store: Path,
    datasets: Sequence[Path],
    *,
    workers: int = 1,
    cluster: str = LOCAL,
    use_concepts: bool = True,
    outcomes: Path | None = None,
) -> BuildReport:
    """Build an event store from MEDS data sets, with the built-in outcomes as target-only events.

    Parameters and errors are those of `sojourn.events.build.build_store`. `outcomes` is a YAML file of own outcome
    definitions, derived beside the built-in ones and kept in the store as ``outcomes.yaml``; see
    `sojourn.tasks.own_outcomes.read_outcomes`. A store built with other definitions is not taken for the same.
    """
    own = None if outcomes is None else read_outcomes(outcomes)
    report = build_store(
        store,
        datasets,
        derive=own or derive_outcomes,
        reads=own.reads if own else codes_read,
        workers=workers,
        cluster=cluster,
        use_concepts=use_concepts,
    )
    if own:
        keep_outcomes(store, own)
    return report
