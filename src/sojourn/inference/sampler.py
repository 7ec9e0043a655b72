"""Sampling futures: the network run forward, one instant at a time, for many copies of one history at once.

One pass over the history fills the cache, which all copies share; then each instant costs one step of the backbone
and one small step per event. When the cache is longer than the context, its oldest instants are dropped (the static
position stays), so that the cost of an instant never grows.

Shape letters: N futures, V codes, D width.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sojourn.model import Batch, Network
from sojourn.model.backbone import LayerCache
from sojourn.model.features import time_features
from sojourn.training.records import EventTable, Ints

_DAY_S, _YEAR_S = 86400.0, 31557600.0
_MAX_EVENTS = 512
NAN = float("nan")


class SampledEvents(NamedTuple):
    """Events of sampled futures, sorted by sample and time."""

    sample: Ints
    """(E,)"""
    seconds: Ints
    """(E,) since the subject's origin."""
    code: Ints
    """(E,) index in the model's vocabulary."""
    value: np.ndarray
    """(E,) float32 in the code's own unit; NaN for none."""


class _Memory(NamedTuple):
    """What every future remembers besides the cache."""

    h: Tensor
    """(N, D) state of the last instant."""
    time: Tensor
    """(N,) float64, seconds since the origin."""
    order: Tensor
    """(N,) int64."""
    last_value: Tensor
    """(N, V) last value of each code; NaN for none."""
    last_time: Tensor
    """(N, V) float64, when; NaN for never."""
    sample: Tensor
    """(N,) int64, which future."""


class FutureSampler:
    """Samples futures of one history.

    Parameters
    ----------
    network : in evaluation mode.
    is_terminal_V : codes after which nothing more is recorded.
    context : instants that the network sees at once.
    seed : of all draws.
    """

    def __init__(self, network: Network, is_terminal_V: Tensor, *, context: int, seed: int) -> None:
        self.network, self.is_terminal, self.context = network, is_terminal_V, context
        self.generator = torch.Generator().manual_seed(seed)

    @torch.inference_mode()
    def sample(
        self, history: Batch, past: EventTable, *, elapsed_s: float, horizon_s: float, num_samples: int
    ) -> SampledEvents:
        """Sample what is recorded within `horizon_s` seconds from now.

        Parameters
        ----------
        history : one window (B = 1) that ends with the last instant before now.
        past : the events of the whole record up to now, since the last value of a code may be older than the window.
        elapsed_s : seconds since that instant, in which nothing was recorded.
        """
        memory, cache = self._start(history, past, num_samples)
        now = float(history.time[0, -1]) + elapsed_s
        wait = elapsed_s
        parts: list[tuple[Tensor, ...]] = []
        while len(memory.time):
            time = self._next_time(memory, history, wait)
            wait = 0.0
            keep = time <= now + horizon_s
            memory, cache, time = _keep(memory, keep), _keep_cache(cache, keep), time[keep]
            if not len(time):
                break
            events, memory, cache = self._instant(memory, cache, history, time)
            row, code, value = events
            parts.append((memory.sample[row], time[row], code, value))
            ended = torch.zeros(len(time), dtype=torch.bool).index_put((row,), self.is_terminal[code], accumulate=True)
            memory, cache = _keep(memory, ~ended), _keep_cache(cache, ~ended)
        return _sorted(parts)

    def _start(self, history: Batch, past: EventTable, count: int) -> tuple[_Memory, list[LayerCache]]:
        """Run the history once, position by position of one pass, and copy its end."""
        h, cache = prefill(self.network, history)
        last_value, last_time = last_known(past, len(self.is_terminal))
        memory = _Memory(
            h=h.expand(count, -1),
            time=history.time[0, -1].expand(count),
            order=history.order[0, -1].expand(count),
            last_value=last_value.expand(count, -1),
            last_time=last_time.expand(count, -1),
            sample=torch.arange(count),
        )
        copies = [LayerCache(c.key.expand(count, -1, -1, -1), c.value.expand(count, -1, -1, -1)) for c in cache]
        return memory, copies

    def _next_time(self, memory: _Memory, history: Batch, wait: float) -> Tensor:
        """Draw when the next instant is, given that `wait` seconds have passed without one."""
        clock = self._clock(history, memory.time)
        z_site = self.network.site(history.site[0, -1].expand(len(clock)))
        density = self.network.gap_head(memory.h, z_site, clock)
        tick = history.tick[0, -1]
        at_least = torch.log(torch.full_like(clock, max(wait, 0.0)) + 0.5 * tick)
        gap = torch.exp(density.sample(self.generator, at_least))
        return memory.time + (gap / tick).round().clamp_min(1.0).double() * tick.double()

    def _clock(self, history: Batch, time: Tensor) -> Tensor:
        origin = history.clock[0, -1].double() - history.time[0, -1]
        return (origin + time).remainder(_DAY_S).float()

    def _instant(
        self, memory: _Memory, cache: list[LayerCache], history: Batch, time: Tensor
    ) -> tuple[tuple[Tensor, Tensor, Tensor], _Memory, list[LayerCache]]:
        """Decode the events of the next instant of every future, then take it into the state."""
        network, count = self.network, len(time)
        gap, clock = (time - memory.time).float(), self._clock(history, time)
        age = history.age[0, -1] + ((time - history.time[0, -1]) / _YEAR_S).float()
        context = network.context(memory.h, history.site[0, -1].expand(count), time_features(gap, time, clock, age))
        row, code, value = self._decode(context.u, context.z_site, memory, time)
        previous = memory.last_value[row, code]
        delay = (time[row] - memory.last_time[row, code]).float()
        rank = torch.arange(len(row)) - torch.searchsorted(row, row)
        one = torch.ones(count, 1, dtype=torch.bool)
        step = Batch(
            segment=torch.zeros(count, 1, dtype=torch.int64),
            order=memory.order[:, None] + 1,
            time=time[:, None],
            gap=gap[:, None] if int(memory.order[0]) > 0 else torch.full((count, 1), NAN),
            clock=clock[:, None],
            age=age[:, None],
            tick=history.tick[0, -1].expand(count, 1),
            site=history.site[0, -1].expand(count, 1),
            is_predicted=one,
            is_gap_predicted=one,
            survival=torch.zeros(count, 1),
            event_position=row,
            event_rank=rank,
            code=code,
            value=value,
            previous_value=previous,
            previous_delay=delay,
        )
        h, cache = network.step(step, _roll(cache, self.context))
        last_value = memory.last_value.clone()
        last_time = memory.last_time.clone()
        last_value[row, code] = value
        last_time[row, code] = time[row]
        return (row, code, value), _Memory(h[:, 0], time, memory.order + 1, last_value, last_time, memory.sample), cache

    def _decode(self, u_ND: Tensor, z_NS: Tensor, memory: _Memory, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Draw events until END in every future; (row, code, value) sorted by row and rank."""
        network, count = self.network, len(time)
        earlier = torch.zeros(count, network.config.d_event)
        last, active = torch.full((count,), -1), torch.arange(count)
        drawn: list[tuple[Tensor, Tensor, Tensor]] = []
        for _ in range(_MAX_EVENTS):
            u = network.decision(u_ND[active], earlier[active])
            log_p = network.code_head(u, z_NS[active], network.events.code.weight, last[active])
            code = torch.multinomial(log_p.exp(), 1, generator=self.generator)[:, 0]
            goes_on = code < log_p.shape[1] - 1
            active, u, code = active[goes_on], u[goes_on], code[goes_on]
            if not len(active):
                break
            previous = memory.last_value[active, code]
            delay = (time[active] - memory.last_time[active, code]).float()
            value = self._value(u, code, previous, delay)
            earlier[active] += network.events(code, value, previous, delay)
            last[active] = code
            drawn.append((active, code, value))
        if not drawn:
            return torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64), torch.empty(0)
        row, code, value = (torch.cat(column) for column in zip(*drawn, strict=True))
        order = torch.argsort(row, stable=True)
        return row[order], code[order], value[order]

    def _value(self, u: Tensor, code: Tensor, previous: Tensor, delay: Tensor) -> Tensor:
        network = self.network
        z = network.value_density(u, code, previous, delay).sample(self.generator)
        value = network.events.denormalise(code, z)
        has_value = torch.rand(len(code), generator=self.generator) < network.events.value_share[code]
        return torch.where(has_value, value, NAN)


def last_known(past: EventTable, num_codes: int) -> tuple[Tensor, Tensor]:
    """Last value (V,) of each code and when it was (V,) float64; NaN for none."""
    value, time = np.full(num_codes, np.nan, np.float32), np.full(num_codes, np.nan)
    # Events lie in time order, and of several writes to one place the last one stays.
    value[past.code], time[past.code] = past.value, past.seconds
    return torch.from_numpy(value), torch.from_numpy(time)


@torch.inference_mode()
def prefill(network: Network, history: Batch) -> tuple[Tensor, list[LayerCache]]:
    """State of the last position (1, D) and the cache of a history of one window, in one pass."""
    x = network.inputs(history, network.phi(history))
    h, cache = network.backbone.prefill(x, history.time, history.order)
    return h[:, -1], cache


def _roll(cache: list[LayerCache], context: int) -> list[LayerCache]:
    """Drop the oldest instants beyond the context; the first position holds the static events and stays."""
    excess = cache[0].key.shape[2] - context
    if excess <= 0:
        return cache
    return [
        LayerCache(
            torch.cat([c.key[:, :, :1], c.key[:, :, 1 + excess :]], 2),
            torch.cat([c.value[:, :, :1], c.value[:, :, 1 + excess :]], 2),
        )
        for c in cache
    ]


def _keep(memory: _Memory, keep: Tensor) -> _Memory:
    return memory if bool(keep.all()) else _Memory(*(field[keep] for field in memory))


def _keep_cache(cache: list[LayerCache], keep: Tensor) -> list[LayerCache]:
    return cache if bool(keep.all()) else [LayerCache(c.key[keep], c.value[keep]) for c in cache]


def _sorted(parts: list[tuple[Tensor, ...]]) -> SampledEvents:
    if not parts:
        none = np.empty(0, np.int64)
        return SampledEvents(none, none, none, np.empty(0, np.float32))
    sample, seconds, code, value = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    order = np.argsort(sample, kind="stable")
    return SampledEvents(sample[order], seconds[order].astype(np.int64), code[order], value[order])
