"""What the query heads learn from: times to the next outcome, and values that lie ahead or were hidden."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sojourn.events.splits import splitmix64
from sojourn.model.features import time_features
from sojourn.model.summary import CodeStatistics
from sojourn.training.at_risk import Start, wait_hours
from sojourn.training.batches import Layout, PositionMap, Windows, positions
from sojourn.training.records import EventTable, Floats, Ints, Records, age_years
from sojourn.training.statistics import code_statistics, num_pairs

_DAY_S, _HOUR_S = 86400, 3600.0
_MAX_PAIRS = 50_000
"""Statistics of codes that the questions of a step may have: where records hold hundreds of codes, fewer are asked."""


class Moments(NamedTuple):
    """Q moments at which questions are asked."""

    subject: Tensor
    """(Q,) int64, place of the subject among those read."""
    position: Tensor
    """(Q,) int64, flattened position whose state is asked."""
    gap: Tensor
    """(Q,) float32, seconds from that instant to the moment of asking; nothing was recorded between."""
    time: Tensor
    """(Q,) float64, seconds since the origin at the moment of asking."""
    clock: Tensor
    """(Q,) float32, seconds since midnight."""
    age: Tensor
    """(Q,) float32, years."""
    past: CodeStatistics | None
    """What the records hold of each code at the moments of asking; None where the network does not look."""
    known: Tensor
    """(Q,) float32, hours to the end of what is known; inf: to the end of the record."""
    watched: Tensor
    """(Q,) float32, hours until the last instant, as whoever knows no outcome sees it; inf where the record ended."""
    weight: Tensor
    """(Q, B) float32, bootstrap weight of the subject in each head."""

    def time_features(self) -> Tensor:
        """Features of when it is asked, shape (Q, F)."""
        return time_features(self.gap, self.time, self.clock, self.age)


class FirstTargets(NamedTuple):
    """C codes that are asked at R of the moments: when does the first event of the code come?"""

    moment: Tensor
    """(R,) int64, which of the moments."""
    code: Tensor
    """(C,) int64."""
    hours: Tensor
    """(R, C) float32, hours to the event, or to the end of what is known; inf: it never comes."""
    is_event: Tensor
    """(R, C) bool."""
    is_at_risk: Tensor
    """(R, C) bool, whether the code can come at all: see `sojourn.training.at_risk`."""


class ValueTargets(NamedTuple):
    """Q questions for the value of a code at a later time."""

    position: Tensor
    delay: Tensor
    """(Q,) float32, seconds from the asked state's instant to the measurement."""
    code: Tensor
    value: Tensor
    """(Q,) float32, in the code's own unit."""
    previous_value: Tensor
    previous_delay: Tensor
    """(Q,) float32, the code's last value at the asked instant and its age there; NaN for none."""


def bootstrap_weights(subject_rows: Ints, num_heads: int, seed: int) -> np.ndarray:
    """Poisson(1) weights of subjects, shape (S, num_heads): the same subject always has the same weights.

    The bootstrap with Poisson counts (Oza and Russell 2001); drawn by hashing, so that no state is kept.
    """
    key = subject_rows.astype(np.uint64)[:, None] * np.uint64(num_heads) + np.arange(num_heads, dtype=np.uint64)
    with np.errstate(over="ignore"):
        salted = (key + np.uint64(seed + 1) * np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    mixed = splitmix64(salted)
    uniform = (mixed >> np.uint64(11)).astype(np.float64) / 2**53
    weights: Floats = np.searchsorted(_POISSON_CDF, uniform).astype(np.float32)
    return weights


_POISSON_CDF = np.cumsum(np.exp(-1.0) / np.cumprod(np.concatenate([[1.0], np.arange(1.0, 12.0)])))


def draw_moments(
    records: Records,
    windows: Windows,
    layout: Layout,
    *,
    rng: np.random.Generator,
    num_heads: int,
    max_queries: int,
    with_past: bool = False,
    bootstrap_seed: int | None = None,
) -> Moments:
    """Moments drawn at random: half of them at an instant, half while waiting for the next one.

    Without a `bootstrap_seed`, all weights are one.
    """
    where = positions(windows, layout)
    timed = np.flatnonzero(where.instant >= 0)
    where = PositionMap(*(field[timed] for field in where))
    chosen, delay = _instants_and_waits(records, windows, where, max_queries, rng)
    where = PositionMap(*(field[chosen] for field in where))
    subject = windows.subject[where.window]
    asked = records.instant_time[where.instant] + delay
    if with_past:
        kept = _affordable(num_pairs(records, subject, asked), rng)
        where = PositionMap(*(field[kept] for field in where))
        subject, delay, asked = subject[kept], delay[kept], asked[kept]
    past = code_statistics(records, subject, asked) if with_past else None
    known = np.maximum(records.follow_up[subject] - asked, 0.0)
    watched = np.maximum(_watched_until(records)[subject] - asked, 0.0)
    shape, seed = (len(records.rows), num_heads), bootstrap_seed
    weights = np.ones(shape, np.float32) if seed is None else bootstrap_weights(records.rows, num_heads, seed=seed)
    return Moments(
        subject=torch.from_numpy(subject),
        position=torch.from_numpy(where.flat),
        gap=torch.from_numpy(delay.astype(np.float32)),
        time=torch.from_numpy(asked.astype(np.float64)),
        clock=torch.from_numpy(((records.clock[subject] + asked) % _DAY_S).astype(np.float32)),
        age=torch.from_numpy(age_years(records, subject, asked.astype(np.float64))),
        past=past,
        known=torch.from_numpy((known / _HOUR_S).astype(np.float32)),
        watched=torch.from_numpy((watched / _HOUR_S).astype(np.float32)),
        weight=torch.from_numpy(weights[subject]),
    )


def first_targets(
    records: Records, moments: Moments, code_C: Ints, known: Sequence[Start] = (), *, moment_R: Ints | None = None
) -> FirstTargets:
    """What became of codes after moments, or after some of them; `known` are the outcomes that are starts.

    All codes are known up to the subject's follow-up, in which the likelihood too takes silence for silence.
    """
    moment_R = np.arange(len(moments.position)) if moment_R is None else moment_R
    subject, asked = moments.subject.numpy()[moment_R], moments.time.numpy().astype(np.int64)[moment_R]
    found = records.outcome_index.first_after(subject[:, None], code_C[None, :], asked[:, None])
    is_event = found >= 0
    hours = (records.all_events.seconds[found] - asked[:, None]) / _HOUR_S
    until = moments.known.numpy()[moment_R, None]
    return FirstTargets(
        moment=torch.from_numpy(moment_R),
        code=torch.from_numpy(code_C),
        hours=torch.from_numpy(np.where(is_event, hours, until).astype(np.float32)),
        is_event=torch.from_numpy(is_event),
        is_at_risk=torch.from_numpy(wait_hours(records, subject, asked, code_C, known) == 0),
    )


def _affordable(pairs_Q: Ints, rng: np.random.Generator) -> Ints:
    """Questions whose statistics fit into a step, sorted: all, or some drawn at random; at least one."""
    if pairs_Q.sum() <= _MAX_PAIRS:
        return np.arange(len(pairs_Q))
    order = rng.permutation(len(pairs_Q))
    count = max(int(np.searchsorted(np.cumsum(pairs_Q[order]), _MAX_PAIRS, side="right")), 1)
    return np.sort(order[:count])


def _watched_until(records: Records) -> np.ndarray:
    """The last instant, or for ever where the record ended."""
    last = np.zeros(len(records.rows))
    has_any = np.diff(records.subject_start) > 0
    last[has_any] = records.instant_time[records.subject_start[1:][has_any] - 1]
    return np.where(np.isfinite(records.follow_up), last, np.inf)


def _instants_and_waits(
    records: Records, windows: Windows, where: PositionMap, count: int, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Instants, as places in `where`, and seconds to wait after each: half of them none.

    A wait of w ticks is drawn with a chance in proportion to 1 / w wherever the gap is longer, however much longer: who
    is asked after w without a record then has the gaps of all who waited so long. Were the wait drawn as a share of the
    gap, short gaps would be asked about too often.
    """
    num_asked = min(len(where.instant), count)
    longest = _longest_wait(records, where.instant, windows.subject[where.window])
    mass = np.log(longest + 1.0)
    num_waiting = num_asked // 2 if mass.sum() > 0 else 0
    at_once = np.sort(rng.choice(len(mass), num_asked - num_waiting, replace=False))
    waiting = np.sort(rng.choice(len(mass), num_waiting, p=mass / mass.sum())) if num_waiting else at_once[:0]
    ticks = np.minimum(np.exp(rng.random(num_waiting) * mass[waiting]).astype(np.int64), longest[waiting])
    tick = records.tick[windows.subject[where.window]].astype(np.int64)[waiting]
    chosen, wait = np.concatenate([at_once, waiting]), np.concatenate([np.zeros_like(at_once), ticks * tick])
    order = np.argsort(chosen, kind="stable")
    return chosen[order], wait[order]


def _longest_wait(records: Records, instant: Ints, subject: Ints) -> Ints:
    """Whole ticks, less than the gap from each instant to the next one (or to the end of follow-up)."""
    at = records.instant_time[instant]
    is_last = instant + 1 == records.subject_start[subject + 1]
    following = np.append(records.instant_time, 0)[instant + 1]
    follow_up = records.follow_up[subject]
    limit = np.where(is_last, np.where(np.isfinite(follow_up), follow_up, at), following) - at
    tick = records.tick[subject].astype(np.int64)
    ticks: Ints = np.maximum(np.ceil(limit / tick).astype(np.int64) - 1, 0)
    return ticks


def value_targets(
    records: Records, windows: Windows, layout: Layout, *, rng: np.random.Generator, num_queries: int
) -> ValueTargets:
    """Random later events, asked from random earlier instants of the window; and the hidden ones."""
    where = positions(windows, layout)
    where = PositionMap(*(field[where.instant >= 0] for field in where))
    source = rng.integers(0, len(where.flat), num_queries) if len(where.flat) else np.empty(0, np.int64)
    window, instant = where.window[source], where.instant[source]
    # Log-uniform steps ahead: most questions are about the near future, some about the far end of the window.
    ahead = np.exp(rng.random(len(source)) * np.log(np.maximum(windows.end[window] - instant, 1))).astype(np.int64)
    target = np.minimum(instant + ahead, windows.end[window] - 1)
    count = records.event_start[target + 1] - records.event_start[target]
    event = records.event_start[target] + np.floor(rng.random(len(source)) * count).astype(np.int64)
    shown = records.events.take(event)
    is_asked = (target > instant) & ~np.isnan(shown.value)
    flat, source_time = where.flat[source][is_asked], records.instant_time[instant[is_asked]]
    shown = shown.take(is_asked)
    hidden_flat, hidden_time, hidden = _hidden_questions(records, where)
    asked = EventTable(
        np.concatenate([shown.subject, hidden.subject]),
        np.concatenate([shown.seconds, hidden.seconds]),
        np.concatenate([shown.code, hidden.code]),
        np.concatenate([shown.value, hidden.value]),
    )
    flat, source_time = np.concatenate([flat, hidden_flat]), np.concatenate([source_time, hidden_time])
    last = records.history_index.last_before(asked.subject, asked.code, source_time + 1)
    has_last = (last >= 0) & (len(records.events.code) > 0)
    last = np.where(has_last, last, 0)
    previous = np.where(has_last, records.events.value[last], np.nan) if len(records.events.code) else flat * np.nan
    age = np.where(has_last, source_time - records.events.seconds[last], np.nan) if len(previous) else previous
    return ValueTargets(
        position=torch.from_numpy(flat),
        delay=torch.from_numpy((asked.seconds - source_time).astype(np.float32)),
        code=torch.from_numpy(asked.code),
        value=torch.from_numpy(asked.value),
        previous_value=torch.from_numpy(previous.astype(np.float32)),
        previous_delay=torch.from_numpy(age.astype(np.float32)),
    )


def _hidden_questions(records: Records, where: PositionMap) -> tuple[Ints, Ints, EventTable]:
    """Hidden events, each asked from the last shown instant of its window that is not later."""
    hidden = records.hidden
    flat_of_instant = np.full(len(records.instant_time), -1, dtype=np.int64)
    flat_of_instant[where.instant] = where.flat
    key = (records.instant_subject << 34) + records.instant_time
    place = np.searchsorted(key, (hidden.subject << 34) + hidden.seconds, side="right") - 1
    inside = np.clip(place, 0, max(len(key) - 1, 0))
    is_usable = (place >= 0) & (len(key) > 0)
    if len(key):
        is_usable &= (records.instant_subject[inside] == hidden.subject) & (flat_of_instant[inside] >= 0)
    chosen = inside[is_usable]
    if not len(key):
        return chosen, chosen, hidden.take(is_usable)
    return flat_of_instant[chosen], records.instant_time[chosen], hidden.take(is_usable)
