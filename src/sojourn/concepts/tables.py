"""The tables of concepts and of the local codes that stand for them, which come with the package."""

from functools import cache
from importlib.resources import files

import polars as pl

_CONCEPTS = {
    "name": pl.String,
    "unit": pl.String,
    "kind": pl.String,
    "description": pl.String,
    "min": pl.Float64,
    "max": pl.Float64,
}
_CODES = {
    "source": pl.String,
    "match": pl.String,
    "code": pl.String,
    "concept": pl.String,
    "scale": pl.Float64,
    "offset": pl.Float64,
    "label": pl.String,
}


@cache
def concept_table() -> pl.DataFrame:
    """The shared concepts.

    Returns
    -------
    DataFrame with `name`, `unit` (null for none), `kind`, `description`, `min` and `max` (wide limits in `unit`, what
    is outside is not plausible; null for none).

    Examples
    --------
    >>> concept_table().filter(pl.col("name") == "lactate").select("unit", "max").row(0)
    ('mmol/L', 35.0)
    """
    return _read("concepts.csv", _CONCEPTS)


@cache
def code_concepts() -> pl.DataFrame:
    """The local codes that stand for concepts.

    Returns
    -------
    DataFrame with `source`, `match`, `code`, `concept`, `scale`, `offset`, `label` (the source's own words). `match`
    is ``exact`` (this code), ``prefix`` (this code and all below it) or ``regex`` (`code` is a pattern). In the unit of
    the concept a value is ``value * scale + offset``.

    A concept ``<drug>//start//<unit>`` is a start of the drug whose rate cannot be brought to the concept's unit, such
    as mL/h of an unknown concentration: below ``<drug>//start``, with values of its own.
    """
    return _read("code_concepts.csv", _CODES)


def _read(name: str, schema: dict[str, type[pl.DataType]]) -> pl.DataFrame:
    with (files("sojourn.concepts") / "data" / name).open("rb") as file:
        return pl.read_csv(file.read(), schema=schema)
