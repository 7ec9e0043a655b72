"""What a source hands to the engine: batches of events, the rows that gave none, and the codes it knows."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import polars as pl

EVENT_SCHEMA: dict[str, Any] = {
    "row": pl.UInt64,
    "subject_id": pl.Int64,
    "time": pl.Datetime("us"),
    "code": pl.String,
    "numeric_value": pl.Float32,
    "text_value": pl.String,
    "site": pl.String,
    "bound": pl.String,
    "flag": pl.String,
}
"""Columns of `SourceBatch.events`; `row` is the 0-based raw row, `time` null for static facts."""

QUARANTINE_SCHEMA: dict[str, Any] = {"row": pl.UInt64, "reason": pl.String, "record": pl.String}
"""Columns of `SourceBatch.quarantined`; `record` is the raw row as JSON."""

CODES_SCHEMA: dict[str, Any] = {
    "code": pl.String,
    "description": pl.String,
    "parent_codes": pl.List(pl.String),
    "unit": pl.String,
    "concept": pl.String,
    "scale": pl.Float64,
    "offset": pl.Float64,
    "target_only": pl.Boolean,
}
"""Columns of ``metadata/codes.parquet``: ``value * scale + offset`` is in the unit of `concept`."""

_CODE_DEFAULTS: dict[str, Any] = {"scale": 1.0, "offset": 0.0, "target_only": False}
MAX_CODE_LENGTH = 200


class SourceBatch(NamedTuple):
    """Some consecutive rows of one raw table, turned into events or set aside."""

    table: str
    """Name of the raw table, such as ``icu/chartevents``."""
    num_rows: int
    """Raw rows in this batch; each gives at least one event or one quarantined record."""
    events: pl.DataFrame
    """`EVENT_SCHEMA`; a row may give several events."""
    quarantined: pl.DataFrame
    """`QUARANTINE_SCHEMA`; rows that gave no event, each once, with the reason."""


class Source(Protocol):
    """One origin of raw tables. A module in this room exports one as ``SOURCE``."""

    name: str

    def read(self, raw: Path, *, site: str | None, warn: Callable[[str], None]) -> Iterator[SourceBatch]:
        """Yield the batches of all tables, table after table, rows in order.

        Parameters
        ----------
        raw : folder or file with the raw tables.
        site : name of the site; None for the source's own (a hospital column, or the name of the data set).
        warn : called with one sentence for each loss that is not a row (a missing table or column).
        """
        ...

    def codes(self, raw: Path) -> pl.DataFrame:
        """Describe codes (`CODES_SCHEMA`); codes seen only in the data may be absent."""
        ...

    def finish(self, out: Path) -> None:
        """Write what this source has beside the events into the unfinished data set `out`."""
        ...


@runtime_checkable
class SplitSource(Protocol):
    """A source that brings its own splits."""

    def splits(self, raw: Path) -> pl.DataFrame | None:
        """`subject_id` (i64) and `split` (train, tuning, held_out); subjects left out are split by their hash."""
        ...


@runtime_checkable
class ConnectedSource(Source, Protocol):
    """A source that reads one database, whatever `raw` says."""

    shown: str
    """The database as it may be shown: without a password."""

    def fingerprint(self) -> str:
        """Digest of what the database holds, so that another state of it is told apart."""
        ...


@runtime_checkable
class DatabaseSource(Protocol):
    """A source that can also read its tables from a database."""

    def connect(self, url: str) -> ConnectedSource:
        """The source for the database at `url` (see `sojourn.sources.database.database_url`)."""
        ...


@runtime_checkable
class ReferringSource(Protocol):
    """A source whose `raw` names files that may lie elsewhere."""

    def files(self, raw: Path) -> list[Path]:
        """All files that are read; of those that are gone, none."""
        ...


@runtime_checkable
class NamingSource(Protocol):
    """A source whose user says which concepts its codes mean."""

    def check_concepts(self, raw: Path, known: Collection[str]) -> None:
        """Raise a `ConfigError` if it names a concept that is none of `known`."""
        ...


def conform(frame: pl.DataFrame, schema: Mapping[str, Any]) -> pl.DataFrame:
    """Bring a frame to `schema`: order and types of columns; absent ones are null, further ones dropped.

    Examples
    --------
    >>> conform(pl.DataFrame({"reason": ["no_time"], "row": [3]}), QUARANTINE_SCHEMA).row(0)
    (3, 'no_time', None)
    """
    return frame.select(
        pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype).alias(name)
        for name, dtype in schema.items()
    )


def as_events(*frames: pl.DataFrame) -> pl.DataFrame:
    """Stack frames as events (`EVENT_SCHEMA`); absent columns are null. No frame gives an empty one."""
    return pl.concat([pl.DataFrame(schema=EVENT_SCHEMA), *(conform(frame, EVENT_SCHEMA) for frame in frames)])


def quarantine(rows: pl.DataFrame, reason: str | pl.Expr) -> pl.DataFrame:
    """Set raw rows aside (`QUARANTINE_SCHEMA`).

    Parameters
    ----------
    rows : raw rows with a `row` column; all other columns not beginning with ``_`` go into the JSON record.
    reason : one reason for all rows, or an expression over `rows`; a word such as ``no_time``.
    """
    if rows.height == 0:
        return pl.DataFrame(schema=QUARANTINE_SCHEMA)
    kept = [name for name in rows.columns if name != "row" and not name.startswith("_")]
    record = pl.struct(kept).struct.json_encode() if kept else pl.lit("{}")
    chosen = pl.lit(reason) if isinstance(reason, str) else reason
    return conform(rows.select("row", reason=chosen, record=record), QUARANTINE_SCHEMA)


def join_quarantined(*frames: pl.DataFrame) -> pl.DataFrame:
    """Stack quarantined rows; a row set aside twice is kept with its first reason only."""
    return pl.concat([pl.DataFrame(schema=QUARANTINE_SCHEMA), *frames]).unique("row", keep="first", maintain_order=True)


def as_codes(frame: pl.DataFrame | Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Complete code descriptions to `CODES_SCHEMA`: defaults for scale, offset and target_only, parent from the code.

    Examples
    --------
    >>> as_codes([{"code": "LAB//Lactate//mmol/L", "concept": "lactate"}]).row(0, named=True)["parent_codes"]
    ['LAB//Lactate']
    """
    if not isinstance(frame, pl.DataFrame):
        rows = [dict(row) for row in frame]
        frame = pl.DataFrame(rows, infer_schema_length=None) if rows else pl.DataFrame(schema=CODES_SCHEMA)
    codes = conform(frame, CODES_SCHEMA)
    return codes.with_columns(
        *(pl.col(name).fill_null(value) for name, value in _CODE_DEFAULTS.items()),
        parent_codes=pl.col("parent_codes").fill_null(parents(pl.col("code"))),
    )


def parents(code: pl.Expr) -> pl.Expr:
    """List with the parent of a code (its last ``//`` part dropped); empty for a top level code."""
    parent = code.str.extract(r"(?s)^(.+)//.*?$", 1)
    return pl.when(parent.is_null()).then(pl.lit([], pl.List(pl.String))).otherwise(pl.concat_list(parent))
