"""Recipes: every row is an event or set aside, and what is written is read as it was meant."""

from datetime import datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.sources.recipes import Emit, answer, code_for, code_of, convert, first_of, label, measured, path_levels

WHEN = datetime(2150, 1, 2, 3, 4, 5)


def _run(frame: pl.DataFrame, emits: list[Emit], **settings: object) -> tuple[pl.DataFrame, pl.DataFrame]:
    numbered = frame.with_row_index("row").with_columns(pl.col("row").cast(pl.UInt64))
    return convert(numbered, emits, site=pl.lit("s"), subject=pl.col("subject"), **settings)  # type: ignore[arg-type]


def test_each_row_is_in_events_or_quarantine_with_the_first_reason():
    frame = pl.DataFrame(
        {
            "subject": [1, None, 3, 4, 5],
            "time": [WHEN, WHEN, None, WHEN, WHEN],
            "code": ["A", "A", "A", None, "A"],
            "bad": [False, True, False, None, True],
        }
    )
    events, quarantined = _run(frame, [Emit(pl.col("code"), pl.col("time"))], reject=[("bad", pl.col("bad"))])
    assert events["row"].to_list() == [0]
    assert dict(quarantined.select("row", "reason").rows()) == {1: "no_subject", 2: "no_time", 3: "empty_row", 4: "bad"}
    assert '"code":"A"' in quarantined.filter(pl.col("row") == 4)["record"][0]


def test_static_facts_need_no_time():
    events, quarantined = _run(pl.DataFrame({"subject": [1]}), [Emit(pl.lit("GENDER//F"), None)])
    assert events.select("time", "code").rows() == [(None, "GENDER//F")]
    assert quarantined.is_empty()


def test_a_row_may_give_several_events():
    frame = pl.DataFrame({"subject": [1, 2], "time": [WHEN, WHEN], "a": [1.0, None], "b": [2.0, 3.0]})
    emits = [Emit(pl.lit(name), pl.col("time"), pl.col(name), when=pl.col(name).is_not_null()) for name in ("a", "b")]
    events, quarantined = _run(frame, emits)
    assert sorted(events.select("row", "code", "numeric_value").rows()) == [(0, "a", 1.0), (0, "b", 2.0), (1, "b", 3.0)]
    assert quarantined.is_empty()


@given(st.lists(st.tuples(st.none() | st.integers(0, 9), st.none() | st.just(WHEN), st.none() | st.text(max_size=3))))
def test_rows_are_never_lost_or_counted_twice(rows: list[tuple[int | None, datetime | None, str | None]]):
    schema = {"subject": pl.Int64, "time": pl.Datetime("us"), "code": pl.String}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    events, quarantined = _run(frame, [Emit(label(pl.col("code")), pl.col("time"))])
    assert sorted([*events["row"].unique(), *quarantined["row"]]) == list(range(len(rows)))


def test_measured_prefers_the_number_and_keeps_what_was_written():
    frame = pl.DataFrame(
        {
            "number": [7.4, None, None, None, 4.0, None, float("nan")],
            "text": ["7.40", ">300", "NEG", "12", "Spontaneously", None, "1e400"],
        }
    )
    found = measured(frame, "number", "text")
    assert found["_number"].to_list() == [7.4, 300.0, None, 12.0, 4.0, None, None]
    assert found["_bound"].to_list() == [None, ">", None, None, None, None, None]
    assert found["_text"].to_list() == [None, ">300", "NEG", None, "Spontaneously", None, "1e400"]


def test_answers_are_short_words_and_not_numbers():
    frame = pl.DataFrame({"text": ["NEG", "ART.", "x" * 41, None, "four"], "number": [None, None, None, None, 4.0]})
    assert frame.select(answer(pl.col("text"), pl.col("number"))).to_series().to_list() == [
        "NEG",
        "ART",
        None,
        None,
        None,
    ]


@pytest.mark.parametrize("written", ["nan", "NaN.", "1e400", "-inf", " Infinity", ">1e400", "less than -1e39"])
def test_a_number_that_is_none_is_no_answer(written: str):
    frame = measured(pl.DataFrame({"text": [written, "INFILTRATE", "NANO", "infinite", "1e4 CFU"]}), None, "text")
    number = pl.when(pl.col("_number").is_finite()).then("_number")
    found = frame.select(answer(pl.col("_text"), number)).to_series().to_list()
    assert found == [None, "INFILTRATE", "NANO", "infinite", "1e4 CFU"]


def test_labels_stay_inside_their_level():
    frame = pl.DataFrame({"text": [" a//b\n c ", "", "/20.", None]})
    assert frame.select(label(pl.col("text"))).to_series().to_list() == ["a/b c", None, "20.", None]


def test_codes_leave_out_unknown_parts_and_end_after_200_characters():
    frame = pl.DataFrame({"id": ["1", None], "detail": [None, "x"], "long": ["y" * 300, "y"]})
    assert frame.select(code_of("A", pl.col("id"), pl.col("detail"))).to_series().to_list() == ["A//1", "A//x"]
    assert frame.select(code_for("A", pl.col("id"), pl.col("long"))).to_series().str.len_chars().to_list() == [
        200,
        None,
    ]


def test_paths_become_levels():
    frame = pl.DataFrame({"path": ["renal|dialysis| C V V H", "a||b", "|", None]})
    assert frame.select(path_levels(pl.col("path"), "|")).to_series().to_list() == [
        "renal//dialysis//C V V H",
        "a//b",
        None,
        None,
    ]


def test_repeats_are_told_once():
    frame = pl.DataFrame({"a": [1, 1, 2], "b": ["x", "x", "x"]})
    assert frame.select(first_of("a", "b")).to_series().to_list() == [True, False, True]
