"""Strings to numbers, in the order of the strings."""

import numpy as np
import numpy.typing as npt
import polars as pl


def dictionary_encode(column: pl.Series) -> tuple[npt.NDArray[np.uint32], pl.Series]:
    """Indices into the sorted distinct strings of a column without nulls, and these strings.

    Examples
    --------
    >>> index, names = dictionary_encode(pl.Series(["b", "a", "b"]))
    >>> index.tolist(), names.to_list()
    ([1, 0, 1], ['a', 'b'])
    """
    physical = column.cast(pl.Categorical).to_physical().to_numpy()
    seen_at = np.full(int(physical.max(initial=0)) + 1, -1, np.int32)
    seen_at[physical] = np.arange(len(physical), dtype=np.int32)
    used = np.flatnonzero(seen_at >= 0)
    names = column.gather(seen_at[used])
    order = names.arg_sort().to_numpy()
    place = np.zeros(len(seen_at), np.uint32)
    place[used[order]] = np.arange(len(used), dtype=np.uint32)
    return place[physical], names.gather(order)
