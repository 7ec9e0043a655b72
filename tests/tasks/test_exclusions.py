"""Each exclusion at its edge: what is just outside goes, what is exactly on the limit stays."""

import polars as pl
import pytest

from helpers.stay_records import HEART, facts, stay, the
from helpers.task_records import Row
from sojourn.tasks.exclusions import EXCLUSIONS, exclude, flow_by_site

MINUTE = 1 / 60
AKI = "OUTCOME//aki_kdigo_recorded"


def left(rows: list[Row], name: str, task: str = "yaib-los", **people: dict[int, str] | dict[int, float]) -> list[int]:
    """Subjects that one exclusion leaves."""
    return exclude(facts(rows, task, **people), [name])[0]["subject_id"].to_list()


def test_every_exclusion_is_one_that_a_task_uses() -> None:
    from sojourn.tasks.stay_definitions import stay_tasks

    assert {name for task in stay_tasks().values() for name in task.exclude} == set(EXCLUSIONS)


@pytest.mark.parametrize(("name", "hours"), [("los_6h", 6), ("los_30h", 30), ("los_48h", 48)])
def test_a_stay_of_exactly_the_shortest_length_is_kept(name: str, hours: float) -> None:
    assert left([*stay(1, hours), *stay(2, hours - MINUTE)], name) == [1]


def test_a_stay_without_an_end_or_with_one_before_its_start_is_left_out() -> None:
    open_stay: list[Row] = [(1, 0, "ICU_ADMISSION//A"), (1, 20, HEART, 80.0)]
    wrong: list[Row] = [
        (2, 0, "ICU_ADMISSION//A"),
        (2, -3, "ICU_DISCHARGE//ALIVE"),
        (2, 90, "HOSPITAL_DISCHARGE//ALIVE"),
    ]
    rows = [*open_stay, *wrong, *stay(3, 10)]
    assert facts(rows)["los_hours"].to_list() == [None, -3, 10]
    assert left(rows, "no_end") == [2, 3]
    assert left(rows, "end_before_start") == [1, 3]


def test_a_discharge_of_the_stay_before_is_not_taken_for_one_that_lies_before_the_stay() -> None:
    rows: list[Row] = [*stay(1, 10), (1, 30, "ICU_ADMISSION//A"), (1, 50, "HOSPITAL_DISCHARGE//ALIVE")]
    assert facts(rows)["los_hours"].to_list() == [10, 20]


def test_four_hours_with_a_measurement_are_enough() -> None:
    few: list[Row] = [(1, 0, "ICU_ADMISSION//A"), (1, 8, "ICU_DISCHARGE//ALIVE")]
    three = [*few, *((1, hour, HEART, 80.0) for hour in (0.0, 0.9, 1.0, 5.0))]
    four: list[Row] = [(2, row[1], row[2], *row[3:]) for row in [*three, (1, 7.99, HEART, 80.0)]]  # type: ignore[misc]
    empty: list[Row] = [(3, 0, "ICU_ADMISSION//A"), (3, 8, "ICU_DISCHARGE//ALIVE")]
    assert facts([*three, *four, *empty])["num_hours"].to_list() == [3, 4, 0]
    assert left([*three, *four, *empty], "four_hours") == [2]


def test_hours_before_the_icu_count_as_yaib_counts_and_not_by_the_corrected_rule() -> None:
    rows: list[Row] = [
        (1, -20, "HOSPITAL_DISCHARGE//ALIVE"),
        (1, 0, "ICU_ADMISSION//A"),
        (1, 8, "ICU_DISCHARGE//ALIVE"),
    ]
    rows += [(1, hour, HEART, 80.0) for hour in (-30.0, -5.0, -4.5, -3.0, 0.0, 1.0)]
    assert facts(rows)["num_hours"].item() == 4  # of hours -5, -3, 0 and 1; the one before the discharge is another's
    assert facts(rows, "yaib-los-corrected")["num_hours"].item() == 2


def test_a_value_beyond_the_limits_of_ricu_is_no_measurement_for_yaib() -> None:
    rows: list[Row] = [*stay(1, 6, every=9), (1, 3.0, "CONCEPT//sodium", 180.0)]
    assert facts(rows)["num_hours"].item() == 1
    assert facts(rows, "yaib-los-corrected")["num_hours"].item() == 2


@pytest.mark.parametrize(
    ("measured", "gap"),
    [
        ([0, 13], 12),  # hours 1 to 12 are empty: 12 of them are allowed
        ([0, 14], 13),
        ([12], 12),  # before the first measurement
        ([13], 13),
        ([7], 12),  # after the last one: hours 8 to 19, and hour 20, in which the stay ends
    ],
)
def test_a_gap_is_counted_in_empty_hours(measured: list[int], gap: int) -> None:
    los = 19.5 if measured == [7] else max(measured) + 1
    rows: list[Row] = [(1, 0, "ICU_ADMISSION//A"), (1, los, "ICU_DISCHARGE//ALIVE")]
    rows += [(1, hour + 0.25, HEART, 80.0) for hour in measured]
    assert facts(rows)["longest_gap"].item() == gap
    assert left(rows, "gap_12h") == ([1] if gap <= 12 else [])


def test_after_a_week_nothing_need_be_measured() -> None:
    rows: list[Row] = [*stay(1, 168), (1, 168.5, HEART, 80.0)]
    rows[1] = (1, 400, "ICU_DISCHARGE//ALIVE")
    assert facts(rows).select("last_hour", "longest_gap").row(0) == (168, 0)


def test_the_birthday_makes_an_adult() -> None:
    rows = [*stay(1, 9), *stay(2, 9)]
    assert left(rows, "adult", ages={1: 18.0, 2: 17.999}) == [1]


def test_a_death_in_the_30th_hour_is_too_early_and_after_it_not() -> None:
    rows = [*stay(1, 30, fate="DIED"), *stay(2, 29.99, fate="DIED"), *stay(3, 20)]
    assert left(rows, "death_30h", "yaib-mortality24") == [1, 3]


def test_an_onset_at_exactly_6_h_is_kept() -> None:
    rows = [*stay(1, 20), *stay(2, 20), *stay(3, 20), *stay(4, 20)]
    rows += [(1, 6, AKI), (2, 5.99, AKI), (3, -4, AKI), (3, 9, AKI)]
    assert left(rows, "onset_6h", "yaib-aki") == [1, 4]


def test_the_baseline_is_the_lowest_creatinine_up_to_the_first_in_the_icu() -> None:
    def with_creatinine(subject: int, *values: tuple[float, float]) -> list[Row]:
        return [*stay(subject, 30), *((subject, hour, "CONCEPT//creatinine", value) for hour, value in values)]

    rows = with_creatinine(1, (-5, 5.0), (2, 4.0), (9, 1.0))  # exactly 4 is kept
    rows += with_creatinine(2, (-5, 5.0), (2, 4.1), (9, 1.0))
    rows += with_creatinine(3, (3.1, 4.4), (3.9, 3.4))  # both in hour 3: their median is 3.9
    rows += stay(4, 30)
    baseline = facts(rows, "yaib-aki")["baseline_creatinine"].to_list()
    assert baseline == [4.0, pytest.approx(4.1), pytest.approx(3.9), None]
    assert left(rows, "baseline_creatinine_4", "yaib-aki") == [1, 3, 4]


def test_a_hospital_where_nobody_has_the_outcome_is_left_out_whoever_was_left_out_before() -> None:
    rows = [*stay(1, 20), *stay(2, 3), (2, 1, AKI), *stay(3, 20)]
    stays = facts(rows, "yaib-aki", sites={1: "a", 2: "a", 3: "b"})
    kept, flow = exclude(stays, ["los_6h", "site_without_cases"])
    assert kept["subject_id"].to_list() == [1]  # site a has a case, although its stay is too short
    assert [(step.num_excluded, step.num_stays, step.num_subjects) for step in flow] == [
        (0, 3, 3),
        (1, 2, 2),
        (1, 1, 1),
    ]
    assert flow_by_site(stays, ["los_6h", "site_without_cases"]) == {"a": [2, 1, 1], "b": [1, 1, 0]}
    chosen = pl.Series([1, 3])  # the case at site a is not among them, and still is one of the site
    assert flow_by_site(stays, ["los_6h", "site_without_cases"], chosen) == {"a": [1, 1, 1], "b": [1, 1, 0]}


def test_the_corrected_rule_asks_whether_the_outcome_could_be_seen() -> None:
    rows = [*stay(1, 20), (1, 3, "CONCEPT//urine_output", 50.0), *stay(2, 20)]
    assert left(rows, "stay_unobserved", "yaib-aki-corrected") == [1]
    rows = [*stay(1, 20), *stay(2, 20), (2, 3, "CONCEPT//antibiotic//start"), *stay(3, 20)]
    assert left(rows, "site_unobserved", "yaib-sepsis-corrected", sites={1: "a", 2: "a", 3: "b"}) == [1, 2]


def test_nothing_is_nothing() -> None:
    for task in ("yaib-mortality24", "yaib-aki", "yaib-kidney-function-corrected"):
        kept, flow = exclude(facts([], task), the(task).exclude)
        assert kept.is_empty()
        assert {step.num_stays for step in flow} == {0}
        assert isinstance(kept.schema["site"], pl.String)
