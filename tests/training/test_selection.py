"""Who is learnt from."""

from pathlib import Path

import numpy as np
import pytest

from sojourn.events.store import EventStore
from sojourn.training.config import PretrainConfig
from sojourn.training.selection import split_rows


@pytest.mark.parametrize("tuning_split", ["tuning", None])
def test_some_of_the_subjects_from_all_over_the_store(toy_store: Path, tuning_split: str | None) -> None:
    store = EventStore.open(toy_store)
    whole, tuning = split_rows(store, PretrainConfig(tuning_split=tuning_split))
    some, same = split_rows(store, PretrainConfig(tuning_split=tuning_split, train_subjects=30))
    assert len(some) == 30
    assert set(some) < set(whole)
    assert (tuning == same).all()
    assert set(store.subjects["site"].to_numpy()[some]) == {"north", "south", "west"}
    more, _ = split_rows(store, PretrainConfig(tuning_split=tuning_split, train_subjects=10**6))
    np.testing.assert_array_equal(more, whole)
