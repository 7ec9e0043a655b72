import numpy as np

from sojourn.events.ranges import range_min


def testrange_minima_of_all_ranges() -> None:
    values = np.random.default_rng(0).normal(size=37).astype(np.float32)
    start, end = (grid.ravel() for grid in np.meshgrid(np.arange(38), np.arange(38)))
    start, end = start[start <= end], end[start <= end]
    wanted = [values[a:b].min() if b > a else np.nan for a, b in zip(start, end, strict=True)]
    np.testing.assert_array_equal(range_min(values, start, end), np.array(wanted, dtype=np.float32))
