"""A store of two patients whose numbers can be checked by hand."""

from datetime import timedelta
from pathlib import Path

import pytest

from helpers.toy_process import HEART_RATE, LACTATE, START, Row, build_toy_store
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.training.records import RecordReader


def _rows() -> list[Row]:
    """One patient who leaves, one who is lost while outcomes are still known."""

    def at(subject: int, hour: float, code: str, value: float | None = None) -> Row:
        return (subject, START + timedelta(hours=hour), code, value, "north" if subject == 1 else "south")

    return [
        (1, None, "GENDER//F", None, "north"),
        at(1, -24 * 365.25 * 50, "MEDS_BIRTH"),
        at(1, 0, HEART_RATE, 82),
        at(1, 0, HEART_RATE, 80),
        at(1, 0, LACTATE, 2.0),
        at(1, 1, HEART_RATE, 90),
        at(1, 2, "OUTCOME//sepsis"),
        at(1, 3, HEART_RATE),
        at(1, 3, LACTATE, 4.5),
        at(1, 5, "HOSPITAL_DISCHARGE//ALIVE"),
        (2, None, "GENDER//M", None, "south"),
        at(2, 0, HEART_RATE, 70),
        at(2, 2, HEART_RATE, 75),
        at(2, 8, "OUTCOME//follow_up_end"),
    ]


@pytest.fixture(scope="session")
def worked_store(tmp_path_factory: pytest.TempPathFactory) -> EventStore:
    folder = tmp_path_factory.mktemp("worked")
    return EventStore.open(build_toy_store(folder, num_subjects=2, rows=_rows()))


@pytest.fixture(scope="session")
def worked(worked_store: EventStore) -> RecordReader:
    """Reads the two patients, subject 1 in row `worked_store.find([1])`; `south` is a site that the run knows."""
    vocabulary = ModelVocabulary.fit(worked_store, worked_store.rows(), min_count=1)
    return RecordReader(worked_store, vocabulary, ["south"])


@pytest.fixture(scope="session")
def toy_reader(toy_store: Path) -> RecordReader:
    store = EventStore.open(toy_store)
    vocabulary = ModelVocabulary.fit(store, store.rows(split="train"), min_count=5)
    return RecordReader(store, vocabulary, ["north", "south"])
