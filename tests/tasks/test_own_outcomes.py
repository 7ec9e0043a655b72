"""A user's own outcomes: derived with the built-in ones, kept in the store, and found again by phrases."""

import copy
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from helpers.task_records import Row
from sojourn.errors import DataError, TaskError
from sojourn.events.fan_out import check_portable
from sojourn.events.store import EventStore
from sojourn.pipeline import build
from sojourn.tasks.files import read_labels
from sojourn.tasks.label import label
from sojourn.tasks.outcomes import outcomes
from sojourn.tasks.own_outcomes import OwnOutcomes, kept_outcomes, read_outcomes
from sojourn.tasks.phrases import parse_phrase

WriteMeds = Callable[..., Path]
OWN = """
outcomes:
  - name: raised_lactate
    kind: value
    description: lactate above 2.5 mmol/L
    codes: [CONCEPT//lactate]
    plausible: [0.1, 35]
    above: 2.5
"""
ROWS: list[Row] = [
    (1, 0, "ICU_ADMISSION//A"),
    (1, 20, "CONCEPT//lactate", 2.6),
    (1, 60, "ICU_DISCHARGE//ALIVE"),
    (1, 60, "HOSPITAL_DISCHARGE//ALIVE"),
    (2, 0, "ICU_ADMISSION//A"),
    (2, 20, "CONCEPT//lactate", 2.4),
    (2, 30, "CONCEPT//lactate", 99.0),
    (2, 60, "ICU_DISCHARGE//ALIVE"),
    (2, 60, "HOSPITAL_DISCHARGE//ALIVE"),
]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(OWN)
    return path


def test_own_outcomes_are_in_the_vocabulary_beside_the_built_in_ones(
    write_meds: WriteMeds, own: Path, tmp_path: Path
) -> None:
    dataset = write_meds([*ROWS, (1, 25, "CONCEPT//lactate", 4.5)])
    build(tmp_path / "store", [dataset], outcomes=own)
    codes = EventStore.open(tmp_path / "store").vocabulary
    found = dict(codes.filter(pl.col("code").str.starts_with("OUTCOME//")).select("code", "count").iter_rows())
    assert found["OUTCOME//raised_lactate"] == 2
    assert found["OUTCOME//lactate_gt_4"] == 1
    assert codes.filter(pl.col("code") == "OUTCOME//raised_lactate")["target_only"].item()
    assert list(kept_outcomes(tmp_path / "store")) == ["raised_lactate"]


def test_a_phrase_means_the_outcome_of_the_store(write_meds: WriteMeds, own: Path, tmp_path: Path) -> None:
    dataset = write_meds(ROWS)
    build(tmp_path / "store", [dataset], outcomes=own)
    phrase = "first(lactate > 2.5, 24h, at 12h)"
    label(phrase, tmp_path / "store", tmp_path / "own.parquet")
    found = read_labels(tmp_path / "own.parquet")
    assert found.task["outcomes"] == ["OUTCOME//raised_lactate"]
    assert found.task["definitions"][0]["above"] == 2.5
    assert dict(found.table.select("subject_id", "boolean_value").iter_rows()) == {1: True, 2: False}
    # By its name, and without the store's definition: the same answers.
    label("first(raised_lactate, 24h, at 12h)", tmp_path / "store", tmp_path / "named.parquet")
    label(phrase, dataset, tmp_path / "plain.parquet")
    plain = read_labels(tmp_path / "plain.parquet")
    assert plain.task["outcomes"] == ["OUTCOME//lactate_gt_2p5"]
    assert plain.table.equals(found.table)
    assert read_labels(tmp_path / "named.parquet").table.equals(found.table)


def test_a_store_of_other_outcomes_is_not_taken_for_the_same(write_meds: WriteMeds, own: Path, tmp_path: Path) -> None:
    dataset, store = write_meds(ROWS), tmp_path / "store"
    build(store, [dataset], outcomes=own)
    assert build(store, [dataset], outcomes=own).already_built
    with pytest.raises(DataError, match="differ in derive"):
        build(store, [dataset])
    own.write_text(OWN.replace("2.5", "3.5"))
    with pytest.raises(DataError, match="differ in derive"):
        build(store, [dataset], outcomes=own)
    assert kept_outcomes(store)["raised_lactate"].above == 2.5  # type: ignore[union-attr]


def test_definitions_are_checked_before_anything_is_read(own: Path, tmp_path: Path) -> None:
    own.write_text(OWN.replace("above: 2.5", "above: 2.5\n    below: 1"))
    with pytest.raises(TaskError, match="exactly one of above"):
        build(tmp_path / "store", [tmp_path / "nowhere"], outcomes=own)
    own.write_text(OWN.replace("raised_lactate", "lactate_gt_4"))
    with pytest.raises(TaskError, match="other outcomes than the built-in ones; it has lactate_gt_4"):
        read_outcomes(own)
    with pytest.raises(TaskError, match="FileNotFoundError"):
        read_outcomes(tmp_path / "none.yaml")


def test_other_processes_are_given_the_same_definitions() -> None:
    own = OwnOutcomes(OWN)
    for given in (own, own.reads):
        check_portable(given, "derive")
    assert copy.deepcopy(own).fingerprint == own.fingerprint
    assert own.fingerprint != OwnOutcomes(OWN + "\n").fingerprint
    assert own.reads(["CONCEPT//lactate", "CONCEPT//albumin"]) == ["CONCEPT//lactate"]


def test_a_phrase_of_a_built_in_outcome_stays_that() -> None:
    stored = OwnOutcomes(OWN).definitions()
    assert parse_phrase("first(lactate > 4, 24h)", stored).outcomes == ("lactate_gt_4",)
    assert parse_phrase("first(lactate > 2.5 or map < 60, 24h)", stored).outcomes == (
        "raised_lactate",
        "hypotension_map_lt_60",
    )
    assert "raised_lactate" not in outcomes()
