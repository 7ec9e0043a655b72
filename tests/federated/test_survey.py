"""What sites tell merges to what the pooled records would tell, and tells of no patient."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from helpers.toy_process import build_toy_store
from sojourn.errors import FederationError, UpdateRefusedError
from sojourn.events.arrange import ordered_bits
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.federated.survey import fit_vocabulary, from_message, merge, survey, to_message
from sojourn.federated.vocabulary import read_vocabulary, vocabulary_arrays


def rows_by_site(store: EventStore) -> list[np.ndarray]:
    return [store.rows(split="train", sites=[site]) for site in sorted(store.subjects["site"].unique())]


def test_merged_surveys_give_the_vocabulary_of_the_pooled_records(toy_store: EventStore) -> None:
    parts = rows_by_site(toy_store)
    told = merge([survey(toy_store, rows, min_cell=1) for rows in parts])
    federated = fit_vocabulary(told, min_count=5).table
    pooled = ModelVocabulary.fit(toy_store, np.sort(np.concatenate(parts)), min_count=5).table
    assert federated["code"].to_list() == pooled["code"].to_list()
    for name in ("target_only", "is_static", "terminal", "count", "num_values", "has_value", "resolution"):
        assert federated[name].to_list() == pooled[name].to_list(), name
    numbers = pooled["num_values"].to_numpy() > 0
    for name, scale in (("loc", pooled["scale"]), ("scale", pooled["scale"])):
        error = np.abs(federated[name].to_numpy() - pooled[name].to_numpy()) / scale.to_numpy()
        assert error[numbers].max() < 0.1, name  # the width of a bin


def test_what_few_patients_have_is_not_told(toy_store: EventStore) -> None:
    rows = rows_by_site(toy_store)[0]
    everything, told = (survey(toy_store, rows, min_cell=k) for k in (1, 10))
    patients = dict(everything.codes.select("code", "patients").iter_rows())
    assert min(patients.values()) < 10 <= told.codes["patients"].min()
    assert set(told.codes["code"]) == {code for code, count in patients.items() if count >= 10}
    assert set(told.bins["code"]) <= set(told.codes["code"])
    assert len(told.bins) < len(everything.bins)
    with pytest.raises(FederationError, match="at least 1000 training subjects"):
        survey(toy_store, rows, min_cell=1000)


def test_what_hourly_values_are_multiples_of_is_told(tmp_path: Path) -> None:
    start = datetime(2020, 1, 1)
    vitals = [
        (subject, start + timedelta(hours=hour), "VITAL//hr//bpm", float(60 + (7 * hour + subject) % 40), "north")
        for subject in range(1, 13)
        for hour in range(1500)
    ]
    store = EventStore.open(build_toy_store(tmp_path, num_subjects=12, rows=vitals))
    told = survey(store, np.arange(len(store)), min_cell=5)
    ticks = dict(told.ticks.filter(pl.col("code") == "CONCEPT//heart_rate").select("tick", "count").iter_rows())
    assert set(ticks) == {1.0, 10.0}
    assert 0.05 < ticks[10.0] / sum(ticks.values()) < 0.15  # one in ten
    resolution = fit_vocabulary(told, min_count=5).table.filter(pl.col("code") == "CONCEPT//heart_rate")["resolution"]
    assert resolution.to_list() == [1.0]


def test_the_order_of_the_sites_does_not_matter(toy_store: EventStore) -> None:
    told = [survey(toy_store, rows, min_cell=2) for rows in rows_by_site(toy_store)]
    one, other = merge(told), merge(told[::-1])
    assert all(a.equals(b) for a, b in zip(one[:3], other[:3], strict=True))


def test_surveys_and_vocabularies_travel_as_arrays(toy_store: EventStore) -> None:
    told = survey(toy_store, rows_by_site(toy_store)[1], min_cell=2)
    got = from_message(to_message(told))
    assert got.codes.equals(told.codes)
    assert got.bins.equals(told.bins)
    assert got.ticks.equals(told.ticks)
    vocabulary = fit_vocabulary(told, min_count=5)
    read = read_vocabulary(vocabulary_arrays(vocabulary))
    assert read.table.equals(vocabulary.table)
    assert read.folded == vocabulary.folded
    assert read.table.schema == pl.Schema(vocabulary.table.schema)


@pytest.mark.parametrize(("column", "value"), [("events", 2**63 - 1), ("events", 0), ("patients", 10**12)])
def test_counts_that_cannot_be_are_refused(toy_store: EventStore, column: str, value: int) -> None:
    """A sum beyond 64 bits would wrap, and one site could take every code out of the vocabulary."""
    told = survey(toy_store, toy_store.rows(split="train"), min_cell=2)
    bad = told._replace(codes=told.codes.with_columns(pl.lit(value, pl.Int64).alias(column)))
    with pytest.raises(UpdateRefusedError) as error:
        from_message(to_message(bad))
    assert error.value.reason == "malformed"


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        *(("bins", "bin", value) for value in (0, 0x1F, 0x3FE0, 0x3FFF, 2**20, 2**32 - 1)),
        *(("ticks", "tick", value) for value in (float("nan"), float("inf"), -1.0, 1e300, 5e-324)),
        *((table, "count", 10**6) for table in ("bins", "ticks")),
        *((table, "code", "CONCEPT//of_nobody") for table in ("bins", "ticks")),
    ],
)
def test_a_bin_or_a_tick_of_no_value_is_refused(
    table: str, column: str, value: float | str, toy_store: EventStore
) -> None:
    """One of them would make the shared scales of a code NaN, for everybody."""
    told = survey(toy_store, toy_store.rows(split="train"), min_cell=2)
    rows = getattr(told, table)
    one = rows[:1].with_columns(pl.lit(value, rows.schema[column]).alias(column))
    from_message(to_message(told))
    with pytest.raises(UpdateRefusedError) as error:
        from_message(to_message(told._replace(**{table: pl.concat([rows[1:], one])})))
    assert error.value.reason == "malformed"


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-45, -1e-45, 3.4028235e38, -3.4028235e38])
def test_the_bin_of_any_number_is_let_through(value: float, toy_store: EventStore) -> None:
    told = survey(toy_store, toy_store.rows(split="train"), min_cell=2)
    bits = int(ordered_bits(np.array([value], np.float32) + np.float32(0))[0]) >> 18
    bins = told.bins.filter(pl.int_range(pl.len()) == 0).with_columns(bin=pl.lit(bits, pl.UInt32))
    table = fit_vocabulary(from_message(to_message(told._replace(bins=bins))), min_count=5).table
    assert table.select("loc", "scale", "resolution").to_numpy().dtype == np.float64
    assert np.isfinite(table.select("loc", "scale", "resolution").to_numpy()).all()


def test_a_code_that_is_told_twice_is_refused(toy_store: EventStore) -> None:
    told = survey(toy_store, toy_store.rows(split="train"), min_cell=2)
    twice = told._replace(codes=pl.concat([told.codes, told.codes[:1]]))
    with pytest.raises(UpdateRefusedError, match="told twice"):
        from_message(to_message(twice))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("vocabulary.index", lambda a: a[::-1]),
        ("vocabulary.unknown", lambda a: a + np.uint32(10_000)),
        ("vocabulary.loc", lambda a: a * np.nan),
        ("vocabulary.scale", lambda a: 0 * a),
        ("vocabulary.code", lambda a: 0 * a),
        ("folded.entry.words", lambda a: a + np.uint8(1)),
    ],
)
def test_a_vocabulary_that_cannot_be_is_refused(
    name: str, change: Callable[[np.ndarray], np.ndarray], toy_store: EventStore
) -> None:
    told = survey(toy_store, toy_store.rows(split="train"), min_cell=2)
    arrays = vocabulary_arrays(fit_vocabulary(told, min_count=50))
    assert read_vocabulary(arrays).folded
    with pytest.raises(UpdateRefusedError) as error:
        read_vocabulary(arrays | {name: change(arrays[name])})
    assert error.value.reason == "malformed"


def test_a_vocabulary_of_an_earlier_version_says_so() -> None:
    with pytest.raises(UpdateRefusedError, match="an earlier one began it"):
        read_vocabulary({"vocabulary": np.frombuffer(b"PAR1....PAR1", np.uint8)})
