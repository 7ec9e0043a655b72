"""Derived outcomes: encoded like the data's own, refused when they break the contract."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from helpers.deriving import high_lab
from sojourn.errors import ConfigError, DataError
from sojourn.events.build import build_store
from sojourn.events.store import EventStore


def test_derived_events_are_target_only_and_in_time_order(
    many_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sojourn.events.plan.PIECE_ROWS", 4000)
    plain = build_store(tmp_path / "plain", [many_shards])
    report = build_store(tmp_path / "store", [many_shards], derive=high_lab, workers=2)
    rows = pl.read_parquet(many_shards / "data/*.parquet").filter(pl.col("time").is_not_null())
    expected = high_lab(rows)
    assert report.notes["derived_events"] == len(expected) > 0
    assert report.num_events == plain.num_events + len(expected)
    store = EventStore.open(tmp_path / "store")
    high = store.vocabulary.row(by_predicate=pl.col("code") == "OUTCOME//high", named=True)
    assert high["target_only"]
    assert high["count"] == len(expected)
    for row in range(len(store)):
        subject = store.subject(row)
        assert (subject.seconds[1:] >= subject.seconds[:-1]).all()
        found = subject.origin + subject.seconds[subject.code == high["index"]].astype("timedelta64[s]")
        own = expected.filter(pl.col("subject_id") == subject.subject_id)["time"].sort().to_list()
        assert found.tolist() == own


def test_a_derivation_is_shown_only_what_it_reads(many_shards: Path, tmp_path: Path) -> None:
    build_store(tmp_path / "all", [many_shards], derive=high_lab)
    asked: list[str] = []

    def reads(codes: Sequence[str]) -> list[str]:
        asked.extend(codes)
        return ["LAB//3//u"]

    build_store(tmp_path / "some", [many_shards], derive=high_lab, reads=reads)
    assert {"LAB//3//u", "LAB//4//u", "MEDS_DEATH"} <= set(asked)
    for name in ("manifest.json", "shards/00000/code.npy", "subjects.parquet"):
        assert (tmp_path / "all" / name).read_bytes() == (tmp_path / "some" / name).read_bytes()
    build_store(tmp_path / "none", [many_shards], derive=high_lab, reads=nothing)
    assert EventStore.open(tmp_path / "none").manifest["accounts"]["notes"]["derived_events"] == 0


def nothing(codes: Sequence[str]) -> list[str]:
    return []


def test_store_with_and_without_derivation_are_told_apart(many_shards: Path, tmp_path: Path) -> None:
    build_store(tmp_path / "store", [many_shards], derive=high_lab)
    with pytest.raises(DataError, match="differ in derive"):
        build_store(tmp_path / "store", [many_shards])


def other_code(events: pl.DataFrame) -> pl.DataFrame:
    return events.select("subject_id", "time", "code")


def other_subject(events: pl.DataFrame) -> pl.DataFrame:
    return events.head(1).select(pl.lit(-5).alias("subject_id"), "time", code=pl.lit("OUTCOME//x"))


def before_the_record(events: pl.DataFrame) -> pl.DataFrame:
    early = pl.lit(datetime(1990, 1, 1)).cast(pl.Datetime("us"))
    return events.head(1).select("subject_id", early.alias("time"), code=pl.lit("OUTCOME//x"))


def no_time(events: pl.DataFrame) -> pl.DataFrame:
    return events.select("subject_id", code=pl.lit("OUTCOME//x"))


@pytest.mark.parametrize(
    ("derive", "words"),
    [
        (other_code, "codes OUTCOME//"),
        (other_subject, "subjects that it was given"),
        (before_the_record, "first event on"),
        (no_time, "columns subject_id, time, code"),
    ],
)
def test_breaking_the_contract_is_refused(many_shards: Path, tmp_path: Path, derive: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        build_store(tmp_path / "store", [many_shards], derive=derive)


def test_a_local_function_cannot_go_to_other_processes(
    many_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sojourn.events.plan.PIECE_ROWS", 4000)
    with pytest.raises(ConfigError, match="top level"):
        build_store(tmp_path / "store", [many_shards], derive=lambda events: events.clear(), workers=2)
