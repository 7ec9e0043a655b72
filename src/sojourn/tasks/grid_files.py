"""The files of a grid: the parts of a data set merged in the order of stay and time, in one layout or the other."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

from sojourn.tasks.cells import CELL_KEYS
from sojourn.tasks.grid_variables import YAIB

__all__ = ["write_grid"]

_STAY_KEYS = ["subject_id", "stay"]
_SEXES = {"F": "Female", "M": "Male"}
_HOUR_US = 3_600_000_000
_FIGURES = 7  # that many of a 32-bit float are true


def write_grid(
    folder: Path, scratch: Path, stays: pl.DataFrame, *, every_hours: float, layout: str, counts: bool
) -> dict[str, int]:
    """Merge the parts of a grid into its files.

    Parameters
    ----------
    folder
        Where the files go.
    scratch
        Where the parts are: `values-*.parquet` and `counts-*.parquet`, each with `CELL_KEYS` and one column per
        variable, each with whole subjects.
    stays
        As `sojourn.tasks.facts.describe_stays` returns them.
    every_hours, layout, counts
        See `sojourn.tasks.grid.hourly_grid`.

    Returns
    -------
    dict
        Variable -> number of its cells with a value.
    """
    named = stays.sort(_STAY_KEYS)
    if layout == YAIB:
        named = named.with_columns(_stay_ids(named))
    observed = _merge(
        scratch, "values", folder / ("dyn.parquet" if layout == YAIB else "grid.parquet"), named, every_hours
    )
    if counts:
        _merge(scratch, "counts", folder / "counts.parquet", named, every_hours)
    about = named.drop("num_cells").with_columns(
        pl.col("age", "height", "weight").cast(pl.Float64).round_sig_figs(_FIGURES)
    )
    about.write_parquet(folder / "stays.parquet")
    if layout == YAIB:
        sta = about.select("stay_id", "age", pl.col("sex").replace(_SEXES), "height", "weight")
        sta.sort("stay_id").write_parquet(folder / "sta.parquet")
    return observed


def _stay_ids(stays: pl.DataFrame) -> pl.Series:
    """YAIB's one number per stay: the subject's own where nobody has two stays, else a running number."""
    alone = stays["stay"].max() == 1
    return stays["subject_id"].alias("stay_id") if alone else pl.Series("stay_id", np.arange(1, stays.height + 1))


def _merge(scratch: Path, source: str, target: Path, stays: pl.DataFrame, every_hours: float) -> dict[str, int]:
    """Write the parts as one file in the order of subject, stay and time, a range of subjects at a time.

    Subjects are spread over the parts by chance, so a range of all of them is about as large as a part.
    """
    import pyarrow.parquet as pq

    paths = sorted(scratch.glob(f"{source}-*.parquet"))
    cells = pl.scan_parquet(paths, glob=False)
    observed = dict.fromkeys((name for name in cells.collect_schema() if name not in CELL_KEYS), 0)
    ids = stays["subject_id"].unique().sort()
    bounds = [*(ids[i * len(ids) // len(paths)] for i in range(len(paths))), None]
    writer = None
    try:
        for low, high in pairwise(bounds):
            mine = pl.col("subject_id") >= low
            if high is not None:
                mine &= pl.col("subject_id") < high
            frame = cells.filter(mine).collect().sort(CELL_KEYS)
            observed = {name: count + frame[name].count() for name, count in observed.items()}
            arrow = _in_layout(frame, stays, every_hours).to_arrow(compat_level=pl.CompatLevel.oldest())
            writer = writer or pq.ParquetWriter(target, arrow.schema, compression="zstd")
            writer.write_table(arrow)
    finally:
        if writer is not None:
            writer.close()
    return observed


def _in_layout(frame: pl.DataFrame, stays: pl.DataFrame, every_hours: float) -> pl.DataFrame:
    """`CELL_KEYS` as the layout has them: with `stay_id` and a duration where the stays have such ids."""
    names = [name for name in frame.columns if name not in CELL_KEYS]
    if "stay_id" in stays.columns:
        joined = frame.join(stays.select(*_STAY_KEYS, "stay_id"), on=_STAY_KEYS, how="left", maintain_order="left")
        micros = pl.col("cell").cast(pl.Int64) * round(every_hours * _HOUR_US)
        time = pl.duration(microseconds=micros).cast(pl.Duration("ms")).alias("time")
        floats = [name for name in names if frame.schema[name] == pl.Float32]
        return joined.select("stay_id", time, *names).with_columns(
            pl.col(floats).cast(pl.Float64).round_sig_figs(_FIGURES)
        )
    whole = float(every_hours).is_integer()
    hour = (pl.col("cell") * every_hours).cast(pl.Int32 if whole else pl.Float64)
    return frame.select(*_STAY_KEYS, hour.alias("hour"), *names)
