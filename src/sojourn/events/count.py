"""Counts that a shard keeps of its codes and of its subjects."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from sojourn.events.arrange import Events, Ints, first_of_run

_BITMAP = 1 << 26
"""Subjects x codes up to which a bitmap counts subjects per code (64 MiB); a sort does beyond."""


def count_codes(events: Events, static: Events, num_codes: int) -> pl.DataFrame:
    """Count each local code: timed and static events, values, subjects.

    Returns
    -------
    pl.DataFrame
        [num_codes] count, num_static, num_values, num_subjects (i64), in code order.
    """
    timed, facts = (_with_and_without_value(part, num_codes) for part in (events, static))
    both = timed + facts
    return pl.DataFrame(
        {
            "count": both.sum(axis=1),
            "num_static": facts.sum(axis=1),
            "num_values": both[:, 0],
            "num_subjects": _subjects_per_code([events, static], num_codes),
        }
    )


def _with_and_without_value(events: Events, num_codes: int) -> Ints:
    """[num_codes, 2] events of each code that have a value, and that have none."""
    pair = (events.code.astype(np.int64) << 1) | np.isnan(events.value)
    return np.bincount(pair, minlength=2 * num_codes).reshape(num_codes, 2)


def _subjects_per_code(parts: list[Events], num_codes: int) -> Ints:
    """How many different subjects have each code."""
    num_subjects = 1 + max(int(part.subject.max(initial=-1)) for part in parts)
    pairs = [part.subject.astype(np.int64) * num_codes + part.code for part in parts]
    if num_subjects * num_codes <= _BITMAP:
        seen = np.zeros(num_subjects * num_codes, np.bool_)
        for pair in pairs:
            seen[pair] = True
        num: Ints = seen.reshape(num_subjects, num_codes).sum(axis=0, dtype=np.int64)
        return num
    return np.bincount(np.unique(np.concatenate(pairs)) % num_codes, minlength=num_codes)


class _Instants(NamedTuple):
    """Instants with an event that is not target-only; arrays of shape [instants]."""

    subject: npt.NDArray[np.integer[Any]]
    seconds: npt.NDArray[np.integer[Any]]


def describe_subjects(
    events: Events,
    *,
    is_target: npt.NDArray[np.bool_],
    is_terminal: npt.NDArray[np.bool_],
    is_death: npt.NDArray[np.bool_],
    num_subjects: int,
) -> pl.DataFrame:
    """Extent, instants and recorded time resolution of each subject; every subject has an event.

    Parameters
    ----------
    events : Events
        Sorted.
    is_target, is_terminal, is_death : array of bool, shape [num_codes]
        A terminal code ends the record if it stands in the last instant; a death does wherever it stands, since what
        is charted later (an autopsy, a late entry) happened to nobody.

    Returns
    -------
    pl.DataFrame
        [num_subjects] num_events i64, num_instants i64 (instants with an event that is not target-only),
        follow_up_s f64, num_gaps i64 (between these instants), num_minute_gaps, num_hour_gaps i64.
    """
    begin = np.flatnonzero(first_of_run(events.subject))
    size = np.diff(begin, append=len(events.subject))
    last = events.seconds[begin + size - 1].astype(np.float64)
    instants = _instants(events, is_target)
    last_shown = np.full(num_subjects, -1)
    last_shown[instants.subject] = instants.seconds
    shown = ~is_target
    final = events.take(np.flatnonzero((is_terminal & shown)[events.code]))
    dead = events.subject[np.flatnonzero((is_death & shown)[events.code])]
    ends = np.zeros(num_subjects, np.bool_)
    ends[final.subject[final.seconds == last_shown[final.subject]]] = True
    ends[dead] = True
    is_gap = instants.subject[1:] == instants.subject[:-1]
    gap = np.diff(instants.seconds)[is_gap]
    owner = instants.subject[1:][is_gap]
    return pl.DataFrame(
        {
            "num_events": size,
            "num_instants": np.bincount(instants.subject, minlength=num_subjects),
            "follow_up_s": np.where(ends, np.inf, last),
            "num_gaps": np.bincount(owner, minlength=num_subjects),
            "num_minute_gaps": np.bincount(owner[gap % 60 == 0], minlength=num_subjects),
            "num_hour_gaps": np.bincount(owner[gap % 3600 == 0], minlength=num_subjects),
        }
    )


def _instants(events: Events, is_target: npt.NDArray[np.bool_]) -> _Instants:
    """Where and when something is shown; an instant of target-only events alone is none."""
    start = np.flatnonzero(first_of_run(events.subject, events.seconds))
    if is_target.any() and len(start):
        hidden = np.flatnonzero(is_target[events.code])
        num_hidden = np.bincount(np.searchsorted(start, hidden, side="right") - 1, minlength=len(start))
        start = start[num_hidden < np.diff(start, append=len(events.subject))]
    return _Instants(events.subject[start], events.seconds[start])
