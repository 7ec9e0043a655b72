"""The least that preparing MEDS data can be: `python benchmarks/polars_pass.py DATASET OUT`.

Reads every shard once with polars, numbers the codes, counts seconds from each subject's first row, takes the quantiles
of each code's values and writes 10 bytes per event. Nothing is checked, resumed, derived, sorted or accounted for, and
the memory grows with the largest shard: a ceiling to measure against, not a way to work.
"""

import sys
from pathlib import Path

import numpy as np
import polars as pl


def main() -> None:
    """Do the pass."""
    dataset, out = map(Path, sys.argv[1:])
    out.mkdir(parents=True)
    scan = pl.scan_parquet(dataset / "data" / "**/*.parquet")
    names = scan.select(pl.col("code").unique().sort()).collect(engine="streaming").to_series()
    known = pl.Enum(names)
    value = pl.col("numeric_value")
    quantiles = [value.quantile(q).alias(f"q{round(100 * q):02d}") for q in (0.05, 0.25, 0.5, 0.75, 0.95)]
    about = scan.group_by("code").agg(pl.len(), value.count().alias("values"), *quantiles)
    about.sort("code").collect().write_parquet(out / "codes.parquet")
    subjects = []
    for index, path in enumerate(sorted((dataset / "data").rglob("*.parquet"))):
        seconds = (pl.col("time") - pl.col("time").min().over("subject_id")).dt.total_seconds()
        shard = (
            pl.scan_parquet(path)
            .select(
                "subject_id",
                pl.col("code").cast(known).to_physical().cast(pl.UInt16),
                value.cast(pl.Float32).fill_null(float("nan")),
                seconds.fill_null(0).cast(pl.UInt32).alias("seconds"),
            )
            .collect()
        )
        subjects.append(shard["subject_id"].rle().struct.unnest().with_columns(shard=pl.lit(index)))
        for name in ("code", "numeric_value", "seconds"):
            np.save(out / f"{index}-{name}.npy", shard[name].to_numpy())
    pl.concat(subjects).write_parquet(out / "subjects.parquet")


if __name__ == "__main__":
    main()
