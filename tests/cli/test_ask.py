"""Asking on the command line: what a measurement would show, and what is left after each step of a labelling."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from helpers.command import call
from helpers.toy_process import SETTINGS, build_toy_store
from sojourn.events.store import EventStore
from sojourn.inference.values import QUANTILES, future_value
from sojourn.tasks.files import Labels, read_predictions, write_predictions
from sojourn.training.pretrain import pretrain

Capture = pytest.CaptureFixture[str]
CODE = "CONCEPT//heart_rate"


class Asked(NamedTuple):
    """A run of a few steps and a moment to ask it about."""

    run: Path
    store: Path
    subject: int
    at: str

    def command(self, *more: object) -> tuple[object, ...]:
        return ("value", self.run, self.store, "--subject", self.subject, "--at", self.at, *more)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    folder = tmp_path_factory.mktemp("ask")
    store = build_toy_store(folder, num_subjects=60)
    pretrain(store, folder / "run", config=SETTINGS | {"max_steps": 3, "evaluate_every": 3})
    subject, origin = EventStore.open(store).subjects.select("subject_id", "origin").row(7)
    return Asked(folder / "run", store, subject, (origin + timedelta(hours=2)).isoformat())


def test_value_prints_the_quantiles_of_the_function(asked: Asked, capsys: Capture) -> None:
    called = call(capsys, *asked.command("--code", CODE, "--after", "90min", "--after", "2d", "--json"))
    assert called.code == 0, called.err
    at = EventStore.open(asked.store).subjects.row(7, named=True)["origin"] + timedelta(hours=2)
    found = future_value(asked.run, asked.store, subject=asked.subject, at=at, code=CODE, hours=[1.5, 48.0])
    assert json.loads(called.out) == found.to_dicts()
    assert list(found.columns) == ["hours", *QUANTILES, "unit"]


def test_value_prints_median_and_intervals(asked: Asked, capsys: Capture) -> None:
    called = call(capsys, *asked.command("--code", CODE, "--after", "6h"))
    assert called.code == 0, called.err
    (row,) = json.loads(call(capsys, *asked.command("--code", CODE, "--after", "6h", "--json")).out)
    title, head, line = (text for text in called.out.splitlines() if any(mark.isalnum() for mark in text))
    assert title.strip() == CODE
    assert [cell.strip() for cell in head.strip("┃ ").split("┃")] == [
        "after",
        "median",
        "50 % interval",
        "90 % interval",
        "unit",
    ]
    assert [cell.strip() for cell in line.strip("│ ").split("│")] == [
        "6h",
        f"{row['q50']:,.4g}",
        f"{row['q25']:,.4g} to {row['q75']:,.4g}",
        f"{row['q05']:,.4g} to {row['q95']:,.4g}",
        "bpm",
    ]


@pytest.mark.parametrize(
    ("more", "code", "named"),
    [
        (("--code", "LUCK", "--after", "6h"), 1, "carries values"),
        (("--code", CODE, "--after", "6h", "--at", "1999-01-01"), 1, "first event"),
        (("--code", CODE, "--after", "6h", "--subject", "999999"), 1, "1 of 1 are not"),
        (("--code", CODE, "--after", "6y"), 2, "such as 48h"),
        (("--code", CODE), 2, "--after"),
    ],
)
def test_a_value_that_cannot_be_asked(
    asked: Asked, capsys: Capture, more: tuple[str, ...], code: int, named: str
) -> None:
    called = call(capsys, *asked.command(*more))
    assert (called.code, called.out, named in called.err) == (code, "", True), called.err


def test_label_prints_words_not_names_of_fields(asked: Asked, tmp_path: Path, capsys: Capture) -> None:
    command = ("label", "death-24h", asked.store, tmp_path / "labels.parquet")
    called = call(capsys, *command)
    assert called.code == 0, called.err
    assert "_" not in called.out.replace(str(tmp_path), "")
    first = json.loads(call(capsys, *command, "--json").out)["attrition"][0]
    cells = [cell.strip() for cell in called.out.splitlines()[3].strip("│ ").split("│")]
    assert cells == [first["step"], f"{first['num_rows']:,}", f"{first['num_subjects']:,}"]


def test_labels_that_serve_for_nothing_are_told(asked: Asked, tmp_path: Path, capsys: Capture) -> None:
    command = (asked.store, tmp_path / "labels.parquet", "--json")
    none = call(capsys, "label", "first(heart_rate > 280, 24h)", *command)
    assert (none.code, json.loads(none.out)["num_positive"]) == (0, 0)
    assert "the outcome occurs in none of the" in none.err
    empty = call(capsys, "label", "first(heart_rate > 280, 24h, from 100h)", *command)
    assert (empty.code, json.loads(empty.out)["num_labels"]) == (0, 0)
    assert "no prediction is left" in empty.err
    assert "predictions" not in call(capsys, "label", "death-24h", *command).err


def test_brackets_in_a_name_are_neither_markup_nor_a_pattern(tmp_path: Path, capsys: Capture) -> None:
    labels = Labels(
        pl.DataFrame(
            {"subject_id": [1, 2], "prediction_time": [datetime(2020, 1, 1)] * 2, "boolean_value": [0, 1]}
        ).with_columns(pl.col("boolean_value").cast(pl.Boolean), pl.col("prediction_time").cast(pl.Datetime("us"))),
        {"name": "death"},
    )
    files = [tmp_path / "one [a].parquet", tmp_path / "two [b].parquet"]
    for path in files:
        write_predictions(path, labels, np.array([0.2, 0.7]), method="query", site=["north", "north"])
    called = call(capsys, "blend", *files, tmp_path / "both [c].parquet")
    assert called.code == 0, called.err
    assert f"wrote {tmp_path / 'both [c].parquet'}" in called.err
    assert read_predictions(tmp_path / "both [c].parquet").method == "blend"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("predict", "run", "store", "labels", "out", "--num-samples", 20), "--num-samples"),
        (("predict", "run", "store", "labels", "out", "--estimator", "count"), "--estimator"),
        (("baseline", "lightgbm", "a", "a", "b", "b", "out", "--run", "run"), "--run"),
        (("baseline", "logistic", "a", "a", "b", "b", "out", "--head", "lightgbm"), "--head"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(command: tuple[object, ...], told: str, capsys: Capture) -> None:
    called = call(capsys, *command)
    assert called.code == 2
    assert told in called.err
