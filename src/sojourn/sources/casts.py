"""Expressions that read text as whole numbers, times and measured numbers; what cannot be read becomes null."""

from typing import Literal

import polars as pl

_PLAIN = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?$"
_THOUSANDS = r"^[+-]?\d{1,3}(?:,\d{3})+(?:\.\d*)?$"
_BOUND = (
    r"^(?i)(>=|<=|=>|=<|>|<|≥|≤|(?:greater|more|higher|less|lower|fewer) than(?: or equal to)?"
    r"|above|over|below|under)\s*(.*)$"
)
_UPPER = r"^(?i)(>|=>|≥|greater|more|higher|above|over)"
_MAX_F32 = 3.4028234e38
_YEARS = (1000, 3000)
"""Dates shifted for privacy lie well inside; a year beyond them is a slip, and time is counted in 64 bits."""
_AGES = (0, 150)
_LONGEST_DAYS = 200 * 366
_A_DAY = {"hours": 24, "minutes": 1_440, "seconds": 86_400, "milliseconds": 86_400_000}


def parse_numeric(text: pl.Expr) -> pl.Expr:
    """Read measured numbers as people write them.

    Parameters
    ----------
    text : expression of strings (numbers are taken too).

    Returns
    -------
    Expression of structs: `number` (f64, null where there is none) and `bound` (``"<"`` or ``">"`` where the text
    only bounds the number, as in ``>300`` or ``LESS THAN 0.1``; else null). Numbers beyond f32 are null.

    Examples
    --------
    >>> frame = pl.DataFrame({"v": ["7.4", ">300", "LESS THAN 0.1", "1,234", "see comment", None]})
    >>> frame.select(parse_numeric(pl.col("v"))).unnest("parsed").rows()
    [(7.4, None), (300.0, '>'), (0.1, '<'), (1234.0, None), (None, None), (None, None)]
    """
    clean = text.cast(pl.String).str.strip_chars()
    word = clean.str.extract(_BOUND, 1)
    body = pl.when(word.is_null()).then(clean).otherwise(clean.str.extract(_BOUND, 2))
    digits = pl.when(body.str.contains(_THOUSANDS)).then(body.str.replace_all(",", "", literal=True)).otherwise(body)
    value = pl.when(digits.str.contains(_PLAIN)).then(digits).cast(pl.Float64, strict=False)
    number = pl.when(value.abs() <= _MAX_F32).then(value)
    side = pl.when(word.str.contains(_UPPER)).then(pl.lit(">")).otherwise(pl.lit("<"))
    bound = pl.when(number.is_not_null() & word.is_not_null()).then(side)
    return pl.struct(number=number, bound=bound).alias("parsed")


def to_integer(column: pl.Expr) -> pl.Expr:
    """Whole numbers (i64) from text such as ``"10"`` or ``"10.0"`` or from numbers; null for anything else."""
    text = column.cast(pl.String).str.strip_chars().str.strip_prefix("+").str.replace(r"\.0*$", "")
    return text.cast(pl.Int64, strict=False)


def to_number(column: pl.Expr) -> pl.Expr:
    """Finite f64 from text or numbers; null for anything else (also NaN)."""
    value = column.cast(pl.Float64, strict=False)
    return pl.when(value.is_finite()).then(value)


def is_beyond_numbers(text: pl.Expr) -> pl.Expr:
    """Whether text is written as a number that is none: NaN, infinite, or beyond f32, also as a bound.

    Examples
    --------
    >>> texts = pl.Series(["NaN", "-inf", "> 1e400", "7.4", "infiltrate", None])
    >>> pl.select(is_beyond_numbers(texts)).to_series().to_list()
    [True, True, True, False, False, False]
    """
    clean = text.cast(pl.String).str.strip_chars(" .")
    value = pl.coalesce(clean.str.extract(_BOUND, 2), clean).cast(pl.Float64, strict=False)
    return (value.is_nan() | (value.abs() > _MAX_F32)).fill_null(value=False)


def to_year(number: pl.Expr) -> pl.Expr:
    """Years (i32) from numbers; null before 1000 and after 3000.

    Examples
    --------
    >>> pl.select(to_year(pl.Series([2180.0, 21_800_000_000.0, -60.0, None]))).to_series().to_list()
    [2180, None, None, None]
    """
    return pl.when(number.is_between(*_YEARS)).then(number).cast(pl.Int32)


def to_age(number: pl.Expr) -> pl.Expr:
    """Ages in years from numbers; null below 0 and above 150.

    Examples
    --------
    >>> pl.select(to_age(pl.Series([0.0, 91.0, 1e30, -5.0, None]))).to_series().to_list()
    [0.0, 91.0, None, None, None]
    """
    return pl.when(number.is_between(*_AGES)).then(number)


def to_offset(number: pl.Expr, unit: Literal["hours", "minutes", "seconds", "milliseconds"]) -> pl.Expr:
    """How far one time of a record is from another, in whole units (i64); null beyond 200 years.

    Examples
    --------
    >>> pl.select(to_offset(pl.Series([90.4, -30.0, 9e18, None]), "minutes")).to_series().to_list()
    [90, -30, None, None]
    """
    longest = _LONGEST_DAYS * _A_DAY[unit]
    return pl.when(number.is_between(-longest, longest)).then(number).round().cast(pl.Int64)


def to_time(column: pl.Expr) -> pl.Expr:
    """Times (datetime[us]) from ISO text with or without a time of day, or from dates and times; else null."""
    text = column.cast(pl.String).str.strip_chars().str.replace("T", " ", literal=True).str.strip_suffix("Z")
    text = pl.when(text.str.len_chars() == 10).then(text + " 00:00:00").otherwise(text)
    text = pl.when(text.str.len_chars() == 16).then(text + ":00").otherwise(text)
    return text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)
