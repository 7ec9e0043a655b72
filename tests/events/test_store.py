"""Reading a store: random access, windows, splits and sites, damage."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from operator import methodcaller
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sojourn.errors import StoreError
from sojourn.events.build import build_store
from sojourn.events.store import EventStore
from sojourn.files import read_json, write_json


@pytest.fixture
def store(many_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EventStore:
    monkeypatch.setattr("sojourn.events.plan.PIECE_ROWS", 2000)
    build_store(tmp_path / "store", [many_shards])
    return EventStore.open(tmp_path / "store")


def test_records_agree_with_the_data(store: EventStore, many_shards: Path) -> None:
    rows = pl.read_parquet(many_shards / "data/*.parquet").filter(pl.col("time").is_not_null())
    names = store.vocabulary["code"]
    for row in (0, 57, 119):
        subject = store.subject(row)
        own = rows.filter(pl.col("subject_id") == subject.subject_id).sort("time", "code", "numeric_value")
        assert names.gather(subject.code).to_list() == own["code"].to_list()
        np.testing.assert_array_equal(subject.value, own["numeric_value"].to_numpy())
        times = subject.origin + subject.seconds.astype("timedelta64[s]")
        np.testing.assert_array_equal(times, own["time"].to_numpy())
    assert len(store) == 120


def test_window_is_half_open(store: EventStore) -> None:
    whole = store.subject(3)
    start, end = int(whole.seconds[10]), int(whole.seconds[30])
    inside = (whole.seconds >= start) & (whole.seconds < end)
    window = store.window(3, start, end)
    np.testing.assert_array_equal(window.code, whole.code[inside])
    np.testing.assert_array_equal(window.seconds, whole.seconds[inside])
    np.testing.assert_array_equal(window.static_code, whole.static_code)
    assert len(store.window(3, 0, np.inf).code) == len(whole.code)
    assert len(store.window(3, -100, 0).code) == 0


def test_rows_by_split_and_site(store: EventStore) -> None:
    by_split = [store.rows(name) for name in ("train", "tuning", "held_out")]
    assert sorted(np.concatenate(by_split).tolist()) == list(range(120))
    north = store.rows(sites=["north"])
    assert {store.subject(row).site for row in north} == {"north"}
    assert sorted([*north, *store.rows(exclude_sites={"north"})]) == list(range(120))
    both = store.rows("train", sites=["north"])
    assert set(both) == set(by_split[0]) & set(north)


def test_find_keeps_the_order_asked_for(store: EventStore) -> None:
    ids = store.subjects["subject_id"]
    rows = np.array([5, 0, 5])
    assert store.find(ids.gather(rows).to_numpy()).tolist() == [5, 0, 5]
    with pytest.raises(StoreError, match="2 of 3"):
        store.find([int(ids[0]), -1, -2])


def test_blocks_hold_every_event_of_the_rows(store: EventStore) -> None:
    rows = store.rows("train")
    total = sum(len(block.code) for block in store.blocks(rows))
    assert total == store.subjects["num_events"].gather(rows).sum()
    values = np.concatenate([block.value for block in store.blocks(rows)])
    expected = np.concatenate([store.subject(row).value for row in rows])
    np.testing.assert_array_equal(values, expected)
    assert sum(len(block.static_code) for block in store.blocks(rows)) == len(rows)


def test_arrays_cannot_be_written(store: EventStore) -> None:
    with pytest.raises(ValueError, match="read-only"):
        store.subject(0).value[0] = 1


def test_travels_to_other_processes(store: EventStore) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        there = pool.submit(methodcaller("subject", 1), store).result()
    np.testing.assert_array_equal(there.value, store.subject(1).value)


def test_unknown_row(store: EventStore) -> None:
    for row in (-1, 120):
        with pytest.raises(IndexError, match="row must be"):
            store.subject(row)


def test_verify_names_a_changed_file(store: EventStore) -> None:
    store.verify()
    path = store.path / "shards" / "00001" / "value.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match="value"):
        store.verify()


def test_truncated_shard_is_told_at_first_use(store: EventStore) -> None:
    path = store.path / "shards" / "00000" / "seconds.npy"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(StoreError, match="00000"):
        EventStore.open(store.path).subject(0)


def test_open_refuses_other_folders_and_versions(store: EventStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="sojourn build"):
        EventStore.open(tmp_path)
    manifest = read_json(store.path / "manifest.json")
    manifest["inputs"]["format"] = 99
    write_json(store.path / "manifest.json", manifest)
    with pytest.raises(StoreError, match="format"):
        EventStore.open(store.path)


def test_few_maps_serve_many_shards(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sojourn.events.store._MAX_MAPPED", 1)
    again = EventStore.open(store.path)
    first = again.subject(0)
    np.testing.assert_array_equal(again.subject(119).value, store.subject(119).value)
    # Arrays handed out before stay valid.
    np.testing.assert_array_equal(first.value, store.subject(0).value)


def test_data_sets_whose_folders_have_one_name_keep_their_accounts(
    make_meds: Callable[..., Path], make_rows: Callable[..., pl.DataFrame], tmp_path: Path
) -> None:
    folders = [tmp_path / place / "meds" for place in ("north", "south")]
    for number, folder in enumerate(folders):
        make_meds(folder, [make_rows(number, 5, first_id=100 * number)])
        write_json(folder / "metadata" / "ingest.json", {"source": str(number)})
    build_store(tmp_path / "store", folders)
    accounts = EventStore.open(tmp_path / "store").accounts()
    assert accounts == [{"source": "0", "name": "north/meds"}, {"source": "1", "name": "south/meds"}]
