"""Events into the cells of a regular grid over each stay. Pure tables in and out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from sojourn.tasks.grid_variables import AGGREGATIONS, GridVariable

__all__ = ["CELL_KEYS", "Placed", "fill_forward", "lay_cells", "number_stays", "place_values"]

CELL_KEYS = ["subject_id", "stay", "cell"]
_STAY_KEYS = ["subject_id", "stay"]
_HOUR_US = 3_600_000_000


class Placed(NamedTuple):
    """What became of the events of some subjects."""

    values: pl.DataFrame
    """`CELL_KEYS` and one f32 column per variable: every cell of every stay, null where nothing was observed."""
    counts: pl.DataFrame
    """The same cells with the number of values in each, u16; 0: nothing was observed."""
    num_outside_limits: int
    """Values of stays that were left out for being outside their limits."""


def number_stays(stays: pl.DataFrame, every_hours: float, max_hours: float, *, whole_last_cell: bool) -> pl.DataFrame:
    """Number each subject's stays and say how many cells each has.

    Parameters
    ----------
    stays
        `subject_id, anchor` and `stay_end`, no null.
    every_hours, max_hours
        Length of a cell; no cell begins at `max_hours` or later.
    whole_last_cell
        As YAIB does: one more cell begins at exactly `max_hours`, or at a stay's end that falls on the border of two
        cells, and what came after a stay's end counts up to the end of its last cell.

    Returns
    -------
    DataFrame
        Added columns `stay` i32, from 1 in the order of time, `num_cells` i64, and `until`: values later than that
        belong to no cell.
    """
    every, most = round(every_hours * _HOUR_US), round(max_hours * _HOUR_US)
    span = pl.min_horizontal((pl.col("stay_end") - pl.col("anchor")).dt.total_microseconds(), pl.lit(most))
    cells = span // every + 1 if whole_last_cell else (span + every - 1) // every
    numbered = stays.sort("subject_id", "anchor").with_columns(
        stay=(pl.int_range(pl.len()).over("subject_id") + 1).cast(pl.Int32),
        num_cells=pl.when(span >= 0).then(cells).otherwise(0),
    )
    last = pl.col("anchor") + pl.duration(microseconds=pl.col("num_cells") * every - 1)
    return numbered.with_columns(until=last if whole_last_cell else pl.min_horizontal(last, "stay_end"))


def lay_cells(stays: pl.DataFrame) -> pl.DataFrame:
    """Every cell of every stay, as `CELL_KEYS` (`cell` i32 from 0), sorted."""
    size = stays["num_cells"].to_numpy()
    cell = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
    rows = stays.select(_STAY_KEYS)[np.repeat(np.arange(size.size), size)]
    return rows.with_columns(cell=pl.Series(cell, dtype=pl.Int32)).sort(CELL_KEYS)


def place_values(
    events: pl.DataFrame, stays: pl.DataFrame, variables: Sequence[GridVariable], every_hours: float
) -> Placed:
    """Put the values of events into the cells of the stays, one value per cell and variable.

    Cell `k` holds what was observed from `k * every_hours` after the start of the stay up to, and not at, the start of
    the next cell. What is before every stay, or after its stay, is in no cell.

    Parameters
    ----------
    events
        `subject_id, time, code, numeric_value` in any order.
    stays
        As `number_stays` returns them.
    variables
        The columns.
    """
    named = pl.DataFrame(
        [(code, v.name, v.aggregation, v.low, v.high) for v in variables for code in v.codes()],
        schema={"code": pl.String, "variable": pl.String, "kind": pl.String, "low": pl.Float32, "high": pl.Float32},
        orient="row",
    )
    known = events.drop_nulls("numeric_value").join(named, on="code", how="inner").sort("time", "numeric_value")
    inside = _of_stays(known, stays, round(every_hours * _HOUR_US))
    # A null limit is none.
    is_plausible = (pl.col("value") >= pl.col("low")).fill_null(value=True) & (
        pl.col("value") <= pl.col("high")
    ).fill_null(value=True)
    kept = inside.filter(is_plausible)
    kinds = sorted({variable.aggregation for variable in variables})
    long = kept.group_by(*CELL_KEYS, "variable", maintain_order=True).agg(
        pl.col("kind").first(), pl.len().alias("count"), *(AGGREGATIONS[kind].alias(f"by_{kind}") for kind in kinds)
    )
    chosen = pl.coalesce(pl.when(pl.col("kind") == kind).then(f"by_{kind}") for kind in kinds)
    long = long.with_columns(value=chosen.cast(pl.Float32), count=pl.col("count").clip(0, 65_535).cast(pl.UInt16))
    cells, names = lay_cells(stays), [variable.name for variable in variables]
    counts = _wide(long, cells, names, "count")
    return Placed(_wide(long, cells, names, "value"), counts.fill_null(0), inside.height - kept.height)


def _of_stays(events: pl.DataFrame, stays: pl.DataFrame, every_us: int) -> pl.DataFrame:
    """Events in the order of time that fall into a stay, with its number, the cell, and the `value`."""
    begun = stays.select(*_STAY_KEYS, "anchor", "until").sort("anchor")
    found = events.join_asof(
        begun, left_on="time", right_on="anchor", by="subject_id", strategy="backward", check_sortedness=False
    )
    cell = (pl.col("time") - pl.col("anchor")).dt.total_microseconds() // every_us
    return found.filter(pl.col("time") <= pl.col("until")).select(
        *_STAY_KEYS, cell.cast(pl.Int32).alias("cell"), "variable", "kind", "low", "high", value="numeric_value"
    )


def _wide(long: pl.DataFrame, cells: pl.DataFrame, names: list[str], what: str) -> pl.DataFrame:
    """One row per cell and one column per variable, in the order asked for."""
    wide = long.pivot(on="variable", index=CELL_KEYS, values=what)
    lacking = [pl.lit(None, long.schema[what]).alias(name) for name in names if name not in wide.columns]
    joined = cells.join(wide.with_columns(lacking), on=CELL_KEYS, how="left", maintain_order="left")
    return joined.select(*CELL_KEYS, *names)


def fill_forward(values: pl.DataFrame, variables: Sequence[GridVariable]) -> pl.DataFrame:
    """Repeat the last observed value of a stay until the next one; what adds up, such as urine, stays as it is."""
    names = [variable.name for variable in variables if not variable.is_output()]
    return values.with_columns(pl.col(names).forward_fill().over(_STAY_KEYS)) if names else values
