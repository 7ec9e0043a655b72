"""The commands that use a finished run further, called as a shell would."""

import json
from pathlib import Path

import polars as pl
import pytest

from helpers.command import call
from helpers.toy_process import is_sick, write_toy_labels
from sojourn.events.store import EventStore


@pytest.fixture(scope="module")
def labels(toy_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    subjects = EventStore.open(toy_store).subjects[:24]
    table = subjects.select("subject_id", prediction_time=pl.col("origin") + pl.duration(hours=2))
    table = table.with_columns(boolean_value=pl.Series([is_sick(i) for i in table["subject_id"]]))
    return write_toy_labels(tmp_path_factory.mktemp("labels") / "labels.parquet", table)


def test_embed(
    toy_run: Path, toy_store: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "states.parquet"
    done = call(capsys, "embed", toy_run, toy_store, out, "--labels", labels, "--json")
    assert done.code == 0
    assert json.loads(done.out)["num_states"] == len(pl.read_parquet(out)) == 24
    again = call(capsys, "embed", toy_run, toy_store, out, "--labels", labels)
    assert "was there already" in again.err
    for wrong in ([], ["--end", "--every", "3h"]):
        refused = call(capsys, "embed", toy_run, toy_store, tmp_path / "o.parquet", *wrong)
        assert refused.code == 2
        assert "exactly one of" in refused.err


def test_finetune_then_predict(
    toy_run: Path, toy_store: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new, out = tmp_path / "new", tmp_path / "out.parquet"
    options = ["--method", "lora", "--epochs", "1", "--rank", "2", "--json"]
    done = call(capsys, "finetune", toy_run, toy_store, labels, new, *options)
    assert done.code == 0
    assert json.loads(done.out)["method"] == "lora"
    assert call(capsys, "predict", new, toy_store, labels, out).code == 0
    assert call(capsys, "inspect", new).code == 0
    assert call(capsys, "finetune", toy_run, toy_store, labels, new, "--method", "magic").code == 2


def test_a_new_run_has_a_report_and_is_not_pre_trained_over(
    toy_run: Path, toy_store: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new"
    assert call(capsys, "finetune", toy_run, toy_store, labels, new, "--method", "head", "--epochs", "1").code == 0
    assert call(capsys, "report", new, tmp_path / "report.html").code == 0
    refused = call(capsys, "pretrain", toy_store, new, "--config", new / "run.yaml")
    assert refused.code == 1
    assert "was made from another run" in " ".join(refused.err.split())


def test_adapt(toy_run: Path, toy_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = tmp_path / "new"
    options = ["--site", "west", "--max-subjects", "20", "--epochs", "1", "--no-outcomes", "--json"]
    done = call(capsys, "adapt", toy_run, toy_store, new, *options)
    assert done.code == 0
    assert json.loads(done.out)["num_subjects"] == 18
    assert call(capsys, "adapt", toy_run, toy_store, new, "--site", "west", "--what", "half").code == 2
    wrong = call(capsys, "adapt", toy_run, toy_store, tmp_path / "n", "--site", "mars")
    assert wrong.code == 1
    assert "at least two subjects of mars" in " ".join(wrong.err.split())


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("finetune", "run", "store", "labels", "new", "--rank", 4), "--rank is of low-rank changes"),
        (("finetune", "run", "store", "labels", "new", "--rank", 8, "--method", "head"), "--method lora"),
        (("adapt", "run", "store", "new", "--site", "a", "--level-prior", 0.5), "--what looking"),
        (("adapt", "run", "store", "new", "--site", "a", "--what", "looking", "--epochs", 3), "leave out --epochs"),
        (("adapt", "run", "store", "new", "--site", "a", "--what", "levels", "--learning-rate", 1), "--what levels"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    command: tuple[object, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    called = call(capsys, *command)
    assert called.code == 2
    assert told in " ".join(called.err.replace("│", " ").split())
