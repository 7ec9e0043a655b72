"""Urine rates from irregular chartings, worked by hand."""

import polars as pl
import pytest

from helpers.task_records import Row, at, table
from sojourn.concepts.derived.urine import UrineSettings, urine_rate
from sojourn.errors import ConfigError

URINE, WEIGHT = "CONCEPT//urine_output", "CONCEPT//weight"
STAY: list[Row] = [(1, 0, "ICU_ADMISSION//MICU"), (1, 0, WEIGHT, 80), (1, 200, "ICU_DISCHARGE//ALIVE")]


def rates(rows: list[Row], settings: UrineSettings | None = None) -> list[tuple[float, float]]:
    found = urine_rate(table(rows), settings)
    assert set(found["code"]) <= {"DERIVED//urine_rate"}
    return [((t - at(0)).total_seconds() / 3600, round(v, 4)) for t, v in found.select("time", "numeric_value").rows()]


def test_a_volume_belongs_to_the_time_since_the_charting_before_or_admission() -> None:
    rows: list[Row] = [*STAY, (1, 2, URINE, 160), (1, 6, URINE, 160), (1, 6.5, URINE, 120)]
    # 160 mL / 2 h / 80 kg; 160 / 4 / 80; 120 / 0.5 / 80
    assert rates(rows) == [(2, 1.0), (6, 0.5), (6.5, 3.0)]
    assert rates(rows[::-1]) == rates(rows)


def test_volumes_at_one_time_are_one_collection() -> None:
    assert rates([*STAY, (1, 2, URINE, 100), (1, 2, URINE, 60)]) == [(2, 1.0)]


def test_no_urine_is_a_rate_of_zero() -> None:
    assert rates([*STAY, (1, 4, URINE, 0)]) == [(4, 0.0)]


def test_over_a_long_gap_a_volume_is_spread_over_its_end_only() -> None:
    assert rates([*STAY, (1, 2, URINE, 160), (1, 42, URINE, 960)]) == [(2, 1.0), (42, 1.0)]  # 960 / 12 / 80
    assert rates([*STAY, (1, 42, URINE, 960)], UrineSettings(max_gap_hours=6)) == [(42, 2.0)]


def test_what_was_passed_before_admission_is_left_out() -> None:
    assert rates([*STAY, (1, 0.25, URINE, 700), (1, 2.25, URINE, 160)]) == [(2.25, 1.0)]


def test_irrigation_is_taken_off_and_never_makes_less_than_nothing() -> None:
    flow: list[Row] = [(1, 1, "CONCEPT//urine_irrigant_in", 500), (1, 2, "CONCEPT//urine_irrigant_out", 660)]
    assert rates([*STAY, *flow]) == [(2, 1.0)]
    assert rates([*STAY, *flow, (1, 3, "CONCEPT//urine_irrigant_in", 500), (1, 4, URINE, 50)]) == [(2, 1.0), (4, 0.0)]


def test_without_a_weight_there_is_no_rate_and_a_later_weight_counts_from_then_on() -> None:
    rows: list[Row] = [(1, 0, "ICU_ADMISSION//MICU"), (1, 2, URINE, 160), (1, 3, WEIGHT, 80), (1, 4, URINE, 160)]
    assert rates(rows) == [(4, 1.0)]


def test_an_implausible_or_empty_charting_ends_a_collection_whose_volume_nobody_knows() -> None:
    for wrong in (90_000.0, -5.0, None):
        assert rates([*STAY, (1, 2, URINE, wrong), (1, 4, URINE, 160)]) == [(4, 1.0)]


def test_chartings_minutes_apart_say_nothing_of_a_rate() -> None:
    assert rates([*STAY, (1, 2, URINE, 160), (1, 2.1, URINE, 500)]) == [(2, 1.0)]


def test_outside_a_stay_the_first_volume_reaches_back_to_nothing() -> None:
    rows: list[Row] = [(1, 0, WEIGHT, 80), (1, 2, URINE, 900), (1, 4, URINE, 160), (2, 5, URINE, 100)]
    assert rates(rows) == [(4, 1.0)]


def test_nothing_comes_from_nothing() -> None:
    assert urine_rate(table([])).schema == table([]).schema
    assert rates(STAY) == []
    assert rates([(1, 3, URINE, 100)]) == []


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="max_gap_hours"):
        UrineSettings(max_gap_hours=0)
    assert urine_rate(table(STAY)).filter(pl.col("time").is_null()).is_empty()


def test_irrigant_of_one_subject_is_not_taken_off_the_urine_of_the_next() -> None:
    first: list[Row] = [*STAY, (1, 4, URINE, 320), (1, 5, "CONCEPT//urine_irrigant_in", 200)]
    second: list[Row] = [(2, 0, "ICU_ADMISSION//MICU"), (2, 0, WEIGHT, 80), (2, 4, URINE, 320)]
    own: list[Row] = [(3, 0, "ICU_ADMISSION//MICU"), (3, 0, WEIGHT, 80), (3, 1, "CONCEPT//urine_irrigant_in", 80)]
    own += [(3, 2, "CONCEPT//urine_irrigant_out", 240)]
    assert rates([*first, *second, *own]) == [(4, 1.0), (4, 1.0), (2, 1.0)]
