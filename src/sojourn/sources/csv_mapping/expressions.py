"""What a mapping says as expressions over a batch: codes, times, numbers, conditions."""

import re
from collections.abc import Callable
from datetime import datetime
from datetime import time as clock
from functools import partial
from typing import NamedTuple
from zoneinfo import ZoneInfo

import polars as pl

from sojourn.sources.casts import parse_numeric, to_number, to_time
from sojourn.sources.clocks import from_zoned
from sojourn.sources.csv_mapping.mapping import MICROS, Condition, Time
from sojourn.sources.recipes import code_of, label, unit_of

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
_TIME_OF_DAY = re.compile(r"%[-_0]?[HIklTRXscrp+]")
_TOKEN = re.compile(r"%(?::z|\.?[369]?f|[-_0]?[YCymbBhdejaAuwUWVGDFHkIlPpMSRTXrcZzsxnt%+])")
_GROUPED = r"^[<>=≤≥\s+-]*\d{1,3}(?:\.\d{3})+(?:,\d*)?$"
_DAY_END = clock(23, 59, 59)
_DATE_BYTES = 12
"""Longer text is no date alone."""


class Writing(NamedTuple):
    """How numbers and times of a file are written."""

    decimal: str
    formats: tuple[str, ...]
    """strptime formats; none for ISO 8601."""
    zone: str | None
    """Zone of the data set."""


class Cells(NamedTuple):
    """A column of the batch, as the mapping names it."""

    text: pl.Expr
    """Cleaned text; null for an empty cell."""
    writing: Writing
    """Of the file that the column comes from."""


Column = Callable[[str], Cells]
"""Name of a column -> its cells."""


def columns_in(template: str) -> list[str]:
    """Columns in the braces of a code.

    Examples
    --------
    >>> columns_in("LAB//{item}//{unit}")
    ['item', 'unit']
    """
    return _PLACEHOLDER.findall(template)


def code(template: str, column: Column) -> pl.Expr:
    """A code template over the batch.

    A level whose column is empty is left out; without the first of them there is nothing to tell, and the code is
    null. The last of three or more levels is read as a unit (``/min`` is ``1/min``).
    """
    levels = template.split("//")
    parts: list[str | pl.Expr] = []
    needed: pl.Expr | None = None
    for place, level in enumerate(levels):
        if not columns_in(level):
            parts.append(level)
            continue
        pieces = [
            column(piece).text if is_name else pl.lit(piece) for is_name, piece in _pieces(level) if is_name or piece
        ]
        written = pl.concat_str(pieces)
        as_level = unit_of if place >= 2 and place == len(levels) - 1 else label
        parts.append(as_level(written))
        needed = as_level(written).is_not_null() if needed is None else needed
    whole = code_of(*parts)
    return whole if needed is None else pl.when(needed).then(whole)


def _pieces(level: str) -> list[tuple[bool, str]]:
    """(is it a column, text) of the pieces of a level."""
    return [(bool(place % 2), piece) for place, piece in enumerate(_PLACEHOLDER.split(level))]


def number(text: pl.Expr, decimal: str) -> pl.Expr:
    """Struct of `number` and `bound` from text; with a decimal comma, dots between groups of three are dropped."""
    kind = pl.Struct({"number": pl.Float64, "bound": pl.String})
    return text.map_batches(partial(_read_numbers, decimal=decimal), return_dtype=kind)


def _read_numbers(cells: pl.Series, *, decimal: str) -> pl.Series:
    """`number` of a whole column: step by step, because an expression would repeat every step for the next one."""
    frame, text = cells.to_frame("t"), pl.col("t")
    if decimal == ",":
        frame = frame.with_columns(text.str.strip_chars())
        ungrouped = pl.when(text.str.contains(_GROUPED)).then(text.str.replace_all(".", "", literal=True))
        frame = frame.with_columns(ungrouped.otherwise(text).str.replace(",", ".", literal=True))
    frame = frame.with_columns(_plain=to_number(text))
    # Reading text by patterns is slow, so only what is not plainly a number goes through it.
    frame = frame.with_columns(_parsed=parse_numeric(pl.when(pl.col("_plain").is_null()).then(text)))
    parsed = pl.col("_parsed").struct
    both = pl.struct(number=pl.coalesce("_plain", parsed.field("number")), bound=parsed.field("bound"))
    return frame.select(both.alias(cells.name)).to_series()


def value_of(cells: Cells) -> pl.Expr:
    """The number alone."""
    return number(cells.text, cells.writing.decimal).struct.field("number")


def fits(condition: Condition, column: Column) -> pl.Expr:
    """Whether a row fits; null where the cell is empty."""
    text = column(condition.column).text
    if condition.one_of is not None:
        return text.is_in(list(condition.one_of))
    assert condition.none_of is not None
    return ~text.is_in(list(condition.none_of))


def time(spec: Time, column: Column) -> pl.Expr:
    """Times (datetime[us]) of a specification; what cannot be read is null."""
    if spec.at is not None:
        return pl.lit(spec.at.replace(tzinfo=None)).cast(pl.Datetime("us"))
    assert spec.column is not None
    cells = column(spec.column)
    if spec.unit is not None and spec.since is not None:
        offset = value_of(cells) * MICROS[spec.unit]
        micros = pl.when(offset.abs() < 2**62).then(offset).round().cast(pl.Int64)
        moment = time(spec.since, column) + pl.duration(microseconds=micros)
        return moment.map_batches(_in_calendar, return_dtype=pl.Datetime("us"))
    return cells.text.map_batches(
        partial(_read_times, spec=spec, writing=cells.writing), return_dtype=pl.Datetime("us")
    )


def _in_calendar(times: pl.Series) -> pl.Series:
    """Times of a whole column; null outside of the years 1 to 9999, which is all that a date can be."""
    first, last = (pl.lit(end).cast(pl.Datetime("us")) for end in (datetime.min, datetime.max))
    name = pl.col(times.name)
    return times.to_frame().select(pl.when(name.is_between(first, last)).then(name).alias(times.name)).to_series()


def _read_times(cells: pl.Series, *, spec: Time, writing: Writing) -> pl.Series:
    """Times of a whole column; each format reads what those before it could not."""
    frame = cells.to_frame("t").with_columns(_read=pl.lit(None, pl.Datetime("us")))
    left = pl.when(pl.col("_read").is_null()).then("t")
    for form in spec.format or writing.formats:
        frame = frame.with_columns(_read=pl.coalesce("_read", _written(left, form, spec, writing)))
    if frame["_read"].null_count() > frame["t"].null_count():
        frame = frame.with_columns(_read=pl.coalesce("_read", _iso(left, spec, writing)))
    return frame["_read"].alias(cells.name)


def _written(text: pl.Expr, form: str, spec: Time, writing: Writing) -> pl.Expr:
    """Times in one strptime format; of a format with a time of day, dates alone are read too."""
    if not (clock_part := _TIME_OF_DAY.search(form)):
        return _on_day(text.str.to_date(form, strict=False), spec)
    if "%z" in form:
        zoned = text.str.to_datetime(form, time_unit="us", strict=False)
        return from_zoned(zoned, writing.zone)
    whole = _to_zone(text.str.to_datetime(form, time_unit="us", strict=False), spec, writing)
    day_part = form[: clock_part.start()].rstrip(" T")
    short = pl.when(text.str.len_bytes() <= _DATE_BYTES).then(text)
    return pl.coalesce(whole, _written(short, day_part, spec, writing)) if "%d" in day_part else whole


def _iso(text: pl.Expr, spec: Time, writing: Writing) -> pl.Expr:
    """ISO 8601 with or without a time of day and an offset from UTC."""
    text = pl.when(text.str.contains(r"^\d{4}-\d\d-\d\d")).then(text)
    day = pl.when(text.str.len_chars() == 10).then(text.str.to_date("%Y-%m-%d", strict=False))
    # PostgreSQL leaves the minutes of an offset out.
    zoned = pl.when(text.str.contains(r":\d\d(?:\.\d+)?(?:Z|[+-]\d\d(?::?\d\d)?)$")).then(
        text.str.replace("T", " ", literal=True)
        .str.replace(r"Z$", "+0000")
        .str.replace(r"([+-]\d\d)$", "${1}00")
        .str.to_datetime("%Y-%m-%d %H:%M:%S%.f%z", time_unit="us", strict=False)
    )
    plain = pl.when(~text.str.contains(r"(?:Z|[+-]\d\d:?\d\d)$") & (text.str.len_chars() > 10)).then(text)
    return pl.coalesce(
        _on_day(day, spec),
        from_zoned(zoned, writing.zone),
        _to_zone(to_time(plain), spec, writing),
    )


def _on_day(day: pl.Expr, spec: Time) -> pl.Expr:
    """A date as a time."""
    return day.dt.combine(_DAY_END if spec.day == "end" else clock(0), time_unit="us")


def _to_zone(written: pl.Expr, spec: Time, writing: Writing) -> pl.Expr:
    """Bring times that are written in another zone to that of the data set."""
    if spec.zone is None or writing.zone is None or spec.zone == writing.zone:
        return written
    there = written.dt.replace_time_zone(spec.zone, ambiguous="earliest", non_existent="null")
    return from_zoned(there, writing.zone)


def check_format(form: str) -> str | None:
    """What is wrong with a strptime format, or None."""
    if "%" in _TOKEN.sub("", form) or not _TOKEN.search(form):
        return f"{form!r} is no format of a time. Write it as in %d.%m.%Y %H:%M."
    return None


def check_zone(zone: str) -> str | None:
    """What is wrong with a time zone, or None."""
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        return f"{zone!r} is no time zone. Write it as in Europe/Vienna."
    return None
