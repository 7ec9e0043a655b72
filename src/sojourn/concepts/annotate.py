"""Local codes -> shared concepts."""

import polars as pl

from sojourn.concepts.tables import code_concepts


def annotate_codes(codes: pl.DataFrame, source: str) -> pl.DataFrame:
    """Fill `concept`, `scale` and `offset` where the concept of a code is not known yet.

    A code that stands in the table goes before a code above it, that before a pattern, and the first pattern that fits
    before later ones. Codes whose unit is not known stay as they are.

    Parameters
    ----------
    codes : rows of ``metadata/codes.parquet``: at least `code`, `concept`, `scale` and `offset`.
    source : name of the source that the codes come from, such as ``mimic-iv``.

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
    rules = code_concepts().filter(pl.col("source") == source)
    names = codes.select(pl.col("code").unique())
    chosen = pl.concat([_exact(names, rules), _prefix(names, rules), _regex(names, rules)])
    chosen = chosen.unique("code", keep="first", maintain_order=True)
    joined = codes.join(chosen, on="code", how="left", maintain_order="left")
    is_new = pl.col("concept").is_null() & pl.col("_concept").is_not_null()
    filled = (
        pl.when(is_new).then(pl.col(f"_{name}")).otherwise(pl.col(name)).alias(name)
        for name in ("concept", "scale", "offset")
    )
    return joined.with_columns(*filled).select(codes.columns)


_CHOSEN = (
    "code",
    pl.col("concept").alias("_concept"),
    pl.col("scale").alias("_scale"),
    pl.col("offset").alias("_offset"),
)


def _exact(names: pl.DataFrame, rules: pl.DataFrame) -> pl.DataFrame:
    """Codes that stand in the table."""
    return names.join(rules.filter(pl.col("match") == "exact"), on="code", how="inner").select(_CHOSEN)


def _prefix(names: pl.DataFrame, rules: pl.DataFrame) -> pl.DataFrame:
    """Codes at or below one that stands in the table, the nearest first."""
    above = rules.filter(pl.col("match") == "prefix").rename({"code": "above"})
    levels = above["above"].str.split("//").list.len().unique().sort(descending=True)
    parts = [
        names.with_columns(above=pl.col("code").str.split("//").list.head(depth).list.join("//"))
        .join(above, on="above", how="inner")
        .select(_CHOSEN)
        for depth in levels
    ]
    return pl.concat([_exact(names, rules.clear()), *parts])


def _regex(names: pl.DataFrame, rules: pl.DataFrame) -> pl.DataFrame:
    """Codes that fit a pattern, in the order of the patterns."""
    patterns = rules.filter(pl.col("match") == "regex")
    fitting = [
        names.filter(pl.col("code").str.contains(row["code"])).with_columns(
            concept=pl.lit(row["concept"]), scale=pl.lit(row["scale"]), offset=pl.lit(row["offset"])
        )
        for row in patterns.iter_rows(named=True)
    ]
    return pl.concat([_exact(names, rules.clear()), *(frame.select(_CHOSEN) for frame in fitting)])
