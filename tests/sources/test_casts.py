"""Numbers, whole numbers and times as people write them."""

from datetime import date, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.sources.casts import parse_numeric, to_age, to_integer, to_number, to_offset, to_time, to_year


def parse(*texts: str | None) -> list[tuple[float | None, str | None]]:
    return (
        pl.DataFrame({"v": texts}, schema={"v": pl.String}).select(parse_numeric(pl.col("v"))).unnest("parsed").rows()
    )


@pytest.mark.parametrize(
    ("text", "number", "bound"),
    [
        ("7.4", 7.4, None),
        (" -3 ", -3.0, None),
        (".5", 0.5, None),
        ("1,234.5", 1234.5, None),
        ("12,34", None, None),
        ("1e3", 1000.0, None),
        ("1e99", None, None),
        (">300", 300.0, ">"),
        (">= 1,000", 1000.0, ">"),
        ("<=0.1", 0.1, "<"),
        ("GREATER THAN 500", 500.0, ">"),
        ("Less than 0.1", 0.1, "<"),
        ("less than or equal to 2", 2.0, "<"),
        ("≥ 5", 5.0, ">"),
        ("GREATER THAN many", None, None),
        ("10-20", None, None),
        ("see comment", None, None),
        ("nan", None, None),
        ("inf", None, None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_written_numbers(text: str | None, number: float | None, bound: str | None) -> None:
    assert parse(text) == [(number, bound)]


@given(st.floats(-1e30, 1e30), st.sampled_from(["", "<", ">", "< ", ">="]))
def test_every_finite_number_survives_with_its_bound(number: float, mark: str) -> None:
    ((value, bound),) = parse(f"{mark}{number!r}")
    assert value == number
    assert bound == (mark[:1] or None)


@given(st.text(max_size=20))
def test_any_text_is_read_or_left_without_a_number(text: str) -> None:
    ((value, bound),) = parse(text)
    assert value is not None or bound is None


@given(st.integers(-(2**62), 2**62))
def test_integers_keep_all_digits(number: int) -> None:
    frame = pl.DataFrame({"v": [str(number), f"{number}.0", f" {number}"]})
    assert frame.select(to_integer(pl.col("v")))["v"].to_list() == [number] * 3


def test_what_is_no_integer_is_null() -> None:
    frame = pl.DataFrame({"v": ["1.5", "x", "", None, "1e3"]})
    assert frame.select(to_integer(pl.col("v")))["v"].to_list() == [None] * 5


def test_numbers_are_finite_or_null() -> None:
    frame = pl.DataFrame({"v": ["1.5", "NaN", "inf", "x", None]})
    assert frame.select(to_number(pl.col("v")))["v"].to_list() == [1.5, None, None, None, None]


def test_times_in_iso_text() -> None:
    texts = ["2180-07-23", "2180-07-23 12:36", "2180-07-23T12:36:05Z", "2180-07-23 12:36:05.25", "23/07/2180", "", None]
    frame = pl.DataFrame({"t": texts})
    assert frame.select(to_time(pl.col("t")))["t"].to_list() == [
        datetime(2180, 7, 23),
        datetime(2180, 7, 23, 12, 36),
        datetime(2180, 7, 23, 12, 36, 5),
        datetime(2180, 7, 23, 12, 36, 5, 250_000),
        None,
        None,
        None,
    ]


@given(st.datetimes(datetime(1700, 1, 1), datetime(2300, 1, 1)))
def test_typed_times_stay_as_they_are(moment: datetime) -> None:
    frame = pl.DataFrame({"t": [moment]}, schema={"t": pl.Datetime("us")})
    assert frame.select(to_time(pl.col("t")))["t"].to_list() == [moment]


def test_dates_become_midnight() -> None:
    frame = pl.DataFrame({"t": [date(2100, 2, 28)]})
    assert frame.select(to_time(pl.col("t")))["t"].to_list() == [datetime(2100, 2, 28)]


@pytest.mark.parametrize("extreme", [1e30, -1e30, 9e18, 2_000_000_000.0, float("nan"), float("inf")])
def test_numbers_that_no_date_can_be_are_null(extreme: float) -> None:
    frame = pl.DataFrame({"v": [extreme, 60.0, None]})
    found = frame.select(
        year=to_year(pl.col("v") + 2000),
        age=to_age(pl.col("v")),
        **{unit: to_offset(pl.col("v") * 1e9, unit) for unit in ("hours", "minutes", "seconds")},
        near=to_offset(pl.col("v"), "milliseconds"),
    )
    assert found.row(0)[:-1] == (None,) * 5
    assert found.row(1) == (2060, 60.0, None, None, None, 60)
    assert found.row(2) == (None,) * 6
