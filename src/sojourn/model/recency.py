"""What a code's own past says of it: when it was last recorded, and at which rhythm.

    r_kc = T_c f(log d_kc) + R_c g(log d_kc - log i_kc)

d is the time since code c was last recorded, i the interval between that record and the one before, f and g linear
splines with fixed knots. T and R are a code's own, on top of what its embedding says: a code that was never trained
has a rhythm too. r is zero for a code that has not come for two weeks. An hourly chart, a six-hourly lab and a drug
that has just been started all show here, where a state of some hundred numbers could not hold the clocks of thousands
of codes.

Shape letters: K instants, S codes with a past, P pairs of an instant and a code, V codes, D width of the embedding, J
knots of both splines.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sojourn.model.batch import Batch
from sojourn.model.linear import Linear
from sojourn.model.places import places

LONGEST_S = 14 * 86400
"""Seconds after which a code counts as one that never came."""
_SHORTEST_S, _NUM_DELAY = 60, 20
_LARGEST_RATIO, _NUM_RATIO = math.e**2.5, 11
NUM_KNOTS = _NUM_DELAY + _NUM_RATIO + 1


class PastOfCodes(NamedTuple):
    """When the codes of a record came, at K instants."""

    code: Tensor
    """(K, S) int64, in increasing order; -1 for none."""
    delay: Tensor
    """(K, S) float32, seconds since its last record at an earlier instant; NaN for none."""
    interval: Tensor
    """(K, S) float32, seconds between that record and the one before it; NaN for none."""


class KnownCodes(NamedTuple):
    """P pairs of an instant and a code that came within the two weeks before it, by instant and in increasing order."""

    instant: Tensor
    """(P,) int64, from 0 to K - 1."""
    code: Tensor
    """(P,) int64."""
    delay: Tensor
    """(P,) float32, seconds since its last record at an earlier instant."""
    interval: Tensor
    """(P,) float32, seconds between that record and the one before it; NaN for none."""
    num_instants: int


def past_of_codes(batch: Batch, position_K: Tensor) -> PastOfCodes:
    """What a batch says of the codes' past at some positions."""
    assert len(batch.seen_delay), "a batch that is scored says when codes were last recorded"
    code = batch.seen_code.index_select(0, batch.segment.flatten()[position_K])
    return PastOfCodes(code, *(x.index_select(0, position_K) for x in (batch.seen_delay, batch.seen_interval)))


def known_codes(past: PastOfCodes) -> KnownCodes:
    """Of hundreds of codes that a record may have, those that came not too long ago."""
    where = places(past.delay <= LONGEST_S)
    instant = torch.div(where, max(past.delay.shape[1], 1), rounding_mode="floor")
    code, delay, interval = (field.flatten().index_select(0, where) for field in past)
    return KnownCodes(instant, code, delay, interval, num_instants=len(past.delay))


class RecencyBias(nn.Module):
    """Adds to the logit of a code what its own past says of it."""

    def __init__(self, num_codes: int, d_event: int) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.zeros(num_codes, NUM_KNOTS))
        self.shared = Linear(d_event, NUM_KNOTS)
        nn.init.zeros_(self.shared.weight)
        nn.init.zeros_(self.shared.bias)

    def table(self, embedding_VD: Tensor) -> Tensor:
        """Heights of both splines at their knots, (V, J) float32; the last one is for a first record's ratio."""
        said: Tensor = self.shared(embedding_VD)
        return self.own + said.float()

    def forward(self, table_VJ: Tensor, known: KnownCodes) -> Tensor:
        """Bias of every code at K instants, shape (K, V); zero for codes that did not come or came too long ago.

        `table` is as the method of that name gives it.
        """
        log_delay = torch.log(known.delay.clamp_min(1.0))
        log_ratio = log_delay - torch.log(known.interval.clamp_min(1.0))
        in_time = _place(log_delay, math.log(_SHORTEST_S), math.log(LONGEST_S), _NUM_DELAY)
        in_rhythm = _place(log_ratio, -math.log(_LARGEST_RATIO), math.log(_LARGEST_RATIO), _NUM_RATIO)
        # A first record has no ratio: the last height is its own, whole.
        alone = torch.full_like(in_rhythm, NUM_KNOTS - 1 - _NUM_DELAY)
        in_rhythm = _NUM_DELAY + torch.where(torch.isnan(in_rhythm), alone, in_rhythm)
        heights: Tensor = _Splines.apply(table_VJ, known.code, in_time, in_rhythm)  # type: ignore[no-untyped-call]
        num_codes = len(table_VJ)
        nothing = torch.zeros(known.num_instants * num_codes, device=heights.device)
        return nothing.scatter(0, known.instant * num_codes + known.code, heights).view(-1, num_codes)


def _place(x: Tensor, lower: float, upper: float, count: int) -> Tensor:
    """Place of x among `count` knots, from 0 to count - 1."""
    return ((x - lower) * ((count - 1) / (upper - lower))).clamp(0.0, count - 1.0)


class _Splines(torch.autograd.Function):
    """Sum over some places of the linear interpolation in the rows of a table; its gradient is a histogram."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, row: Tensor, *places: Tensor) -> Tensor:
        width, total = table.shape[1], torch.zeros(len(row), device=table.device)
        parts, flat = [], table.flatten()
        for place in places:
            below = place.floor()
            share, index = place - below, row * width + below.long()
            # A place on the last knot has nothing above it, and no share of it.
            above = (index + 1).clamp_max(len(flat) - 1)
            total += torch.lerp(flat.index_select(0, index), flat.index_select(0, above), share)
            parts += [index, above, share]
        ctx.save_for_backward(*parts)
        ctx.shape = table.shape
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, width = ctx.shape
        total = torch.zeros(rows * width, device=grad.device)
        parts = ctx.saved_tensors
        for index, above, share in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            total += torch.bincount(index, grad * (1 - share), rows * width)
            total += torch.bincount(above, grad * share, rows * width)
        return total.view(rows, width), *[None] * (1 + len(parts) // 3)
