"""Where the hazards start from: the toy process has constant ones."""

import math
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from helpers.toy_process import DEATH, HEART_RATE, LEAVE, LOST, SETTINGS, START, build_toy_store
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.model.config import HAZARD_EDGES_HOURS
from sojourn.training.config import read_config
from sojourn.training.hazards import base_log_hazards, count_hazards, log_hazards
from sojourn.training.plan import epoch_steps
from sojourn.training.records import RecordReader
from sojourn.training.sampler import Sampler


def test_observed_rates_are_those_of_the_process(toy_reader: RecordReader, toy_store: Path) -> None:
    config = read_config(SETTINGS | {"num_outcome_queries": 2000})
    rows = toy_reader.store.rows(split="train")
    sampler = Sampler(toy_reader, config, np.array([1]), np.ones(toy_reader.num_codes))
    sizes = toy_reader.store.subjects["num_instants"].to_numpy().astype(np.int64)[rows]
    plan = epoch_steps(rows, sizes, context=32, instants_per_batch=4096, seed=0, epoch=0)
    log_hazard = base_log_hazards(sampler, plan, HAZARD_EDGES_HOURS).numpy()
    # Moments in the bed are moments of those who are still there: the sick leave earlier.
    stay = [1 / (death + LEAVE + LOST) for death in DEATH]
    expected = (0.6 * stay[0] * DEATH[0] + 0.4 * stay[1] * DEATH[1]) / (0.6 * stay[0] + 0.4 * stay[1])
    death = toy_reader.vocabulary.index["MEDS_DEATH"]
    assert math.exp(log_hazard[death, 0]) == pytest.approx(expected, rel=0.25)
    # Who has left is known to be free of later events, so the rate per hour of all moments falls over the bins.
    assert (np.diff(log_hazard[death, 3:13]) < 0.2).all()
    assert log_hazard[death, 12] < log_hazard[death, 0] - 3
    rate = toy_reader.vocabulary.index["CONCEPT//heart_rate"]
    assert log_hazard[rate, 0] > log_hazard[death, 0] + 2
    assert np.isfinite(log_hazard).all()
    never = toy_reader.vocabulary.index["OUTCOME//unknown"]
    assert (log_hazard[never] <= log_hazard[death].clip(max=math.log(1e-3))).all()  # alike where neither was seen
    assert (log_hazard[never, :10] < log_hazard[death, :10] - 2).all()


def test_what_comes_at_the_end_of_most_bins_starts_with_its_chance() -> None:
    """Of 1,000 hours begun, 700 have an event at their end; of 300 begun pairs of hours all: a chance below one."""
    events, exposure = np.array([[700.0, 300.0, 0.0]]), np.array([[1000.0, 600.0, 0.0]])
    hazard = log_hazards(events, exposure, (1.0, 3.0)).exp().numpy()
    assert 1 - math.exp(-hazard[0, 0]) == pytest.approx(0.7, abs=0.001)
    assert 0.99 < 1 - math.exp(-2 * hazard[0, 1]) < 1
    assert np.isfinite(hazard).all()


def test_a_code_that_was_not_seen_starts_with_half_an_event_that_comes_when_others_do() -> None:
    """1,000 moments, an hour, a day and fifty days watched: what nobody was seen to have is rare, not impossible."""
    exposure = np.array([[1000.0, 20_000.0, 1_000_000.0]] * 3)
    events = np.array([[30.0, 60.0, 10.0], [10.0, 80.0, 10.0], [0.0, 0.0, 0.0]])
    hazard = log_hazards(events, exposure, (1.0, 24.0)).exp().numpy().astype(float)
    expected = hazard[2] * exposure[2]
    np.testing.assert_allclose(expected, 0.5 * np.array([0.2, 0.7, 0.1]) / [1.2, 1.7, 1.1], rtol=1e-3)


def test_an_hour_with_an_event_counts_whole(tmp_path: Path) -> None:
    """A heart rate every half hour for 4 h: of nine moments, seven watch an hour, the next half of one."""
    rows = [(i, START + timedelta(hours=k / 2), HEART_RATE, 80.0, "north") for i in range(1, 41) for k in range(9)]
    store = EventStore.open(build_toy_store(tmp_path, num_subjects=0, rows=rows))
    train = store.rows(split="train")
    reader = RecordReader(store, ModelVocabulary.fit(store, train, min_count=5), ["north"])
    config = read_config(SETTINGS | {"num_outcome_queries": 500})
    sampler = Sampler(reader, config, np.array([1]), np.ones(reader.num_codes))
    plan = epoch_steps(train, np.full(len(train), 9), context=32, instants_per_batch=4096, seed=0, epoch=0)
    events, exposure = count_hazards(sampler, plan, (1.0, 24.0))
    rate = reader.vocabulary.index["CONCEPT//heart_rate"]
    assert events[rate, 0] > 50
    assert exposure[rate, 0] / events[rate, 0] == pytest.approx(7.5 / 8, abs=0.03)
