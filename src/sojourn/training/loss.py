"""The training loss: bits of the record, plus what the query heads must learn."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from sojourn.model import Batch, Network
from sojourn.training.config import PretrainConfig
from sojourn.training.targets import FirstTargets, Moments, ValueTargets


class Counts(NamedTuple):
    """What the losses are divided by; those of the shares of a step add up."""

    events: int
    """Events that are scored."""
    queries: int
    """Moments at which the outcomes are asked."""
    any_queries: int
    """Moments at which codes drawn at random are asked."""
    values: int
    """Values that are asked."""

    @staticmethod
    def sum(counts: "Iterable[Counts]") -> "Counts":
        """Counts of several samples together."""
        return Counts(*map(sum, zip(*counts, strict=True)))


class Sample(NamedTuple):
    """All that one step, or a share of it, needs."""

    batch: Batch
    is_policy_scored: Tensor
    """(B, L) bool; false in thinned windows, whose codes and gaps were not a hospital's choice."""
    moments: Moments
    """When questions for first events are asked."""
    outcomes: FirstTargets
    any_codes: FirstTargets | None
    values: ValueTargets | None
    is_counted: bool = True
    """False for a share of a step that is empty and only stands in."""

    @property
    def counts(self) -> Counts:
        """What the losses of this sample are divided by."""
        if not self.is_counted:
            return Counts(0, 0, 0, 0)
        return Counts(
            events=self.batch.num_events,
            queries=len(self.outcomes.moment),
            any_queries=0 if self.any_codes is None else len(self.any_codes.moment),
            values=0 if self.values is None else len(self.values.position),
        )


class Losses(NamedTuple):
    """Sums over the sample in nats, () float32 each."""

    gap: Tensor
    code: Tensor
    value: Tensor
    outcomes: Tensor
    any_codes: Tensor
    """Mean over the codes."""
    values: Tensor

    def total(self, config: PretrainConfig, counts: Counts) -> Tensor:
        """The loss that is minimised: nats per event plus the weighted queries.

        With the counts of a whole step, the totals of its shares add up to the loss of the step.
        """
        record = (self.gap + self.code + self.value) / max(counts.events, 1)
        queries = config.outcome_weight * self.outcomes / max(counts.queries, 1)
        queries = queries + config.any_code_weight * self.any_codes / max(counts.any_queries, 1)
        return record + queries + config.value_query_weight * self.values / max(counts.values, 1)


def losses(network: Network, sample: Sample) -> Losses:
    """Negative log-likelihoods of a sample under the network."""
    batch = sample.batch
    phi = network.phi(batch)
    h = network.states_of(batch, phi)
    log_p = network.log_prob_from(batch, phi, h)
    policy = sample.is_policy_scored
    of_event = policy.flatten()[batch.event_position]
    flat, moments = h.flatten(0, 1), sample.moments
    question = network.question(flat[moments.position], moments.time_features(), moments.past)
    zero = h.new_zeros((), dtype=torch.float32)
    return Losses(
        gap=-(log_p.gap * policy).sum(),
        code=-(log_p.code * of_event).sum(),
        value=-log_p.value.sum(),
        outcomes=first_loss(network, question, moments, sample.outcomes).sum(),
        any_codes=zero if sample.any_codes is None else first_loss(network, question, moments, sample.any_codes).mean(),
        values=zero if sample.values is None else value_loss(network, flat, sample.values),
    )


def first_loss(network: Network, question_QD: Tensor, moments: Moments, targets: FirstTargets) -> Tensor:
    """Negative log-likelihood per code, summed over the queries and averaged over the bootstrap heads, shape (C,)."""
    if not len(targets.code):  # nothing is asked where no outcome may be learnt from
        return question_QD.new_zeros(0, dtype=torch.float32)
    asked_at = targets.moment
    log_hazard = network.log_hazard(question_QD[asked_at], targets.code)
    hours, is_event, known = targets.hours[:, None], targets.is_event[:, None], moments.known[asked_at, None, None]
    log_p = network.first_head.log_likelihood(log_hazard, hours, is_event, known)
    weight = moments.weight[asked_at, :, None] * targets.is_at_risk[:, None]
    return -(log_p * weight).mean(1).sum(0)


def value_loss(network: Network, h_KD: Tensor, targets: ValueTargets) -> Tensor:
    """Negative log-probability of the asked values, a scalar."""
    if not len(targets.position):
        return h_KD.new_zeros((), dtype=torch.float32)
    previous = (targets.previous_value, targets.previous_delay)
    density = network.future_value_density(h_KD[targets.position], targets.delay, targets.code, previous)
    return -density.log_mass(*network.events.cell(targets.code, targets.value)).sum()
