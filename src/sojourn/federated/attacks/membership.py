"""Was this patient's record trained on? The loss tells, if the training did not hide it.

The attacker holds the model that was trained and a reference that the patient cannot have been in (the weights that the
training began with, or a model of other patients), and scores a patient by how much lower the loss is under the first:
the loss-difference attack (Carlini et al. 2022, arXiv 2112.03570, with one reference). Patients are put in or left
out by a coin, so that one training suffices (Steinke, Nasr, Jagielski 2023, arXiv 2305.08846).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import rankdata

from sojourn.errors import ConfigError
from sojourn.model import Network
from sojourn.training.batches import collate, pack
from sojourn.training.config import PretrainConfig
from sojourn.training.plan import cut, epoch_steps
from sojourn.training.records import Ints, RecordReader
from sojourn.trust.bootstrap import Interval, bootstrap_metrics

_MIN_GROUP = 20
"""Patients of a group, at least: the attack's interval says nothing with fewer."""


class Coins(NamedTuple):
    """Which candidates are trained on."""

    members: Ints
    """Rows of the store that go into the training."""
    others: Ints
    """Rows that stay out."""


def toss(candidates: Ints, seed: int) -> Coins:
    """Put each candidate in or leave it out, by a fair coin.

    Examples
    --------
    >>> coins = toss(np.arange(1000), seed=0)
    >>> len(coins.members) + len(coins.others), 440 < len(coins.members) < 560
    (1000, True)
    """
    is_member = np.random.default_rng(seed).random(len(candidates)) < 0.5
    return Coins(candidates[is_member], candidates[~is_member])


class Groups(NamedTuple):
    """Who is trained on at the attacked site."""

    patients: Coins
    canaries: Coins
    reference: Ints
    """Patients and canaries that teach the reference."""


def groups_of(
    rows: Ints, is_canary: npt.NDArray[np.bool_], site: str, *, seed: int, coins_seed: int | None = None
) -> Groups:
    """Three groups by chance, of patients and of canaries: one teaches the reference, coins part the rest.

    Parameters
    ----------
    rows : training subjects of the site.
    is_canary : which of them are made up, shape (N,).
    site : its name, for the error.
    seed : of the groups.
    coins_seed : of the coins; the same by default. The reference does not depend on it.

    Raises
    ------
    ConfigError
        If there are too few patients.
    """
    coins = seed if coins_seed is None else coins_seed
    rng = np.random.default_rng([seed, 1])
    patients, canaries = (rng.permutation(part) for part in (rows[~is_canary], rows[is_canary]))
    sizes = (len(patients) // 3, len(canaries) // 3)
    if sizes[0] < _MIN_GROUP:
        msg = (
            f"{site} must have {3 * _MIN_GROUP} training patients to be attacked; it has {len(patients)}. Attack a "
            "larger site, or simulated records."
        )
        raise ConfigError(msg)
    reference = np.concatenate([patients[: sizes[0]], canaries[: sizes[1]]])
    return Groups(toss(patients[sizes[0] :], coins), toss(canaries[sizes[1] :], coins + 1), np.sort(reference))


@torch.no_grad()
def patient_losses(
    network: Network, reader: RecordReader, rows: Ints, config: PretrainConfig
) -> npt.NDArray[np.float64]:
    """Negative log-likelihood of each patient's record, nats per event, shape (N,)."""
    network.eval()
    found = []
    for row in rows:
        nats = events = 0.0
        alone = np.array([row])
        instants = reader.store.subjects["num_instants"].to_numpy().astype(np.int64)[alone]
        size = {"context": config.context, "instants_per_batch": config.instants_per_batch}
        for step in epoch_steps(alone, instants, **size, seed=0, epoch=0):
            records = reader.read(step.rows)
            windows = cut(records, step, config.context)
            batch = collate(records, windows, pack(windows))
            nats -= float(network.log_prob(batch).total())
            events += batch.num_events
        found.append(nats / max(events, 1.0))
    return np.array(found)


def membership_auroc(
    loss: npt.NDArray[np.float64],
    reference: npt.NDArray[np.float64],
    is_member: npt.NDArray[np.bool_],
    *,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> Interval:
    """How well the attacker tells members from others; 0.5 is chance.

    Parameters
    ----------
    loss, reference : nats per event of each candidate under the trained model and under the reference, shape (N,).
    is_member : who was trained on, shape (N,).
    num_bootstrap, seed : of the interval over candidates.
    """
    score = reference - loss
    ranked = (rankdata(score) - 0.5) / len(score)  # ties in the middle: the order of the candidates tells who is who
    candidates = np.arange(len(score))
    return bootstrap_metrics(is_member, ranked, candidates, num_bootstrap=num_bootstrap, seed=seed)["auroc"]
