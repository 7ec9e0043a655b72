"""What is known of the values of a code at a site: counts on a logarithmic grid, from one pass over the data set."""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import polars as pl

from sojourn.events import meds
from sojourn.events.pieces import read_columns

BINS_PER_DOUBLING = 24
"""Values within 3 % of each other are counted together."""

_ZERO = 1 << 16
"""Number of the bin of 1.0; that of zero is 0, and those of negative values are negative."""


class Tally(NamedTuple):
    """Values of each code at each site."""

    bins: pl.DataFrame
    """`site`, `code`, `bin` i32, `count` i64, `value` f64 (middle of the values counted)."""
    pairs: pl.DataFrame
    """`site` (null: not told), `code`, `num_values`, `num_subjects`."""


def tally_values(dataset: Path, codes: Collection[str]) -> Tally:
    """Count the values of some codes, shard by shard.

    Values that the source flagged are counted too: a flag may be what a wrong unit looks like.

    Raises
    ------
    SchemaError
        If a shard cannot be read.
    """
    bins = pl.DataFrame(schema=_BINS)
    pairs = pl.DataFrame(schema=_PAIRS)
    chosen = pl.Series(sorted(codes), dtype=pl.String)
    for path, scan in meds.iterate_shards(dataset):
        value = pl.col("numeric_value").cast(pl.Float64)
        rows = (
            scan.select(read_columns(path, dataset))
            .filter(pl.col("code").is_in(chosen.implode()) & value.is_finite())
            .select("subject_id", "site", "code", value=value)
        )
        counted = rows.group_by("site", "code", _bin()).agg(
            count=pl.len(), low=pl.col("value").min(), high=pl.col("value").max()
        )
        bins = _add(bins, counted)
        sizes = rows.group_by("site", "code").agg(num_values=pl.len(), num_subjects=pl.col("subject_id").n_unique())
        pairs = _add(pairs, sizes)
    middle = (pl.col("low") + pl.col("high")) / 2
    return Tally(bins.select("site", "code", "bin", "count", value=middle), pairs)


_BINS: dict[str, type[pl.DataType]] = {
    "site": pl.String,
    "code": pl.String,
    "bin": pl.Int32,
    "count": pl.Int64,
    "low": pl.Float64,
    "high": pl.Float64,
}
_PAIRS: dict[str, type[pl.DataType]] = {
    "site": pl.String,
    "code": pl.String,
    "num_values": pl.Int64,
    "num_subjects": pl.Int64,
}
_MERGE = {"count": pl.Expr.sum, "num_values": pl.Expr.sum, "num_subjects": pl.Expr.sum} | {
    "low": pl.Expr.min,
    "high": pl.Expr.max,
}


def _bin() -> pl.Expr:
    """The bin of a value, in the order of the values."""
    size = (pl.col("value").abs().log(2) * BINS_PER_DOUBLING).floor().clip(1 - _ZERO, _ZERO) + _ZERO
    return pl.when(pl.col("value") == 0).then(0).otherwise(pl.col("value").sign() * size).cast(pl.Int32).alias("bin")


def _add(before: pl.DataFrame, more: pl.LazyFrame) -> pl.DataFrame:
    """Add the counts of a shard; sums of whole numbers and extremes do not depend on the order."""
    keys = [name for name in before.columns if name not in _MERGE]
    both = pl.concat([before, more.collect().select(pl.col(n).cast(t) for n, t in before.schema.items())])
    return both.group_by(keys).agg(_MERGE[n](pl.col(n)) for n in before.columns if n in _MERGE).sort(keys)
