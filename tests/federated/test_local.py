"""A site goes on from the moments of all sites without losing its head."""

import numpy as np
import pytest
import torch

from federated.conftest import SMALL
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.federated.local import Job, LocalTrainer
from sojourn.federated.messages import SQUARES
from sojourn.training.config import PretrainConfig


@pytest.fixture
def trainer(toy_store: EventStore) -> LocalTrainer:
    config = PretrainConfig.model_validate(SMALL["pretrain"])
    vocabulary = ModelVocabulary.fit(toy_store, toy_store.rows(), min_count=5)
    hazards = torch.full((len(vocabulary), len(config.network().hazard_edges_hours) + 1), -5.0)
    job = Job(vocabulary, ("OUTCOME//death",), ("north",), hazards, config)
    return LocalTrainer(job, toy_store, "north", total_steps=1000)


def moved(trainer: LocalTrainer, num_steps: int = 1) -> float:
    """Longest way of a single weight in some steps."""
    before = trainer.weights()
    trainer.train(num_steps, trainer.num_made)
    return max(float(np.abs(weight - before[name]).max()) for name, weight in trainer.weights().items())


def test_a_moment_that_nobody_tells_does_not_let_a_weight_run_away(trainer: LocalTrainer) -> None:
    trainer.train(20, 0)
    nothing = {name: np.zeros_like(square) for name, square in trainer.moments(SQUARES).items()}
    usual = moved(trainer)
    trainer.share_squares(nothing, trainer.num_made)
    assert moved(trainer) < 6 * usual  # without a bound 25,000 times


def test_shared_moments_replace_smaller_ones_and_first_moments_stay(trainer: LocalTrainer) -> None:
    trainer.share_squares({SQUARES + "start": np.ones(3)}, 0)
    assert not trainer.moments()  # before the first step
    trainer.train(3, 0)
    before = {name: moment.copy() for name, moment in trainer.moments().items()}
    large = {name: square + 1 for name, square in before.items() if name.startswith(SQUARES)}
    trainer.share_squares(large, 3)
    after = trainer.moments()
    assert all(np.array_equal(after[name], large.get(name, before[name])) for name in before)
    trainer.forget_moments()
    trainer.share_squares(large, 3)
    late = trainer.moments()
    assert late.keys() == before.keys()
    assert not any(late[name].any() for name in late if name.startswith("exp_avg."))
    assert np.isfinite(moved(trainer))
