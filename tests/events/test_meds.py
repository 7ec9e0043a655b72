"""MEDS on disk: metadata with defaults, and what the `meds` package accepts."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from sojourn.errors import SchemaError
from sojourn.events import meds
from sojourn.events.inspect import inspect
from sojourn.files import write_json

MakeMeds = Callable[..., Path]
T0 = datetime(2150, 1, 1)


def test_codes_get_defaults(two_stays: Path, tmp_path: Path) -> None:
    table = meds.read_codes(two_stays)
    assert dict(table.schema) == meds.CODES_SCHEMA
    assert table["scale"].null_count() == 0
    assert len(meds.read_codes(tmp_path)) == 0


def test_outcomes_are_target_only_by_name(make_meds: MakeMeds, tmp_path: Path) -> None:
    folder = make_meds(tmp_path / "meds", [[(1, T0, "A", None)]], codes={"code": ["OUTCOME//x", "A", "A"]})
    assert meds.read_codes(folder).select("code", "target_only").rows() == [("OUTCOME//x", True), ("A", False)]


def test_split_names_of_others_are_understood(make_meds: MakeMeds, tmp_path: Path) -> None:
    splits = {1: "train", 2: "val", 3: "test", 4: "held_out"}
    folder = make_meds(tmp_path / "meds", [[(1, T0, "A", None)]], splits=splits)
    table = meds.read_splits(folder)
    assert table is not None
    assert table["split"].to_list() == ["train", "tuning", "held_out", "held_out"]


def test_a_subject_in_two_splits_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metadata").mkdir()
    table = pl.DataFrame({"subject_id": [1, 1], "split": ["train", "test"]})
    table.write_parquet(tmp_path / "metadata" / "subject_splits.parquet")
    with pytest.raises(SchemaError, match="1 subjects have several"):
        meds.read_splits(tmp_path)


def test_site_column(tmp_path: Path) -> None:
    assert meds.site_column(tmp_path, ["code", "site"]) == "site"
    assert meds.site_column(tmp_path, ["code", "hospital"]) is None
    write_json(tmp_path / "metadata" / "dataset.json", {"site_id_columns": ["hospital"]})
    assert meds.site_column(tmp_path, ["code", "hospital"]) == "hospital"


def test_written_metadata_passes_validation(two_stays: Path) -> None:
    meds.validate(two_stays)


def test_text_stays_large_as_meds_wants(make_meds: MakeMeds, tmp_path: Path) -> None:
    text = pl.DataFrame({"subject_id": [1], "time": [T0], "code": ["A"], "text_value": [">300"]})
    meds.validate(make_meds(tmp_path / "meds", [text]))


def test_validation(make_meds: MakeMeds, make_rows: Callable[..., pl.DataFrame], tmp_path: Path) -> None:
    meds.validate(make_meds(tmp_path / "good", [make_rows(0, 3), make_rows(1, 3, first_id=9)]))
    with pytest.raises(SchemaError, match="no other shard"):
        meds.validate(make_meds(tmp_path / "twice", [make_rows(0, 3), make_rows(1, 3)]))
    back = make_rows(0, 1).reverse()
    with pytest.raises(SchemaError, match="must not decrease"):
        meds.validate(make_meds(tmp_path / "back", [back]))
    with pytest.raises(SchemaError, match="DataSchema"):
        meds.validate(make_meds(tmp_path / "lacking", [make_rows(0, 1).drop("code")]))


def test_a_damaged_shard_is_named(make_meds: MakeMeds, tmp_path: Path) -> None:
    folder = make_meds(tmp_path / "meds", [[(1, T0, "A", None)]])
    (shard,) = meds.shard_paths(folder)
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(SchemaError, match=rf"{shard.name} must be a whole parquet file"):
        list(meds.iterate_shards(folder))
    with pytest.raises(SchemaError, match=shard.name):
        inspect(folder)
