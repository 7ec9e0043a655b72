"""Labelling data sets and stores: the same labels from both, in the MEDS schema, with the attrition told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from meds import LabelSchema

from helpers.task_records import Row
from sojourn.errors import DataError, TaskError
from sojourn.events.build import build_store
from sojourn.events.store import EventStore
from sojourn.tasks.files import read_labels
from sojourn.tasks.label import label
from sojourn.tasks.outcomes import derive_outcomes

WriteMeds = Callable[..., Path]
TASKS = [
    "icu-death",
    "death-24h",
    "death-48h",
    "vasopressor-24h",
    "lactate-gt-4-24h",
    "sepsis-6h",
    "in-hospital-death-48h",
]


def icu_records(first: int, num_subjects: int) -> list[Row]:
    """A varied cohort: deaths, infusions, local lactate codes in mg/dL, records without an end."""
    rows: list[Row] = []
    for subject in range(first, first + num_subjects):
        length = 20 + 17 * (subject % 7)
        rows += [(subject, None, "GENDER//F"), (subject, -500000, "MEDS_BIRTH")]
        rows += [(subject, 0, "HOSPITAL_ADMISSION//EW"), (subject, 0.5, "ICU_ADMISSION//MICU")]
        rows += [(subject, h, "LAB//1//mg/dL", 9.008 * (1 + (subject + h // 40) % 6)) for h in range(1, length, 5)]
        rows += [(subject, 6 * (subject % 5), "CONCEPT//norepinephrine//start", 0.1)]
        rows += [(subject, 6 * (subject % 5) + 3, "CONCEPT//norepinephrine//end")]
        if subject % 3:
            fate = "DIED" if subject % 4 == 0 else "ALIVE"
            rows += [(subject, length, f"ICU_DISCHARGE//{fate}"), (subject, length, f"HOSPITAL_DISCHARGE//{fate}")]
        rows += [(subject, h + 6, "OUTCOME//sepsis") for h in range(8, 12) if subject % 5 == 0]
    return rows


def codes(rows: list[Row]) -> pl.DataFrame:
    names = sorted({row[2] for row in rows})
    is_lactate = [name == "LAB//1//mg/dL" for name in names]
    return pl.DataFrame(
        {
            "code": names,
            "concept": ["lactate" if yes else None for yes in is_lactate],
            "scale": [1 / 9.008 if yes else 1.0 for yes in is_lactate],
            "offset": [0.0] * len(names),
            "target_only": [name.startswith("OUTCOME//") for name in names],
        }
    )


@pytest.fixture
def dataset(write_meds: WriteMeds) -> Path:
    first, second = icu_records(1, 12), icu_records(100, 9)
    return write_meds(first, second, codes=codes(first + second))


def test_a_data_set_and_its_store_give_the_same_labels(dataset: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    build_store(store, [dataset], derive=derive_outcomes)
    num_labels = 0
    for task in TASKS:
        from_meds = label(task, dataset, tmp_path / "a.parquet")
        from_store = label(task, store, tmp_path / "b.parquet")
        a, b = read_labels(tmp_path / "a.parquet"), read_labels(tmp_path / "b.parquet")
        assert a.table.equals(b.table), task
        assert a.task == b.task, task
        assert from_meds.attrition == from_store.attrition
        num_labels += from_meds.num_labels
    assert num_labels > 300


def test_local_units_become_concept_units_before_the_threshold(dataset: Path, tmp_path: Path) -> None:
    report = label("lactate-gt-4-24h", dataset, tmp_path / "l.parquet")
    assert 0 < report.num_positive < report.num_labels


def test_the_file_follows_the_meds_label_schema_and_says_what_it_is(dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "l.parquet"
    report = label("death-24h", dataset, path)
    LabelSchema.validate(pq.read_table(path))
    labels = read_labels(path)
    assert labels.task["name"] == "death-24h"
    assert labels.task["outcomes"] == ["OUTCOME//death"]
    assert labels.task["horizon_hours"] == 24
    assert [step["num_rows"] for step in labels.task["attrition"]] == [step.num_rows for step in report.attrition]
    assert report.attrition[-1].num_rows == report.num_labels == labels.table.height
    assert report.num_positive == labels.table["boolean_value"].sum()


def test_labelling_again_gives_the_same_bytes(dataset: Path, tmp_path: Path) -> None:
    label("death-48h", dataset, tmp_path / "a.parquet")
    label("death-48h", dataset, tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_flagged_value_is_no_outcome(write_meds: WriteMeds, tmp_path: Path) -> None:
    rows: list[Row] = [
        (1, 0, "ICU_ADMISSION//A"),
        (1, 20, "CONCEPT//lactate", 9.0),
        (1, 60, "ICU_DISCHARGE//ALIVE"),
        (1, 60, "HOSPITAL_DISCHARGE//ALIVE"),
    ]
    folder = write_meds(rows)
    assert label("lactate-gt-4-24h", folder, tmp_path / "l.parquet").num_positive == 1
    shard = folder / "data" / "0.parquet"
    flag = pl.when(pl.col("code") == "CONCEPT//lactate").then(pl.lit("above_limit")).alias("flag")
    pl.read_parquet(shard).with_columns(flag).write_parquet(shard)
    assert label("lactate-gt-4-24h", folder, tmp_path / "m.parquet").num_positive == 0


def test_a_folder_that_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="MEDS data set or an event store"):
        label("death-24h", tmp_path, tmp_path / "l.parquet")
    assert not (tmp_path / "l.parquet").exists()


def test_an_unknown_task_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="one of icu-death"):
        label("no-such-task", dataset, tmp_path / "l.parquet")


@pytest.mark.parametrize("kind", ["dataset", "store"])
@pytest.mark.parametrize("task", ["rrt-24h", "creatinine-1.5x-24h", "hypotension-24h"])
def test_what_nobody_records_is_not_labelled_as_absent(dataset: Path, tmp_path: Path, task: str, kind: str) -> None:
    place = dataset
    if kind == "store":
        place = tmp_path / "store"
        build_store(place, [dataset], derive=derive_outcomes)
    with pytest.raises(TaskError, match="none of the codes CONCEPT//"):
        label(task, place, tmp_path / "l.parquet")


def test_sepsis_needs_a_source_that_brings_it(write_meds: WriteMeds, tmp_path: Path) -> None:
    folder = write_meds([(1, 0, "ICU_ADMISSION//A"), (1, 60, "ICU_DISCHARGE//ALIVE")])
    with pytest.raises(TaskError, match="none of the codes OUTCOME//sepsis"):
        label("sepsis-6h", folder, tmp_path / "l.parquet")
    label("death-24h", folder, tmp_path / "l.parquet")  # that nobody died is possible


@pytest.fixture
def store(dataset: Path, tmp_path: Path) -> Path:
    place = tmp_path / "chosen-store"
    build_store(place, [dataset], derive=derive_outcomes)
    return place


def test_splits_share_out_the_labels_of_a_store(store: Path, tmp_path: Path) -> None:
    label("death-24h", store, tmp_path / "all.parquet")
    whole = read_labels(tmp_path / "all.parquet").table
    split_of = EventStore.open(store).subjects.select("subject_id", "split")
    parts = []
    for split in split_of["split"].unique():
        report = label("death-24h", store, tmp_path / "part.parquet", splits=[split])
        part = read_labels(tmp_path / "part.parquet").table
        assert part.join(split_of, on="subject_id")["split"].unique().to_list() in ([split], [])
        assert report.attrition[-1] == (split, part.height, part["subject_id"].n_unique())
        parts.append(part)
    assert pl.concat(parts).sort("subject_id", "prediction_time").equals(whole)
    both = label("death-24h", store, tmp_path / "part.parquet", splits=["train", "held_out"], sites=["hospital_0"])
    assert both.attrition[-1].step == "train and held_out, at hospital_0"
    assert 0 < both.num_labels < len(whole)


def test_sites_are_chosen_or_left_out(store: Path, tmp_path: Path) -> None:
    one = label("death-24h", store, tmp_path / "a.parquet", sites=["hospital_1"])
    rest = label("death-24h", store, tmp_path / "b.parquet", exclude_sites=["hospital_1"])
    a, b = read_labels(tmp_path / "a.parquet").table, read_labels(tmp_path / "b.parquet").table
    assert a["subject_id"].min() >= 100 > b["subject_id"].max()
    assert one.attrition[-1].step == "at hospital_1"
    assert rest.attrition[-1].step == "not at hospital_1"
    assert one.num_labels + rest.num_labels == label("death-24h", store, tmp_path / "c.parquet").num_labels


def test_who_has_no_site_is_not_at_one_that_is_left_out(dataset: Path, tmp_path: Path) -> None:
    """A store names the site of such subjects after its data set, and so does labelling a data set."""
    shard = dataset / "data" / "0.parquet"
    pl.read_parquet(shard).with_columns(site=pl.lit(None, pl.String)).write_parquet(shard)
    build_store(tmp_path / "store", [dataset], derive=derive_outcomes)
    for choice in ({"exclude_sites": ["hospital_1"]}, {"sites": [dataset.name]}):
        found = []
        for place in (dataset, tmp_path / "store"):
            label("death-24h", place, tmp_path / "l.parquet", **choice)
            found.append(read_labels(tmp_path / "l.parquet").table)
        assert found[0].equals(found[1])
        assert found[0].height > 0


@pytest.mark.parametrize("choice", [{"splits": ["test"]}, {"sites": ["nowhere"]}, {"exclude_sites": ["nowhere"]}])
def test_a_split_or_site_that_is_not_there_is_refused(store: Path, tmp_path: Path, choice: dict[str, Any]) -> None:
    with pytest.raises(TaskError, match=r"has no (test|nowhere)"):
        label("death-24h", store, tmp_path / "l.parquet", **choice)
    assert not (tmp_path / "l.parquet").exists()


def test_a_site_cannot_be_chosen_and_left_out(store: Path, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="hospital_1 is in both"):
        label("death-24h", store, tmp_path / "l.parquet", sites=["hospital_1"], exclude_sites=["hospital_1"])
    assert not (tmp_path / "l.parquet").exists()


def test_a_data_set_has_the_splits_of_its_store(dataset: Path, tmp_path: Path) -> None:
    """ACES reads the data set: whom the run has learnt from must be left out there too."""
    build_store(tmp_path / "store", [dataset])
    subjects = EventStore.open(tmp_path / "store").subjects
    for split in subjects["split"].unique():
        for place in (dataset, tmp_path / "store"):
            label("death-24h", place, tmp_path / f"{place.name}.parquet", splits=[split])
        ours, stores = (read_labels(tmp_path / f"{name}.parquet").table for name in (dataset.name, "store"))
        assert ours["subject_id"].to_list() == stores["subject_id"].to_list()
        assert set(ours["subject_id"]) <= set(subjects.filter(split=split)["subject_id"])
    with pytest.raises(TaskError, match="no elsewhere"):
        label("death-24h", dataset, tmp_path / "l.parquet", sites=["elsewhere"])
