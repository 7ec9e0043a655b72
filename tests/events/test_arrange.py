"""The one order of events."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sojourn.events import arrange
from sojourn.events.arrange import Events, first_of_run, insert_events, sort_events, sort_moments

ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 3), st.sampled_from([-1.5, 0.0, 2.0, float("nan")])),
    max_size=40,
)


def make(rows: list[tuple[int, int, int, float]]) -> Events:
    """Events from (subject, second, code, value)."""
    columns = np.array(rows, dtype=np.float64).reshape(-1, 4).T
    return Events(
        columns[0].astype(np.int64),
        columns[1].astype(np.int64),
        columns[2].astype(np.uint32),
        columns[3].astype(np.float32),
    )


def assert_sorted(got: Events, events: Events) -> None:
    order = np.lexsort((events.value, events.code, events.seconds, events.subject))
    for column, expected in zip(got, events.take(order), strict=True):
        np.testing.assert_array_equal(column, expected)


@settings(deadline=None)
@given(ROWS)
def test_sorts_like_lexsort_with_no_value_last(rows: list[tuple[int, int, int, float]]) -> None:
    events = make(rows)
    assert_sorted(sort_events(events), events)


@pytest.mark.parametrize("code_scale", [1, 1 << 28], ids=["few codes", "more codes than a key holds"])
def test_instants_longer_than_a_block(code_scale: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrange, "_BLOCK", 4)
    generator = np.random.default_rng(0)
    size = 200
    events = Events(
        np.repeat(np.arange(4), size // 4),
        np.sort(generator.integers(0, 3, size)),
        (generator.integers(0, 5, size) * code_scale).astype(np.uint32),
        generator.choice([-1.5, 0.0, 2.0, np.nan], size).astype(np.float32),
    )
    assert_sorted(sort_events(events), events)


def test_a_nan_of_negative_sign_is_no_value_either() -> None:
    values = np.array([-np.nan, 1.0], np.float32)
    assert np.signbit(values[0])
    got = sort_events(Events(np.zeros(2, int), np.zeros(2, int), np.zeros(2, np.uint32), values)).value
    np.testing.assert_array_equal(got, [1.0, np.nan])
    assert not np.signbit(got[1])


@settings(deadline=None)
@given(ROWS, ROWS)
def test_inserting_is_joining_and_sorting(
    rows: list[tuple[int, int, int, float]], more: list[tuple[int, int, int, float]]
) -> None:
    joined = insert_events(sort_moments(make(rows)), make(more))
    assert_sorted(sort_events(joined), make(rows + more))


def test_first_of_run() -> None:
    assert first_of_run(np.array([1, 1, 2, 2]), np.array([0, 1, 1, 1])).tolist() == [True, True, True, False]
    assert first_of_run(np.zeros(0)).tolist() == []
