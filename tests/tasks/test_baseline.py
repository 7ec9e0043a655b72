"""Baselines from stores and labels to a prediction file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from helpers.task_records import Row
from sojourn.concepts.derived.dataset import derive
from sojourn.errors import ConfigError, TaskError
from sojourn.events.build import build_store
from sojourn.tasks.baseline import BASELINES, NUMBER_BASELINES, baseline
from sojourn.tasks.files import read_labels, read_predictions, write_labels
from sojourn.tasks.label import label
from sojourn.tasks.outcomes import derive_outcomes
from sojourn.trust.metrics import auroc
from sojourn.trust.regression import r2

WriteMeds = Callable[..., Path]


def sick_and_well(num_subjects: int) -> list[Row]:
    """Subjects whose lactate at 20 h tells whether they die at 40 h, most of the time."""
    rng = np.random.default_rng(0)
    rows: list[Row] = []
    for subject in range(num_subjects):
        dies = bool(rng.random() < 0.3)
        fate = "DIED" if dies else "ALIVE"
        rows += [
            (subject, 0, "ICU_ADMISSION//A"),
            (subject, 20, "CONCEPT//lactate", 2 + 2 * dies + float(rng.normal())),
        ]
        rows += [(subject, 40, f"ICU_DISCHARGE//{fate}"), (subject, 40, f"HOSPITAL_DISCHARGE//{fate}")]
    return rows


@pytest.fixture
def files(write_meds: WriteMeds, tmp_path: Path) -> tuple[Path, Path, Path]:
    """A store, training labels and test labels."""
    dataset = write_meds(sick_and_well(300))
    build_store(tmp_path / "store", [dataset], derive=derive_outcomes)
    label("icu-death", dataset, tmp_path / "all.parquet")
    labels = read_labels(tmp_path / "all.parquet")
    write_labels(tmp_path / "train.parquet", labels.table.filter(pl.col("subject_id") < 200), labels.task)
    write_labels(tmp_path / "test.parquet", labels.table.filter(pl.col("subject_id") >= 200), labels.task)
    return tmp_path / "store", tmp_path / "train.parquet", tmp_path / "test.parquet"


@pytest.mark.parametrize("method", BASELINES)
def test_predictions_are_written_for_every_test_label(
    files: tuple[Path, Path, Path], tmp_path: Path, method: str
) -> None:
    store, train, test = files
    found = read_predictions(baseline(method, store, train, store, test, tmp_path / "p.parquet"))
    assert found.method == method
    assert found.task["name"] == "icu-death"
    assert found.table.select(found.table.columns[:3]).equals(read_labels(test).table)
    assert found.table["site"].unique().to_list() == ["hospital_0"]
    area = auroc(found.table["boolean_value"].to_numpy(), found.table["predicted_boolean_probability"].to_numpy())
    assert area == 0.5 if method == "prevalence" else area > 0.8


def test_a_subject_in_both_sets_is_refused(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    store, train, _ = files
    with pytest.raises(TaskError, match="200 are in both"):
        baseline("lightgbm", store, train, store, train, tmp_path / "p.parquet")
    assert not (tmp_path / "p.parquet").exists()


def test_an_unknown_method_is_refused(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    store, train, test = files
    with pytest.raises(TaskError, match="lightgbm"):
        baseline("xgboost", store, train, store, test, tmp_path / "p.parquet")


@pytest.fixture
def number_files(files: tuple[Path, Path, Path], tmp_path: Path) -> tuple[Path, Path, Path]:
    """The same stays, labelled with a number: ten times the lactate at 20 h."""
    store, *paths = files
    lactate = {subject: value for subject, hour, *rest in sick_and_well(300) if hour == 20 for value in rest[1:]}
    for path in paths:
        found = read_labels(path)
        number = pl.col("subject_id").replace_strict(lactate, return_dtype=pl.Float32) * 10
        table = found.table.select("subject_id", "prediction_time", float_value=number)
        write_labels(path, table, {"name": "lactate-times-ten"})
    return store, *paths  # type: ignore[return-value]


@pytest.mark.parametrize("method", NUMBER_BASELINES)
def test_numbers_are_predicted_by_their_mean_or_by_trees(
    number_files: tuple[Path, Path, Path], tmp_path: Path, method: str
) -> None:
    store, train, test = number_files
    found = read_predictions(baseline(method, store, train, store, test, tmp_path / "p.parquet"))
    assert found.has_numbers
    assert found.method == method
    assert found.table["site"].unique().to_list() == ["hospital_0"]
    y, p = found.table["float_value"].to_numpy(), found.table["predicted_float_value"].to_numpy()
    if method == "mean":
        known = read_labels(train, numbers=True).table["float_value"].to_numpy()
        assert p == pytest.approx(np.full(len(y), known.mean()), rel=1e-5)
    else:
        assert r2(y, p) > 0.8


def test_a_method_is_refused_for_labels_of_the_other_kind(
    files: tuple[Path, Path, Path], tmp_path: Path, write_meds: WriteMeds
) -> None:
    store, train, test = files
    with pytest.raises(TaskError, match="prevalence or logistic or lightgbm for labels that are yes or no; got 'mean'"):
        baseline("mean", store, train, store, test, tmp_path / "p.parquet")
    found = read_labels(test)
    table = found.table.select("subject_id", "prediction_time", float_value=pl.lit(1.0))
    write_labels(tmp_path / "numbers.parquet", table, found.task)
    with pytest.raises(TaskError, match="of one kind"):
        baseline("lightgbm", store, train, store, tmp_path / "numbers.parquet", tmp_path / "p.parquet")
    write_labels(train, table.with_columns(subject_id=-pl.col("subject_id") - 1), found.task)
    with pytest.raises(TaskError, match="mean or lightgbm for labels that are numbers; got 'logistic'"):
        baseline("logistic", store, train, store, tmp_path / "numbers.parquet", tmp_path / "p.parquet")


def test_a_subject_of_two_stores_of_one_data_set_is_one_subject(
    files: tuple[Path, Path, Path], tmp_path: Path, write_meds: WriteMeds
) -> None:
    store, train, test = files
    build_store(tmp_path / "again", [tmp_path / "meds"])
    with pytest.raises(TaskError, match="200 are in both"):
        baseline("prevalence", store, train, tmp_path / "again", train, tmp_path / "p.parquet")
    derive(tmp_path / "meds", tmp_path / "derived", scores=["kdigo"])
    derive(tmp_path / "derived", tmp_path / "twice", scores=["sofa"])
    derive(tmp_path / "meds", tmp_path / "beside", scores=["sofa"])
    for name in ("derived", "twice", "beside"):
        build_store(tmp_path / f"store-{name}", [tmp_path / name])
    for one, other in (("store-derived", "again"), ("again", "store-twice"), ("store-twice", "store-beside")):
        with pytest.raises(TaskError, match="200 are in both"):
            baseline("prevalence", tmp_path / one, train, tmp_path / other, train, tmp_path / "p.parquet")
    others = write_meds([(subject, 0, "ICU_ADMISSION//B") for subject in range(300)], name="others")
    build_store(tmp_path / "other", [others])
    for known in (store, tmp_path / "store-derived"):
        baseline("prevalence", tmp_path / "other", test, known, test, tmp_path / "p.parquet")


def test_labels_are_not_written_over(files: tuple[Path, Path, Path]) -> None:
    store, train, test = files
    for out in (train, test):
        before = out.read_bytes()
        with pytest.raises(ConfigError, match="one of them"):
            baseline("prevalence", store, train, store, test, out)
        assert out.read_bytes() == before
