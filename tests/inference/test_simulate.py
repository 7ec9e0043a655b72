"""The fan of a code's last value counts futures, not measurements."""

import numpy as np

from sojourn.inference.futures import Drawn
from sojourn.inference.sampler import SampledEvents
from sojourn.inference.simulate import _fan
from sojourn.training.records import EventTable

HOUR = 3600
NONE = EventTable(*(np.empty(0, kind) for kind in (np.int64, np.int64, np.int64, np.float32)))


def fan(rows: list[tuple[int, float, int, float]], hours: float = 24.0) -> dict[str, list[float]]:
    """Of rows of sample, hour, code and value; code 1 ends a future."""
    rows = sorted(rows)
    sample, hour, code, value = (np.array(column) for column in zip(*rows, strict=True))
    events = SampledEvents(sample, (hour * HOUR).astype(np.int64), code, value.astype(np.float32))
    return _fan(Drawn(events, NONE, 0), 0, hours, np.array([False, True]))


def test_a_future_that_measures_often_counts_once() -> None:
    rows = [(s, 0.99, 0, 0.0) for s in range(20)]
    rows += [(s, 0.01 * (k + 1), 0, 100.0) for s in range(10) for k in range(59)]
    found = fan(rows)
    assert found["hours"][0] == 1.0
    assert {found[name][0] for name in ("q05", "q50", "q95")} == {0.0}


def test_a_value_stays_until_the_next_one_and_the_end_of_its_future() -> None:
    rows = [(s, 0.5, 0, float(s)) for s in range(20)]
    rows += [(s, 5.5, 0, 50.0) for s in range(20)]
    rows += [(s, 9.5, 1, np.nan) for s in range(15)]  # five are left: too few for quantiles
    found = fan(rows)
    assert found["hours"] == list(range(1, 11))
    assert found["q50"][:5] == [9.5] * 5
    assert found["q50"][5:] == [50.0] * 5
