"""One patient moves a private step by at most the clipping norm, and the noise has the size that is paid for."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from federated.conftest import SMALL
from sojourn.errors import FederationError
from sojourn.events.store import EventStore
from sojourn.federated.coordinator import federate
from sojourn.federated.local import Job, LocalTrainer
from sojourn.federated.privacy.accountant import Spending
from sojourn.federated.privacy.budget import set_budget
from sojourn.federated.privacy.ledger import Ledger
from sojourn.federated.privacy.steps import PrivateSteps, clip_to
from sojourn.federated.survey import fit_vocabulary, survey
from sojourn.federated.transport import InProcess
from sojourn.training.config import PretrainConfig

CLIP = 0.1


@pytest.fixture
def trainer(toy_store: EventStore) -> LocalTrainer:
    config = PretrainConfig.model_validate(SMALL["pretrain"])
    vocabulary = fit_vocabulary(survey(toy_store, toy_store.rows(split="train"), min_cell=1), min_count=5)
    hazards = torch.full((len(vocabulary), len(config.network().hazard_edges_hours) + 1), -5.0)
    outcomes = tuple(vocabulary.table.filter("target_only")["code"])[:2]
    job = Job(vocabulary, outcomes, ("north", "south", "west"), hazards, config)
    return LocalTrainer(job, toy_store, "north", total_steps=10)


def gradient(trainer: LocalTrainer, rows: np.ndarray, *, noise: float, seed: int = 0) -> torch.Tensor:
    """Sum of the clipped gradients of some patients, all drawn, with noise."""
    trainer.rows = trainer.rows._replace(train=rows)
    trainer.network.eval()  # no dropout: what differs is the patient alone
    parts = PrivateSteps(trainer, Spending(1, 1.0, noise), clip=CLIP, seed=seed).gradient(0)
    return torch.cat([part.flatten() for part in parts.values()]) * len(rows)


def test_a_patient_moves_the_sum_by_at_most_the_clipping_norm(trainer: LocalTrainer) -> None:
    rows = trainer.rows.train[:8]
    whole = gradient(trainer, rows, noise=0.0)
    for left_out in range(0, 8, 3):
        change = whole - gradient(trainer, np.delete(rows, left_out), noise=0.0)
        assert 0.5 * CLIP < float(change.norm()) <= CLIP * (1 + 1e-4)


def test_the_noise_has_the_paid_size_and_differs_between_trainings(trainer: LocalTrainer) -> None:
    rows = trainer.rows.train[:4]
    plain = gradient(trainer, rows, noise=0.0)
    first, second = (gradient(trainer, rows, noise=3.0, seed=seed) - plain for seed in (1, 2))
    assert float(first.std()) == pytest.approx(3.0 * CLIP, rel=0.05)
    assert float(first.mean().abs()) < 0.02 * CLIP * 3
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.05


def test_a_private_training_pays_for_every_round_and_stops_at_the_budget(
    network_of: Callable[..., InProcess], toy_store: EventStore, tmp_path: Path
) -> None:
    config = SMALL | {"local_steps": 1, "privacy": {"epsilon": 5.0, "patients_per_step": 4}}
    federate(network_of(tmp_path / "sites"), tmp_path / "run", config=config)
    spent = (tmp_path / "sites" / "south" / "privacy-ledger.jsonl").read_text().splitlines()
    assert len(spent) == config["rounds"]
    num_patients = len(toy_store.rows(split="train", sites=["south"]))
    balance = Ledger(tmp_path / "sites" / "south", budget=5.0, delta=1 / num_patients).balance
    assert 4.0 < balance.epsilon <= 5.0
    for site in ("north", "south", "west"):
        set_budget(tmp_path / "sites" / site, 5.0)
    with pytest.raises(FederationError, match="at least 1 sites; got 0"):
        federate(network_of(tmp_path / "sites"), tmp_path / "again", config=config)
    assert "privacy budget" in (tmp_path / "again" / "refusals.jsonl").read_text()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_counts_nothing(bad: float) -> None:
    """Whoever sends weights that overflow for the patients with one code learns nothing: no noise hides a NaN."""
    gradient = [torch.ones(3), torch.tensor([1.0, bad])]
    clip_to(gradient, 1.0)
    assert all((part == 0).all() for part in gradient)
    long = [torch.full((2,), 3e38), torch.full((2,), 3e38)]
    clip_to(long, 1.0)
    norm = float(torch.cat(long).double().norm())
    assert norm == pytest.approx(1.0, rel=1e-5)
