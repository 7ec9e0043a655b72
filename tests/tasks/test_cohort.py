"""Who is predicted when, and what came of it, on records small enough to read."""

from datetime import datetime

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.task_records import Row, at, table
from sojourn.tasks.cohort import Records, find_stays, label_events
from sojourn.tasks.definitions import Schedule, Task, get_task
from sojourn.tasks.outcomes import derive_outcomes


def records(rows: list[Row], known_until: dict[int, float | None] | None = None) -> Records:
    """Records whose outcomes are known up to the given hour, or for good (None, the default)."""
    events = table(rows)
    known = known_until or {}
    shown = events.filter(~pl.col("code").str.starts_with("OUTCOME//"))
    extents = shown.group_by("subject_id").agg(start=pl.col("time").min(), end=pl.col("time").max())
    until: list[datetime | None] = [
        None if (hour := known.get(subject)) is None else at(hour) for subject in extents["subject_id"]
    ]
    extents = extents.with_columns(known_until=pl.Series(until, dtype=pl.Datetime("us")))
    return Records(pl.concat([events, derive_outcomes(events)]), extents)


def labels(task: Task | str, rows: list[Row], known_until: dict[int, float | None] | None = None) -> dict:
    """(subject, hour) -> label."""
    task = get_task(task) if isinstance(task, str) else task
    frame, _ = label_events(records(rows, known_until), task)
    return {(subject, (time - at(0)).total_seconds() / 3600): value for subject, time, value in frame.iter_rows()}


def steps(task: str, rows: list[Row], known_until: dict[int, float | None] | None = None) -> dict[str, int]:
    return {step.step: step.num_rows for step in label_events(records(rows, known_until), get_task(task))[1]}


def stay(subject: int, start: float, end: float, *, died: bool = False) -> list[Row]:
    fate = "DIED" if died else "ALIVE"
    return [
        (subject, start, "HOSPITAL_ADMISSION//EMERGENCY"),
        (subject, start, "ICU_ADMISSION//MICU"),
        (subject, end, f"ICU_DISCHARGE//{fate}"),
        (subject, end, f"HOSPITAL_DISCHARGE//{fate}"),
    ]


def test_icu_death_is_predicted_at_24_h_in_stays_that_last_6_h_more() -> None:
    rows = [*stay(1, 0, 100, died=True), *stay(2, 0, 100), *stay(3, 0, 29.9, died=True), *stay(4, 5, 35, died=True)]
    assert labels("icu-death", rows) == {(1, 24): True, (2, 24): False, (4, 29): True}
    assert steps("icu-death", rows) == {
        "scheduled": 4,
        "stay lasts 6 h more": 3,
        "at risk": 3,
        "outcome known": 3,
    }


def test_death_in_a_later_stay_is_no_death_in_this_one() -> None:
    rows = [*stay(1, 0, 60), *stay(1, 200, 300, died=True)]
    assert labels("icu-death", rows) == {(1, 24): False, (1, 224): True}


def test_a_stay_without_any_end_has_an_unknown_fate() -> None:
    rows: list[Row] = [(1, 0, "ICU_ADMISSION//MICU"), (1, 90, "VITAL//1", 3.0)]
    assert labels("icu-death", rows, {1: 90}) == {}
    assert steps("icu-death", rows, {1: 90})["at risk"] == 1


def test_death_24h_is_asked_every_12_h_of_the_stay_and_the_horizon_is_closed() -> None:
    rows = stay(1, 0, 60, died=True)
    assert labels("death-24h", rows) == {(1, 12): False, (1, 24): False, (1, 36): True, (1, 48): True}


def test_the_grid_ends_after_seven_days() -> None:
    assert max(hour for _, hour in labels("death-24h", stay(1, 0, 500))) == 168


def test_a_record_that_stops_inside_the_horizon_is_dropped_and_counted() -> None:
    rows: list[Row] = [(1, 0, "ICU_ADMISSION//MICU"), (1, 50, "VITAL//1", 3.0)]
    assert labels("death-24h", rows, {1: 50}) == {(1, 12): False, (1, 24): False}
    assert steps("death-24h", rows, {1: 50}) == {"scheduled": 4, "at risk": 4, "outcome known": 2}


def test_leaving_the_hospital_alive_settles_the_outcome() -> None:
    rows = [*stay(1, 0, 50), (1, 51, "LAB//1", 2.0)]
    assert labels("death-24h", rows, {1: 51}) == dict.fromkeys([(1, 12), (1, 24), (1, 36), (1, 48)], False)


def test_an_outcome_at_the_prediction_time_is_known_already_and_no_label() -> None:
    rows = [*stay(1, 0, 100), (1, 24, "CONCEPT//lactate", 9.0)]
    found = labels("lactate-gt-4-24h", rows)
    assert found[1, 12] is True
    assert (1, 24) not in found
    assert (1, 36) not in found
    assert found[1, 48] is False  # 24 h later the last one has been cleared


def test_nobody_is_asked_for_a_start_while_the_treatment_runs_or_has_just_run() -> None:
    name = "CONCEPT//norepinephrine"
    rows = [*stay(1, 0, 130), (1, 30, f"{name}//start", 0.1), (1, 50, f"{name}//end"), (1, 90, f"{name}//start", 0.1)]
    assert labels("vasopressor-24h", rows) == {(1, 12): True, (1, 24): True, (1, 84): True}


def test_sepsis_labels_every_hour_up_to_the_last_row() -> None:
    hours = range(10)
    onset = {6, 7, 8, 9}
    rows: list[Row] = [(1, hour, "VITAL//1", 1.0) for hour in hours]
    rows += [(1, hour + 6, "OUTCOME//sepsis") for hour in onset]
    rows += [(1, 15, "OUTCOME//follow_up_end")]
    assert labels("sepsis-6h", rows, {1: 15}) == {(1, hour): hour in onset for hour in hours}


def test_hospital_death_is_asked_once_at_48_h() -> None:
    rows: list[Row] = [
        (1, 0, "VITAL//1"), (1, 90, "HOSPITAL_DISCHARGE//DIED"),
        (2, 0, "VITAL//1"), (2, 90, "HOSPITAL_DISCHARGE//ALIVE"),
        (3, 0, "VITAL//1"), (3, 40, "HOSPITAL_DISCHARGE//DIED"),
        (4, 0, "VITAL//1"), (4, 60, "VITAL//1"),
    ]  # fmt: skip
    assert labels("in-hospital-death-48h", rows, {4: 60}) == {(1, 48): True, (2, 48): False}


def test_stays_end_at_their_own_discharge_or_at_the_next_admission() -> None:
    rows: list[Row] = [
        (1, 0, "ICU_ADMISSION//A"),
        (1, 30, "ICU_ADMISSION//B"),
        (1, 70, "ICU_DISCHARGE//ALIVE"),
        (2, 0, "ICU_ADMISSION//A"),
        (2, 44, "MEDS_DEATH"),
    ]
    stays = find_stays(records(rows), get_task("death-24h")).sort("subject_id", "anchor")
    assert stays["stay_end"].to_list() == [at(30), at(70), at(44)]
    assert stays["has_end"].to_list() == [True, True, True]


def test_one_death_of_several_recorded_at_different_minutes_ends_all() -> None:
    rows = [*stay(1, 0, 60, died=True), (1, 59, "MEDS_DEATH")]
    assert labels("icu-death", rows) == {(1, 24): True}
    assert labels("death-24h", [*rows, (1, 61, "VITAL//1")])[1, 48] is True


def test_an_empty_part_gives_an_empty_table_and_zeros() -> None:
    frame, attrition = label_events(records([]), get_task("death-24h"))
    assert frame.schema == {"subject_id": pl.Int64, "prediction_time": pl.Datetime("us"), "boolean_value": pl.Boolean}
    assert [step.num_rows for step in attrition] == [0, 0, 0]


def test_a_stay_shorter_than_the_first_offset_gives_no_prediction() -> None:
    assert labels("death-24h", stay(1, 0, 11)) == {}
    assert labels("death-24h", stay(1, 0, 12)) == {}


MANY = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 120), st.sampled_from([2.0, 5.0])), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(MANY, st.sampled_from([6.0, 24.0]), st.sampled_from([None, 24.0, float("inf")]))
def test_labels_agree_with_a_plain_loop(
    lactates: list[tuple[int, int, float]], horizon: float, clean: float | None
) -> None:
    rows: list[Row] = [(subject, hour, "CONCEPT//lactate", value) for subject, hour, value in lactates]
    for subject in {subject for subject, _, _ in lactates}:
        rows += stay(subject, 0, 100)
    task = Task(
        name="t",
        description="",
        outcomes=("lactate_gt_4",),
        horizon_hours=horizon,
        clean_hours=clean,
        at=Schedule(anchor="icu_admission", every_hours=7, first_hours=3, max_hours=80),
    )
    expected = {}
    for subject in {row[0] for row in rows}:
        high = {hour for who, hour, value in lactates if who == subject and value > 4}
        for hour in range(3, 81, 7):
            if clean is not None and any(max(hour - clean, -1) < past <= hour for past in high):
                continue
            expected[subject, hour] = any(hour < future <= hour + horizon for future in high)
    assert labels(task, rows) == expected
