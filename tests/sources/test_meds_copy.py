"""MEDS data sets are checked, completed and copied."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from sojourn.errors import SchemaError
from sojourn.files import write_json
from sojourn.sources.ingest import ingest

ReadEvents = Callable[[Path], pl.DataFrame]
NOON = datetime(2100, 1, 1, 12)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A data set of another maker, with two shards."""
    folder = tmp_path / "raw"
    (folder / "data" / "train").mkdir(parents=True)
    (folder / "metadata").mkdir()
    pl.DataFrame(
        {"subject_id": [2, 1, 1, None], "time": [NOON, NOON, None, NOON], "code": ["B", "A//x", "GENDER//F", "A"]}
    ).with_columns(hospital=pl.lit("north"), extra=pl.lit(1)).write_parquet(folder / "data" / "train" / "0.parquet")
    pl.DataFrame(
        {"subject_id": [3, 3, 3], "time": [NOON] * 3, "code": ["A//x", None, ""], "numeric_value": [1.5, 2.5, 3.5]}
    ).write_parquet(folder / "data" / "1.parquet")
    pl.DataFrame({"code": ["A//x", "A"], "description": ["A thing", "Things"]}).write_parquet(
        folder / "metadata" / "codes.parquet"
    )
    pl.DataFrame({"subject_id": [1, 2], "split": ["held_out", "tuning"]}).write_parquet(
        folder / "metadata" / "subject_splits.parquet"
    )
    write_json(folder / "metadata" / "dataset.json", {"dataset_name": "elsewhere", "site_id_columns": ["hospital"]})
    return folder


def test_a_data_set_is_brought_to_the_layout(raw: Path, tmp_path: Path, read_events: ReadEvents) -> None:
    report = ingest("meds", raw, tmp_path / "out")
    reasons = {table.table: table.reasons for table in report.tables}
    assert reasons == {"1": {"no_code": 2}, "train/0": {"no_subject": 1}}
    assert report.sites == {"elsewhere": 1, "north": 2}
    assert report.warnings == ("columns of train/0 that are no part of the layout are not kept: extra",)
    events = read_events(tmp_path / "out").sort("subject_id", maintain_order=True)
    assert events.select("subject_id", "time", "code", "numeric_value", "site").rows() == [
        (1, None, "GENDER//F", None, "north"),
        (1, NOON, "A//x", None, "north"),
        (2, NOON, "B", None, "north"),
        (3, NOON, "A//x", 1.5, "elsewhere"),
    ]
    codes = pl.read_parquet(tmp_path / "out" / "metadata" / "codes.parquet")
    assert codes.select("code", "description").rows() == [
        ("A", "Things"),
        ("A//x", "A thing"),
        ("B", None),
        ("GENDER//F", None),
    ]
    splits = pl.read_parquet(tmp_path / "out" / "metadata" / "subject_splits.parquet").sort("subject_id")
    assert splits["split"].to_list()[:2] == ["held_out", "tuning"]
    assert splits.height == 3


def test_copying_a_copy_changes_no_event(psv_folder: Path, tmp_path: Path, read_events: ReadEvents) -> None:
    ingest("challenge-2019", psv_folder, tmp_path / "first")
    report = ingest("meds", tmp_path / "first", tmp_path / "second")
    assert report.sites == {"challenge-2019-A": 30, "challenge-2019-B": 10}
    assert read_events(tmp_path / "first").equals(read_events(tmp_path / "second"))
    one, two = (pl.read_parquet(tmp_path / name / "metadata" / "codes.parquet") for name in ("first", "second"))
    assert one.equals(two)


def test_flat_files_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    table = pl.DataFrame({"subject_id": [1], "time": [NOON], "code": ["A"], "value": [2.0]})
    table.write_parquet(tmp_path / "raw" / "events.parquet")
    pl.DataFrame({"subject_id": [1], "label": [True]}).write_parquet(tmp_path / "raw" / "labels.parquet")
    report = ingest("meds", tmp_path / "raw", tmp_path / "out", site="south")
    assert (report.num_events, report.sites) == (1, {"south": 1})
    assert pl.read_parquet(tmp_path / "out" / "data" / "0.parquet")["numeric_value"].to_list() == [2.0]


def test_times_with_a_zone_are_read_in_utc(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    time = pl.Series([NOON, None]).dt.replace_time_zone("UTC").dt.convert_time_zone("America/New_York")
    table = pl.DataFrame({"subject_id": [1, 1], "time": time, "code": ["A", "B"]})
    table.write_parquet(tmp_path / "raw" / "events.parquet")
    assert ingest("meds", tmp_path / "raw", tmp_path / "out").num_events == 2
    assert pl.read_parquet(tmp_path / "out" / "data" / "0.parquet")["time"].to_list() == [None, NOON]


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with pytest.raises(SchemaError, match="raw must be a MEDS data set"):
        ingest("meds", tmp_path / "raw", tmp_path / "out")


@pytest.mark.real
def test_a_published_copy_keeps_all_events(sojourn_data: Path, tmp_path: Path) -> None:
    report = ingest("meds", sojourn_data / "mimic-iv-demo-meds" / "mimic_iv_demo_meds_events.parquet", tmp_path / "out")
    assert (report.num_events, report.num_subjects) == (916_166, 100)
