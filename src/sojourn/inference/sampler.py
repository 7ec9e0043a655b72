"""Sampling futures: the network run forward, one instant at a time, for many futures of many histories at once.

One pass over the histories fills the cache, in which each history lies once for all its futures; then an instant costs
one step of the backbone and one small step per event. Instants that leave the window cost nothing (`model/cache.py`).

A future may be drawn given that an outcome does not happen: at every decision its chance is taken out of the draw and
multiplied into the future's chance of escape, as `inference/rules.py` explains.

Shape letters: N futures, M futures that still draw events of their instant, C codes of a rule, V codes, D width.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sojourn.inference.panels import OpenPanels
from sojourn.inference.rollout import Rollout, begin
from sojourn.inference.rules import Block, Rule, block_of, forbid
from sojourn.inference.starts import Starts
from sojourn.model import Network
from sojourn.model.embedding import Earlier
from sojourn.model.features import time_features
from sojourn.model.policy import after, gap_log_survival
from sojourn.model.recency import PastOfCodes
from sojourn.training.records import Ints

_MAX_EVENTS = 512


class SampledEvents(NamedTuple):
    """Events of sampled futures, sorted by sample and time."""

    sample: Ints
    """(E,) future; those of the i-th history of a batch have the numbers i * n to i * n + n - 1."""
    seconds: Ints
    """(E,) since the subject's origin."""
    code: Ints
    """(E,) index in the model's vocabulary."""
    value: np.ndarray
    """(E,) float32 in the code's own unit; NaN for none."""


class Futures(NamedTuple):
    """What came of the futures of a batch of histories."""

    events: SampledEvents
    escape: np.ndarray
    """(N,) float64, each future's chance not to have made the forbidden outcome happen; 1 without one."""
    ended: np.ndarray
    """(N,) bool, whether the record has ended for good, with a death or a discharge."""


class _Drawn(NamedTuple):
    """Events of one instant of the futures, by future and in canonical order."""

    row: Tensor
    code: Tensor
    value: Tensor
    phi_sum: Tensor
    """(N, D) sum of the embeddings of each future's events."""


class FutureSampler:
    """Samples futures of histories.

    Parameters
    ----------
    network : in evaluation mode.
    is_terminal_V : codes after which nothing more may be recorded: whether, is drawn.
    is_last_V : codes after which surely nothing is: deaths, and where somebody wants futures to be broken off.
    context : instants that the network sees at once.
    seed : of all draws. A future depends on it, on its subject, moment and number, and not on what it is drawn beside,
        except where a draw falls within rounding of a boundary: matrix products of other sizes round differently.
    """

    def __init__(self, network: Network, is_terminal_V: Tensor, is_last_V: Tensor, *, context: int, seed: int) -> None:
        self.network, self.context, self.seed = network, context, seed
        self.is_terminal, self.is_last = is_terminal_V.to(network.device), is_last_V.to(network.device)

    @torch.inference_mode()
    def sample(
        self, starts: Starts, *, horizon_s: float, num_samples: int, first: int = 0, forbidden: Rule | None = None
    ) -> Futures:
        """Sample what is recorded within `horizon_s` seconds of each moment.

        Parameters
        ----------
        num_samples : futures of each history.
        first : number of the first of them, so that many can be drawn in parts.
        forbidden : an outcome that shall not happen; its chances make up `escape`.
        """
        rollout = begin(
            self.network,
            starts,
            horizon_s=horizon_s,
            copies=num_samples,
            first=first,
            context=self.context,
            seed=self.seed,
            forbidden=forbidden,
        )
        may_end = starts.batch.may_end[torch.arange(len(starts.length)), starts.length - 1]
        may_end = may_end & self.network.gap_head.knows_ends.cpu()  # who is asked about is not over
        self._end(rollout, may_end.to(self.network.device).repeat_interleave(num_samples).nonzero()[:, 0])
        parts: list[tuple[Tensor, ...]] = []
        while True:
            time = self._next_time(rollout)
            rollout.goes_on &= time <= rollout.memory.until
            if not bool(rollout.goes_on.any()):
                return Futures(_sorted(parts), rollout.escape.cpu().numpy(), rollout.ended.cpu().numpy())
            time = rollout.take_out_ended(time)
            drawn = self._instant(rollout, time)
            parts.append((rollout.memory.number[drawn.row], time[drawn.row], drawn.code, drawn.value))
            self._stop(rollout, drawn.row[self.is_last[drawn.code]])
            self._end(rollout, torch.unique(drawn.row[self.is_terminal[drawn.code]]))

    def _end(self, rollout: Rollout, row: Tensor) -> None:
        """Draw which of the futures whose last instant holds a terminal code have ended with it, given the wait."""
        row = row[rollout.goes_on[row]]
        if not len(row):
            return
        memory = rollout.memory
        h, z_site, tick = memory.h[row], memory.z_site[row], memory.tick[row]
        density = self.network.gap_head(h, z_site, memory.clock(memory.time)[row])
        # Who has ended is silent; who goes on is silent for so long with the chance of so long a gap.
        log_silent = gap_log_survival(density, memory.wait[row], tick)
        has_ended = torch.sigmoid(self.network.gap_head.end_logit(h, z_site) - log_silent)
        self._stop(rollout, row[rollout.streams.draw(row, 1)[:, 0] < has_ended])

    @staticmethod
    def _stop(rollout: Rollout, row: Tensor) -> None:
        rollout.goes_on[row] = False
        rollout.ended[rollout.memory.number[row]] = True

    def _next_time(self, rollout: Rollout) -> Tensor:
        """Draw when the next instant is, given the wait without one."""
        memory = rollout.memory
        density = self.network.gap_head(memory.h, memory.z_site, memory.clock(memory.time))
        at_least = torch.log(after(memory.wait, memory.tick))
        fewest = torch.floor(memory.wait / memory.tick) + 1
        memory.wait.zero_()
        uniform = rollout.streams.draw(torch.arange(len(memory.time), device=memory.time.device), 2)
        gap = torch.exp(density.draw(uniform, at_least))
        ticks = torch.maximum((gap / memory.tick).round(), fewest)  # halves are rounded to even numbers
        # A record begins with its first instant: there is no gap before it, in training neither.
        ticks = torch.where(memory.order > 0, ticks, 0.0)
        return memory.time + ticks.double() * memory.tick.double()

    def _instant(self, rollout: Rollout, time: Tensor) -> _Drawn:
        """Decode the events of the next instant of every future, then take it into the state."""
        network, memory = self.network, rollout.memory
        step = memory.next_position(time)
        features = time_features(*(x[:, 0] for x in (step.gap, step.time, step.clock, step.age)))
        drawn = self._decode(rollout, network.decode_state(memory.h) + network.decode_time(features), time)
        memory.h.copy_(network.step(step, drawn.phi_sum, rollout.cache)[:, 0])
        memory.time.copy_(time)
        memory.order.add_(1)
        # Of several records of a code in one instant the last one stays, as in training; which of several writes to
        # one place stays is open where several threads write.
        key = drawn.row * memory.last_value.shape[1] + drawn.code
        last = torch.cat([key[1:] != key[:-1], key.new_ones(min(len(key), 1), dtype=torch.bool)])
        memory.last_value[drawn.row[last], drawn.code[last]] = drawn.value[last]
        since = time[drawn.row] - memory.last_time[drawn.row, drawn.code]
        memory.last_interval[drawn.row, drawn.code] = since.float()
        memory.last_time[drawn.row, drawn.code] = time[drawn.row]
        memory.last_count[drawn.row, drawn.code] = 0.0
        memory.last_count.index_put_((drawn.row, drawn.code), torch.ones_like(drawn.value), accumulate=True)
        return drawn

    def _decode(self, rollout: Rollout, u_ND: Tensor, time: Tensor) -> _Drawn:
        """Draw events until END in every future that goes on."""
        network, memory = self.network, rollout.memory
        phi_sum = u_ND.new_zeros(len(u_ND), network.config.d_event)
        embedding = network.events.codes()
        delay = (time[:, None] - memory.last_time).float()
        recency = network.code_head.recency_of_all(embedding, delay, memory.last_interval)
        every_code = torch.arange(len(embedding), device=delay.device).expand_as(delay)
        past = PastOfCodes(every_code, delay, memory.last_interval)
        panels = None if network.code_head.panel is None else OpenPanels(past, memory.last_count)
        row = rollout.goes_on.nonzero()[:, 0]
        last, earlier = torch.full_like(row, -1), Earlier.none(len(row), phi_sum)
        parts: list[tuple[Tensor, Tensor, Tensor]] = [(row[:0], row[:0], u_ND[:0, 0])]
        for _ in range(_MAX_EVENTS):
            u = network.decision(u_ND[row], earlier)
            own = None if recency is None else recency.index_select(0, row)
            mates = None if panels is None else panels.mates(row)
            logit = network.code_head.logits(u, memory.z_site[row], embedding, last, own, mates)
            chance = torch.softmax(logit, -1)
            mass = self._forbid(rollout, row, u, chance, time)
            uniform = rollout.streams.draw(row, 4)
            total = chance.cumsum(-1)
            code = torch.searchsorted(total, uniform[:, :1] * total[:, -1:], right=True)[:, 0]
            is_event = code < chance.shape[1] - 1
            row, u, code, uniform = row[is_event], u[is_event], code[is_event], uniform[is_event]
            if not len(row):
                break
            rule = rollout.forbidden
            block = None if rule is None or mass is None else block_of(rule, code, mass[is_event])
            previous, ago = memory.last_value[row, code], delay[row, code]
            value = self._value(u, code, (previous, ago), uniform[:, 1:], block)
            phi = network.events(code, value, previous, ago)
            earlier = Earlier(earlier.total[is_event], earlier.recent[is_event]).then(phi)
            phi_sum[row] = earlier.total
            last = code
            if panels is not None:
                panels.add(row, code)
            parts.append((row, code, value))
        row, code, value = (torch.cat(column) for column in zip(*parts, strict=True))
        order = _canonical(row * len(embedding) + code, value)
        return _Drawn(row[order], code[order], value[order], phi_sum)

    def _forbid(self, rollout: Rollout, row: Tensor, u: Tensor, chance: Tensor, time: Tensor) -> Tensor | None:
        """Take the forbidden outcome out of decisions, in place; masses (M, C) of its values."""
        rule, memory = rollout.forbidden, rollout.memory
        if rule is None:
            return None
        place = row[:, None], rule.code
        delay = (time[row, None] - memory.last_time[place]).float()
        hit, mass = forbid(self.network, rule, u, chance, (memory.last_value[place], delay))
        rollout.escape[memory.number[row]] *= 1 - hit
        return mass

    def _value(
        self, u: Tensor, code: Tensor, last: tuple[Tensor, Tensor], uniform: Tensor, block: Block | None
    ) -> Tensor:
        """Draw whether there is a value, and which."""
        network, share = self.network, self.network.events.value_share[code]
        if block is not None:
            share = share * (1 - block.mass) / (1 - share * block.mass).clamp_min(1e-12)
        has = (uniform[:, 0] < share).nonzero()[:, 0]
        density = network.value_density(u[has], code[has], last[0][has], last[1][has])
        if block is None:
            z = density.draw(uniform[has, 1:])
        else:
            z = density.draw_outside(uniform[has, 1:], block.lower[has], block.upper[has])
        value = torch.full_like(share, torch.nan)
        value[has] = network.events.denormalise(code[has], z)
        return value


def _canonical(key: Tensor, value: Tensor) -> Tensor:
    """Order by future and code, and by value inside, none last, as records are read."""
    by_value = torch.argsort(value, stable=True)
    return by_value[torch.argsort(key[by_value], stable=True)]


def _sorted(parts: list[tuple[Tensor, ...]]) -> SampledEvents:
    """Events of all instants by future; inside a future they are in order already."""
    if not parts:
        none = np.empty(0, np.int64)
        return SampledEvents(none, none, none, np.empty(0, np.float32))
    sample, seconds, code, value = (torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
    order = np.argsort(sample, kind="stable")
    return SampledEvents(sample[order], seconds[order].astype(np.int64), code[order], value[order])
