"""Labels of stays at their edges, and the two rules side by side."""

import polars as pl
import pytest

from helpers.stay_records import facts, stay, the
from helpers.task_records import Row, at
from sojourn.tasks.stay_labels import compare_rules, label_stays

AKI, AKI_CORRECTED = "OUTCOME//aki_kdigo_recorded", "OUTCOME//aki_kdigo"


def labels(rows: list[Row], task: str) -> pl.DataFrame:
    return label_stays(facts(rows, task), the(task))


def hours_of(table: pl.DataFrame, *, positive: bool | None = None) -> list[float]:
    """Hours after the start of all records, of all rows or of those with a label."""
    chosen = table if positive is None else table.filter(pl.col("boolean_value") == positive)
    return [(time - at(0)).total_seconds() / 3600 for time in chosen["prediction_time"]]


def test_yaib_marks_6_hours_on_both_sides_of_the_onset_and_ends_there() -> None:
    rows = [*stay(1, 40), (1, 10.7, AKI), (1, 20, AKI)]
    table = labels(rows, "yaib-aki")
    assert hours_of(table) == list(range(17))  # hour of onset 10, up to 16
    assert hours_of(table, positive=True) == list(range(4, 17))


def test_the_corrected_rule_asks_only_before_the_onset_and_by_exact_times() -> None:
    rows = [*stay(1, 40), (1, 10.7, AKI_CORRECTED)]
    table = labels(rows, "yaib-aki-corrected")
    assert hours_of(table) == list(range(11))
    assert hours_of(table, positive=True) == [5, 6, 7, 8, 9, 10]  # 10.7 lies within (4.7, 10.7]
    exact = labels([*stay(1, 40), (1, 10, AKI_CORRECTED)], "yaib-aki-corrected")
    assert hours_of(exact) == list(range(10))  # at the onset nothing is left to be predicted
    assert hours_of(exact, positive=True) == [4, 5, 6, 7, 8, 9]


def test_without_onset_every_hour_of_the_stay_is_negative_up_to_a_week() -> None:
    assert hours_of(labels(stay(1, 9.5), "yaib-aki"), positive=False) == list(range(10))
    assert hours_of(labels(stay(1, 9), "yaib-aki"))[-1] == 9  # YAIB's grid holds the hour in which the stay ends
    assert len(labels(stay(1, 300), "yaib-aki")) == 169


def test_an_onset_after_the_last_hour_is_unseen_by_yaib() -> None:
    rows = [*stay(1, 300), (1, 171, AKI)]
    assert not labels(rows, "yaib-aki")["boolean_value"].any()
    rows[-1] = (1, 168.5, AKI)
    assert hours_of(labels(rows, "yaib-aki"), positive=True) == list(range(162, 169))


def test_mortality_is_asked_once_at_24_h_whatever_the_leak_gap_leaves() -> None:
    rows = [*stay(1, 31, fate="DIED"), *stay(2, 31)]
    assert labels(rows, "yaib-mortality24").rows() == [(1, at(24), True), (2, at(24), False)]


def test_a_death_after_readmission_counts_for_the_first_stay_only_by_yaibs_rule() -> None:
    rows: list[Row] = [(1, 0, "HOSPITAL_ADMISSION//A"), *stay(1, 31)]
    rows += [(1, 50, "ICU_ADMISSION//A"), (1, 100, "ICU_DISCHARGE//DIED"), (1, 100, "HOSPITAL_DISCHARGE//DIED")]
    assert labels(rows, "yaib-mortality24")["boolean_value"].to_list() == [True, True]
    assert labels(rows, "yaib-mortality24-corrected")["boolean_value"].to_list() == [False, True]
    later: list[Row] = [row for row in rows if row[1] is not None and row[1] < 50]
    later += [(1, 40, "HOSPITAL_DISCHARGE//ALIVE"), (1, 900, "HOSPITAL_ADMISSION//A"), (1, 901, "ICU_ADMISSION//A")]
    later += [(1, 990, "ICU_DISCHARGE//DIED")]
    assert labels(later, "yaib-mortality24")["boolean_value"].to_list() == [False, True]  # another admission


def test_kidney_function_is_a_median_of_hours_or_of_exact_values() -> None:
    values = [(24.9, 9.0), (25.2, 1.0), (25.8, 3.0), (40, 1.5), (48.5, 2.5), (49.0, 7.0)]
    rows = [*stay(1, 60), *((1, hour, "CONCEPT//creatinine", value) for hour, value in values)]
    recorded = labels(rows, "yaib-kidney-function")
    # Hours 25, 40 and 48 have the medians 2, 1.5 and 2.5.
    assert recorded.rows() == [(1, at(24), 2.0)]
    assert labels(rows, "yaib-kidney-function-corrected").rows() == [(1, at(24), 2.25)]  # of 9, 1, 3, 1.5
    edge = [*stay(1, 60), (1, 24.0, "CONCEPT//creatinine", 9.0), (1, 48.0, "CONCEPT//creatinine", 1.0)]
    assert labels(edge, "yaib-kidney-function-corrected")["float_value"].to_list() == [1.0]


def test_the_hours_that_are_left_are_whole_for_yaib_and_never_more_than_a_week() -> None:
    table = labels(stay(1, 2.75), "yaib-los")
    assert table["float_value"].to_list() == [2, 1, 0]
    assert labels(stay(1, 2.75), "yaib-los-corrected")["float_value"].to_list() == [2.75, 1.75, 0.75]
    long = labels(stay(1, 172.5), "yaib-los")["float_value"].to_list()
    assert long[:6] == [168, 168, 168, 168, 168, 167]
    assert (len(long), long[-1]) == (169, 4)


def test_the_other_rule_stands_beside_and_differences_are_counted() -> None:
    rows = [*stay(1, 12), (1, 9, AKI), (1, 8, AKI_CORRECTED), *stay(2, 7)]
    beside, counts = compare_rules(labels(rows, "yaib-aki"), labels(rows, "yaib-aki-corrected"))
    first = beside.filter(subject_id=1)
    assert first["boolean_value"].to_list() == [False] * 3 + [True] * 10
    assert first["categorical_value"].to_list() == ["false"] * 2 + ["true"] * 6 + ["none"] * 5
    assert counts == {
        "rows_in_both": 8 + 8,
        "rows_that_differ": 1,  # hour 2: YAIB's begins 6 h before hour 9
        "rows_of_this_only": 5,
        "rows_of_other_only": 0,
        "subjects_that_differ": 1,
    }


def test_numbers_have_no_second_column_but_are_counted() -> None:
    beside, counts = compare_rules(labels(stay(1, 2.5), "yaib-los"), labels(stay(1, 2.5), "yaib-los-corrected"))
    assert beside.columns == ["subject_id", "prediction_time", "float_value"]
    assert (counts["rows_in_both"], counts["rows_that_differ"]) == (3, 3)


@pytest.mark.parametrize("task", ["yaib-aki", "yaib-mortality24", "yaib-kidney-function", "yaib-los"])
def test_no_stay_gives_no_row(task: str) -> None:
    assert labels([], task).is_empty()
