"""The trained toy run, opened once."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
import torch

from helpers.toy_process import is_sick
from sojourn.events.store import EventStore
from sojourn.inference.histories import Moments
from sojourn.model import Network
from sojourn.training.records import RecordReader
from sojourn.training.run import Run

HOUR = 3600


class Toy(NamedTuple):
    """A network that has learnt the toy process at `north` and `south`."""

    run: Run
    store: EventStore
    reader: RecordReader
    network: Network
    at_four: Moments
    """Four hours after admission, subjects that were not trained on and are still there then."""
    is_sick: np.ndarray
    """(N,) bool, hidden state of the subjects of `at_four`."""

    def code(self, name: str) -> int:
        return self.run.vocabulary.index[name]

    def labels(self) -> pl.DataFrame:
        """`subject_id, prediction_time` of `at_four`."""
        chosen = self.store.subjects[self.at_four.row]
        return chosen.select("subject_id", prediction_time=pl.col("origin") + pl.duration(hours=4))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small matrices are fastest with one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def toy(toy_run: Path, toy_store: Path) -> Toy:
    run, store = Run(toy_run), EventStore.open(toy_store)
    is_unseen = (pl.col("split") != "train") | (pl.col("site") == "west")
    rows = store.subjects.filter(is_unseen)["row"].to_numpy().astype(np.int64)
    last = np.array([store.subject(int(row)).seconds[-1] for row in rows])
    rows = rows[last > 4 * HOUR]
    sick = np.array([is_sick(i) for i in store.subjects["subject_id"].to_numpy()[rows]])
    return Toy(run, store, run.reader(store), run.network(), Moments(rows, np.full(len(rows), 4 * HOUR)), sick)
