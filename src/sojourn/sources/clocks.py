"""Times with an offset from UTC -> the clock on the wall, which is what events carry."""

from datetime import timedelta
from typing import cast

import polars as pl

from sojourn.sources.casts import to_time

_OFFSET = r"(Z|[+-]\d{2}:?\d{2}| ?UTC)$"
_SHORT_OFFSET = r"(Z|[+-]\d{2}(?::?\d{2})?| ?UTC)$"
"""Also of hours alone, as PostgreSQL writes it; behind a time of day only, as the end of a date looks the same."""
_WITH_OFFSET = r"\d{2}:\d{2}.*?" + _SHORT_OFFSET


def as_written(text: pl.Expr) -> pl.Expr:
    """Times (datetime[us]) from ISO text, an offset left out: the hour that stood on the clock.

    Examples
    --------
    >>> texts = pl.Series(["2180-05-07T17:15:00-04:00", "2180-05-07T17:15:00.5Z", "2180-05-07", "soon"])
    >>> [str(time) for time in pl.select(as_written(texts)).to_series()]
    ['2180-05-07 17:15:00', '2180-05-07 17:15:00.500000', '2180-05-07 00:00:00', 'None']
    """
    return to_time(text.cast(pl.String).str.replace(_OFFSET, ""))


def in_utc(text: pl.Expr) -> pl.Expr:
    """Times (datetime[us]) in UTC from ISO text with an offset; null without one.

    Examples
    --------
    >>> texts = pl.Series(["2180-05-07T17:15:00-04:00", "2180-05-07 17:15:00+00", "2180-05-07T17:15:00", "2180-05-07"])
    >>> [str(time) for time in pl.select(in_utc(texts)).to_series()]
    ['2180-05-07 21:15:00', '2180-05-07 17:15:00', 'None', 'None']
    """
    plain = text.cast(pl.String).str.strip_chars()
    offset = plain.str.extract(_WITH_OFFSET)
    sign = pl.when(offset.str.starts_with("-")).then(-1).otherwise(1)
    hours = offset.str.extract(r"^[+-](\d{2})").cast(pl.Int64, strict=False).fill_null(0)
    minutes = offset.str.extract(r"^[+-]\d{2}:?(\d{2})$").cast(pl.Int64, strict=False).fill_null(0)
    written = to_time(pl.when(offset.is_not_null()).then(plain.str.replace(_SHORT_OFFSET, "")))
    return written - pl.duration(minutes=sign * (hours * 60 + minutes))


def lacks_offset(text: pl.Expr) -> pl.Expr:
    """Whether ISO text has a time of day but no offset from UTC.

    Examples
    --------
    >>> texts = pl.Series(["2020-07-01 16:00:00+00", "2020-07-01T12:00Z", "2020-07-01 12:00:00", "2020-07-01", None])
    >>> pl.select(lacks_offset(texts)).to_series().to_list()
    [False, False, True, False, None]
    """
    plain = text.cast(pl.String).str.strip_chars()
    return (plain.str.len_chars() > 10) & ~plain.str.contains(_WITH_OFFSET)


def in_zone(column: pl.Expr, zone: str | None) -> pl.Expr:
    """Times (datetime[us]) from ISO text, brought to the clock of a time zone.

    Parameters
    ----------
    column : text; times without an offset stay as they are.
    zone : IANA name such as ``America/New_York``; None: UTC.

    Examples
    --------
    >>> texts = pl.Series(["2020-07-01 16:00:00+00", "2020-07-01T12:00:00-04:00", "2020-07-01 12:00:00"])
    >>> [str(time) for time in pl.select(in_zone(texts, "America/New_York")).to_series()]
    ['2020-07-01 12:00:00', '2020-07-01 12:00:00', '2020-07-01 12:00:00']
    """
    return pl.coalesce(_local(in_utc(column), zone), to_time(column))


def from_zoned(column: pl.Expr, zone: str | None) -> pl.Expr:
    """Times of a column that knows its time zone, on the clock of `zone` (None: UTC).

    Where that clock is set back it shows an hour twice, and an end could come before its start. It is then taken to go
    at half its speed through both hours, so that what is later stays later.

    Examples
    --------
    >>> times = pl.Series(["2020-11-01 04:59", "2020-11-01 05:50", "2020-11-01 06:10", "2020-11-01 07:00"])
    >>> zoned = times.str.to_datetime(time_zone="UTC")
    >>> [str(time) for time in pl.select(from_zoned(pl.lit(zoned), "America/New_York")).to_series()]
    ['2020-11-01 00:59:00', '2020-11-01 01:25:00', '2020-11-01 01:35:00', '2020-11-01 02:00:00']
    """
    there = column.dt.cast_time_unit("us").dt.convert_time_zone(zone or "UTC")
    if zone is None:
        return there.dt.replace_time_zone(None)
    return there.map_batches(_without_repeats, return_dtype=pl.Datetime("us"))


def _without_repeats(there: pl.Series) -> pl.Series:
    """What the clock of a zone shows, a whole column, the hour that it shows twice at half speed."""
    zone = cast(pl.Datetime, there.dtype).time_zone
    shown = there.dt.replace_time_zone(None)
    first = shown.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    twice = shown.dt.replace_time_zone(zone, ambiguous="latest", non_existent="null") - first
    if not (twice > timedelta(0)).any():
        return shown
    length, clock = pl.col("twice").dt.total_microseconds(), pl.col("shown").to_physical()
    since = clock % length
    slow = clock - since + (since + pl.when("again").then(length).otherwise(0)) // 2
    frame = pl.DataFrame({"shown": shown, "twice": twice, "again": there > first})
    told = pl.when(length > 0).then(slow).otherwise(clock).cast(pl.Datetime("us"))
    return frame.select(told.alias(there.name)).to_series()


def _local(utc: pl.Expr, zone: str | None) -> pl.Expr:
    """UTC as a plain datetime, on the clock of `zone`."""
    return from_zoned(utc.dt.replace_time_zone("UTC"), zone)


def at_day_end(time: pl.Expr) -> pl.Expr:
    """The last second of the day: what is known only to the day must not be told in its morning."""
    return time.dt.truncate("1d") + pl.duration(hours=23, minutes=59, seconds=59)


def day_ends_late(time: pl.Expr) -> pl.Expr:
    """Midnight, which stands for a day of unknown hour, becomes the end of that day; other times stay."""
    return pl.when(time == time.dt.truncate("1d")).then(at_day_end(time)).otherwise(time)
