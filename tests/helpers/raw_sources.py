"""Read a source's hand-written raw tables, and say what came out."""

from datetime import datetime
from pathlib import Path

import polars as pl

from sojourn.sources.records import EVENT_SCHEMA, QUARANTINE_SCHEMA, Source, SourceBatch, as_events, join_quarantined


def read_source(source: Source, raw: Path, site: str | None = None) -> tuple[dict[str, SourceBatch], list[str]]:
    """All batches of each table joined to one, and the warnings; every row is an event or set aside, never both."""
    warnings: list[str] = []
    tables: dict[str, list[SourceBatch]] = {}
    for batch in source.read(raw, site=site, warn=warnings.append):
        assert dict(batch.events.schema) == EVENT_SCHEMA
        assert dict(batch.quarantined.schema) == QUARANTINE_SCHEMA
        tables.setdefault(batch.table, []).append(batch)
    joined = {}
    for name, batches in tables.items():
        events = as_events(*(batch.events for batch in batches))
        quarantined = join_quarantined(*(batch.quarantined for batch in batches))
        num_rows = sum(batch.num_rows for batch in batches)
        assert sorted([*events["row"].unique(), *quarantined["row"]]) == list(range(num_rows)), name
        joined[name] = SourceBatch(name, num_rows, events, quarantined)
    return joined, warnings


def told(batch: SourceBatch) -> list[tuple[int, str, float | None]]:
    """Row, code and number of every event."""
    return batch.events.sort("row", "code").select("row", "code", "numeric_value").rows()


def codes_and_times(batch: SourceBatch, subject: int) -> list[tuple[str, datetime | None]]:
    """Code and time of a subject's events, in the order of time."""
    return batch.events.filter(pl.col("subject_id") == subject).sort("time", "code").select("code", "time").rows()


def concepts_of(dataset: Path) -> dict[str, str]:
    """Code -> concept of a data set's codes that have one."""
    codes = pl.read_parquet(dataset / "metadata" / "codes.parquet").drop_nulls("concept")
    return dict(codes.select("code", "concept").rows())
