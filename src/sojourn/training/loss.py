"""The training loss: bits of the record, plus what the query heads must learn."""

from typing import NamedTuple

import torch
from torch import Tensor

from sojourn.model import Batch, Network
from sojourn.model.features import time_features
from sojourn.training.config import PretrainConfig
from sojourn.training.targets import FirstTargets, ValueTargets


class Sample(NamedTuple):
    """All that one step needs."""

    batch: Batch
    is_policy_scored: Tensor
    """(B, L) bool; false in thinned windows, whose codes and gaps were not a hospital's choice."""
    outcomes: FirstTargets
    any_codes: FirstTargets | None
    values: ValueTargets | None


class Losses(NamedTuple):
    """Sums over the batch in nats, and what to divide them by."""

    gap: Tensor
    code: Tensor
    value: Tensor
    outcomes: Tensor
    any_codes: Tensor
    values: Tensor
    num_events: int
    num_queries: int

    def total(self, config: PretrainConfig) -> Tensor:
        """The loss that is minimised: nats per event plus the weighted queries."""
        record = (self.gap + self.code + self.value) / max(self.num_events, 1)
        queries = config.outcome_weight * self.outcomes / max(self.num_queries, 1)
        queries = queries + config.any_code_weight * self.any_codes
        return record + queries + config.value_query_weight * self.values


def losses(network: Network, sample: Sample) -> Losses:
    """Negative log-likelihoods of a sample under the network."""
    batch = sample.batch
    phi = network.phi(batch)
    h = network.states_of(batch, phi)
    log_p = network.log_prob_from(batch, phi, h)
    policy = sample.is_policy_scored
    of_event = policy.flatten()[batch.event_position]
    flat = h.flatten(0, 1)
    zero = h.new_zeros((), dtype=torch.float32)
    return Losses(
        gap=-(log_p.gap * policy).sum(),
        code=-(log_p.code * of_event).sum(),
        value=-log_p.value.sum(),
        outcomes=first_loss(network, flat, sample.outcomes).sum(),
        any_codes=zero
        if sample.any_codes is None
        else first_loss(network, flat, sample.any_codes).mean() / max(len(sample.any_codes.position), 1),
        values=zero if sample.values is None else value_loss(network, flat, sample.values),
        num_events=batch.num_events,
        num_queries=len(sample.outcomes.position),
    )


def first_loss(network: Network, h_KD: Tensor, targets: FirstTargets) -> Tensor:
    """Negative log-likelihood per code, summed over the queries and averaged over the bootstrap heads, shape (C,)."""
    time = time_features(targets.gap, targets.time, targets.clock, targets.age)
    log_hazard = network.first_log_hazard(h_KD[targets.position], time, targets.code)
    log_p = network.first_head.log_likelihood(log_hazard, targets.hours[:, None], targets.is_event[:, None])
    return -(log_p * targets.weight[:, :, None]).mean(1).sum(0)


def value_loss(network: Network, h_KD: Tensor, targets: ValueTargets) -> Tensor:
    """Mean negative log-probability of the asked values, a scalar."""
    if not len(targets.position):
        return h_KD.new_zeros((), dtype=torch.float32)
    previous = (targets.previous_value, targets.previous_delay)
    density = network.future_value_density(h_KD[targets.position], targets.delay, targets.code, previous)
    return -density.log_mass(*network.events.cell(targets.code, targets.value)).mean()
