"""ACES files run through es-aces itself."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from meds import LabelSchema

from helpers.task_records import Row, at
from sojourn.errors import TaskError
from sojourn.events.build import build_store
from sojourn.tasks.files import read_labels
from sojourn.tasks.label import label

WriteMeds = Callable[..., Path]

PREDICATES = """
predicates:
  admitted: {code: {regex: "^ICU_ADMISSION//"}}
  left: {code: {regex: "^ICU_DISCHARGE//"}}
  died: {code: MEDS_DEATH}
  in_hospital: {code: HOSPITAL_DISCHARGE//DIED}
  any_death: {expr: "or(died, in_hospital)"}
  high_lactate: {code: CONCEPT//lactate, value_min: 4, value_min_inclusive: false}
  lactate_outcome: {code: OUTCOME//lactate_gt_4}
trigger: admitted
windows:
  input: {start: trigger, end: start + 24h, start_inclusive: true, end_inclusive: true, index_timestamp: end,
          has: {left: "(None, 0)"}}
  target: {start: input.end, end: %s, start_inclusive: false, end_inclusive: true, label: %s}
"""


def write_task(folder: Path, *, end: str = "start + 48h", outcome: str = "any_death") -> Path:
    path = folder / "my-task.yaml"
    path.write_text(PREDICATES % (end, outcome))
    return path


@pytest.fixture
def dataset(write_meds: WriteMeds) -> Path:
    def subject(number: int, length: int, last: str) -> list[Row]:
        return [(number, 0, "ICU_ADMISSION//MICU"), (number, length, "ICU_DISCHARGE//X"), (number, length, last)]

    rows = [*subject(1, 60, "MEDS_DEATH"), *subject(2, 60, "HOSPITAL_DISCHARGE//ALIVE"), *subject(3, 10, "MEDS_DEATH")]
    rows += [(2, 30, "LAB//lac", 45.0), (2, 31, "OUTCOME//follow_up_end")]
    more = [*subject(9, 90, "HOSPITAL_DISCHARGE//DIED"), (9, 40, "LAB//lac", 18.0)]
    names = sorted({row[2] for row in rows + more})
    codes = pl.DataFrame({"code": names}).with_columns(
        concept=pl.when(pl.col("code") == "LAB//lac").then(pl.lit("lactate")),
        scale=pl.lit(0.111),
        offset=pl.lit(0.0),
        target_only=pl.col("code").str.starts_with("OUTCOME"),
    )
    return write_meds(rows, more, codes=codes)


def test_a_cohort_is_found_over_all_shards(dataset: Path, tmp_path: Path) -> None:
    report = label(str(write_task(tmp_path)), dataset, tmp_path / "l.parquet")
    labels = read_labels(tmp_path / "l.parquet")
    assert list(labels.table.iter_rows()) == [(1, at(24), True), (2, at(24), False), (9, at(24), False)]
    LabelSchema.validate(pq.read_table(tmp_path / "l.parquet"))
    assert [(step.step, step.num_rows, step.num_subjects) for step in report.attrition] == [
        ("triggered", 4, 4),
        ("in cohort", 3, 3),
    ]


def test_a_simple_label_window_becomes_a_question(dataset: Path, tmp_path: Path) -> None:
    label(str(write_task(tmp_path)), dataset, tmp_path / "l.parquet")
    task = read_labels(tmp_path / "l.parquet").task
    assert task["name"] == "my-task"
    assert task["outcomes"] == ["OUTCOME//death"], "what the network is trained to be asked"
    assert task["horizon_hours"] == 48


def test_the_rest_of_the_record_has_no_horizon(dataset: Path, tmp_path: Path) -> None:
    label(str(write_task(tmp_path, end="null", outcome="died")), dataset, tmp_path / "l.parquet")
    task = read_labels(tmp_path / "l.parquet").task
    assert task["outcomes"] == ["OUTCOME//death"], "death, however it is recorded"
    assert task["horizon_hours"] is None
    assert task["until"] == "record_end"


@pytest.mark.parametrize(("end", "outcome"), [("start -> left", "died"), ("start + 48h", "high_lactate")])
def test_what_is_no_simple_question_is_left_to_simulation(
    dataset: Path, tmp_path: Path, end: str, outcome: str
) -> None:
    label(str(write_task(tmp_path, end=end, outcome=outcome)), dataset, tmp_path / "l.parquet")
    task = read_labels(tmp_path / "l.parquet").task
    assert task["outcomes"] is None
    assert task["horizon_hours"] is None


@pytest.mark.parametrize("outcome", ["high_lactate", "lactate_outcome"])
def test_concepts_and_outcomes_can_be_named_beside_local_codes(dataset: Path, tmp_path: Path, outcome: str) -> None:
    label(str(write_task(tmp_path, outcome=outcome)), dataset, tmp_path / "l.parquet")
    labels = read_labels(tmp_path / "l.parquet")
    assert labels.table["boolean_value"].to_list() == [False, True, False]  # 45 mg/dL is 5 mmol/L, 18 is 2
    if outcome == "lactate_outcome":
        assert labels.task["outcomes"] == ["OUTCOME//lactate_gt_4"]


def test_a_store_is_refused(dataset: Path, tmp_path: Path) -> None:
    build_store(tmp_path / "store", [dataset])
    with pytest.raises(TaskError, match="MEDS data set for an ACES task"):
        label(str(write_task(tmp_path)), tmp_path / "store", tmp_path / "l.parquet")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "is not there"),
        ("outcomes: []", "has no predicates and no trigger"),
        ("just words", "has no predicates"),
        ("a: [", "must be a YAML file"),
    ],
)
def test_a_file_that_is_no_aces_task_is_told_before_the_data_are_read(
    tmp_path: Path, content: str | None, told: str
) -> None:
    """Whatever is wrong with the data set: here it is not there, and cannot be chosen from either."""
    path = tmp_path / "task.yaml"
    if content is not None:
        path.write_text(content)
    for choice in ({}, {"sites": ["nowhere"]}):
        with pytest.raises(TaskError, match=told):
            label(str(path), tmp_path / "nowhere", tmp_path / "l.parquet", **choice)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("trigger: admitted", "trigger: nobody", "nobody"),
        (", label: any_death", "", "mark a label"),
        ("start + 24h", "start ~ 24h", "ACES reads"),
    ],
)
def test_a_file_that_aces_cannot_read_is_refused(
    dataset: Path, tmp_path: Path, old: str, new: str, reason: str
) -> None:
    path = write_task(tmp_path)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(TaskError, match=reason):
        label(str(path), dataset, tmp_path / "l.parquet")


def test_a_missing_file_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="missing"):
        label(str(tmp_path / "none.yaml"), dataset, tmp_path / "l.parquet")


def test_a_derived_onset_can_be_a_predicate(write_meds: WriteMeds, tmp_path: Path) -> None:
    rows: list[Row] = [(1, 0, "ICU_ADMISSION//A"), (1, 5, "CONCEPT//creatinine", 1.0)]
    rows += [(1, 40, "CONCEPT//creatinine", 2.5), (1, 60, "ICU_DISCHARGE//X"), (1, 60, "HOSPITAL_DISCHARGE//ALIVE")]
    path = write_task(tmp_path, end="start + 24h", outcome="injury")
    path.write_text(path.read_text().replace("trigger:", "  injury: {code: OUTCOME//aki_kdigo}\ntrigger:", 1))
    label(str(path), write_meds(rows), tmp_path / "l.parquet")
    found = read_labels(tmp_path / "l.parquet")
    assert found.table.rows() == [(1, at(24), True)]
    assert found.task["outcomes"] == ["OUTCOME//aki_kdigo"]
