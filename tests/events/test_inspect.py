"""Inspection: counts of data sets, stores and runs; no patient's time or value."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import yaml

from sojourn.errors import DataError
from sojourn.events.build import build_store
from sojourn.events.inspect import inspect
from sojourn.files import write_json


def test_meds(two_stays: Path) -> None:
    table = {"table": "labs", "rows": 9, "rows_to_events": 7, "rows_quarantined": 2, "reasons": {"no time": 2}}
    write_json(two_stays / "metadata" / "ingest.json", {"source": "x", "tables": [table], "warnings": ["no icu"]})
    found = inspect(two_stays)
    assert found.kind == "meds"
    assert found.counts["events"] == 16
    assert found.counts["static facts"] == 4
    assert found.sites == {"north": {"subjects": 1}, "south": {"subjects": 2}}
    assert found.families["LAB"] == {"codes": 2, "events": 4}
    assert found.quarantine == ({"table": "labs", "reason": "no time", "rows": 2},)
    assert found.notes == ("no icu",)


def test_store(two_stays: Path, tmp_path: Path) -> None:
    build_store(tmp_path / "store", [two_stays])
    found = inspect(tmp_path / "store")
    assert found.kind == "store"
    assert (found.counts["events"], found.counts["subjects in train"]) == (11, 1)
    assert found.sites["south"] == {"subjects": 1, "events": 3, "tick_s": 3600}
    assert sum(family["events"] for family in found.families.values()) == 14
    assert found.span["hours of a record, median"] == 8.0


def note_ingestion(dataset: Path, **reasons: int) -> None:
    table = {"table": "labs", "rows": 9, "reasons": reasons}
    write_json(dataset / "metadata" / "ingest.json", {"source": "x", "tables": [table], "warnings": []})


def test_store_tells_what_was_set_aside_on_the_way_to_it(two_stays: Path, tmp_path: Path) -> None:
    note_ingestion(two_stays, no_time=2, empty_row=1)
    build_store(tmp_path / "store", [two_stays])
    assert inspect(tmp_path / "store").quarantine == (
        {"table": "labs", "reason": "empty_row", "rows": 1},
        {"table": "labs", "reason": "no_time", "rows": 2},
    )


def test_store_of_data_sets_of_one_name_tells_of_each(
    two_stays: Path, make_meds: Callable[..., Path], tmp_path: Path
) -> None:
    folders = [tmp_path / place / "meds" for place in ("north", "south")]
    for number, folder in enumerate(folders):
        rows = pl.read_parquet(two_stays / "data" / "*.parquet")
        make_meds(folder, [rows.with_columns(pl.col("subject_id") + 1000 * number)])
        note_ingestion(folder, no_time=number + 1)
    build_store(tmp_path / "store", folders)
    assert [(row["table"], row["rows"]) for row in inspect(tmp_path / "store").quarantine] == [
        ("north/meds: labs", 1),
        ("south/meds: labs", 2),
    ]


def test_run_tells_of_the_data_that_it_learnt_from(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("seed: 3")
    tables = [{"table": "labs", "reasons": {"no_time": 2}}]
    datasets = [{"name": "a", "sites": {"north": 5}, "tables": tables, "units": {"table": [{"code": "LAB//1"}]}}]
    store = {"num_subjects": 5, "num_events": 90, "num_codes": 7, "inputs": {}}
    write_json(tmp_path / "artifacts" / "data.json", {"datasets": datasets, "store": store})
    counts = {"code": ["LAB//1", "LAB//unknown", "//unknown"], "count": [60, 1, 2]}
    pl.DataFrame(counts).write_parquet(tmp_path / "vocabulary.parquet")
    found = inspect(tmp_path)
    assert found.sites == {"north": {"subjects": 5}}
    assert found.families == {"LAB": {"codes": 2, "events": 61}, "unknown": {"codes": 1, "events": 2}}
    assert found.quarantine == ({"table": "labs", "reason": "no_time", "rows": 2},)
    assert found.counts["events of the store"] == 90
    assert [table.title for table in found.tables()][1:] == ["sites", "codes", "set aside", "units", "notes"]
    (tmp_path / "artifacts" / "data.json").write_text("[1]")
    with pytest.raises(DataError, match="must hold a JSON object"):
        inspect(tmp_path)


def test_run(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"config": {"depth": 4}, "seed": 3}))
    lines = [{"split": "tuning", "step": step, "nats_per_event": 3 - step / 10} for step in (1, 2)]
    # The last line is cut, as a killed run leaves it.
    (tmp_path / "metrics.jsonl").write_text("\n".join([*map(json.dumps, lines), '{"split": "tun']))
    found = inspect(tmp_path)
    assert found.counts["tuning nats per event"] == 2.8
    assert "config.depth = 4" in found.notes
    assert found.counts["weights"] == "not trained to the end"


def test_tables_and_json_hold_the_same(two_stays: Path) -> None:
    found = inspect(two_stays)
    json.dumps(found.to_dict())
    titles = [table.title for table in found.tables()]
    assert titles == [f"meds {two_stays}", "time", "sites", "codes"]
    assert all(len(row) == len(table.columns) for table in found.tables() for row in table.rows)
    printed = str(found.tables())
    assert "88.4" not in printed
    assert "2150" not in printed


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_something_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="must be a MEDS data set"):
        inspect(tmp_path / name)
