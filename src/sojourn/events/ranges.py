"""Statistics of many ranges of one array, without a loop over the ranges."""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


def range_min(values: Floats, start: Ints, end: Ints) -> Floats:
    """Minimum of ``values[start:end]`` for many ranges, NaN for empty ones; shape [L].

    Level k of a sparse table holds the minima of 2^k neighbours; two of them cover any range of 2^k to 2^(k+1) values
    (Bender and Farach-Colton 2000). One level at a time is held.

    Examples
    --------
    >>> range_min(np.array([3, 1, 2], np.float32), np.array([0, 2, 1]), np.array([3, 3, 1]))
    array([ 1.,  2., nan], dtype=float32)
    """
    found = np.full(start.size, np.nan, dtype=np.float32)
    length = end - start
    level = np.frexp(np.maximum(length, 1).astype(np.float64))[1] - 1
    level[length <= 0] = -1
    order = np.argsort(level, kind="stable")
    begins = np.searchsorted(level[order], np.arange(level.max(initial=-1) + 2))
    table = values
    for k in range(len(begins) - 1):
        here = order[begins[k] : begins[k + 1]]
        found[here] = np.minimum(table[start[here]], table[end[here] - (1 << k)])
        table = np.minimum(table[: -(1 << k)], table[1 << k :]) if table.size > (1 << k) else table
    return found


def value_statistics(values: Floats, begin: Ints, recent: Ints, end: Ints) -> Floats:
    """Last, mean, min and max of ``values[begin:end]``, then mean, min and max of ``values[recent:end]``; shape [L, 7].

    NaN among the values is no value. Where a range holds none, its statistics are NaN.

    Parameters
    ----------
    values : all values, shape [N].
    begin, recent, end : ends of the ranges, ``begin <= recent <= end``, shape [L] each.

    Examples
    --------
    >>> value_statistics(np.array([3, 1, np.nan], np.float32), np.array([0]), np.array([1]), np.array([3]))
    array([[1., 2., 1., 3., 1., 1., 1.]], dtype=float32)
    """
    has_value = ~np.isnan(values)
    # Places among all values to places among those that are there.
    rank = np.concatenate(([0], np.cumsum(has_value)))
    values = values[has_value]
    begin, recent, end = rank[begin], rank[recent], rank[end]
    out = np.full((len(begin), 7), np.nan, dtype=np.float32)
    if not len(values):
        return out
    out[:, 0] = np.where(end > begin, values[np.maximum(end - 1, 0)], np.nan)
    total = np.concatenate(([0.0], np.cumsum(values, dtype=np.float64)))
    for column, start in ((1, begin), (4, recent)):
        count = end - start
        out[:, column] = (total[end] - total[start]) / np.where(count > 0, count, np.nan)
        out[:, column + 1] = range_min(values, start, end)
        out[:, column + 2] = -range_min(-values, start, end)
    return out
