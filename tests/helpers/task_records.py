"""Builders of small records for the tests of tasks."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl

START = datetime(2020, 1, 1)
Row = tuple[int, float | None, str] | tuple[int, float | None, str, float | None]


def at(hours: float) -> datetime:
    """The time `hours` after the start of all records."""
    return START + timedelta(hours=hours)


def table(rows: Sequence[Row]) -> pl.DataFrame:
    """Rows (subject, hours or None, code[, value]) as events."""
    return pl.DataFrame(
        [(row[0], None if row[1] is None else at(row[1]), row[2], row[3] if len(row) > 3 else None) for row in rows],
        schema={
            "subject_id": pl.Int64,
            "time": pl.Datetime("us"),
            "code": pl.String,
            "numeric_value": pl.Float32,
        },
        orient="row",
    )
