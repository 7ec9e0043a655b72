"""A foreign MEDS data set of real patients: counts known from elsewhere, and plausible statistics."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from sojourn.events.build import build_store
from sojourn.events.inspect import inspect
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary

HEART_RATE = "LAB//220045//bpm"

pytestmark = pytest.mark.real


def test_mimic_iv_demo(sojourn_data: Path, make_meds: Callable[..., Path], tmp_path: Path) -> None:
    source = sojourn_data / "mimic-iv-demo-meds" / "mimic_iv_demo_meds_events.parquet"
    if not source.exists():
        pytest.skip(f"{source} is not there")
    rows = pl.read_parquet(source).rename({"value": "numeric_value"}).drop("table")
    dataset = make_meds(tmp_path / "demo", [rows])
    report = build_store(tmp_path / "store", [dataset])
    assert sum(report.rows.values()) == len(rows) == 916_166
    assert report.rows["quarantined"] == 0
    assert (report.num_subjects, report.rows["births"], report.num_static) == (100, 100, 100)
    assert report.bytes_per_event < 10.001
    store = EventStore.open(tmp_path / "store")
    store.verify()
    heart = store.vocabulary.row(by_predicate=pl.col("code") == HEART_RATE, named=True)
    assert (heart["count"], heart["resolution"]) == (13_913, 1.0)
    train = rows.filter(pl.col("subject_id").is_in(store.subjects.filter(split="train")["subject_id"].implode()))
    values = train.filter(pl.col("code") == HEART_RATE)["numeric_value"]
    assert heart["q50"] == values.quantile(0.5, "lower")
    fahrenheit = store.vocabulary.row(by_predicate=pl.col("code") == "LAB//223761//°F", named=True)
    assert fahrenheit["resolution"] == 0.1
    found = inspect(dataset)
    assert found.counts["events"] == 916_166
    vocabulary = ModelVocabulary.fit(store, store.rows("train"))
    assert (
        vocabulary.table["count"].sum()
        == store.subjects.filter(split="train").select(pl.col("num_events") + pl.col("num_static")).to_series().sum()
    )
