"""One position of the transformer for every event, in place of one for every instant.

A batch is laid out anew: the static position of a window stays one position, then every event is one. A decision is
read from the state of the event before it, END from that of the instant's last event, and so are the gap that follows
and all queries. The factors of the likelihood stay those of the network, on the same cells.

Shape letters: B rows, L positions, P = B * L, E events, T tokens, R rows and M columns of tokens, D width.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sojourn.model import Batch, EventLogProb
from sojourn.model.embedding import Earlier
from sojourn.model.features import time_features
from sojourn.training.batches import Windows, pack
from variants.decoding import OtherDecoder, Scored, times


class Tokens(NamedTuple):
    """The tokens of a batch in the order of its positions and, inside them, of its events."""

    position: Tensor
    """(T,) int64, flattened position of each token."""
    rank: Tensor
    """(T,) int64, place in its instant; 0 for a static one."""
    of_event: Tensor
    """(E,) int64, token of each event."""
    last: Tensor
    """(P,) int64, last token of each position; -1 for padding."""
    place: Tensor
    """(T,) int64, where each token lies in the flattened (R * M) rows."""
    shape: tuple[int, int]
    """R, M."""


def lay_out(batch: Batch) -> Tokens:
    """Tokens of a batch, window after window, packed into rows."""
    segment, order = batch.segment.flatten(), batch.order.flatten()
    is_static = (segment >= 0) & (order == 0)
    is_timed = ~is_static[batch.event_position]
    static = is_static.nonzero()[:, 0]
    position = torch.cat([static, batch.event_position[is_timed]])
    rank = torch.cat([torch.zeros_like(static), batch.event_rank[is_timed]])
    # A position has either one static token or its events in order, so this sort keeps the events' order.
    sort = torch.argsort(position, stable=True)
    position, rank = position[sort], rank[sort]
    token = torch.empty_like(sort)
    token[sort] = torch.arange(len(sort), device=sort.device)
    index = torch.arange(len(position), device=position.device)
    last = torch.full_like(segment, -1).scatter_reduce(0, position, index, "amax")
    of_event = last[batch.event_position].clone()
    of_event[is_timed] = token[len(static) :]
    _, length = torch.unique_consecutive(segment[position], return_counts=True)
    count = length.cpu().numpy()
    layout = pack(Windows(np.arange(len(count)), np.zeros_like(count), count - 1))
    start = torch.from_numpy(layout.position).to(position.device) - (torch.cumsum(length, 0) - length)
    place = torch.repeat_interleave(start, length) + index
    return Tokens(position, rank, of_event, last, place, (layout.num_rows, layout.row_length))


class PerEvent(OtherDecoder):
    """The network with one position for every event."""

    def states(self, batch: Batch) -> Tensor:
        B, L = batch.time.shape
        return self.states_of(batch, self.phi(batch))[0, : B * L].view(B, L, -1)

    def states_of(self, batch: Batch, phi_ED: Tensor) -> Tensor:
        """States of all positions (of their last events), then those of all tokens, (1, P + T, D).

        So whoever asks the state of a flattened position finds it where it always is.
        """
        tokens = lay_out(batch)
        x = self._token_inputs(batch, tokens, phi_ED)
        window = batch.segment.flatten()[tokens.position]
        is_first = torch.cat([window.new_ones(1, dtype=torch.bool), window[1:] != window[:-1]])
        index = torch.arange(len(window), device=window.device)
        since = index - torch.cummax(torch.where(is_first, index, 0), 0).values
        h = self.backbone(
            _spread(x, tokens, 0.0),
            _spread(batch.time.flatten()[tokens.position], tokens, 0.0),
            _spread(since, tokens, 0),
            _spread(window, tokens, -1),
        )
        h = h.flatten(0, 1)[tokens.place]
        at_position = torch.where((tokens.last >= 0)[:, None], h[tokens.last.clamp_min(0)], 0.0)
        return torch.cat([at_position, h])[None]

    def _token_inputs(self, batch: Batch, tokens: Tokens, phi_ED: Tensor) -> Tensor:
        """As `inputs`, (T, D): one event's phi in place of the instant's sum, no time between two of an instant."""
        gap, time, clock, age, order = (
            x.flatten()[tokens.position] for x in (batch.gap, batch.time, batch.clock, batch.age, batch.order)
        )
        total = phi_ED.new_zeros(len(gap), phi_ED.shape[1], dtype=torch.float32)
        total = total.index_add(0, tokens.of_event, phi_ED.float())
        x = self.instant_out(self.instant(total)) + self.instant_skip(total)
        x = x + self.time(time_features(torch.where(tokens.rank > 0, 0.0, gap), time, clock, age))
        x = x + self.start * (order == 0)[:, None]
        return F.dropout(x.float(), self.config.dropout, self.training)

    def states_before(self, batch: Batch, h: Tensor) -> Tensor:
        return h[0, batch.time.numel() :]

    def log_prob_from(self, batch: Batch, phi_ED: Tensor, h_BLD: Tensor) -> EventLogProb:
        B, L = batch.time.shape
        state = h_BLD[0, : B * L].view(B, L, -1)
        before = torch.cat([torch.zeros_like(state[:, :1]), state[:, :-1]], 1)
        code, value = self._event_log_prob(batch, phi_ED, self.states_before(batch, h_BLD))
        return EventLogProb(self._gap_log_prob(batch, before, state), code, value)

    def decision_states(self, batch: Batch, found: Scored, phi_ND: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """From the states (T, D) of the tokens; a window's first token is static, so one always stands before."""
        token = lay_out(batch).of_event[found.is_scored]
        site = batch.site.flatten()
        new, same = times(batch, found.position), times(batch, found.position, is_new=False)
        time = torch.where((found.rank == 0)[:, None], new, same)
        u = self.context(before[token - 1], site[found.position], time).u
        u_end = self.context(before[token[found.last]], site[found.instant], same[found.last]).u
        nothing = Earlier.none(1, phi_ND)
        return self.decision(u, nothing), self.decision(u_end, nothing)


def _spread(content: Tensor, tokens: Tokens, empty: float) -> Tensor:
    """Tokens into their rows, (R, M, ...)."""
    rows, columns = tokens.shape
    flat = content.new_full((rows * columns, *content.shape[1:]), empty)
    return flat.index_put((tokens.place,), content).view(rows, columns, *content.shape[1:])
