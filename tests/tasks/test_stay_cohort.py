"""Tasks over ICU stays from a data set or store to a label file, with both rules and the flow told."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from meds import LabelSchema

from helpers.stay_records import stay
from helpers.task_records import Row, at
from sojourn.errors import SchemaError, TaskError
from sojourn.events.build import build_store
from sojourn.tasks.files import read_labels
from sojourn.tasks.label import label
from sojourn.tasks.outcomes import derive_outcomes, outcomes
from sojourn.tasks.stay_definitions import stay_tasks

WriteMeds = Callable[..., Path]


@pytest.fixture
def dataset(write_meds: WriteMeds) -> Path:
    """Two hospitals; at the first, kidney injury by creatinine in the 21st hour of the first stay."""
    first: list[Row] = [*stay(1, 31, fate="DIED"), *stay(2, 40), *stay(3, 4)]
    first += [(1, hour, "CONCEPT//creatinine", value) for hour, value in ((1.0, 1.0), (20.0, 2.5))]
    second: list[Row] = [*stay(4, 60), (4, 30.0, "CONCEPT//creatinine", 1.5)]
    births: list[list[Row]] = [[(row[0], -300_000, "MEDS_BIRTH") for row in part[:1]] for part in (first, second)]
    return write_meds([*first, *births[0]], [*second, *births[1]])


def test_every_task_names_the_other_and_outcomes_that_there_are() -> None:
    for task in stay_tasks().values():
        other = stay_tasks()[task.other]
        assert (other.other, other.target) == (task.name, task.target)
        assert other.rule != task.rule
        assert task.outcome is None or task.outcome in outcomes()


def test_a_label_file_holds_both_rules_and_the_flow(dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "l.parquet"
    report = label("yaib-aki", dataset, path)
    written = pq.read_table(path)
    LabelSchema.validate(written)
    table = pl.from_arrow(written)
    assert isinstance(table, pl.DataFrame)
    assert table["subject_id"].unique().sort().to_list() == [1, 2]  # nobody at the other hospital has it
    case = table.filter(subject_id=1)
    assert case.filter("boolean_value")["prediction_time"].to_list() == [at(hour) for hour in range(14, 27)]
    assert case["categorical_value"].to_list() == ["false"] * 14 + ["true"] * 6 + ["none"] * 7
    # Without creatinine or urine the corrected rule has no label for subject 2.
    assert table.filter(subject_id=2)["categorical_value"].unique().to_list() == ["none"]
    task = read_labels(path).task
    assert (task["outcomes"], task["horizon_hours"], task["rule"]) == (["OUTCOME//aki_kdigo_recorded"], 6, "recorded")
    assert task["flow_by_site"]["hospital_0"] == [3, 3, 3, 2, 2, 2, 2, 2, 2, 2]
    assert [step["num_stays"] for step in task["flow"]] == [4, 4, 4, 3, 3, 3, 3, 2, 2, 2]
    assert report.rules["rows_of_this_only"] == 7 + 41
    assert report.attrition[-1].num_rows == report.num_labels == 27 + 41


def test_the_other_rule_and_the_sites_are_counted_over_the_chosen_subjects(dataset: Path, tmp_path: Path) -> None:
    whole = label("yaib-los", dataset, tmp_path / "w.parquet")
    part = label("yaib-los", dataset, tmp_path / "p.parquet", sites=["hospital_0"])
    rest = label("yaib-los", dataset, tmp_path / "r.parquet", exclude_sites=["hospital_0"])
    assert part.rules["rows_in_both"] + part.rules["rows_of_this_only"] == part.num_labels > 0
    assert rest.num_labels > 0
    assert whole.rules == {name: part.rules[name] + rest.rules[name] for name in whole.rules}
    assert whole.by_site == part.by_site | rest.by_site
    assert part.by_site.keys().isdisjoint(rest.by_site)
    assert read_labels(tmp_path / "p.parquet", numbers=True).task["rules"] == part.rules
    assert part.flow == whole.flow


def test_a_store_gives_the_same_labels(dataset: Path, tmp_path: Path) -> None:
    build_store(tmp_path / "store", [dataset], derive=derive_outcomes)
    for task in ("yaib-mortality24", "yaib-aki-corrected", "yaib-kidney-function", "yaib-los"):
        label(task, dataset, tmp_path / "a.parquet")
        label(task, tmp_path / "store", tmp_path / "b.parquet")
        assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes(), task


def test_numbers_are_read_only_where_they_are_wanted(dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "l.parquet"
    report = label("yaib-kidney-function", dataset, path)
    assert report.num_positive is None
    LabelSchema.validate(pq.read_table(path))
    found = read_labels(path, numbers=True)
    assert found.has_numbers
    assert found.table.rows() == [(4, at(24), 1.5)]
    with pytest.raises(SchemaError, match="it holds numbers"):
        read_labels(path)


def test_what_a_data_set_cannot_show_is_refused(dataset: Path, write_meds: WriteMeds, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="must record sepsis3_recorded for task yaib-sepsis"):
        label("yaib-sepsis", dataset, tmp_path / "l.parquet")
    no_stays = write_meds([(1, 0, "CONCEPT//creatinine", 1.0)], name="other")
    with pytest.raises(TaskError, match="must record ICU stays"):
        label("yaib-los", no_stays, tmp_path / "l.parquet")
