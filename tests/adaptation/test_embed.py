"""States on disk: of the asked times, of the past alone, made once."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import torch

from helpers.toy_process import LACTATE_SHARE, Row, build_toy_store, toy_record, write_toy_labels
from inference.conftest import Toy
from sojourn.adaptation import embed as module
from sojourn.adaptation.embed import embed
from sojourn.errors import ConfigError, DataError
from sojourn.events.store import EventStore
from sojourn.inference.histories import Moments, ask, representations


@pytest.fixture(scope="module")
def labels(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_labels(tmp_path_factory.mktemp("embed") / "labels.parquet", toy.labels()[:60])


def matrix(path: Path) -> np.ndarray:
    return np.stack(pl.read_parquet(path)["state"].to_numpy())


def test_a_row_for_every_label_in_their_order(toy: Toy, toy_run: Path, toy_store: Path, labels: Path) -> None:
    out = labels.parent / "states.parquet"
    report = embed(toy_run, toy_store, out, labels=labels)
    assert (report.num_states, report.num_subjects, report.width, report.was_finished) == (60, 60, 64, False)
    schema = pq.read_schema(out)
    assert schema.names == ["subject_id", "time", "site", "state"]
    assert str(schema.field("state").type) == "fixed_size_list<element: float>[64]"
    table = pl.read_parquet(out)
    asked = toy.labels()[:60]
    assert table["subject_id"].equals(asked["subject_id"])
    assert table["time"].equals(asked["prediction_time"].alias("time"))
    direct = torch.cat(
        [representations(toy.network, some)[torch.from_numpy(np.argsort(some.which))] for some in _asked(toy, 60)]
    )
    np.testing.assert_allclose(matrix(out), direct.numpy(), atol=0.1)
    assert np.abs(matrix(out) - direct.numpy()).mean() < 1e-2
    assert matrix(out).std(0).mean() > 0.1


def _asked(toy: Toy, count: int) -> list[module.Asked]:
    at = Moments(toy.at_four.row[:count], toy.at_four.seconds[:count])
    return list(ask(toy.reader, at, context=toy.run.config.context, instants_per_batch=2**30, with_past=True))  # type: ignore[arg-type]


def test_the_future_is_not_read(toy: Toy, toy_run: Path, toy_store: Path, labels: Path, tmp_path: Path) -> None:
    """States are the same bits from a store in which nothing happens after the times."""
    sites = list(LACTATE_SHARE)
    rows: list[Row] = []
    for subject, time in toy.labels()[:60].iter_rows():
        record = toy_record(subject, sites[(subject - 1) % 3], 0)
        rows += [row for row in record if row[1] is None or row[1] <= time]
    past = build_toy_store(tmp_path, num_subjects=0, rows=rows)
    assert EventStore.open(past).manifest["num_events"] < 20 * 60
    for name, store in (("whole", toy_store), ("past", past)):
        embed(toy_run, store, tmp_path / f"{name}.parquet", labels=labels)
    assert (matrix(tmp_path / "whole.parquet") == matrix(tmp_path / "past.parquet")).all()


def test_regular_times_go_on_as_long_as_the_record(toy: Toy, toy_run: Path, toy_store: Path, tmp_path: Path) -> None:
    report = embed(toy_run, toy_store, tmp_path / "every.parquet", every_hours=24)
    table = pl.read_parquet(tmp_path / "every.parquet").join(toy.store.subjects.drop("site"), on="subject_id")
    hours = (table["time"] - table["origin"]).dt.total_hours()
    assert set(hours.unique()) >= {24, 48, 72}
    assert (hours % 24 == 0).all()
    is_shown = ~toy.store.vocabulary["target_only"].to_numpy()
    expected = 0
    for row in range(len(toy.store)):
        subject = toy.store.subject(row)
        expected += int(subject.seconds[is_shown[subject.code]][-1]) // 86400
    assert report.num_states == len(table) == expected


def test_the_end_is_the_last_instant(toy: Toy, toy_run: Path, toy_store: Path, tmp_path: Path) -> None:
    report = embed(toy_run, toy_store, tmp_path / "end.parquet", end=True)
    table = pl.read_parquet(tmp_path / "end.parquet")
    assert report.num_states == report.num_subjects == len(toy.store)
    row = 7
    subject = toy.store.subject(row)
    is_shown = ~toy.store.vocabulary["target_only"].to_numpy()[subject.code]
    last = subject.origin.astype("datetime64[us]").item() + timedelta(seconds=int(subject.seconds[is_shown][-1]))
    assert table.filter(pl.col("subject_id") == subject.subject_id)["time"].item() == last


def test_an_interrupted_embedding_goes_on(
    toy: Toy, toy_run: Path, toy_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SUBJECTS_PER_PART", 500)
    made: list[int] = []
    original = module._table

    def failing(*arguments: object) -> object:
        made.append(1)
        if len(made) == 3:
            raise KeyboardInterrupt
        return original(*arguments)  # type: ignore[arg-type]

    whole, cut = tmp_path / "whole.parquet", tmp_path / "cut.parquet"
    embed(toy_run, toy_store, whole, every_hours=24)
    monkeypatch.setattr(module, "_table", failing)
    with pytest.raises(KeyboardInterrupt):
        embed(toy_run, toy_store, cut, every_hours=24)
    assert not cut.exists()
    embed(toy_run, toy_store, cut, every_hours=24)
    assert len(made) == 3 + 2  # of four parts, two were there
    assert cut.read_bytes() == whole.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"whole.parquet", "cut.parquet"}


def test_finished_states_are_left_alone_and_others_not_overwritten(
    toy_run: Path, toy_store: Path, labels: Path, tmp_path: Path
) -> None:
    out = tmp_path / "states.parquet"
    first = embed(toy_run, toy_store, out, labels=labels)
    before = out.stat().st_mtime_ns
    again = embed(toy_run, toy_store, out, labels=labels)
    assert again.was_finished
    assert (again.num_states, again.num_subjects, again.width) == (first.num_states, first.num_subjects, first.width)
    with pytest.raises(DataError, match="holds others"):
        embed(toy_run, toy_store, out, end=True)
    assert out.stat().st_mtime_ns == before


@pytest.mark.parametrize("times", [{}, {"end": True, "every_hours": 3.0}, {"every_hours": 0.0}])
def test_one_choice_of_times_is_needed(toy_run: Path, toy_store: Path, tmp_path: Path, times: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="one of labels, every_hours > 0 and end"):
        embed(toy_run, toy_store, tmp_path / "o.parquet", **times)  # type: ignore[arg-type]
