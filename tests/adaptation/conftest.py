"""The toy run, and labels whose truth is the hidden state of its patients."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from helpers.toy_process import is_sick, write_toy_labels
from inference.conftest import toy as toy  # the opened run is a fixture here too
from sojourn.events.store import EventStore


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small matrices are fastest with one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def west(toy_store: Path) -> pl.DataFrame:
    """`subject_id, prediction_time` of patients of the site that the toy run has never seen, four hours in."""
    store = EventStore.open(toy_store)
    rows = store.rows(sites=["west"])
    last = np.array([store.subject(int(row)).seconds[-1] for row in rows])
    chosen = store.subjects[rows[last > 4 * 3600]]
    return chosen.select("subject_id", prediction_time=pl.col("origin") + pl.duration(hours=4))


@pytest.fixture(scope="session")
def flipped_labels(west: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Labels to teach and labels to test, of a task whose events come to the healthy: the run must unlearn."""
    table = west.with_columns(boolean_value=pl.Series([not is_sick(i) for i in west["subject_id"]]))
    folder = tmp_path_factory.mktemp("flipped")
    return (
        write_toy_labels(folder / "teach.parquet", table[:120]),
        write_toy_labels(folder / "test.parquet", table[120:260]),
    )
