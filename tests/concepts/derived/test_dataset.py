"""A whole MEDS data set with derived events: what it holds, in which order, and that shards do not matter."""

import json
from pathlib import Path

import polars as pl
import pytest

from helpers.command import call
from helpers.task_records import Row, at, table
from sojourn.concepts.derived.dataset import derive
from sojourn.concepts.derived.registry import derive_scores
from sojourn.errors import ConfigError, DataError
from sojourn.events import plan
from sojourn.events.meds import read_codes, shard_paths, validate, write_table
from sojourn.pipeline import build


def stay(subject: int) -> list[Row]:
    return [
        (subject, None, "GENDER//F"),
        (subject, 0, "ICU_ADMISSION//MICU"),
        (subject, 0, "CHART//weight//lb", 200),
        (subject, 4, "OUTPUT//urine", 100 * subject),
        (subject, 5, "LAB//creatinine", 1.0),
        (subject, 10, "OUTPUT//urine", 100 * subject),
        (subject, 12, "LAB//creatinine", 1.0 * subject),
        (subject, 30, "ICU_DISCHARGE//ALIVE"),
    ]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two shards of two subjects, with local codes and a flagged value."""
    folder = tmp_path / "meds"
    for shard, subjects in enumerate(((3, 1), (2, 4))):
        rows = table([row for subject in subjects for row in stay(subject)])
        flag = pl.when((pl.col("subject_id") == 4) & (pl.col("time") == at(12))).then(pl.lit("too high"))
        rows = rows.with_columns(
            text_value=pl.lit(None, pl.String), site=pl.format("site-{}", "subject_id"), flag=flag.cast(pl.String)
        )
        write_table(rows, folder / "data" / f"{shard}.parquet")
    codes = {
        "CHART//weight//lb": ("weight", 0.45359237),
        "OUTPUT//urine": ("urine_output", 1.0),
        "LAB//creatinine": ("creatinine", 1.0),
    }
    names = sorted({row[2] for row in stay(1)})
    told = pl.DataFrame(
        {
            "code": names,
            "description": names,
            "parent_codes": pl.Series([None] * len(names), dtype=pl.List(pl.String)),
            "concept": [codes.get(name, (None, 1.0))[0] for name in names],
            "scale": [codes.get(name, (None, 1.0))[1] for name in names],
            "offset": 0.0,
        }
    )
    write_table(told, folder / "metadata" / "codes.parquet")
    splits = pl.DataFrame({"subject_id": [1, 2, 3, 4], "split": ["train", "train", "tuning", "held_out"]})
    write_table(splits, folder / "metadata" / "subject_splits.parquet")
    return folder


def read(folder: Path) -> pl.DataFrame:
    return pl.concat(pl.read_parquet(path) for path in shard_paths(folder))


def test_all_events_stay_and_the_derived_ones_stand_among_them(dataset: Path, tmp_path: Path) -> None:
    report = derive(dataset, tmp_path / "out")
    found, before = read(tmp_path / "out"), read(dataset)
    validate(tmp_path / "out")
    assert found.columns == before.columns
    is_new = pl.col("code").str.starts_with("DERIVED//")
    assert found.filter(~is_new).equals(before)
    assert (report.num_subjects, report.num_events, report.num_derived) == (4, 32, found.filter(is_new).height)
    assert dict(found.filter(is_new).group_by("code").len().iter_rows()) == report.events
    rate = found.filter(pl.col("code") == "DERIVED//urine_rate", pl.col("subject_id") == 3)
    assert rate.select("time", "site").rows() == [(at(4), "site-3"), (at(10), "site-3")]
    # 300 mL in 4 h, then in 6 h, at 200 lb = 90.7 kg.
    assert rate["numeric_value"].to_list() == pytest.approx([300 / 4 / 90.718, 300 / 6 / 90.718], rel=1e-4)
    stage = found.filter(pl.col("code") == "DERIVED//kdigo//stage_creatinine")
    assert dict(stage.filter(pl.col("time") == at(12)).select("subject_id", "numeric_value").rows()) == {
        1: 0,
        2: 2,
        3: 3,  # of subject 4 the value is flagged: no creatinine, no stage
    }


def test_metadata_come_along_with_a_row_for_each_new_code(dataset: Path, tmp_path: Path) -> None:
    report = derive(dataset, tmp_path / "out", scores=["kdigo"])
    codes = read_codes(tmp_path / "out")
    new = codes.filter(pl.col("code").str.starts_with("DERIVED//"))
    assert set(new["code"]) == set(report.events)
    assert set(new["code"]) == {f"DERIVED//kdigo//{name}" for name in ("stage", "stage_creatinine", "stage_urine")}
    assert new["description"].null_count() == 0
    assert not new["target_only"].any()
    assert codes.height == read_codes(dataset).height + new.height
    assert (tmp_path / "out" / "metadata" / "subject_splits.parquet").exists()


def test_the_size_of_pieces_changes_nothing(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    derive(dataset, tmp_path / "whole")
    monkeypatch.setattr(plan, "PIECE_ROWS", 5)
    derive(dataset, tmp_path / "pieces")
    assert len(shard_paths(tmp_path / "pieces")) == 4
    assert read(tmp_path / "pieces").equals(read(tmp_path / "whole"))


def test_a_store_of_it_holds_the_scores_as_inputs_and_the_onsets_as_targets(dataset: Path, tmp_path: Path) -> None:
    derive(dataset, tmp_path / "scored")
    build(tmp_path / "store", [tmp_path / "scored"])
    words = pl.read_parquet(tmp_path / "store" / "vocabulary.parquet")
    is_target = dict(words.select("code", "target_only").iter_rows())
    assert is_target["DERIVED//kdigo//stage"] is False
    assert is_target["OUTCOME//aki_kdigo"] is True
    assert is_target["OUTCOME//kdigo_stage_3"] is True


def test_wrong_names_and_places_are_refused_before_anything_is_written(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="news2"):
        derive(dataset, tmp_path / "out", scores=["news2"])
    assert not (tmp_path / "out").exists()
    derive(dataset, tmp_path / "out")
    with pytest.raises(DataError, match="must not exist"):
        derive(dataset, tmp_path / "out")
    assert derive_scores(table([])).is_empty()


def test_the_command_prints_what_it_added(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    called = call(capsys, "derive", dataset, tmp_path / "out", "--scores", "urine_rate", "--json")
    assert called.code == 0, called.err
    assert json.loads(called.out)["events"] == {"DERIVED//urine_rate": 8}


def test_brackets_in_a_path_are_no_pattern(dataset: Path, tmp_path: Path) -> None:
    named = dataset.rename(tmp_path / "meds[1]")
    derive(named, tmp_path / "out[2]")
    build(tmp_path / "store[3]", [tmp_path / "out[2]"])
    assert any(code.startswith("DERIVED//") for code in read_codes(tmp_path / "out[2]")["code"])
