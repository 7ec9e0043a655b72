"""The measured variables of a challenge: their codes, concepts and plausible ranges, read from a table."""

from functools import cache
from importlib.resources import files

import polars as pl

from sojourn.sources.casts import parse_numeric
from sojourn.sources.records import as_codes

_SCHEMA = {
    "variable": pl.String,
    "code": pl.String,
    "description": pl.String,
    "unit": pl.String,
    "concept": pl.String,
    "scale": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}


@cache
def read_variables(name: str) -> pl.DataFrame:
    """Read ``data/<name>.csv`` of this room.

    Returns
    -------
    pl.DataFrame
        variable str (name in the raw tables), code, description, unit, concept str, scale f64 (raw unit to concept
        unit), low and high f64 (wide limits of what is plausible, in the raw unit).
    """
    text = (files("sojourn.sources") / "data" / f"{name}.csv").read_bytes()
    return pl.read_csv(text, schema=_SCHEMA)


def variable_codes(name: str) -> pl.DataFrame:
    """Descriptions of the codes of all variables, for ``codes.parquet``."""
    return as_codes(read_variables(name)).unique("code", keep="first", maintain_order=True)


def flag_range(value: pl.Expr, low: pl.Expr, high: pl.Expr) -> pl.Expr:
    """Say ``below_limit`` or ``above_limit`` of implausible numbers, null of others; the number itself stays."""
    above = pl.when(value > high).then(pl.lit("above_limit"))
    return pl.when(value < low).then(pl.lit("below_limit")).otherwise(above)


def read_values(long: pl.DataFrame, variables: pl.DataFrame) -> pl.DataFrame:
    """Turn (variable, value) pairs into events.

    Parameters
    ----------
    long : `variable` str, `value` (number or text, not null) and further columns that are kept.
    variables : what `read_variables` gives; each variable of `long` must be there.

    Returns
    -------
    pl.DataFrame
        `long` with code, numeric_value, text_value (what is no plain number, else null), bound and flag.
    """
    if long.schema["value"] == pl.String:
        long = long.with_columns(parse_numeric(pl.col("value"))).unnest("parsed")
        written = pl.when(pl.col("number").is_null() | pl.col("bound").is_not_null()).then(pl.col("value"))
        long = long.with_columns(text_value=written)
    else:
        none = pl.lit(None, pl.String)
        long = long.with_columns(number=pl.col("value").cast(pl.Float64), bound=none, text_value=none)
    limits = variables.select("variable", "code", "low", "high")
    flagged = long.join(limits, on="variable", how="left", maintain_order="left").with_columns(
        flag=flag_range(pl.col("number"), pl.col("low"), pl.col("high"))
    )
    return flagged.rename({"number": "numeric_value"}).drop("value", "low", "high")
