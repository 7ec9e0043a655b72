"""The one order of events."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sojourn.events.arrange import Events, first_of_run, sort_events

ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 3), st.sampled_from([-1.5, 0.0, 2.0, float("nan")])),
    max_size=40,
)


@settings(deadline=None)
@given(ROWS)
def test_sorts_like_lexsort_with_no_value_last(rows: list[tuple[int, int, int, float]]) -> None:
    columns = np.array(rows, dtype=np.float64).reshape(-1, 4).T
    events = Events(
        columns[0].astype(np.int64),
        columns[1].astype(np.int64),
        columns[2].astype(np.uint32),
        columns[3].astype(np.float32),
    )
    order = np.lexsort((events.value, events.code, events.seconds, events.subject))
    for got, expected in zip(sort_events(events), events.take(order), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_first_of_run() -> None:
    assert first_of_run(np.array([1, 1, 2, 2]), np.array([0, 1, 1, 1])).tolist() == [True, True, True, False]
    assert first_of_run(np.zeros(0)).tolist() == []
