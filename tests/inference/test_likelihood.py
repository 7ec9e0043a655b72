"""Bits per event: never of subjects that were trained on."""

import numpy as np
import polars as pl

from inference.conftest import Toy
from sojourn.inference.likelihood import unseen_rows


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
