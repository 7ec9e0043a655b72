"""Rooms put together where one command needs two: concepts are named at ingest, outcomes derived at build."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from sojourn.events.build import build_store
from sojourn.events.fan_out import LOCAL
from sojourn.events.meds import write_table
from sojourn.events.records import BuildReport
from sojourn.sources.accounting import IngestReport
from sojourn.tasks.outcomes import codes_read, derive_outcomes

_CODES = Path("metadata/codes.parquet")


def ingest(source: str, raw: Path, out: Path, *, site: str | None = None, workers: int = 1) -> IngestReport:
    """Turn raw tables into a MEDS data set and name the codes that mean a shared concept.

    Parameters and errors are those of `sojourn.sources.ingest.ingest`; the concepts come from
    `sojourn.concepts.annotate_codes` and stand in ``metadata/codes.parquet``, the events keep their local codes.
    """
    # A build need not load what only reads raw tables.
    from sojourn.concepts import annotate_codes, concept_table
    from sojourn.sources.ingest import ingest as ingest_source

    report = ingest_source(source, raw, out, site=site, workers=workers)
    codes = pl.read_parquet(out / _CODES)
    named = annotate_codes(codes, source).drop("concept_unit", "concept_description", strict=False)
    about = concept_table().select(concept="name", concept_unit="unit", concept_description="description")
    annotated = named.join(about, on="concept", how="left", maintain_order="left")
    if not annotated.equals(codes):
        write_table(annotated, out / _CODES)
    return report


def build(store: Path, datasets: Sequence[Path], *, workers: int = 1, cluster: str = LOCAL) -> BuildReport:
    """Build an event store from MEDS data sets, with the built-in outcomes as target-only events.

    Parameters and errors are those of `sojourn.events.build.build_store`.
    """
    return build_store(store, datasets, derive=derive_outcomes, reads=codes_read, workers=workers, cluster=cluster)
