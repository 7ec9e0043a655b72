"""Prediction files: nothing of the future, every row, in the columns that others read."""

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score

from helpers.toy_process import (
    LACTATE_SHARE,
    LOCAL_CODE,
    START,
    Row,
    build_toy_store,
    is_sick,
    toy_record,
    write_toy_labels,
)
from inference.conftest import Toy
from sojourn.errors import ConfigError, RunError, SojournError, TaskError
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.inference.predict import predict
from sojourn.inference.probe import probe
from sojourn.tasks.files import read_labels, read_predictions, write_labels

COLUMNS = [
    "subject_id",
    "prediction_time",
    "boolean_value",
    "predicted_boolean_probability",
    "site",
    "probability_lower",
    "probability_upper",
]


@pytest.fixture(scope="module")
def labels(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_labels(tmp_path_factory.mktemp("labels") / "death.parquet", toy.labels())


@pytest.fixture(scope="module")
def predicted(toy_run: Path, toy_store: Path, labels: Path) -> Path:
    out = labels.parent / "out.parquet"
    report = predict(toy_run, toy_store, labels, out)
    assert report.method == "query"
    return out


def test_files_pass_the_schema_of_meds_evaluation(toy: Toy, predicted: Path) -> None:
    from meds_evaluation.schema import PredictionSchema

    table = pq.read_table(predicted)
    assert table.column_names == COLUMNS
    PredictionSchema.validate(table.select(COLUMNS[:4]))
    ours = read_predictions(predicted)
    assert ours.task["outcomes"] == ["OUTCOME//death"]
    assert ours.method == "query"
    assert ours.table.select("subject_id", "prediction_time").equals(toy.labels())
    inside = pl.col("predicted_boolean_probability").is_between(
        pl.col("probability_lower") - 1e-6, pl.col("probability_upper") + 1e-6
    )
    assert ours.table.select(inside.all()).item()
    sites = toy.store.subjects["site"].to_numpy()[toy.at_four.row]
    assert (ours.table["site"].to_numpy() == sites).all()


def blanked(toy_store: Path, folder: Path, labels: pl.DataFrame) -> Path:
    """A store of the labelled patients whose every event after their prediction time is gone."""
    until = dict(labels.iter_rows())
    sites = list(LACTATE_SHARE)
    rows: list[Row] = []
    for subject, time in until.items():
        record = toy_record(subject, sites[(subject - 1) % 3], 0)
        kept = [row for row in record if row[1] is None or row[1] <= time]
        assert len(kept) < len(record)
        rows += kept
    return build_toy_store(folder, num_subjects=0, rows=rows)


@pytest.mark.parametrize("estimator", ["conditional", "count"])
def test_simulated_risks_come_with_their_standard_error(
    toy: Toy, toy_run: Path, toy_store: Path, tmp_path: Path, estimator: str
) -> None:
    labels = write_toy_labels(tmp_path / "labels.parquet", toy.labels()[:10])
    outs = [tmp_path / f"{i}.parquet" for i in range(2)]
    for out in outs:
        settings: dict[str, Any] = {"method": "simulate", "estimator": estimator, "num_samples": 20, "seed": 3}
        report = predict(toy_run, toy_store, labels, out, **settings)
    assert outs[0].read_bytes() == outs[1].read_bytes()
    table = pl.read_parquet(outs[0])
    assert table.columns == [*COLUMNS, "standard_error"]
    assert report.estimator == estimator
    assert report.mean_standard_error == pytest.approx(table["standard_error"].mean())
    inside = pl.col("predicted_boolean_probability").is_between(
        pl.col("probability_lower") - 1e-6, pl.col("probability_upper") + 1e-6
    )
    assert table.select(inside.all()).item()
    assert read_predictions(outs[0]).method == "simulate"


@pytest.mark.parametrize("method", ["query", "simulate"])
def test_the_future_is_not_read(toy: Toy, toy_run: Path, toy_store: Path, tmp_path: Path, method: str) -> None:
    """Predictions are the same bits from a store in which nothing happens after the prediction times."""
    asked = toy.labels()[:12] if method == "simulate" else toy.labels()[:100]
    labels = write_toy_labels(tmp_path / "labels.parquet", asked)
    past = blanked(toy_store, tmp_path, asked)
    assert EventStore.open(past).manifest["num_events"] < 20 * len(asked)
    outs = []
    for name, store in (("whole", toy_store), ("past", past)):
        predict(toy_run, store, labels, tmp_path / f"{name}.parquet", method=method, num_samples=20)  # type: ignore[arg-type]
        outs.append(read_predictions(tmp_path / f"{name}.parquet").table)
    assert outs[0].drop("site").equals(outs[1].drop("site"))
    assert outs[0]["predicted_boolean_probability"].n_unique() > 5


def test_the_order_of_labels_changes_nothing(
    toy: Toy, toy_run: Path, toy_store: Path, predicted: Path, tmp_path: Path
) -> None:
    mixed = toy.labels().sample(fraction=1.0, shuffle=True, seed=1)
    predict(toy_run, toy_store, write_toy_labels(tmp_path / "mixed.parquet", mixed), tmp_path / "out.parquet")
    one, two = (read_predictions(path).table.sort("subject_id") for path in (predicted, tmp_path / "out.parquet"))
    assert one.equals(two)


def test_codes_that_only_a_new_hospital_uses_are_counted_and_predicted_with(
    toy: Toy, toy_run: Path, toy_store: Path, tmp_path: Path
) -> None:
    report = predict(toy_run, toy_store, write_toy_labels(tmp_path / "l.parquet", toy.labels()), tmp_path / "o.parquet")
    count = toy.store.vocabulary.filter(pl.col("code") == LOCAL_CODE)["count"].item()
    assert (report.unknown_codes, report.unknown_events) == (1, count)
    new = read_predictions(tmp_path / "o.parquet").table.filter(pl.col("site") == "west")
    sick = [is_sick(i) for i in new["subject_id"]]
    assert roc_auc_score(sick, new["predicted_boolean_probability"]) > 0.95


def test_several_times_of_long_records_are_predicted(toy_run: Path, toy_store: Path, toy: Toy, tmp_path: Path) -> None:
    long = toy.store.subjects.filter(pl.col("num_instants") > 40)
    assert len(long) > 10
    hours = [-3, 0, 1, 30, 31, 32, 33, 39, 1000]
    asked = pl.concat(
        [long.select("subject_id", prediction_time=pl.col("origin") + pl.duration(hours=h)) for h in hours]
    )
    predict(toy_run, toy_store, write_toy_labels(tmp_path / "l.parquet", asked), tmp_path / "o.parquet")
    table = read_predictions(tmp_path / "o.parquet").table
    risk = table["predicted_boolean_probability"].to_numpy().reshape(len(hours), len(long))
    assert ((risk > 0) & (risk < 1)).all()
    sick = np.array([is_sick(i) for i in long["subject_id"]])
    for k in range(2, 8):  # also beyond the 32 instants that the network sees at once
        assert risk[k][sick].mean() > 2 * risk[k][~sick].mean()


def test_a_horizon_may_be_open(toy: Toy, toy_run: Path, toy_store: Path, predicted: Path, tmp_path: Path) -> None:
    ever = write_toy_labels(tmp_path / "l.parquet", toy.labels(), horizon_hours=None)
    predict(toy_run, toy_store, ever, tmp_path / "o.parquet")
    name = "predicted_boolean_probability"
    more = read_predictions(tmp_path / "o.parquet").table[name] - read_predictions(predicted).table[name]
    assert more.min() > 0


def test_controls_know_less_and_say_what_they_are(
    toy: Toy, toy_run: Path, toy_store: Path, predicted: Path, tmp_path: Path
) -> None:
    known = read_predictions(predicted).table
    sick = [is_sick(i) for i in known["subject_id"]]
    assert roc_auc_score(sick, known["predicted_boolean_probability"]) > 0.95
    labels = write_toy_labels(tmp_path / "l.parquet", toy.labels())
    for control in ("random-weights", "shuffled-values"):
        outs = [tmp_path / f"{control}-{i}.parquet" for i in range(2)]
        for out in outs:
            predict(toy_run, toy_store, labels, out, control=control, seed=1)  # type: ignore[arg-type]
        assert outs[0].read_bytes() == outs[1].read_bytes()
        file = read_predictions(outs[0])
        assert file.method == control
        if control == "shuffled-values":
            assert abs(roc_auc_score(sick, file.table["predicted_boolean_probability"]) - 0.5) < 0.15
        else:
            assert file.table["predicted_boolean_probability"].std() < 0.05


def test_a_probe_reads_the_states(toy: Toy, toy_run: Path, toy_store: Path, tmp_path: Path) -> None:
    table = toy.labels().with_columns(boolean_value=pl.Series([is_sick(i) for i in toy.labels()["subject_id"]]))
    half = len(table) // 2
    known, asked = (
        write_toy_labels(tmp_path / f"{name}.parquet", part)
        for name, part in (("known", table[:half]), ("asked", table[half:]))
    )
    for random_weights, method in ((False, "probe"), (True, "random-weights-probe")):
        out = tmp_path / f"{method}.parquet"
        probe(toy_run, toy_store, known, toy_store, asked, out, random_weights=random_weights)
        file = read_predictions(out)
        assert file.method == method
        if not random_weights:
            auroc = roc_auc_score(file.table["boolean_value"], file.table["predicted_boolean_probability"])
            assert auroc > 0.97
    copied = shutil.copytree(toy_store, tmp_path / "copied")
    for store in (toy_store, copied):
        with pytest.raises(TaskError, match="Split by subject"):
            probe(toy_run, toy_store, known, store, known, tmp_path / "leaky.parquet")


@pytest.mark.parametrize(
    ("asked", "options", "error", "named"),
    [
        ({"outcome": "sepsis"}, {}, TaskError, "OUTCOME//sepsis, which the run has never seen"),
        ({"subject": 10**9}, {}, TaskError, "labels must be about subjects of the store"),
        ({"empty": True}, {}, TaskError, "at least one row"),
        ({}, {"method": "simulate", "control": "random-weights"}, ConfigError, "control must go with method query"),
    ],
)
def test_what_cannot_be_asked_is_said(
    toy: Toy,
    toy_run: Path,
    toy_store: Path,
    tmp_path: Path,
    asked: dict[str, object],
    options: dict[str, str],
    error: type[SojournError],
    named: str,
) -> None:
    table = toy.labels()[: 0 if "empty" in asked else 3]
    if "subject" in asked:
        table = table.with_columns(subject_id=pl.lit(asked["subject"], dtype=pl.Int64))
    labels = write_toy_labels(tmp_path / "l.parquet", table, outcome=str(asked.get("outcome", "death")))
    with pytest.raises(error, match=named):
        predict(toy_run, toy_store, labels, tmp_path / "o.parquet", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "o.parquet").exists()


def test_labels_of_others_without_a_task_need_one(toy: Toy, toy_run: Path, toy_store: Path, tmp_path: Path) -> None:
    toy.labels()[:2].with_columns(boolean_value=pl.lit(value=True)).write_parquet(tmp_path / "l.parquet")
    with pytest.raises(TaskError, match="must name outcome codes"):
        predict(toy_run, toy_store, tmp_path / "l.parquet", tmp_path / "o.parquet")


def test_a_moment_of_a_day_is_a_moment(toy: Toy) -> None:
    """The toy patients come on different days, so that dates are really counted from origins."""
    origins = toy.store.subjects["origin"].n_unique()
    assert origins == 7
    assert toy.store.subjects["origin"].min() == START
    assert toy.store.subjects["origin"].max() == START + timedelta(days=6)


def test_members_of_an_ensemble_are_averaged_and_widen_the_interval(
    toy: Toy, toy_run: Path, toy_store: Path, predicted: Path, labels: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(toy_run, other)
    weights = load_file(other / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    name = "first_head.out.weight"
    weights[name] = weights[name] + 0.3 * torch.randn(weights[name].shape, generator=generator)
    save_file(weights, other / "model.safetensors")
    predict(other, toy_store, labels, tmp_path / "other.parquet")
    predict(toy_run, toy_store, labels, tmp_path / "both.parquet", members=[other])
    column = "predicted_boolean_probability"
    one, two, both = (
        read_predictions(p).table for p in (predicted, tmp_path / "other.parquet", tmp_path / "both.parquet")
    )
    assert (one[column] - two[column]).abs().max() > 0.01
    np.testing.assert_allclose(both[column], (one[column] + two[column]) / 2, atol=1e-6)
    width = {key: (t["probability_upper"] - t["probability_lower"]).mean() for key, t in (("one", one), ("both", both))}
    assert width["both"] > width["one"]
    with pytest.raises(ConfigError, match=r"members \(--with\) must go with method query"):
        predict(toy_run, toy_store, labels, tmp_path / "no.parquet", members=[other], method="simulate")


def test_a_code_that_is_no_trained_outcome_is_told(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = write_toy_labels(tmp_path / "labels.parquet", toy.labels())
    assert predict(toy.run.path, toy.store.path, labels, tmp_path / "a.parquet").asked_untrained == ()
    asked = read_labels(labels)
    write_labels(labels, asked.table, asked.task | {"outcomes": ["MEDS_DEATH"]})
    report = predict(toy.run.path, toy.store.path, labels, tmp_path / "b.parquet")
    assert report.asked_untrained == ("MEDS_DEATH",)
    assert "MEDS_DEATH: no outcome" in capsys.readouterr().err


def test_nothing_is_computed_for_a_file_that_cannot_be_written(
    toy: Toy, toy_run: Path, toy_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor where a member is no run or does not know the outcome; what is read is never written over."""
    labels = write_toy_labels(tmp_path / "l.parquet", toy.labels()[:2])
    before = labels.read_bytes()
    (tmp_path / "folder.parquet").mkdir()
    monkeypatch.setattr("sojourn.inference.predict.risk_by_head", None)
    for out, told in (
        (labels, "one of them"),
        (toy_run / "vocabulary.parquet", "one of them"),
        (toy_store / "subjects.parquet", "one of them"),
        (tmp_path / "folder.parquet", "is a folder"),
        (tmp_path / "o.csv", r"ends in \.parquet"),
        (labels / "o.parquet", "must lie in a folder"),
    ):
        with pytest.raises(ConfigError, match=told):
            predict(toy_run, toy_store, labels, out)
        with pytest.raises(ConfigError, match=told):
            probe(toy_run, toy_store, labels, toy_store, labels, out)
    assert labels.read_bytes() == before
    with pytest.raises(RunError, match="must be a run with trained weights"):
        predict(toy_run, toy_store, labels, tmp_path / "o.parquet", members=[tmp_path / "none"])


def test_a_member_that_cannot_be_asked_is_told_before_the_first_run_is(
    toy: Toy, toy_run: Path, toy_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = write_toy_labels(tmp_path / "l.parquet", toy.labels()[:2])
    other = shutil.copytree(toy_run, tmp_path / "other")
    known = ModelVocabulary.load(toy_run / "vocabulary.parquet")
    table = known.table.with_columns(pl.col("code").replace("OUTCOME//death", "OUTCOME//other"))
    ModelVocabulary(table, known.folded).save(other / "vocabulary.parquet")
    monkeypatch.setattr("sojourn.inference.predict.risk_by_head", None)
    with pytest.raises(TaskError, match="never seen"):
        predict(toy_run, toy_store, labels, tmp_path / "o.parquet", members=[other])
