"""Local codes -> shared concepts."""

from typing import TYPE_CHECKING

import polars as pl

from sojourn.concepts.tables import ANY_SOURCE, code_concepts, concept_table

if TYPE_CHECKING:
    from sojourn.concepts.custom import OwnTables

ATTRIBUTES = ("specimen", "role", "method")
"""What the tables say of a code beside its concept and unit."""


def name_codes(codes: pl.DataFrame, source: str, *, own: "OwnTables | None" = None) -> pl.DataFrame:
    """Say of every code what the registry knows: concept, conversion, unit of the concept, and attributes.

    Parameters
    ----------
    codes : rows of ``metadata/codes.parquet``.
    source : name of the source that the codes come from.
    own : a user's own tables, which go before those of the package.

    Returns
    -------
    The same rows in the same order, with `concept`, `scale` and `offset` filled, and the columns `concept_unit`,
    `concept_description`, `concept_min` and `concept_max` (what is outside is not plausible), `specimen`, `role` and
    `method` (null where the tables say nothing).
    """
    rules = None if own is None else own.codes
    added = ("concept_unit", "concept_description", "concept_min", "concept_max", *ATTRIBUTES)
    named = annotate_codes(codes, source, own=rules).drop(added, strict=False)
    known = concept_table() if own is None else pl.concat([own.concepts, concept_table()])
    about = known.unique("name", keep="first").select(
        concept="name",
        concept_unit="unit",
        concept_description="description",
        concept_min="min",
        concept_max="max",
    )
    attributes = match_codes(codes["code"], source, own=rules).select("code", *ATTRIBUTES)
    joined = named.join(about, on="concept", how="left", maintain_order="left")
    return joined.join(attributes, on="code", how="left", maintain_order="left")


def annotate_codes(codes: pl.DataFrame, source: str, *, own: pl.DataFrame | None = None) -> pl.DataFrame:
    """Fill `concept`, `scale` and `offset` where the concept of a code is not known yet.

    A code that stands in a table goes before a code above it, that before a pattern, and the first pattern that fits
    before later ones. A user's own rows go before those of the source, and these before the codes that mean the same
    everywhere. Codes whose unit is not known stay as they are.

    Parameters
    ----------
    codes : rows of ``metadata/codes.parquet``: at least `code`, `concept`, `scale` and `offset`.
    source : name of the source that the codes come from, such as ``mimic-iv``.
    own : further rows with the columns of `code_concepts`, as `sojourn.concepts.custom.read_tables` gives them.

    Returns
    -------
    The same rows and columns in the same order.

    Examples
    --------
    >>> codes = pl.DataFrame(
    ...     {"code": ["CHART//223761//°F", "CHART//1"], "concept": [None, None], "scale": 1.0, "offset": 0.0},
    ...     schema_overrides={"concept": pl.String},
    ... )
    >>> annotate_codes(codes, "mimic-iv").select("concept", pl.col("scale").round(3)).rows()
    [('temperature', 0.556), (None, 1.0)]
    """
    chosen = match_codes(codes["code"], source, own=own)
    joined = codes.join(chosen, on="code", how="left", maintain_order="left", suffix="_chosen")
    is_new = pl.col("concept").is_null() & pl.col("concept_chosen").is_not_null()
    filled = (
        pl.when(is_new).then(pl.col(f"{name}_chosen")).otherwise(pl.col(name)).alias(name)
        for name in ("concept", "scale", "offset")
    )
    return joined.with_columns(*filled).select(codes.columns)


def match_codes(codes: pl.Series, source: str, *, own: pl.DataFrame | None = None) -> pl.DataFrame:
    """Find the row of the tables that says what a code means.

    Parameters
    ----------
    codes : codes of a source, in any order.
    source : name of the source.
    own : a user's own rows; see `annotate_codes`.

    Returns
    -------
    DataFrame with `code`, once for each code that has a concept and in the order of `codes`, and `concept`, `scale`,
    `offset`, `specimen`, `role` and `method` of its row.

    Examples
    --------
    >>> found = match_codes(pl.Series(["LAB//50821//mm Hg//VEN", "CHART//1"]), "mimic-iv")
    >>> found.select("concept", "specimen", "role").rows()
    [('venous_po2', 'venous', 'measurement')]
    """
    names = codes.drop_nulls().unique(maintain_order=True).alias("code").to_frame()
    known = code_concepts()
    tables = [known.filter(pl.col("source") == name) for name in (source, ANY_SOURCE)]
    if own is not None:
        tables.insert(0, own.filter(pl.col("source").is_in([source, ANY_SOURCE])))
    parts = [part for rules in tables for part in (_exact(names, rules), *_prefix(names, rules), *_regex(names, rules))]
    chosen = pl.concat(parts).unique("code", keep="first", maintain_order=True)
    return names.join(chosen, on="code", how="inner", maintain_order="left")


_CHOSEN = ("code", "concept", "scale", "offset", *ATTRIBUTES)


def _exact(names: pl.DataFrame, rules: pl.DataFrame) -> pl.DataFrame:
    """Codes that stand in the table."""
    return names.join(rules.filter(pl.col("match") == "exact"), on="code", how="inner").select(_CHOSEN)


def _prefix(names: pl.DataFrame, rules: pl.DataFrame) -> list[pl.DataFrame]:
    """Codes at or below one that stands in the table, the nearest first."""
    above = rules.filter(pl.col("match") == "prefix").rename({"code": "above"})
    levels = above["above"].str.split("//").list.len().unique().sort(descending=True)
    return [
        names.with_columns(above=pl.col("code").str.split("//").list.head(depth).list.join("//"))
        .join(above, on="above", how="inner")
        .select(_CHOSEN)
        for depth in levels
    ]


def _regex(names: pl.DataFrame, rules: pl.DataFrame) -> list[pl.DataFrame]:
    """Codes that fit a pattern, in the order of the patterns."""
    patterns = rules.filter(pl.col("match") == "regex").drop("code")
    texts = rules.filter(pl.col("match") == "regex")["code"]
    return [
        names.filter(pl.col("code").str.contains(text)).join(patterns[at], how="cross").select(_CHOSEN)
        for at, text in enumerate(texts)
    ]
