"""Where a batch of futures stands while it is drawn: what each future remembers, and which still go on.

Shape letters: G histories, n futures of each, N = G * n futures, V codes, D width, S site width.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sojourn.inference.rules import Rule
from sojourn.inference.starts import Starts
from sojourn.inference.streams import Streams
from sojourn.model import Batch, Network
from sojourn.model.cache import RollingCache

_DAY_S, _YEAR_S = 86400.0, 31557600.0
# Above this share of the futures, taking the others out of the batch costs more than it saves.
_WORTH_KEEPING = 0.75


class Memory(NamedTuple):
    """What every future remembers besides the cache; changed in place."""

    number: Tensor
    """(N,) int64, which future of the batch."""
    h: Tensor
    """(N, D) state of the last instant."""
    time: Tensor
    """(N,) float64, of the last instant, in seconds since the origin."""
    wait: Tensor
    """(N,) float32, seconds since then in which nothing came."""
    order: Tensor
    """(N,) int64, position of the last instant in its record."""
    last_value: Tensor
    """(N, V) last value of each code; NaN for none."""
    last_time: Tensor
    """(N, V) float64, when; NaN for never."""
    last_interval: Tensor
    """(N, V) float32, seconds between that record of the code and the one before; NaN for none."""
    last_count: Tensor
    """(N, V) float32, how many times the code came then; NaN for never."""
    z_site: Tensor
    """(N, S)"""
    tick: Tensor
    """(N,) float32, seconds between two times that the source can tell apart."""
    clock_at_origin: Tensor
    """(N,) float64, seconds since midnight at the origin."""
    end_of_history: Tensor
    """(N,) float64, time of the last position of the history."""
    age_then: Tensor
    """(N,) float32, age in years at that time; NaN unknown."""
    until: Tensor
    """(N,) float64, end of the horizon."""

    def clock(self, time_N: Tensor) -> Tensor:
        """Seconds since midnight."""
        return (self.clock_at_origin + time_N).remainder(_DAY_S).float()

    def next_position(self, time_N: Tensor) -> Batch:
        """The next instants as positions of the network, each with one event: the sum of all its events."""
        count, none = len(time_N), self.h.new_empty(0)
        zero = self.h.new_zeros(count, 1)
        # The first instant of a record has no gap.
        gap = torch.where(self.order > 0, (time_N - self.time).float(), torch.nan)
        age = self.age_then + ((time_N - self.end_of_history) / _YEAR_S).float()
        return Batch(
            segment=zero,
            order=self.order[:, None] + 1,
            time=time_N[:, None],
            gap=gap[:, None],
            clock=self.clock(time_N)[:, None],
            age=age[:, None],
            tick=self.tick[:, None],
            site=zero,
            is_predicted=zero,
            is_gap_predicted=zero,
            survival=zero,
            may_end=zero,
            event_position=torch.arange(count, device=zero.device),
            event_rank=none,
            code=none,
            value=none,
            previous_value=none,
            previous_delay=none,
            previous_interval=none,
            times_left=none,
        )


@dataclass(slots=True)
class Rollout:
    """A batch of futures that are being drawn."""

    memory: Memory
    cache: RollingCache
    streams: Streams
    goes_on: Tensor
    """(N,) bool, futures that have neither ended nor reached the horizon."""
    escape: Tensor
    """(N at the start,) float64, chance of each future not to have made the forbidden outcome happen so far."""
    ended: Tensor
    """(N at the start,) bool, futures whose record has ended for good."""
    forbidden: Rule | None

    def take_out_ended(self, time_N: Tensor) -> Tensor:
        """Take ended futures out of the batch where that is worth while; returns what is left of `time`."""
        if int(self.goes_on.sum()) > _WORTH_KEEPING * len(self.goes_on):
            return time_N
        by_history = self.goes_on.view(-1, self.cache.copies)
        count = by_history.sum(1)
        history, copies = count.nonzero()[:, 0], int(count.max())
        # As many futures of each history as the one with the most still has: a rectangle.
        first = torch.argsort((~by_history[history]).long(), dim=1, stable=True)[:, :copies]
        future = (history[:, None] * by_history.shape[1] + first).flatten()
        if len(future) > _WORTH_KEEPING * len(self.goes_on):
            return time_N
        self.cache.keep(history, future, copies)
        self.streams.keep(future)
        self.memory = Memory(*(field[future] for field in self.memory))
        self.goes_on = self.goes_on[future]
        return time_N[future]


def begin(
    network: Network,
    starts: Starts,
    *,
    horizon_s: float,
    copies: int,
    first: int,
    context: int,
    seed: int,
    forbidden: Rule | None = None,
) -> Rollout:
    """Run the histories once, in one pass, and copy their ends.

    Parameters
    ----------
    copies : futures of each history, with the numbers `first`, `first` + 1, ...
    """
    device = network.device
    batch, length = starts.batch.to(device), starts.length.to(device)
    h, layers = network.backbone.prefill(network.inputs(batch, network.phi(batch)), batch.time, batch.order)
    end = torch.arange(len(length), device=device), length - 1
    time, now = batch.time[end], starts.now.to(device)
    ends = {
        "h": h[end],
        "time": time,
        "wait": (now - time).float(),
        "order": batch.order[end],
        "last_value": starts.last_value.to(device),
        "last_time": starts.last_time.to(device),
        "last_interval": starts.last_interval.to(device),
        "last_count": starts.last_count.to(device),
        "z_site": network.site(batch.site[end]),
        "tick": batch.tick[end],
        "clock_at_origin": batch.clock[end].double() - time,
        "end_of_history": time,
        "age_then": batch.age[end],
        "until": now + horizon_s,
    }
    copied = {name: field.repeat_interleave(copies, 0) for name, field in ends.items()}
    number = torch.arange(len(length) * copies, device=device)
    seconds = np.repeat(starts.now.long().numpy(), copies)
    numbers = np.tile(np.arange(first, first + copies), len(length))
    return Rollout(
        memory=Memory(number=number, **copied),
        cache=RollingCache(layers, length, copies=copies, context=context),
        streams=Streams(seed, np.repeat(starts.subject_id, copies), seconds, numbers),
        goes_on=torch.ones(len(number), dtype=torch.bool, device=device),
        escape=torch.ones(len(number), dtype=torch.float64, device=device),
        ended=torch.zeros(len(number), dtype=torch.bool, device=device),
        forbidden=None if forbidden is None else forbidden.to(device),
    )
