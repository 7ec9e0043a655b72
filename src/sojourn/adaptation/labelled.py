"""Labelled moments as the network is asked about them, and the loss of a risk: minus the log-likelihood of the labels.

    p = 1 - exp(-L),   L the integral, from 0 to the horizon, of the summed hazards of the task's codes
    loss = -[ y log p + (1 - y) log(1 - p) ],   averaged over the hazard heads with their bootstrap weights

Shape letters: N moments, B hazard heads, D width.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sojourn.events.splits import splitmix64
from sojourn.inference.histories import Asked, Moments, ask
from sojourn.inference.risk import Question
from sojourn.model import Network
from sojourn.model.features import time_features
from sojourn.model.queries import union_log_hazard
from sojourn.training.records import Bools, Ints, RecordReader
from sojourn.training.targets import bootstrap_weights

_SMALLEST = 1e-7


class Labelled(NamedTuple):
    """N labelled moments."""

    at: Moments
    is_event: Bools
    """(N,)"""

    def take(self, index: Ints | Bools) -> "Labelled":
        """The chosen moments."""
        return Labelled(Moments(*(part[index] for part in self.at)), self.is_event[index])


class Ask(NamedTuple):
    """How labelled moments are asked."""

    reader: RecordReader
    question: Question
    context: int
    instants_per_batch: int
    with_past: bool
    """Whether the network looks at the statistics of the past."""
    bootstrap_seed: int = 0
    """Seed of the run: it tells which subjects each head has learnt from."""


def tuning_moments(labelled: Labelled, subject_ids: npt.NDArray[np.int64], share: float, seed: int) -> Bools:
    """Mark the moments of the subjects that choose instead of teaching, shape (N,).

    A share of the subjects with an event and the same share of those without, by a hash of their ids; at least one
    subject of each kind stays with the teachers.
    """
    ids, place = np.unique(subject_ids, return_inverse=True)
    has_event = np.zeros(len(ids), dtype=bool)
    np.logical_or.at(has_event, place, labelled.is_event)
    salt = splitmix64(np.array([seed], dtype=np.int64).view(np.uint64))
    order = np.argsort(splitmix64(np.ascontiguousarray(ids, np.int64).view(np.uint64) ^ salt), kind="stable")
    is_tuning = np.zeros(len(ids), dtype=bool)
    for kind in (True, False):
        mine = order[has_event[order] == kind]
        is_tuning[mine[: min(int(np.ceil(share * len(mine))), max(len(mine) - 1, 0))]] = True
    chosen: Bools = is_tuning[place]
    return chosen


def batches(labelled: Labelled, how: Ask) -> Iterator[tuple[Asked, Labelled]]:
    """Moments with their histories, subjects in the order of the store."""
    size = how.instants_per_batch
    for asked in ask(how.reader, labelled.at, context=how.context, instants_per_batch=size, with_past=how.with_past):
        yield asked, labelled.take(asked.which)


def group_subjects(how: Ask, order: Ints) -> list[Ints]:
    """Neighbours in an order of subjects, grouped so that a group holds about as many instants as a step may."""
    num_instants = how.reader.store.subjects["num_instants"].to_numpy().astype(np.int64)
    size = np.minimum(num_instants[order], 4 * how.context) + 1
    group = (np.cumsum(size) - 1) // how.instants_per_batch
    return np.split(order, np.flatnonzero(np.diff(group)) + 1)


def cumulative_hazard(network: Network, asked: Asked, question: Question, *, frozen_states: bool = False) -> Tensor:
    """Integral of the hazard of the task's codes up to its horizon, shape (N, B)."""
    with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen_states), torch.autocast("cpu", torch.bfloat16):
        states = network.states(asked.batch)
    h = states.flatten(0, 1)[asked.position].float()
    time = time_features(asked.gap, asked.time, asked.clock, asked.age)
    log_hazard = union_log_hazard(network.first_log_hazard(h, time, asked.past, torch.tensor(list(question.codes))), 2)
    horizon = min(question.horizon_hours, 2 * float(network.first_head.start[-1]))
    return network.first_head.cumulative(log_hazard, torch.full(log_hazard.shape[:2], horizon))


def label_loss(hazard_NB: Tensor, is_event_N: Tensor, weight_NB: Tensor) -> Tensor:
    """Mean negative log-likelihood of labels, a scalar in nats per label."""
    log_p = torch.log(-torch.expm1(-hazard_NB.clamp_min(_SMALLEST)))
    log_likelihood = torch.where(is_event_N[:, None], log_p, -hazard_NB)
    return -(log_likelihood * weight_NB).mean()


def head_weights(rows: Ints, num_heads: int, seed: int) -> Tensor:
    """Bootstrap weights of subjects in each head, shape (N, B): with the seed of the run, those of its pre-training, so
    that the spread keeps its meaning, and other runs have others."""
    return torch.from_numpy(bootstrap_weights(rows, num_heads, seed=seed))


@torch.no_grad()
def all_hazards(network: Network, labelled: Labelled, how: Ask) -> npt.NDArray[np.float64]:
    """Integrated hazards of all moments by a network in evaluation mode, shape (N, B)."""
    out = np.full((len(labelled.is_event), network.config.num_bootstrap_heads), np.nan)
    for asked, _ in batches(labelled, how):
        out[asked.which] = cumulative_hazard(network, asked, how.question).double().numpy()
    return out


def log_loss(hazard_NB: npt.NDArray[np.float64], is_event: Bools) -> float:
    """Mean log-loss of the risks that the heads give together, in nats."""
    probability = np.clip(-np.expm1(-hazard_NB), _SMALLEST, 1 - _SMALLEST).mean(1)
    return float(-np.mean(np.where(is_event, np.log(probability), np.log1p(-probability))))


def level_shift(hazard_NB: npt.NDArray[np.float64], is_event: Bools, prior: float) -> float:
    """Shift of the log-hazard that makes labels most likely, with a normal prior of that standard deviation."""
    from scipy.optimize import minimize_scalar

    def loss(shift: float) -> float:
        return log_loss(hazard_NB * np.exp(shift), is_event) * len(is_event) + 0.5 * (shift / prior) ** 2

    found = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded")
    return float(found.x)


def shuffled(rows: Sequence[int] | Ints, seed: int, epoch: int) -> Ints:
    """Distinct subjects in the random order of an epoch."""
    return np.random.default_rng([seed, epoch]).permutation(np.unique(np.asarray(rows, dtype=np.int64)))
