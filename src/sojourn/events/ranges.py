"""Smallest values of many ranges of one array, without a loop over the ranges."""

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
