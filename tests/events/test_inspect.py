"""Inspection: counts of data sets, stores and runs; no patient's time or value."""

import json
from pathlib import Path

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
