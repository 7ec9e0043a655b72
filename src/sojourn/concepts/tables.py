"""The tables of concepts and of the local codes that stand for them, which come with the package."""

from functools import cache
from importlib.resources import files

import polars as pl

CONCEPT_SCHEMA = {
    "name": pl.String,
    "unit": pl.String,
    "ucum": pl.String,
    "loinc": pl.String,
    "kind": pl.String,
    "aggregation": pl.String,
    "yaib": pl.String,
    "min": pl.Float64,
    "max": pl.Float64,
    "description": pl.String,
    "label_has": pl.String,
    "label_lacks": pl.String,
}
"""Columns of ``data/concepts.csv``; what they hold: `sojourn.concepts.registry.Concept`."""
CODE_SCHEMA = {
    "source": pl.String,
    "match": pl.String,
    "code": pl.String,
    "concept": pl.String,
    "scale": pl.Float64,
    "offset": pl.Float64,
    "unit": pl.String,
    "label": pl.String,
    "specimen": pl.String,
    "role": pl.String,
    "method": pl.String,
    "count": pl.Int64,
    "note": pl.String,
}
"""Columns of ``data/codes/<source>.csv``; what they hold: `sojourn.concepts.registry.CodeRule`."""
ANY_SOURCE = "any"
"""Source of the codes that mean the same everywhere."""


@cache
def concept_table() -> pl.DataFrame:
    """The shared concepts.

    Returns
    -------
    DataFrame with the columns of `CONCEPT_SCHEMA`, among them `name`, `unit` and `ucum` (null for none), `loinc`,
    `kind`, `aggregation`, `yaib`, `min` and `max` (wide limits in `unit`, what is outside is not plausible; null for
    none) and `description`.

    Examples
    --------
    >>> concept_table().filter(pl.col("name") == "lactate").select("unit", "max").row(0)
    ('mmol/L', 35.0)
    """
    return pl.read_csv((files("sojourn.concepts") / "data" / "concepts.csv").read_bytes(), schema=CONCEPT_SCHEMA)


@cache
def code_concepts() -> pl.DataFrame:
    """The local codes that stand for concepts, of all sources.

    Returns
    -------
    DataFrame with the columns of `CODE_SCHEMA`. `match` is ``exact`` (this code), ``prefix`` (this code and all below
    it) or ``regex`` (`code` is a pattern). In the unit of the concept a value is ``value * scale + offset``. `label` is
    the source's own words. `specimen`, `role` and `method` are attributes of the code; `count` is how often the demo
    data have it.

    A concept ``<drug>//start//<unit>`` is a start of the drug whose rate cannot be brought to the concept's unit, such
    as mL/h of an unknown concentration: below ``<drug>//start``, with values of its own.
    """
    folder = files("sojourn.concepts") / "data" / "codes"
    found = sorted((file for file in folder.iterdir() if file.name.endswith(".csv")), key=lambda file: file.name)
    return pl.concat([pl.read_csv(file.read_bytes(), schema=CODE_SCHEMA) for file in found])
