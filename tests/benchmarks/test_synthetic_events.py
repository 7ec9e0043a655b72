"""The synthetic events of the benchmarks are MEDS, of the shape that they claim, and the same for the same seed."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

from sojourn.events.meds import validate
from sojourn.pipeline import build

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")


@pytest.fixture(scope="module")
def module() -> ModuleType:
    """The module, which is no part of the package."""
    sys.path.insert(0, BENCHMARKS)
    try:
        return importlib.import_module("synthetic_events")
    finally:
        sys.path.remove(BENCHMARKS)


def test_it_is_what_it_says(module: ModuleType, tmp_path: Path) -> None:
    data = module.write_synthetic(tmp_path / "data", 30_000)
    validate(data)
    rows = pl.read_parquet(data / "data" / "**/*.parquet")
    assert len(rows) == pytest.approx(30_000, rel=0.2)
    timed = rows.filter(pl.col("time").is_not_null() & (pl.col("code") != "MEDS_BIRTH"))
    per_instant = len(timed) / timed.select(pl.struct("subject_id", "time").n_unique()).item()
    assert per_instant == pytest.approx(3.3, rel=0.1)
    splits = pl.read_parquet(data / "metadata" / "subject_splits.parquet")
    assert set(splits["split"]) == {"train", "tuning", "held_out"}
    report = build(tmp_path / "store", [data])
    assert report.rows["quarantined"] == 0
    assert report.notes["derived_events"] > 0


def test_a_shard_depends_on_seed_and_number_alone(module: ModuleType) -> None:
    codes, _ = module.make_codes(3)
    again, _ = module.make_codes(3)
    first = module.make_shard(codes, seed=3, index=1, num_subjects=10)
    assert first.equals(module.make_shard(again, seed=3, index=1, num_subjects=10))
    assert not first.equals(module.make_shard(codes, seed=3, index=2, num_subjects=10))
