"""What came along the last time: charts and laboratory panels are written together, again and again.

    m_nc = o_c + s_j + w_j u_n        c a mate of decision n, j its kind

An event opens the panel of its code: all codes whose last record stands at the same earlier instant. Mates are the
codes after the last one in canonical order that lie in a panel which an event of this instant has opened; behind them
comes END, and the last code itself is one, for it may come again. The kind of a mate is its place among them, and
whether the last code lies in its panel; that of the last code, how many more times it came the last time. o is a
code's own, m zero for all other codes and for what came more than two weeks ago. It is to this model what copying from
its context is to a model of tokens: a state of some hundred numbers need not hold which of thousands of codes are
written together.

Shape letters: K instants, E events, N decisions, D width of the decoder, S codes with a past, V codes, R places,
J kinds.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from sojourn.model.batch import Batch
from sojourn.model.linear import Linear
from sojourn.model.recency import LONGEST_S, PastOfCodes

NUM_MATES = 8
"""A decision knows its next mates only: each further one comes first only where all before it are left out."""
NUM_AGAIN = 5
"""Kinds of the last code itself: it never came; the last time it came less often than now, as often, more often by one,
by several."""
NEVER = 2**30
_CHUNK = 2**22
"""Pairs of decisions and codes that are compared at a time."""


class Mates(NamedTuple):
    """The codes that have a bias at N decisions: R mates, END among them, and the last code itself."""

    code: Tensor
    """(N, R + 1) int64; -1 for none."""
    kind: Tensor
    """(N, R + 1) int64, from 0 to J - 1."""


class PanelBias(nn.Module):
    """Adds to the logits of mates."""

    def __init__(self, num_codes: int, d_decoder: int) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.zeros(num_codes + 1, 2))
        self.kind = Linear(d_decoder, 2 * NUM_MATES + NUM_AGAIN)
        nn.init.zeros_(self.kind.weight)
        with torch.no_grad():  # To start with, what came next the last time comes next again.
            place = 0.5 ** torch.arange(NUM_MATES)
            self.kind.bias.copy_(torch.cat([4.0 * place, 2.0 * place, torch.tensor([0.0, 0.0, 0.0, 2.0, 2.0])]))

    def forward(self, u_ND: Tensor, mates: Mates) -> Tensor:
        """Bias of each mate, shape (N, R + 1) float32; meaningless where there is none."""
        code = mates.code.clamp_min(0)
        own = torch.cat([self.own[code[:, :-1], 0], self.own[code[:, -1:], 1]], 1)
        kind: Tensor = self.kind(u_ND)
        return own + kind.float().gather(1, mates.kind)


class LastEvent(NamedTuple):
    """The event before each of N decisions in its instant."""

    code: Tensor
    """(N,) int64; -1 for none, and then there are no mates."""
    delay: Tensor
    """(N,) float32, seconds since the code's last record before the instant; NaN for none."""
    times_left: Tensor
    """(N,) float32, how many more times the code came then than so far in this instant; NaN if it never came."""
    number: Tensor
    """(N,) int64, events of the instant so far."""


def opened(instant_E: Tensor, rank_E: Tensor, delay_E: Tensor, delay_KS: Tensor) -> Tensor:
    """Rank of the first event in each instant that opens the panel of each code, shape (K, S); `NEVER` without one.

    Events come in the order of their instants and ranks; delays are whole seconds.
    """
    is_known = delay_E <= LONGEST_S
    key = instant_E[is_known] * (LONGEST_S + 1) + delay_E[is_known].long()
    # Of equal keys, the first in a stable order has the lowest rank.
    key, order = torch.sort(key, stable=True)
    is_first = torch.ones_like(key, dtype=torch.bool)
    is_first[1:] = key[1:] != key[:-1]
    key, rank = key[is_first], rank_E[is_known][order][is_first]
    if not len(key):
        return torch.full(delay_KS.shape, NEVER, device=delay_KS.device)
    has_past = delay_KS <= LONGEST_S
    wanted = torch.where(has_past, delay_KS, 0.0).long()
    wanted += (LONGEST_S + 1) * torch.arange(len(delay_KS), device=delay_KS.device)[:, None]
    place = torch.searchsorted(key, wanted).clamp_max(len(key) - 1)
    return torch.where(has_past & (key[place] == wanted), rank[place], NEVER)


def find_mates(
    last: LastEvent, code_KS: Tensor, delay_KS: Tensor, opened_KS: Tensor, instant_N: Tensor, end: int
) -> Mates:
    """Mates of decisions.

    Parameters
    ----------
    code_KS : int64, codes that the record of each instant has seen, in increasing order; -1 for none.
    delay_KS : float32, seconds since their last record before the instant; NaN for none.
    opened_KS : int64, rank of the event that opens their panel, as `opened` gives it.
    instant_N : int64, instant of each decision.
    end : index of END.
    """
    code = last.code.new_full((len(last.code), NUM_MATES + 1), -1)
    kind = torch.zeros_like(code)
    code[:, -1], kind[:, -1] = last.code, 2 * NUM_MATES + _again(last.times_left)
    # Of hundreds of codes with a past, few lie in an opened panel: pairs of these with the decisions of their instant.
    where = (opened_KS < NEVER).nonzero(as_tuple=True)
    panel_code, panel_delay, panel_rank = code_KS[where], delay_KS[where], opened_KS[where]
    count = torch.bincount(where[0], minlength=len(opened_KS))
    start = count.cumsum(0) - count
    has_open = (last.code >= 0) & (count[instant_N] > 0)
    for row in torch.split(has_open.nonzero()[:, 0], max(_CHUNK // max(opened_KS.shape[1], 1), 1)):
        num_pairs = count[instant_N[row]]
        own, pair = _ragged(start[instant_N[row]], num_pairs)
        is_open = panel_rank[pair] < last.number[row][own]
        is_mate = is_open & (panel_code[pair] > last.code[row][own])
        has_panel = torch.zeros_like(row, dtype=torch.bool).index_fill(0, own[is_open], value=True)
        own, pair = own[is_mate], pair[is_mate]
        num_mates = torch.bincount(own, minlength=len(row))
        place = torch.arange(len(own), device=own.device) - (num_mates.cumsum(0) - num_mates)[own]
        is_kept = place < NUM_MATES
        own, pair, place = row[own[is_kept]], pair[is_kept], place[is_kept]
        code[own, place] = panel_code[pair]
        kind[own, place] = place + NUM_MATES * (panel_delay[pair] != last.delay[own])
        has_end = has_panel & (num_mates < NUM_MATES)
        code[row[has_end], num_mates[has_end]] = end
        kind[row[has_end], num_mates[has_end]] = num_mates[has_end]
    return Mates(code, kind)


def _ragged(start: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Number of the range and place of every element of some ranges."""
    own = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    inside = torch.arange(len(own), device=own.device) - (count.cumsum(0) - count)[own]
    return own, start[own] + inside


def mates_of(
    batch: Batch, past: PastOfCodes, is_scored: Tensor, last_code_N: Tensor, last_K: Tensor, instant_N: Tensor, end: int
) -> Mates:
    """Mates of the decisions of a batch: one before each scored event, and one for END behind each instant.

    Parameters
    ----------
    past : of the K instants with scored events.
    is_scored : (E,) bool.
    last_code_N : int64, code before each decision; -1 for none.
    last_K : int64, last scored event of each instant.
    instant_N : int64, instant of each decision.
    """
    rank, delay = batch.event_rank[is_scored], batch.previous_delay[is_scored]
    left = batch.times_left[is_scored]

    def before(content: Tensor) -> Tensor:
        return torch.cat([content[:1], content[:-1], content[last_K]])

    last = LastEvent(last_code_N, before(delay), before(left), torch.cat([rank, rank[last_K] + 1]))
    opened_KS = opened(instant_N[: len(rank)], rank, delay, past.delay)
    return find_mates(last, past.code, past.delay, opened_KS, instant_N, end)


def _again(times_left: Tensor) -> Tensor:
    """Kind of the last code, from 0 to `NUM_AGAIN` - 1."""
    return torch.where(torch.isnan(times_left), 0, times_left.nan_to_num().clamp(-1, 2).long() + 2)
