"""Windows of many subjects on one axis, against the same thing done one place at a time."""

from datetime import datetime

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from sojourn.concepts.derived.axis import APART, Axis, distinct, to_seconds
from sojourn.concepts.derived.record import Points
from sojourn.concepts.derived.steps import Spans, following, latest, rolling_min, worst

SPANS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12), st.integers(0, 4)), max_size=25)


def spans_of(rows: list[tuple[int, int, int]]) -> Spans:
    begin, length, level = (np.array([row[k] for row in rows], np.int64) for k in range(3))
    return Spans.of(begin, begin + length, level.astype(float))


@given(SPANS)
def test_worst_is_the_highest_open_span_at_every_place(rows: list[tuple[int, int, int]]) -> None:
    steps, places = worst(spans_of(rows)), np.arange(-2, 50)
    expected = [max([level for b, n, level in rows if b <= p < b + n], default=-1) for p in places]
    assert steps.at(places).tolist() == expected


@given(SPANS)
def test_covers_is_whether_any_span_is_open(rows: list[tuple[int, int, int]]) -> None:
    places = np.arange(-2, 50)
    assert spans_of(rows).covers(places).tolist() == [any(b <= p < b + n for b, n, _ in rows) for p in places]


@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0, 9)), min_size=1, max_size=20), st.integers(1, 15))
def test_the_rolling_minimum_is_that_of_the_closed_window(rows: list[tuple[int, float]], window: int) -> None:
    rows.sort()
    place, value = np.array([p for p, _ in rows]), np.array([v for _, v in rows])
    found = rolling_min(Points(place, value), window)
    assert found.tolist() == [min(v for q, v in rows if p - window <= q <= p) for p, _ in rows]


def test_what_was_last_seen_is_of_the_same_subject_and_not_too_old() -> None:
    axis = Axis.of(np.array([7, 7, 9]), np.array([0, 100, 50]))
    points = Points(axis.places(np.array([7]), np.array([100])), np.array([5.0]))
    asked = axis.places(np.array([7, 7, 7, 9]), np.array([99, 100, 160, 50]))
    assert np.nan_to_num(latest(points, asked, 60), nan=-1).tolist() == [-1, 5, 5, -1]
    assert np.isnan(latest(points, asked + 1, 60)[2])
    assert np.isnan(latest(points, asked)[3])
    assert (np.diff(axis.place) >= 2 * APART).all()


def test_following_is_strictly_after() -> None:
    marks = np.array([5, 9])
    assert following(marks, np.array([4, 5, 8])).tolist() == [5, 9, 9]
    assert following(marks, np.array([9]))[0] > 10**15


def test_parts_of_a_second_are_rounded_up_and_come_back_as_events() -> None:
    times = pl.Series([datetime(2020, 1, 1, 0, 0, 0, 1), datetime(1969, 12, 31, 23, 59, 59, 500_000)])
    assert to_seconds(times).tolist() == [1577836801, 0]
    axis = Axis.of(np.array([3, 1]), np.array([10, 20]))
    events = axis.events(axis.places(np.array([1, 3]), np.array([20, 11])), "DERIVED//x", np.array([np.nan, 2]))
    assert events["subject_id"].to_list() == [1, 3]
    assert events["numeric_value"].to_list() == [None, 2.0]
    assert events["time"].dt.epoch("s").to_list() == [20, 11]
    assert distinct(np.array([3, 1, 3])).tolist() == [1, 3]
    assert distinct(np.array([], np.int64)).tolist() == []
