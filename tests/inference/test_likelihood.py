"""Bits per event: never of subjects that were trained on, and of all models on the same cells."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from helpers.toy_process import Row, build_toy_store, toy_record
from inference.conftest import Toy
from sojourn.errors import ConfigError
from sojourn.events.store import EventStore
from sojourn.inference import likelihood as module
from sojourn.inference.likelihood import _batches, _terms, likelihood, unseen_rows
from sojourn.inference.simple import SimpleModel
from sojourn.training.records import Ints


def test_no_trained_subject_is_scored(toy: Toy) -> None:
    rows = unseen_rows(toy.run, toy.store, None)
    scored = toy.store.subjects[rows]
    is_trained = pl.col("site").is_in(toy.run.sites) & pl.col("split").is_in(toy.run.config.train_splits)
    assert scored.filter(is_trained).height == 0
    assert len(rows) + toy.store.subjects.filter(is_trained).height == len(toy.store)
    assert not len(unseen_rows(toy.run, toy.store, "train")) or set(
        toy.store.subjects[unseen_rows(toy.run, toy.store, "train")]["site"]
    ).isdisjoint(toy.run.sites)
    assert np.isin(unseen_rows(toy.run, toy.store, "held_out"), rows).all()


def test_those_whom_an_adaptation_read_are_not_scored(toy: Toy) -> None:
    adapted = copy.copy(toy.run)
    adapted.sites = [*toy.run.sites, "west"]
    adapted.settings = toy.run.settings | {"adapted": [{"kind": "finetune"}, {"kind": "adapt", "site": "west"}]}
    scored = toy.store.subjects[unseen_rows(adapted, toy.store, None)]
    assert set(scored.filter(site="west")["split"]) == {"held_out"}
    assert set(scored.filter(site="north")["split"]) == {"held_out", "tuning"}


def test_the_network_and_the_baseline_score_the_same_cells(toy: Toy) -> None:
    rows = toy.store.rows(split="held_out", sites=["north"])
    records = toy.reader.read(rows)
    last = records.instant_time[records.subject_start[1:] - 1]
    assert (np.isfinite(records.follow_up) & (records.follow_up > last)).any()  # what the baseline says nothing of
    simple, num_gaps = SimpleModel(toy.network.events), 0
    batches = [batch for _, batch in _batches(toy.run, toy.reader, rows, "")]
    for batch in batches:
        simple.count(batch)
    simple.finish()
    for batch in batches:
        assert not batch.survival.any()
        for terms in (_terms(toy.network, batch), simple.terms(batch)):
            assert ((terms.gap != 0) == batch.is_gap_predicted.flatten()).all()
        num_gaps += int(batch.is_gap_predicted.sum())
    assert num_gaps > 100


def moved(subject: int, site: str) -> list[Row]:
    """A toy patient at a site that the toy run has never heard of."""
    return [(*row[:4], site) for row in toy_record(subject, "west", 0)]


def test_the_baseline_is_fitted_to_nobody_who_is_scored(
    toy_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row for i in range(1, 61) for row in moved(i, "east" if i % 2 else "north")]
    store, seen = build_toy_store(tmp_path, num_subjects=0, rows=rows), {}

    def watching(_run: Any, _reader: Any, rows: Ints, title: str) -> Iterator[Any]:
        seen[title] = rows
        yield from original(_run, _reader, rows, title)

    original = module._batches
    monkeypatch.setattr(module, "_batches", watching)
    likelihood(toy_run, store, split=None)
    assert len(seen["fitting the baseline"])
    assert not np.isin(seen["fitting the baseline"], seen["scoring"]).any()
    fitted = EventStore.open(store).subjects[seen["fitting the baseline"]]
    assert (set(fitted["site"]), set(fitted["split"])) == ({"north"}, {"train"})


@pytest.mark.parametrize("site", ["west", "east"])  # one that the run holds out, one that it has never heard of
def test_a_store_that_leaves_nobody_for_the_baseline_is_refused(toy_run: Path, tmp_path: Path, site: str) -> None:
    rows = [row for i in range(1, 21) for row in moved(i, site)]
    store = build_toy_store(tmp_path, num_subjects=0, rows=rows)
    with pytest.raises(ConfigError, match="training subjects that are not scored"):
        likelihood(toy_run, store, split="train")
