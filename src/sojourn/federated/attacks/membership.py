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

from sojourn.model import Network
from sojourn.training.batches import collate, pack
from sojourn.training.config import PretrainConfig
from sojourn.training.plan import cut, epoch_steps
from sojourn.training.records import Ints, RecordReader
from sojourn.trust.bootstrap import Interval, bootstrap_metrics


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
