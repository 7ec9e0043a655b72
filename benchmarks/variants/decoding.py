"""What the variants of the decoder share: the exact log-probability of an instant, from the states of its decisions.

Shape letters: B rows, L positions, E events, N scored events, K scored instants, D width, F time features.
"""

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from sojourn.model import Batch, Network
from sojourn.model.features import time_features


class Scored(NamedTuple):
    """The events and instants of a batch that are scored."""

    is_scored: Tensor
    """(E,) bool."""
    position: Tensor
    """(N,) int64, flattened position of each event."""
    rank: Tensor
    """(N,) int64, place in its instant."""
    code: Tensor
    """(N,) int64."""
    instant: Tensor
    """(K,) int64, flattened position of each instant."""
    inverse: Tensor
    """(N,) int64, instant of each event."""
    last: Tensor
    """(K,) int64, last event of each instant."""


class Decisions(NamedTuple):
    """Log-probabilities in nats."""

    code: Tensor
    """(N,) of each event's code."""
    end: Tensor
    """(K,) of END after the last event of each instant."""
    state: Tensor
    """(N, D) from which each event was decoded."""


def scored(batch: Batch) -> Scored:
    """What of a batch is scored."""
    is_scored = batch.is_predicted.flatten()[batch.event_position]
    position = batch.event_position[is_scored]
    instant, inverse, count = torch.unique_consecutive(position, return_inverse=True, return_counts=True)
    last = torch.cumsum(count, 0) - 1
    return Scored(is_scored, position, batch.event_rank[is_scored], batch.code[is_scored], instant, inverse, last)


def times(batch: Batch, position_K: Tensor, *, is_new: bool = True) -> Tensor:
    """Time features of positions, (K, F); unless `is_new`, with no time gone by since the event before."""
    gap, time, clock, age = (x.flatten()[position_K] for x in (batch.gap, batch.time, batch.clock, batch.age))
    return time_features(gap if is_new else torch.zeros_like(gap), time, clock, age)


class OtherDecoder(Network):
    """A network whose decisions inside an instant are reached in another way."""

    def states_before(self, batch: Batch, h: Tensor) -> Tensor:
        """States that an instant is decoded from, given those of `states_of`."""
        return torch.cat([torch.zeros_like(h[:, :1]), h[:, :-1]], 1)

    @abstractmethod
    def decision_states(self, batch: Batch, found: Scored, phi_ND: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """States of the decision of each scored event and of each scored instant's END, (N, D) and (K, D).

        `before` is what `states_before` gave.
        """

    def decisions(self, batch: Batch, phi_ED: Tensor, before: Tensor) -> Decisions:
        """Log-probabilities of all decisions of a batch with at least one scored event."""
        found = scored(batch)
        u, u_end = self.decision_states(batch, found, phi_ED[found.is_scored].float(), before)
        site = self.site(batch.site.flatten())
        shifted = torch.cat([found.code.new_full((1,), -1), found.code[:-1]])
        embedding = self.events.codes()
        of = torch.cat([found.inverse, torch.arange(len(found.instant), device=found.inverse.device)])
        last_code = torch.cat([torch.where(found.rank == 0, -1, shifted), found.code[found.last]])
        where = found.instant, found.last, of
        chosen = self.code_head.chosen(
            torch.cat([u, u_end]),
            torch.cat([site[found.position], site[found.instant]]),
            embedding,
            last_code,
            torch.cat([found.code, torch.full_like(found.instant, len(self.code_head.bias) - 1)]),
            *self.past_in(batch, found.is_scored, embedding, last_code, where),
        )
        code, end = chosen.split([len(found.code), len(found.instant)])
        return Decisions(code, end, u)

    def _event_log_prob(self, batch: Batch, phi_ED: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        found = scored(batch)
        out = torch.zeros(len(batch.code), device=phi_ED.device)
        if not len(found.code):
            return out, out.clone()
        made = self.decisions(batch, phi_ED, before)
        per_event = made.code.index_add(0, found.last, made.end)
        value = self._value_log_prob(batch, made.state, found.is_scored)
        return out.masked_scatter(found.is_scored, per_event), out.masked_scatter(found.is_scored, value)
