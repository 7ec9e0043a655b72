"""Tasks in one phrase: what they mean, what they refuse, and the labels that they give."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.task_records import Row, at, table
from sojourn.errors import TaskError
from sojourn.events.build import build_store
from sojourn.tasks.files import read_labels
from sojourn.tasks.label import label
from sojourn.tasks.outcomes import ValueOutcome, derive_outcomes, outcomes
from sojourn.tasks.phrases import is_phrase, outcomes_of, parse_phrase

WriteMeds = Callable[..., Path]


def test_a_threshold_that_is_built_in_becomes_the_built_in_outcome() -> None:
    for text in ("first(lactate > 4, 24h)", "first( lactate>4 mmol/L , 1d )"):
        task = parse_phrase(text)
        assert (task.name, task.outcomes, task.own) == ("lactate-gt-4-24h", ("lactate_gt_4",), ())
        assert (task.horizon_hours, task.clean_hours) == (24, 24)
        assert (task.at.every_hours, task.at.first_hours, task.at.max_hours) == (12, 12, 168)


@pytest.mark.parametrize(
    ("sign", "limit", "hits"),
    [(">", "above", [4.1]), ("≥", "at_least", [4.0, 4.1]), ("<", "below", [3.9]), ("<=", "at_most", [3.9, 4.0])],
)
def test_each_comparison_means_what_it_says(sign: str, limit: str, hits: list[float]) -> None:
    (outcome,) = parse_phrase(f"first(potassium {sign} 4, 12h)").own
    assert isinstance(outcome, ValueOutcome)
    assert getattr(outcome, limit) == 4
    values = [3.9, 4.0, 4.1]
    events = table([(i, 0, "CONCEPT//potassium", value) for i, value in enumerate(values)])
    found = derive_outcomes(events, {outcome.name: outcome})["subject_id"].to_list()
    assert [values[i] for i in found] == hits


def test_another_unit_is_converted_by_the_tables() -> None:
    (outcome,) = parse_phrase("first(temperature > 104 °F, 12h)").own
    assert isinstance(outcome, ValueOutcome)
    assert outcome.above == pytest.approx(40)
    assert parse_phrase("first(lactate > 36 mg/dL, 12h)").own[0].above == pytest.approx(3.996, abs=0.001)  # / 9.01
    (calcium,) = parse_phrase("first(calcium < 2 mmol/L, 12h)").own
    assert isinstance(calcium, ValueOutcome)
    assert calcium.below == pytest.approx(8.016, rel=1e-3)


def test_every_option_is_read() -> None:
    task = parse_phrase(
        "first(potassium >= 5.5 or rrt_start, 2d, every 6h, from 90min, until 3d, clean ever, of record)"
    )
    assert task.name == "potassium-ge-5p5-or-rrt-start-48h"
    assert task.clean_hours == float("inf")
    assert (task.at.anchor, task.at.every_hours, task.at.first_hours, task.at.max_hours) == ("record_start", 6, 1.5, 72)
    assert parse_phrase("first(death, 24h, at 24h, clean no)").clean_hours is None
    assert parse_phrase("first(death, 24h, at 24h)").at.offsets_hours == (24,)
    assert parse_phrase("first(death, 1000000h)").horizon_hours == 1_000_000


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("frist(map < 55, 12h)", "must be a phrase such as"),
        ("first(map < 55)", "within which time"),
        ("first(map < 55, 12)", "the horizon must be a time such as 24h"),
        ("first(map < 55, 0h)", "the horizon must be a time"),
        ("first(mapp < 55, 12h)", "Did you mean map"),
        ("first(lactate, 12h)", "Did you mean lactate_gt_4"),
        ("first(map < 5000, 12h)", "plausible range of map, 15 to 250 mmHg"),
        ("first(lactate > 4 furlong, 12h)", "lactate must be in one of mmol/L, mg/dL; got 'furlong'"),
        ("first(map < 55, 12h, evry 6h)", "'every 12h' or 'at 24h'.*got 'evry 6h'"),
        ("first(map < 55, 12h, every 6h, at 3h)", "either 'at' or 'every'"),
        ("first(map < 55, 12h, of ward)", "'of' must be one of icu, hospital, record"),
        ("first(map < 55, 12h, every 6h, every 3h)", "once each"),
        ("first(map < 55, 12h, from 200h)", "'until' must not come before 'from'; got from 200 h until 168 h"),
    ],
)
def test_a_wrong_phrase_says_what_would_be_right(text: str, reason: str) -> None:
    with pytest.raises(TaskError, match=reason):
        parse_phrase(text)


@given(st.sampled_from(["potassium", "sodium", "creatinine", "ph"]), st.sampled_from(["<", "<=", ">", ">="]), st.data())
def test_what_metadata_hold_is_the_same_outcome_again(concept: str, sign: str, data: st.DataObject) -> None:
    low, high = {"potassium": (1, 12), "sodium": (95, 200), "creatinine": (0.1, 25), "ph": (6.5, 8)}[concept]
    number = data.draw(st.floats(low, high).map(lambda x: min(max(round(x, 3), low), high)))
    task = parse_phrase(f"first({concept} {sign} {number}, 24h)")
    described = {"name": task.name, "definitions": [own.model_dump(mode="json") for own in task.own]}
    known = outcomes_of(described)
    assert all(known[own.name] == own for own in task.own)
    assert set(known) == set(outcomes()) | set(task.outcomes)


def test_only_a_call_is_a_phrase() -> None:
    assert is_phrase(" last(map < 3, 4h)")
    assert not is_phrase("my-tasks/first.yaml")
    assert not is_phrase("death-24h")


def test_labels_of_a_phrase_from_a_data_set_and_its_store(write_meds: WriteMeds, tmp_path: Path) -> None:
    rows: list[Row] = [
        (1, 0, "ICU_ADMISSION//A"),
        (1, 5, "CONCEPT//potassium", 3.2),
        (1, 20, "CONCEPT//potassium", 2.9),
        (1, 40, "CONCEPT//potassium", 0.2),  # below the plausible range: no outcome
        (1, 60, "ICU_DISCHARGE//ALIVE"),
        (1, 60, "HOSPITAL_DISCHARGE//ALIVE"),
    ]
    folder, phrase = write_meds(rows), "first(potassium < 3 mmol/L, 12h, every 6h, from 6h)"
    report = label(phrase, folder, tmp_path / "l.parquet")
    labels = read_labels(tmp_path / "l.parquet")
    happened = labels.table.filter("boolean_value")["prediction_time"].to_list()
    assert happened == [at(12), at(18)]
    assert at(24) not in labels.table["prediction_time"].to_list()  # it came 4 h before
    assert at(36) in labels.table["prediction_time"].to_list()
    assert (report.task, labels.task["outcomes"]) == ("potassium-lt-3-12h", ["OUTCOME//potassium_lt_3"])
    assert labels.task["definitions"][0]["below"] == 3
    store = tmp_path / "store"
    build_store(store, [folder], derive=derive_outcomes)
    label(phrase, store, tmp_path / "s.parquet")
    assert read_labels(tmp_path / "s.parquet").table.equals(labels.table)


def test_what_nobody_measures_cannot_be_labelled(write_meds: WriteMeds, tmp_path: Path) -> None:
    folder = write_meds([(1, 0, "ICU_ADMISSION//A"), (1, 60, "ICU_DISCHARGE//ALIVE")])
    with pytest.raises(TaskError, match="none of the codes CONCEPT//potassium"):
        label("first(potassium < 3, 12h)", folder, tmp_path / "l.parquet")
