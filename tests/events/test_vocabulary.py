"""A model's vocabulary: rare codes fall back, unseen ones are counted, never dropped."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sojourn.errors import ConfigError, SchemaError
from sojourn.events.build import build_store
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import SCHEMA, ModelVocabulary

MakeMeds = Callable[..., Path]
T0 = datetime(2150, 1, 1)


def make_store(make_meds: MakeMeds, folder: Path, counts: dict[str, int], *, first_id: int = 0) -> EventStore:
    """A store of one training subject with some codes, each with values 1, 2, 3, ..."""
    rows = [(first_id, T0, code, float(k + 1)) for code, count in counts.items() for k in range(count)]
    build_store(folder / "store", [make_meds(folder / "meds", [rows], splits={first_id: "train"})])
    return EventStore.open(folder / "store")


def row_of(vocabulary: ModelVocabulary, code: str) -> dict[str, object]:
    return vocabulary.table.row(vocabulary.index[code], named=True)


def test_rare_codes_fall_back_and_unseen_ones_are_counted(make_meds: MakeMeds, tmp_path: Path) -> None:
    here = make_store(
        make_meds, tmp_path / "here", {"LAB//1//a": 30, "LAB//2//a": 3, "LAB//2//b": 4, "LAB//3//a": 2, "X//1": 1}
    )
    vocabulary = ModelVocabulary.fit(here, here.rows("train"), min_count=6)
    assert vocabulary.table["code"].to_list() == [
        "//unknown",
        "LAB//1//a",
        "LAB//1//unknown",
        "LAB//2",
        "LAB//unknown",
    ]
    assert row_of(vocabulary, "LAB//2")["count"] == 7
    assert row_of(vocabulary, "//unknown")["count"] == 3  # LAB//3//a and X//1: too rare on every level
    own = vocabulary.translate(here)
    entries = vocabulary.table["code"].gather(own.index)
    mapped = dict(zip(here.vocabulary["code"], entries, strict=True))
    assert mapped == {
        "LAB//1//a": "LAB//1//a",
        "LAB//2//a": "LAB//2",
        "LAB//2//b": "LAB//2",
        "LAB//3//a": "//unknown",
        "X//1": "//unknown",
    }
    there = make_store(make_meds, tmp_path / "there", {"LAB//1//z": 5, "LAB//9": 2, "NEW": 7}, first_id=1)
    other = vocabulary.translate(there)
    assert other.unknown.rows() == [
        ("NEW", 7, "//unknown"),
        ("LAB//1//z", 5, "LAB//1//unknown"),
        ("LAB//9", 2, "LAB//unknown"),
    ]
    assert other.index.dtype == np.int64


def test_pointers_between_entries(make_meds: MakeMeds, tmp_path: Path) -> None:
    store = make_store(make_meds, tmp_path, {"LAB//1//a": 30, "LAB//1": 30, "TOP": 30})
    vocabulary = ModelVocabulary.fit(store, store.rows())
    index = vocabulary.index
    assert row_of(vocabulary, "LAB//1//a")["parent"] == index["LAB//1"]
    assert row_of(vocabulary, "LAB//1//a")["unknown"] == index["LAB//1//unknown"]
    assert row_of(vocabulary, "LAB//1")["parent"] is None
    assert row_of(vocabulary, "TOP")["unknown"] == 0
    assert row_of(vocabulary, "//unknown")["unknown"] == 0


def test_location_and_scale(make_meds: MakeMeds, tmp_path: Path) -> None:
    store = make_store(make_meds, tmp_path, {"LAB//1//a": 101, "LAB//2": 1})
    vocabulary = ModelVocabulary.fit(store, store.rows(), min_count=1)
    lab = row_of(vocabulary, "LAB//1//a")
    assert (lab["loc"], lab["num_values"], lab["has_value"], lab["resolution"]) == (51, 101, True, 1.0)
    assert lab["scale"] == pytest.approx(50 / 1.34898, rel=1e-4)
    assert row_of(vocabulary, "LAB//2")["scale"] == 1.0  # one value: neither a range nor a deviation
    pooled = row_of(vocabulary, "LAB//unknown")
    assert (pooled["num_values"], pooled["count"]) == (102, 0)


def test_scale_falls_back_to_the_deviation(
    make_meds: MakeMeds, tmp_path: Path, at_hour: Callable[[float], datetime]
) -> None:
    rows = [(1, at_hour(k), "FLAG", 1.0 if k == 0 else 0.0) for k in range(100)]
    build_store(tmp_path / "store", [make_meds(tmp_path / "meds", [rows])])
    store = EventStore.open(tmp_path / "store")
    flag = row_of(ModelVocabulary.fit(store, store.rows()), "FLAG")
    assert flag["scale"] == pytest.approx((0.01 * 0.99) ** 0.5)


def test_canonical_order_and_kinds(two_stays: Path, tmp_path: Path) -> None:
    build_store(tmp_path / "store", [two_stays])
    store = EventStore.open(tmp_path / "store")
    vocabulary = ModelVocabulary.fit(store, store.rows(), min_count=1)
    assert dict(vocabulary.table.schema) == SCHEMA
    is_static, is_target = (vocabulary.table[name].to_numpy() for name in ("is_static", "target_only"))
    assert not is_static[0]
    assert (np.diff(np.where(is_target, 2, ~is_static)[1:]) >= 0).all()
    codes = vocabulary.table["code"].to_list()
    # Families with the fewest events first, and each by name.
    assert codes[1:5] == ["WEIGHT//kg", "WEIGHT//unknown", "GENDER//F", "GENDER//M"]
    assert codes[-2:] == ["OUTCOME//follow_up_end", "OUTCOME//unknown"]
    assert row_of(vocabulary, "CONCEPT//lactate")["unit"] == "mmol/L"
    assert row_of(vocabulary, "HOSPITAL_DISCHARGE//unknown")["terminal"]
    assert (vocabulary.table["scale"] > 0).all()


def test_only_training_rows_count(many_shards: Path, tmp_path: Path) -> None:
    build_store(tmp_path / "store", [many_shards])
    store = EventStore.open(tmp_path / "store")
    rows = store.rows("train", sites=["north"])
    vocabulary = ModelVocabulary.fit(store, rows, min_count=1)
    events = np.concatenate([[*store.subject(row).code, *store.subject(row).static_code] for row in rows])
    names = store.vocabulary["code"].gather(events.astype(np.uint32))
    expected = dict(names.value_counts().iter_rows())
    assert {code: count for code, count in vocabulary.table.select("code", "count").iter_rows() if count} == expected


def test_order_of_rows_changes_nothing(many_shards: Path, tmp_path: Path) -> None:
    build_store(tmp_path / "store", [many_shards])
    store = EventStore.open(tmp_path / "store")
    rows = store.rows("train")
    forward, backward = (ModelVocabulary.fit(store, order) for order in (rows, rows[::-1]))
    assert forward.table.equals(backward.table)


def test_max_codes(many_shards: Path, tmp_path: Path) -> None:
    build_store(tmp_path / "store", [many_shards])
    store = EventStore.open(tmp_path / "store")
    vocabulary = ModelVocabulary.fit(store, store.rows(), max_codes=5)
    entries = [code for code in vocabulary.table["code"] if not code.endswith("//unknown")]
    assert len(entries) <= 5
    assert vocabulary.table["count"].sum() == store.vocabulary["count"].sum()


def test_save_and_load(many_shards: Path, tmp_path: Path) -> None:
    build_store(tmp_path / "store", [many_shards])
    store = EventStore.open(tmp_path / "store")
    vocabulary = ModelVocabulary.fit(store, store.rows(), min_count=500)
    assert vocabulary.folded
    for name in ("a", "b"):
        vocabulary.save(tmp_path / f"{name}.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    again = ModelVocabulary.load(tmp_path / "a.parquet")
    assert again.table.equals(vocabulary.table)
    assert again.folded == vocabulary.folded
    np.testing.assert_array_equal(again.translate(store).index, vocabulary.translate(store).index)


def test_load_refuses_other_files(tmp_path: Path) -> None:
    pl.DataFrame({"code": ["A"]}).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(SchemaError, match="model vocabulary"):
        ModelVocabulary.load(tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("not parquet")
    with pytest.raises(SchemaError, match="model vocabulary"):
        ModelVocabulary.load(tmp_path / "text.parquet")


def test_fit_needs_rows(many_shards: Path, tmp_path: Path) -> None:
    build_store(tmp_path / "store", [many_shards])
    store = EventStore.open(tmp_path / "store")
    with pytest.raises(ConfigError, match="0 rows"):
        ModelVocabulary.fit(store, store.rows("nowhere"))
