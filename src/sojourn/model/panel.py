"""What came along the last time: charts and laboratory panels are written together, again and again.

    m_nc = o_c + s_j + w_j u_n        c a mate of decision n, j its kind

An event opens the panel of its code: all codes whose last record stands at the same earlier instant. Mates are the
codes after the last one in canonical order that lie in a panel which an event of this instant has opened; behind them
comes END, and the last code itself is one, for it may come again. The kind of a mate is its place among them, whether
the last code lies in its panel, and whether it came along the time before too; that of the last code, how many more
times it came the last time. o is a code's own, m zero for all other codes and for what came more than two weeks ago. It
is to this model what copying from its context is to a model of tokens: a state of some hundred numbers need not hold
which of thousands of codes are written together.

Shape letters: K instants, E events, N decisions, D width of the decoder, P pairs of an instant and a code in an opened
panel, V codes, R places, J kinds.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from sojourn.model.batch import Batch
from sojourn.model.linear import Linear
from sojourn.model.places import places
from sojourn.model.recency import LONGEST_S, KnownCodes

NUM_MATES = 8
"""A decision knows its next mates only: each further one comes first only where all before it are left out."""
NUM_AGAIN = 5
"""Kinds of the last code itself: it never came; the last time it came less often than now, as often, more often by one,
by several."""
NEVER = 2**30
_AT_ONCE = 2 * NUM_MATES
"""Open codes behind the last one that a decision looks at in one go."""


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
        self.kind = Linear(d_decoder, 4 * NUM_MATES + NUM_AGAIN)
        nn.init.zeros_(self.kind.weight)
        with torch.no_grad():  # To start with, what came next the last time comes next again.
            place = 0.5 ** torch.arange(NUM_MATES)
            again = torch.tensor([0.0, 0.0, 0.0, 2.0, 2.0])
            self.kind.bias.copy_(torch.cat([4.0 * place, 2.0 * place, 4.0 * place, 2.0 * place, again]))

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


class OpenCodes(NamedTuple):
    """P codes that lie in opened panels, by instant and in increasing order."""

    code: Tensor
    """(P,) int64."""
    delay: Tensor
    """(P,) float32, seconds since its last record before the instant."""
    rank: Tensor
    """(P,) int64, rank of the event that opens its panel."""
    is_twice: Tensor
    """(P,) bool, whether the code came along with that event's the time before too."""
    per_instant: Tensor
    """(K,) int64, how many each instant has."""


def open_codes(known: KnownCodes, instant_E: Tensor, rank_E: Tensor, delay_E: Tensor, interval_E: Tensor) -> OpenCodes:
    """Of hundreds of codes with a past, the few that lie in a panel which some events open.

    Parameters
    ----------
    known : of K instants.
    instant_E, rank_E : int64, in the order of instants and ranks.
    delay_E, interval_E : float32, whole seconds since the last record of the event's code, and between that and the one
        before; NaN for none.
    """
    opener = places(delay_E <= LONGEST_S)
    key = instant_E[opener] * (LONGEST_S + 1) + delay_E[opener].long()
    # Of equal keys, the first in a stable order has the lowest rank.
    key, order = torch.sort(key, stable=True)
    is_first = torch.ones_like(key, dtype=torch.bool)
    is_first[1:] = key[1:] != key[:-1]
    opener, key = opener[order[is_first]], key[is_first]
    wanted = known.instant * (LONGEST_S + 1) + known.delay.long()
    place = torch.searchsorted(key, wanted)
    key = torch.cat([key, key.new_full((1,), -1)])  # behind all openers stands none
    chosen = places(key.index_select(0, place) == wanted)
    instant, code, delay, interval = (field.index_select(0, chosen) for field in known[:4])
    opener = opener.index_select(0, place.index_select(0, chosen))
    is_twice = interval == interval_E[opener]
    return OpenCodes(code, delay, rank_E[opener], is_twice, torch.bincount(instant, minlength=known.num_instants))


def find_mates(last: LastEvent, opened: OpenCodes, instant_N: Tensor, end: int) -> Mates:
    """Mates of decisions; `instant` is that of each, `end` the index of END."""
    code = last.code.new_full((len(last.code), NUM_MATES + 1), -1)
    kind = torch.zeros_like(code)
    code[:, -1], kind[:, -1] = last.code, 4 * NUM_MATES + _again(last.times_left)
    count, stop = opened.per_instant, opened.per_instant.cumsum(0)
    of = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    first_rank = torch.full_like(count, NEVER).scatter_reduce(0, of, opened.rank, "amin")
    row = places((last.code >= 0) & (first_rank[instant_N] < last.number))
    # Open codes are sorted, so mates are the next ones behind the last code that are open by then.
    ahead = instant_N[row] * (end + 1) + last.code[row]
    at, until = torch.searchsorted(of * (end + 1) + opened.code, ahead, right=True), stop[instant_N[row]]
    found, step = torch.zeros_like(row), torch.arange(_AT_ONCE, device=row.device)
    while len(row):
        pair = at[:, None] + step
        is_inside = pair < until[:, None]
        pair = torch.where(is_inside, pair, 0)
        is_mate = is_inside & (opened.rank.take(pair) < last.number[row, None])
        place = found[:, None] + is_mate.cumsum(1) - 1
        kept = places(is_mate & (place < NUM_MATES))
        own, pair, place = row[kept // _AT_ONCE], pair.take(kept), place.take(kept)
        code[own, place] = opened.code[pair]
        is_other = opened.delay[pair] != last.delay[own]
        kind[own, place] = place + NUM_MATES * (is_other + 2 * opened.is_twice[pair])
        found, at = (found + is_mate.sum(1)).clamp_max(NUM_MATES), at + _AT_ONCE
        goes_on = (found < NUM_MATES) & (at < until)
        has_end = (found < NUM_MATES) & ~goes_on
        code[row[has_end], found[has_end]], kind[row[has_end], found[has_end]] = end, found[has_end]
        row, at, until, found = (field[goes_on] for field in (row, at, until, found))
    return Mates(code, kind)


def mates_of(
    batch: Batch, known: KnownCodes, is_scored: Tensor, last_code_N: Tensor, last_K: Tensor, instant_N: Tensor, end: int
) -> Mates:
    """Mates of the decisions of a batch: one before each scored event, and one for END behind each instant.

    Parameters
    ----------
    known : at the K instants with scored events.
    is_scored : (E,) bool.
    last_code_N : int64, code before each decision; -1 for none.
    last_K : int64, last scored event of each instant.
    instant_N : int64, instant of each decision.
    """
    rank, delay = batch.event_rank[is_scored], batch.previous_delay[is_scored]
    left, interval = batch.times_left[is_scored], batch.previous_interval[is_scored]

    def before(content: Tensor) -> Tensor:
        return torch.cat([content[:1], content[:-1], content[last_K]])

    last = LastEvent(last_code_N, before(delay), before(left), torch.cat([rank, rank[last_K] + 1]))
    return find_mates(last, open_codes(known, instant_N[: len(rank)], rank, delay, interval), instant_N, end)


def _again(times_left: Tensor) -> Tensor:
    """Kind of the last code, from 0 to `NUM_AGAIN` - 1."""
    return torch.where(torch.isnan(times_left), 0, times_left.nan_to_num().clamp(-1, 2).long() + 2)
