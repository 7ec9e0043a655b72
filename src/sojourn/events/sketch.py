"""Value statistics that merge: a histogram over the leading bits of a float, moments, and the recorded tick.

A value's bin is the leading 19 bits of its 32 (sign, exponent, 10 bits of mantissa), in an order-preserving coding.
Each bin keeps its count and the smallest value that fell into it, so merging two sketches is adding counts and taking
minima: the result does not depend on how the values were cut into pieces. A quantile is the smallest value of the bin
that holds its rank: exact wherever a bin holds one distinct value (all integers up to 2,048, and any code recorded
with three significant digits), and never more than 2**-10 (0.1 %) of the value too low. Memory is bounded by the
1,024 bins of each power of two that a code's values span, and in practice by their distinct values.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from sojourn.events.arrange import first_of_run, ordered_bits

Floats = npt.NDArray[np.float64]

DROPPED_BITS = 13
TICKS = (1000.0, 100.0, 10.0, 1.0, 0.1, 0.01, 0.001, 0.0001)
"""Ticks that a value can be recorded to; each is a multiple of the next."""

QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
TICK_SHARE = 0.99
_CHECKED_PER_GROUP = 128
_CHECKED = 1 << 17


class ValueSketch(NamedTuple):
    """Statistics of values by group (a group is a code); each table is sorted by group."""

    bins: pl.DataFrame
    """group u32, bin u32, smallest f32, count i64."""
    moments: pl.DataFrame
    """group u32, n i64, mean f64, m2 f64 (sum of squared deviations), min f32, max f32."""
    ticks: pl.DataFrame
    """group u32, tick f64 (0: finer than every tick of `TICKS`), count i64, of a systematic sample of the values
    other than zero (at most 128 of each group and piece, or 131,072 in all where that is more)."""


def recorded_tick(values: npt.NDArray[np.float32]) -> Floats:
    """The largest tick of `TICKS` that each value is a multiple of, as far as its 32 bits tell.

    Parameters
    ----------
    values : array of float32, shape [N]

    Returns
    -------
    array of float64, shape [N]
        0 where a value is a multiple of none.

    Examples
    --------
    >>> recorded_tick(np.array([7.35, 120.0, 4.0, 0.1 + 1e-6], dtype=np.float32)).tolist()
    [0.01, 10.0, 1.0, 0.0]
    """
    tick = np.zeros(len(values), dtype=np.float64)
    left = np.arange(len(values))
    exact = values.astype(np.float64)
    for candidate in TICKS:
        per_unit = 1.0 / candidate if candidate >= 1 else round(1.0 / candidate)
        nearest = (np.rint(exact[left] * per_unit) / per_unit).astype(np.float32)
        is_multiple = nearest == values[left]
        tick[left[is_multiple]] = candidate
        left = left[~is_multiple]
    return tick


def sketch_values(group: npt.NDArray[np.uint32], values: npt.NDArray[np.float32]) -> ValueSketch:
    """Summarise values by group.

    Parameters
    ----------
    group : array of uint32, shape [N]
    values : array of float32, shape [N]; NaN: not looked at, else finite

    Returns
    -------
    ValueSketch
    """
    num_groups = int(group.max(initial=0)) + 1
    # What is not looked at goes into a last group, which is cut off.
    key = group.astype(np.uint16 if num_groups < 1 << 16 else np.uint32)
    key[np.isnan(values)] = num_groups
    # 16-bit keys are sorted by radix, and short runs of floats fast: a third of the cost of one sort of wide keys.
    order = np.argsort(key, kind="stable")
    size = np.bincount(key, minlength=num_groups)[:num_groups]
    end = np.cumsum(size)
    values = values[order[: end[-1]]] + np.float32(0)
    names = np.flatnonzero(size).astype(np.uint32)
    size, end = size[names], end[names]
    start = end - size
    for first, last in zip(start.tolist(), end.tolist(), strict=True):
        values[first:last].sort()
    bin_ = ordered_bits(values) >> np.uint32(DROPPED_BITS)
    is_new = first_of_run(bin_)
    is_new[start] = True
    bin_start = np.flatnonzero(is_new)
    bins = pl.DataFrame(
        {
            "group": np.repeat(names, np.add.reduceat(is_new, start, dtype=np.int64) if len(start) else 0),
            "bin": bin_[bin_start],
            "smallest": values[bin_start],
            "count": np.diff(bin_start, append=len(values)).astype(np.int64),
        }
    )
    return ValueSketch(bins, _moments(names, start, size, values), _ticks(names, start, size, values))


def _moments(
    names: npt.NDArray[np.uint32],
    start: npt.NDArray[np.int64],
    size: npt.NDArray[np.int64],
    values: npt.NDArray[np.float32],
) -> pl.DataFrame:
    """Count, mean, squared deviations and range of runs of sorted values."""
    if not len(start):
        return pl.DataFrame(schema=_MOMENTS)
    exact = values.astype(np.float64)
    mean = np.add.reduceat(exact, start) / size
    m2 = np.add.reduceat((exact - np.repeat(mean, size)) ** 2, start)
    low, high = values[start], values[start + size - 1]
    return pl.DataFrame({"group": names, "n": size, "mean": mean, "m2": m2, "min": low, "max": high}, schema=_MOMENTS)


_MOMENTS = {
    "group": pl.UInt32,
    "n": pl.Int64,
    "mean": pl.Float64,
    "m2": pl.Float64,
    "min": pl.Float32,
    "max": pl.Float32,
}


def _ticks(
    names: npt.NDArray[np.uint32],
    start: npt.NDArray[np.int64],
    size: npt.NDArray[np.int64],
    values: npt.NDArray[np.float32],
) -> pl.DataFrame:
    """Recorded ticks of every k-th value of each run."""
    most = max(_CHECKED // max(len(start), 1), _CHECKED_PER_GROUP)
    runs = [*map(np.arange, start, start + size, -(-size // most))]
    chosen = np.concatenate([np.zeros(0, np.int64), *runs])
    group = np.repeat(names, [len(run) for run in runs])
    is_told = values[chosen] != 0
    table = pl.DataFrame({"group": group[is_told], "tick": recorded_tick(values[chosen[is_told]])})
    return table.group_by("group", "tick").agg(count=pl.len().cast(pl.Int64)).sort("group", "tick")


def merge_sketches(sketches: list[ValueSketch]) -> ValueSketch:
    """Merge sketches over the same groups; the order of the list only touches the last bits of the moments."""
    bins = _merge_bins(pl.concat([sketch.bins for sketch in sketches]))
    ticks = (
        pl.concat([sketch.ticks for sketch in sketches])
        .group_by("group", "tick")
        .agg(pl.col("count").sum())
        .sort("group", "tick")
    )
    return ValueSketch(bins, _merge_moments([sketch.moments for sketch in sketches]), ticks)


def _merge_bins(bins: pl.DataFrame) -> pl.DataFrame:
    """Add the counts of equal bins and keep their smallest value; pieces that are sorted already merge fast."""
    if not len(bins):
        return bins
    key = bins["group"].to_numpy().astype(np.uint64) << np.uint64(32) | bins["bin"].to_numpy()
    order = np.argsort(key, kind="stable")
    key = key[order]
    start = np.flatnonzero(first_of_run(key))
    return pl.DataFrame(
        {
            "group": (key[start] >> np.uint64(32)).astype(np.uint32),
            "bin": key[start].astype(np.uint32),
            "smallest": np.minimum.reduceat(bins["smallest"].to_numpy()[order], start),
            "count": np.add.reduceat(bins["count"].to_numpy()[order], start),
        }
    )


def _merge_moments(tables: list[pl.DataFrame]) -> pl.DataFrame:
    """Chan's pairwise update, in list order, so that the same pieces give the same bits."""
    size = max((int(table["group"][-1]) + 1 for table in tables if len(table)), default=0)
    n, mean, m2 = (np.zeros(size) for _ in range(3))
    low, high = np.full(size, np.inf, np.float32), np.full(size, -np.inf, np.float32)
    for table in tables:
        at = table["group"].to_numpy()
        count, delta = table["n"].to_numpy(), table["mean"].to_numpy() - mean[at]
        total = n[at] + count
        mean[at] += delta * count / total
        m2[at] += table["m2"].to_numpy() + delta**2 * n[at] * count / total
        n[at] = total
        low[at], high[at] = np.minimum(low[at], table["min"].to_numpy()), np.maximum(high[at], table["max"].to_numpy())
    at = np.flatnonzero(n)
    return pl.DataFrame(
        {"group": at, "n": n[at], "mean": mean[at], "m2": m2[at], "min": low[at], "max": high[at]}, schema=_MOMENTS
    )


def convert(sketch: ValueSketch, to: npt.NDArray[np.uint32], scale: Floats, offset: Floats) -> ValueSketch:
    """Move each group g to group `to[g]` with its values mapped to value * scale[g] + offset[g].

    Groups that move to the same place are merged; bins are those of the converted values. Ticks are multiplied by
    the absolute scale.

    Parameters
    ----------
    to, scale, offset : arrays, shape [number of groups]
    """
    if (scale == 1).all() and (offset == 0).all() and (to[1:] > to[:-1]).all():
        return ValueSketch(*(table.with_columns(group=pl.Series(to[table["group"].to_numpy()])) for table in sketch))
    at = sketch.bins["group"].to_numpy()
    # Bins are renumbered by the converted value, so that sorting by (group, bin) still sorts the values.
    smallest = (sketch.bins["smallest"].to_numpy() * scale[at] + offset[at]).astype(np.float32) + np.float32(0)
    bins = sketch.bins.with_columns(
        group=pl.Series(to[at], dtype=pl.UInt32), bin=pl.Series(ordered_bits(smallest)), smallest=pl.Series(smallest)
    )
    at = sketch.moments["group"].to_numpy()
    ends = [sketch.moments[name].to_numpy() * scale[at] + offset[at] for name in ("min", "max")]
    moments = sketch.moments.with_columns(
        group=pl.Series(to[at], dtype=pl.UInt32),
        mean=pl.Series(sketch.moments["mean"].to_numpy() * scale[at] + offset[at]),
        m2=pl.Series(sketch.moments["m2"].to_numpy() * scale[at] ** 2),
        min=pl.Series(np.minimum(*ends).astype(np.float32)),
        max=pl.Series(np.maximum(*ends).astype(np.float32)),
    )
    at = sketch.ticks["group"].to_numpy()
    ticks = sketch.ticks.with_columns(
        group=pl.Series(to[at], dtype=pl.UInt32), tick=pl.Series(sketch.ticks["tick"].to_numpy() * np.abs(scale[at]))
    )
    # One group may now appear several times in `moments`: each row is merged as a piece of its own.
    moved = ValueSketch(bins, moments.clear(), ticks)
    rank = moments.with_columns(rank=pl.int_range(pl.len()).over("group"))
    pieces = [part.drop("rank").sort("group") for part in rank.partition_by("rank", maintain_order=True)]
    return merge_sketches([moved])._replace(moments=_merge_moments(pieces))


def summarise(sketch: ValueSketch) -> pl.DataFrame:
    """Quantiles, range, mean, standard deviation and recorded tick by group.

    Returns
    -------
    pl.DataFrame
        group u32, n i64, q05, q25, q50, q75, q95, min, max, mean, std, resolution (f64). `resolution` is the largest
        tick such that at least 99 % of the values other than zero are multiples of it; 0: there is none; null: no
        value but zero was seen.
    """
    ranked = sketch.bins.sort("group", "bin").with_columns(
        share=pl.col("count").cum_sum().over("group") / pl.col("count").sum().over("group")
    )
    quantiles = ranked.group_by("group").agg(
        [
            pl.col("smallest").filter(pl.col("share") >= q - 1e-12).first().cast(pl.Float64).alias(name)
            for name, q in QUANTILES.items()
        ]
    )
    moments = sketch.moments.select(
        "group",
        "n",
        pl.col("min").cast(pl.Float64),
        pl.col("max").cast(pl.Float64),
        "mean",
        std=(pl.col("m2") / pl.col("n")).clip(lower_bound=0).sqrt(),
    )
    reached = sketch.ticks.sort("group", "tick", descending=[False, True]).with_columns(
        share=pl.col("count").cum_sum().over("group") / pl.col("count").sum().over("group")
    )
    tick = reached.group_by("group").agg(resolution=pl.col("tick").filter(pl.col("share") >= TICK_SHARE).first())
    return moments.join(quantiles, on="group").join(tick, on="group", how="left").sort("group")
