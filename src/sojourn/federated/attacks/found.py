"""What attacks find out of one finished training: who was trained on, and which codes an update tells."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sojourn.events.store import EventStore
from sojourn.federated.attacks.codes import invert_codes
from sojourn.federated.attacks.guesses import Guesses, guess, least_epsilon
from sojourn.federated.attacks.membership import Coins, Groups, membership_auroc, patient_losses
from sojourn.federated.config import FederatedConfig
from sojourn.federated.local import Job, LocalTrainer
from sojourn.federated.messages import Tensors
from sojourn.federated.privacy.accountant import Spending
from sojourn.federated.privacy.budget import planned_spending
from sojourn.federated.privacy.steps import PrivateSteps
from sojourn.training.records import Ints
from sojourn.training.run import Run
from sojourn.trust.bootstrap import Interval

_BATCHES = (1, 4, 16, 64)
_TRIALS = 5


@dataclass(frozen=True, slots=True)
class CodeAttack:
    """Which codes did the patients of a step have? Guessed from the update of that step alone."""

    patients: int
    """In the step."""
    auroc: float
    """Of ranking the codes by the update."""
    baseline: float
    """Of ranking them by how frequent they are anywhere, without the update."""
    precision: float
    """Of as many codes as there truly were."""


@dataclass(frozen=True, slots=True)
class Attacked:
    """What was found out of one training."""

    epsilon: float | None
    """Promised to each patient; None without noise."""
    delta: float
    bits_per_event: float | None
    """On tuning subjects of all sites: what the noise costs; None where they are too few."""
    patients: Interval
    """AUROC of telling members from others among patients; 0.5 is chance."""
    canaries: Interval
    """The same among canaries."""
    guessed_patients: Guesses
    """How guesses at patients went, whom fair coins put in or left out."""
    guessed_canaries: Guesses
    least_epsilon: float
    """What the guesses at either rule out, with 95 % confidence: the training leaked at least as much."""
    codes: tuple[CodeAttack, ...]


def attack(
    run: Path, reference: Path, store: EventStore, site: str, groups: Groups, config: FederatedConfig
) -> Attacked:
    """Attack a finished training.

    Parameters
    ----------
    run, reference : the run that is attacked, and the attacker's own.
    store : holds the records of all groups.
    site : whose patients are attacked.
    groups : who was trained on there.
    config : settings of the training; its `privacy` says what noise an update would have.
    """
    opened, members = Run(run), np.concatenate([groups.patients.members, groups.canaries.members])
    patients, guessed_patients = _told_apart(opened, reference, store, groups.patients)
    canaries, guessed_canaries = _told_apart(opened, reference, store, groups.canaries)
    trainer = _trainer(opened, store, site, members)
    delta = 1 / len(trainer.rows.train)
    return Attacked(
        epsilon=None if config.privacy is None else config.privacy.epsilon,
        delta=delta,
        bits_per_event=_bits(opened),
        patients=patients,
        canaries=canaries,
        guessed_patients=guessed_patients,
        guessed_canaries=guessed_canaries,
        # Two chances to be wrong: each bound is surer.
        least_epsilon=max(least_epsilon(one, delta, level=0.975) for one in (guessed_patients, guessed_canaries)),
        codes=tuple(_code_attacks(trainer, config)),
    )


def _told_apart(run: Run, reference: Path, store: EventStore, coins: Coins) -> tuple[Interval, Guesses]:
    """AUROC of members among candidates, and how guesses at some of them went."""
    rows, is_member = np.concatenate(coins), np.repeat([True, False], [len(part) for part in coins])
    loss, expected = (
        patient_losses(opened.network(), opened.reader(store), rows, opened.config) for opened in (run, Run(reference))
    )
    return membership_auroc(loss, expected, is_member), guess(expected - loss, is_member)


def _trainer(run: Run, store: EventStore, site: str, rows: Ints) -> LocalTrainer:
    """The finished model at the attacked site, with the subjects that it was trained on."""
    hazards = torch.zeros(len(run.vocabulary), len(run.config.network().hazard_edges_hours) + 1)
    job = Job(run.vocabulary, tuple(run.outcomes), tuple(run.sites), hazards, run.config)
    trainer = LocalTrainer(job, store, site, total_steps=1)
    trainer.network.load_state_dict(run.network().state_dict())
    trainer.rows = trainer.rows._replace(train=np.sort(rows))
    return trainer


def _bits(run: Run) -> float | None:
    """Bits per event on the tuning subjects, at the best round."""
    return min((float(line["bits_per_event"]) for line in run.metrics() if line["split"] == "tuning"), default=None)


def _code_attacks(trainer: LocalTrainer, config: FederatedConfig) -> Iterator[CodeAttack]:
    """Attack the gradients of single steps, by the number of patients in the step."""
    whole, table = trainer.rows.train, trainer.job.vocabulary.table
    popularity = table["count"].to_numpy().astype(float)
    can_emit = ~(table["target_only"] | table["is_static"]).to_numpy()
    noise = 0.0 if config.privacy is None else planned_spending(config, len(whole)).noise
    clip = float("inf") if config.privacy is None else config.privacy.clip
    for size in (size for size in _BATCHES if size <= len(whole)):
        told = []
        for trial in range(_TRIALS):
            rows = np.sort(np.random.default_rng([size, trial]).choice(whole, size, replace=False))
            update = _update(trainer, rows, Spending(1, 1.0, noise), clip, trial)
            occurred = np.zeros(len(table), dtype=bool)
            occurred[trainer.sampler.reader.read(rows).events.code] = True
            told.append(invert_codes(update, occurred, popularity, can_emit))
        means = np.mean([(one.auroc, one.baseline, one.precision) for one in told], axis=0)
        yield CodeAttack(size, *map(float, means))


def _update(trainer: LocalTrainer, rows: Ints, spending: Spending, clip: float, seed: int) -> Tensors:
    """What one step of plain descent on some patients would send: minus its gradient."""
    trainer.rows = trainer.rows._replace(train=rows)
    gradient = PrivateSteps(trainer, spending, clip=clip, seed=seed).gradient(0)
    return {name: -part.numpy() for name, part in gradient.items()}


def read_attacked(content: dict[str, Any]) -> Attacked:
    """What `asdict` made of an `Attacked`."""
    intervals = {name: Interval(**content[name]) for name in ("patients", "canaries")}
    guesses = {name: Guesses(*content[name]) for name in ("guessed_patients", "guessed_canaries")}
    return Attacked(**content | intervals | guesses | {"codes": tuple(CodeAttack(**one) for one in content["codes"])})
