"""Where the hazards start from: the toy process has constant ones."""

import math
from pathlib import Path

import numpy as np
import pytest

from helpers.toy_process import DEATH, LEAVE, LOST, SETTINGS
from sojourn.model.config import HAZARD_EDGES_HOURS
from sojourn.training.config import read_config
from sojourn.training.hazards import base_log_hazards
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
    assert (log_hazard[never] < log_hazard[death].clip(max=math.log(1e-3))).all()
