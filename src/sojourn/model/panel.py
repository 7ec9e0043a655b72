"""What came along the last time: charts and laboratory panels are written together, again and again.

    m_nc = o_c + s_j + w_j u_n        c a mate of decision n, j its kind

An event opens the panel of its code: all codes whose last record stands at the same earlier instant. Mates are the
codes after the last one in canonical order that lie in a panel which an event of this instant has opened; behind them
comes END, and the last code itself is one, for it may come again. The kind of a mate is its place among them, whether
the last code lies in its panel, and whether it came along the time before too; that of the last code, how many more
times it came the last time. o is a code's own, m zero for all other codes and for what came more than two weeks ago. It
is to this model what copying from its context is to a model of tokens: a state of some hundred numbers need not hold
which of thousands of codes are written together.

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


class Panels(NamedTuple):
    """The codes that K instants have seen, and the panels that the events of each instant open."""

    code: Tensor
    """(K, S) int64, in increasing order; -1 for none."""
    delay: Tensor
    """(K, S) float32, seconds since the code's last record before the instant; NaN for none."""
    rank: Tensor
    """(K, S) int64, rank of the event that opens its panel; `NEVER` without one."""
    is_twice: Tensor
    """(K, S) bool, whether the code came along with that event's the time before too."""


class OpenCodes(NamedTuple):
    """P codes that lie in opened panels, by instant and in increasing order."""

    code: Tensor
    """(P,) int64."""
    delay: Tensor
    """(P,) float32, seconds since its last record before the instant."""
    rank: Tensor
    """(P,) int64, rank of the event that opens its panel."""
    is_twice: Tensor
    """(P,) bool, as in `Panels`."""
    per_instant: Tensor
    """(K,) int64, how many each instant has."""


def panels_of(past: PastOfCodes, instant_E: Tensor, rank_E: Tensor, delay_E: Tensor, interval_E: Tensor) -> Panels:
    """Panels that some events open.

    Parameters
    ----------
    instant_E, rank_E : int64, in the order of instants and ranks.
    delay_E, interval_E : float32, whole seconds since the last record of the event's code, and between that and the one
        before; NaN for none.
    """
    is_known = delay_E <= LONGEST_S
    key = instant_E[is_known] * (LONGEST_S + 1) + delay_E[is_known].long()
    # Of equal keys, the first in a stable order has the lowest rank.
    key, order = torch.sort(key, stable=True)
    is_first = torch.ones_like(key, dtype=torch.bool)
    is_first[1:] = key[1:] != key[:-1]
    opener = is_known.nonzero()[:, 0][order[is_first]]
    key = key[is_first]
    if not len(key):
        never = torch.full_like(past.code, NEVER)
        return Panels(past.code, past.delay, never, torch.zeros_like(never, dtype=torch.bool))
    has_past = past.delay <= LONGEST_S
    wanted = torch.where(has_past, past.delay, 0.0).long()
    wanted += (LONGEST_S + 1) * torch.arange(len(wanted), device=wanted.device)[:, None]
    place = torch.searchsorted(key, wanted).clamp_max(len(key) - 1)
    is_in = has_past & (key[place] == wanted)
    rank = torch.where(is_in, rank_E[opener][place], NEVER)
    return Panels(past.code, past.delay, rank, is_in & (past.interval == interval_E[opener][place]))


def open_codes(panels: Panels) -> OpenCodes:
    """Of hundreds of codes with a past, the few that lie in an opened panel."""
    where = (panels.rank < NEVER).nonzero(as_tuple=True)
    count = torch.bincount(where[0], minlength=len(panels.rank))
    code, delay, rank, is_twice = (field[where] for field in panels)
    return OpenCodes(code, delay, rank, is_twice, count)


def find_mates(last: LastEvent, opened: OpenCodes, instant_N: Tensor, end: int) -> Mates:
    """Mates of decisions; `instant` is that of each, `end` the index of END."""
    code = last.code.new_full((len(last.code), NUM_MATES + 1), -1)
    kind = torch.zeros_like(code)
    code[:, -1], kind[:, -1] = last.code, 4 * NUM_MATES + _again(last.times_left)
    count = opened.per_instant
    start = count.cumsum(0) - count
    has_open = (last.code >= 0) & (count[instant_N] > 0)
    most = int(count.max()) if len(count) else 0
    # Pairs of the open codes with the decisions of their instant.
    for row in torch.split(has_open.nonzero()[:, 0], max(_CHUNK // max(most, 1), 1)):
        num_pairs = count[instant_N[row]]
        own, pair = _ragged(start[instant_N[row]], num_pairs)
        is_open = opened.rank[pair] < last.number[row][own]
        is_mate = is_open & (opened.code[pair] > last.code[row][own])
        has_panel = torch.zeros_like(row, dtype=torch.bool).index_fill(0, own[is_open], value=True)
        own, pair = own[is_mate], pair[is_mate]
        num_mates = torch.bincount(own, minlength=len(row))
        place = torch.arange(len(own), device=own.device) - (num_mates.cumsum(0) - num_mates)[own]
        is_kept = place < NUM_MATES
        own, pair, place = row[own[is_kept]], pair[is_kept], place[is_kept]
        code[own, place] = opened.code[pair]
        is_other = opened.delay[pair] != last.delay[own]
        kind[own, place] = place + NUM_MATES * (is_other + 2 * opened.is_twice[pair])
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
    left, interval = batch.times_left[is_scored], batch.previous_interval[is_scored]

    def before(content: Tensor) -> Tensor:
        return torch.cat([content[:1], content[:-1], content[last_K]])

    last = LastEvent(last_code_N, before(delay), before(left), torch.cat([rank, rank[last_K] + 1]))
    return find_mates(last, open_codes(panels_of(past, instant_N[: len(rank)], rank, delay, interval)), instant_N, end)


def _again(times_left: Tensor) -> Tensor:
    """Kind of the last code, from 0 to `NUM_AGAIN` - 1."""
    return torch.where(torch.isnan(times_left), 0, times_left.nan_to_num().clamp(-1, 2).long() + 2)
