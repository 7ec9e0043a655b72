"""Rows of a shard: each one is an event, a static fact, a birth, of an unstored subject, or set aside."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from sojourn.events.records import ACCOUNTS
from sojourn.events.rows import PIECE_SCHEMA, read_rows

T0 = datetime(2150, 1, 1)


def frame(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    """A piece from (subject_id, time, code, value, site, is_flagged)."""
    table = [(number, *row, *(None, False)[len(row) - 4 :]) for number, row in enumerate(rows)]
    return pl.DataFrame(table, schema=PIECE_SCHEMA, orient="row")


def test_every_reason_is_told_with_its_row(at_hour: Callable[[float], datetime]) -> None:
    _, accounts = read_rows(
        frame(
            [
                (1, None, "MEDS_BIRTH", None),
                (1, T0 - timedelta(days=9000), "MEDS_BIRTH", None),
                (1, T0 - timedelta(days=8000), "MEDS_BIRTH", None),
                (1, T0, "LAB//1", 1.0),
                (1, T0, None, 1.0),
                (1, T0, "LAB//1", float("inf")),
                (1, T0 + timedelta(days=365.25 * 137), "LAB//1", 1.0),
                (1, None, "MEDS_DEATH", None),
                (1, None, "OUTCOME//sepsis", None),
                (None, T0, "LAB//1", 1.0),
            ]
        )
    )
    told = dict(pl.concat(accounts.quarantine).sort("row").select("row", "reason").iter_rows())
    assert told == {
        0: "birth without a time",
        2: "birth at another time than the subject's first",
        4: "no code",
        5: "infinite value",
        6: "more than 136 years after the subject's first event",
        7: "death, discharge or outcome without a time",
        8: "death, discharge or outcome without a time",
        9: "no subject_id",
    }
    assert accounts.rows == {"events": 1, "static": 0, "births": 1, "quarantined": 8, "of_subjects_without_time": 0}


def test_a_date_that_stands_for_none_does_not_push_out_the_record() -> None:
    """The year 1, and 9999, are what some systems write where there is no date."""
    rows, accounts = read_rows(
        frame(
            [
                (1, datetime(1, 1, 1), "LAB//1", 1.0),
                (1, T0, "LAB//1", 2.0),
                (1, T0 + timedelta(hours=1), "MEDS_DEATH", None),
                (1, datetime(9999, 12, 31), "LAB//1", 3.0),
                (2, T0, "LAB//1", 4.0),
            ]
        )
    )
    assert rows.events.value[~np.isnan(rows.events.value)].tolist() == [2.0, 4.0]
    assert rows.events.seconds.tolist() == [0, 3600, 0]
    assert dict(pl.concat(accounts.quarantine).sort("row").select("row", "reason").iter_rows()) == {
        0: "more than 136 years before the middle one of the subject's events",
        3: "more than 136 years after the subject's first event",
    }


def test_targets_named_by_the_caller_need_a_time() -> None:
    _, accounts = read_rows(frame([(1, None, "LABEL", None), (1, T0, "LAB//1", None)]), targets=["LABEL"])
    assert accounts.rows["quarantined"] == 1


def test_subject_with_only_a_birth_is_counted_not_stored() -> None:
    rows, accounts = read_rows(frame([(1, T0, "MEDS_BIRTH", None), (2, T0, "LAB//1", 1.0)]))
    assert rows.ids.tolist() == [2]
    assert accounts.subjects_without_time == 1
    assert accounts.rows["of_subjects_without_time"] == 1
    assert rows.events.subject.tolist() == [0]


def test_first_told_site_counts_and_several_are_noted() -> None:
    rows, accounts = read_rows(
        frame(
            [
                (1, T0, "LAB//1", 1.0, None),
                (1, T0, "LAB//1", 1.0, "south"),
                (1, T0, "LAB//1", 1.0, "north"),
                (2, T0, "LAB//1", 1.0, None),
            ]
        )
    )
    assert rows.site.to_list() == ["south", None]
    assert accounts.notes["subjects_of_several_sites"] == 1


def test_subsecond_times_share_a_second() -> None:
    later = T0 + timedelta(milliseconds=900)
    rows, _ = read_rows(frame([(1, T0, "LAB//1", 1.0), (1, later, "LAB//1", 2.0)]))
    assert rows.events.seconds.tolist() == [0, 0]


ROW = st.tuples(
    st.sampled_from([None, T0, T0 + timedelta(hours=1), T0 - timedelta(days=60_000)]),
    st.sampled_from([None, "MEDS_BIRTH", "LAB//1", "OUTCOME//x", "MEDS_DEATH"]),
    st.sampled_from([None, 1.0, float("inf"), float("nan")]),
    st.sampled_from([None, "north", "south"]),
    st.booleans(),
)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.lists(ROW, max_size=6), max_size=4))
def test_every_row_is_in_exactly_one_count(subjects: list[list[tuple[Any, ...]]]) -> None:
    piece = frame([(who, *row) for who, rows in enumerate(subjects) for row in rows])
    rows, accounts = read_rows(piece)
    assert sum(accounts.rows[name] for name in ACCOUNTS) == len(piece)
    assert set(accounts.rows) <= set(ACCOUNTS)
    assert len(rows.events.code) == accounts.rows["events"]
    assert len(rows.static.code) == accounts.rows["static"]
    assert sum(map(len, accounts.quarantine)) == accounts.rows["quarantined"]
    assert (rows.events.seconds >= 0).all()
    assert len(rows.ids) == len(rows.site) == len(rows.origin)
