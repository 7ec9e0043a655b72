"""Outcomes on records small enough to read."""

import re
from datetime import datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.task_records import Row, at, table
from sojourn.errors import TaskError
from sojourn.tasks.outcomes import derive_outcomes, matching_codes, outcomes, parse_outcomes


def hours_of(name: str, rows: list[Row]) -> list[float]:
    found = derive_outcomes(table(rows)).filter(pl.col("code") == f"OUTCOME//{name}")
    return [(time - at(0)).total_seconds() / 3600 for time in found["time"]]


def test_death_is_found_once_however_it_is_recorded() -> None:
    rows: list[Row] = [(1, 9, "ICU_DISCHARGE//DIED"), (1, 10, "MEDS_DEATH"), (1, 10, "HOSPITAL_DISCHARGE//DIED")]
    assert hours_of("death", rows) == [10]
    assert hours_of("icu_death", rows) == [9]
    assert hours_of("hospital_death", rows) == [10]
    assert hours_of("death", [(1, 10, "HOSPITAL_DISCHARGE//ALIVE//HOME")]) == []


def test_codes_below_a_root_count_and_codes_beside_it_do_not() -> None:
    assert hours_of("icu_death", [(1, 3, "ICU_DISCHARGE//DIED//MICU"), (1, 4, "ICU_DISCHARGE//DIEDLATER")]) == [3]
    assert matching_codes(["A", "A//B", "AB"], ["A"]) == ["A", "A//B"]


def test_values_cross_a_threshold_strictly_and_only_if_plausible() -> None:
    lactate: list[Row] = [(1, h, "CONCEPT//lactate", v) for h, v in enumerate([4.0, 4.1, None, 55.0, 9.0])]
    assert hours_of("lactate_gt_4", lactate) == [1, 4]
    pressure: list[Row] = [(1, h, "CONCEPT//map", v) for h, v in enumerate([60, 59, 0, -3, 20])]
    assert hours_of("hypotension_map_lt_60", pressure) == [1, 4]
    assert hours_of("fever_ge_38p5", [(1, 0, "CONCEPT//temperature", 38.5)]) == [0]


def test_creatinine_is_compared_with_the_first_value_of_its_own_admission() -> None:
    rows: list[Row] = [
        (1, 0, "HOSPITAL_ADMISSION//EMERGENCY"),
        (1, 0, "CONCEPT//creatinine", 0.8),
        (1, 24, "CONCEPT//creatinine", 1.19),
        (1, 48, "CONCEPT//creatinine", 1.2),
        (1, 90, "HOSPITAL_DISCHARGE//ALIVE"),
        (1, 900, "HOSPITAL_ADMISSION//ELECTIVE"),
        (1, 901, "CONCEPT//creatinine", 1.6),
        (1, 950, "CONCEPT//creatinine", 2.3),
        (1, 960, "CONCEPT//creatinine", 2.4),
        (2, 0, "CONCEPT//creatinine", 1.0),
        (2, 5, "CONCEPT//creatinine", 1.5),
    ]
    found = derive_outcomes(table(rows)).filter(pl.col("code") == "OUTCOME//creatinine_ge_1p5x_first")
    assert list(found.select("subject_id", "time").iter_rows()) == [(1, at(48)), (1, at(960)), (2, at(5))]


def test_an_implausible_first_creatinine_is_no_reference() -> None:
    rows: list[Row] = [(1, h, "CONCEPT//creatinine", v) for h, v in enumerate([0.0, 2.0, 2.5, 3.0])]
    assert hours_of("creatinine_ge_1p5x_first", rows) == [3]


NOREPI, VASO = "CONCEPT//norepinephrine", "CONCEPT//vasopressin"


def test_a_change_of_rate_or_drug_is_no_new_start() -> None:
    rows: list[Row] = [
        (1, 0, f"{NOREPI}//start", 0.1),
        (1, 5, f"{NOREPI}//end"),
        (1, 5, f"{NOREPI}//start", 0.2),
        (1, 40, f"{NOREPI}//end"),
        (1, 41, f"{VASO}//start", 0.03),
        (1, 50, f"{VASO}//end"),
    ]
    assert hours_of("vasopressor_start", rows) == [0]


def test_a_start_after_the_washout_is_new_and_one_just_within_is_not() -> None:
    def second(start: float) -> list[float]:
        return hours_of(
            "vasopressor_start",
            [(1, 0, f"{NOREPI}//start", 1), (1, 10, f"{NOREPI}//end"), (1, start, f"{NOREPI}//start", 1)],
        )

    assert second(34) == [0, 34]
    assert second(33.9) == [0]


def test_a_long_run_that_the_source_closed_is_one_run() -> None:
    rows: list[Row] = [(1, 0, "CONCEPT//ventilation//start"), (1, 300, "CONCEPT//ventilation//end")]
    assert hours_of("ventilation_start", [*rows, (1, 310, "CONCEPT//ventilation//start")]) == [0]
    assert hours_of("ventilation_start", [*rows, (1, 330, "CONCEPT//ventilation//start")]) == [0, 330]


def test_a_start_without_an_end_runs_for_the_open_hours_at_most() -> None:
    rows: list[Row] = [(1, 0, f"{NOREPI}//start", 1), (1, 47, f"{NOREPI}//start", 1), (1, 96, f"{NOREPI}//start", 1)]
    assert hours_of("vasopressor_start", rows) == [0, 96]  # 0 runs to 24, 47 to 71; 47 - 24 < 24 <= 96 - 71


def test_overlapping_bags_run_until_the_last_one_ends() -> None:
    rows: list[Row] = [
        (1, 0, f"{NOREPI}//start", 1),
        (1, 2, f"{NOREPI}//start", 1),
        (1, 5, f"{NOREPI}//end"),
        (1, 20, f"{NOREPI}//end"),
        (1, 40, f"{NOREPI}//start", 1),
    ]
    assert hours_of("vasopressor_start", rows) == [0]


def test_a_rate_of_zero_is_an_end_and_an_end_alone_means_it_ran_before() -> None:
    assert hours_of("vasopressor_start", [(1, 0, f"{NOREPI}//start", 0)]) == []
    assert hours_of("vasopressor_start", [(1, 0, f"{NOREPI}//end"), (1, 3, f"{NOREPI}//start", 1)]) == []
    rows: list[Row] = [(1, 0, f"{NOREPI}//start", 1), (1, 10, f"{NOREPI}//start", 0), (1, 34, f"{NOREPI}//start", 1)]
    assert hours_of("vasopressor_start", rows) == [0, 34]


def test_subjects_do_not_touch_each_other() -> None:
    rows: list[Row] = [(1, 0, f"{NOREPI}//start", 1), (2, 1, f"{NOREPI}//start", 1)]
    assert hours_of("vasopressor_start", rows) == [0, 1]


def test_nothing_comes_of_nothing_and_static_facts_are_passed_over() -> None:
    empty = derive_outcomes(table([]))
    assert empty.height == 0
    assert empty.columns == ["subject_id", "time", "code", "numeric_value"]
    assert derive_outcomes(table([(1, None, "CONCEPT//lactate", 9.0)])).height == 0


def test_deriving_twice_adds_nothing() -> None:
    events = table([(1, 0, "CONCEPT//lactate", 9.0), (1, 1, "MEDS_DEATH")])
    once = derive_outcomes(events)
    assert once.height == 2
    assert derive_outcomes(pl.concat([events, once])).height == 0


EVENTS = st.lists(
    st.tuples(
        st.integers(1, 3),
        st.integers(0, 200),
        st.sampled_from(
            [
                f"{NOREPI}//start",
                f"{NOREPI}//end",
                f"{VASO}//start",
                "CONCEPT//creatinine",
                "HOSPITAL_ADMISSION//X",
                "CONCEPT//lactate",
                "MEDS_DEATH",
            ]
        ),
        st.sampled_from([0.0, 0.5, 1.0, 1.5, 5.0]),
    ),
    max_size=40,
)


@settings(max_examples=80, deadline=None)
@given(EVENTS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(rows: list[Row], rng: object) -> None:
    whole = derive_outcomes(table(rows))
    shuffled = list(rows)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert derive_outcomes(table(shuffled)).equals(whole)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("outcomes: [{name: a, kind: event, description: d}]", "codes"),
        ("outcomes: [{name: a, kind: value, description: d, codes: [x], plausible: [0, 1]}]", "exactly one"),
        ("outcomes: [{name: A B, kind: given, description: d}]", "name"),
        ("outcomes: [{name: a, kind: given, description: d}, {name: a, kind: given, description: d}]", "unique"),
        ("outcomes: [", "outcome definitions"),
        ("outcomes: [{name: a, kind: magic, description: d}]", "kind"),
        ("outcomes:\n- {name: a, kind: given, description: d\n- b", r"YAML; line \d cannot be read\. "),
        ("heart rate", "must be names with values. See"),
        (
            "outcomes: [{name: a, kind: given, descripton: d}]",
            r"outcomes\.0\.given\.description: is missing; outcomes\.0\.given\.descripton: there is no such",
        ),
    ],
)
def test_a_wrong_definition_is_refused_with_its_place(text: str, reason: str) -> None:
    with pytest.raises(TaskError, match=reason) as raised:
        parse_outcomes(text, "mine.yaml")
    assert not re.search(r"\n|pydantic|_File|Value error|\.\.", str(raised.value))


def test_the_built_in_outcomes_hold_what_the_tasks_need() -> None:
    assert len(outcomes()) >= 12
    assert outcomes()["vasopressor_start"].code == "OUTCOME//vasopressor_start"
    assert isinstance(at(0), datetime)
