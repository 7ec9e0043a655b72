"""OMOP: dates, and times that may be only dates."""

import polars as pl

from sojourn.sources.casts import to_integer, to_time
from sojourn.sources.clocks import at_day_end, day_ends_late

_OFFSET = r"(:\d{2}(?:\.\d+)?)(?:[+-]\d{2}(?::?\d{2})?| ?UTC)$"


def without_offsets(frame: pl.DataFrame) -> pl.DataFrame:
    """Columns ``*_datetime`` without offset from UTC or time zone: the hour stays as it stands there.

    Examples
    --------
    >>> texts = ["2150-01-10 10:00:00+00:00", "2150-01-10 10:00:00-05", "2150-01-10 10:00:00 UTC"]
    >>> without_offsets(pl.DataFrame({"birth_datetime": texts}))["birth_datetime"].unique().to_list()
    ['2150-01-10 10:00:00']
    """
    times = {name: kind for name, kind in frame.schema.items() if name.endswith("_datetime")}
    zoned = [name for name, kind in times.items() if isinstance(kind, pl.Datetime) and kind.time_zone is not None]
    written = [name for name, kind in times.items() if kind == pl.String]
    return frame.with_columns(
        pl.col(zoned).dt.replace_time_zone(None), pl.col(written).str.strip_chars().str.replace(_OFFSET, "$1")
    )


def identifier(column: str) -> pl.Expr:
    """An id (i64); 0 stays 0."""
    return to_integer(pl.col(column))


def start_time(name: str) -> pl.Expr:
    """Beginning of a stay: ``<name>_datetime``, else the beginning of ``<name>_date``."""
    return pl.coalesce(to_time(pl.col(f"{name}_datetime")), to_time(pl.col(f"{name}_date")))


def day_time(name: str) -> pl.Expr:
    """``<name>_datetime``; midnight and a date alone stand for the end of the day."""
    return day_ends_late(start_time(name))


def event_time(frame: pl.DataFrame, name: str) -> pl.Expr:
    """``<name>_datetime``, else the end of ``<name>_date``.

    Loaders fill the time of a date with midnight. Where every time of a batch is midnight the column holds dates, and
    they stand for the ends of their days; elsewhere a midnight is a midnight, as what is charted on the hour has it.
    """
    exact = to_time(pl.col(f"{name}_datetime"))
    times = frame.select(exact.alias("time")).drop_nulls()["time"]
    only_dates = len(times) > 0 and bool((times == times.dt.truncate("1d")).all())
    precise = day_ends_late(exact) if only_dates else exact
    return pl.coalesce(precise, at_day_end(to_time(pl.col(f"{name}_date"))))
