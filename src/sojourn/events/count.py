"""Counts that a shard keeps of its codes and of its subjects."""

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
    both_code = np.concatenate([events.code, static.code])
    has_value = ~np.isnan(np.concatenate([events.value, static.value]))
    subject = np.concatenate([events.subject, static.subject])
    return pl.DataFrame(
        {
            "count": np.bincount(both_code, minlength=num_codes),
            "num_static": np.bincount(static.code, minlength=num_codes),
            "num_values": np.bincount(both_code[has_value], minlength=num_codes),
            "num_subjects": _subjects_per_code(subject, both_code, num_codes),
        }
    )


def _subjects_per_code(subject: Ints, code: npt.NDArray[np.uint32], num_codes: int) -> Ints:
    """How many different subjects have each code."""
    num_subjects = int(subject.max(initial=-1)) + 1
    if num_subjects * num_codes <= _BITMAP:
        seen = np.zeros((num_subjects, num_codes), np.bool_)
        seen[subject, code] = True
        num: Ints = seen.sum(axis=0, dtype=np.int64)
        return num
    pairs = np.unique(subject << 32 | code)
    return np.bincount(pairs & 0xFFFFFFFF, minlength=num_codes)


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
    shown = events.take(~is_target[events.code]) if is_target.any() else events
    last_shown = np.full(num_subjects, -1)
    last_shown[shown.subject] = shown.seconds
    final = shown.take(np.flatnonzero(is_terminal[shown.code]))
    ends = np.zeros(num_subjects, np.bool_)
    ends[final.subject[final.seconds == last_shown[final.subject]]] = True
    ends[shown.subject[is_death[shown.code]]] = True
    is_instant = first_of_run(shown.subject, shown.seconds)
    subject, seconds = shown.subject[is_instant], shown.seconds[is_instant]
    gap = np.diff(seconds)[subject[1:] == subject[:-1]]
    owner = subject[1:][subject[1:] == subject[:-1]]
    return pl.DataFrame(
        {
            "num_events": size,
            "num_instants": np.bincount(subject, minlength=num_subjects),
            "follow_up_s": np.where(ends, np.inf, last),
            "num_gaps": np.bincount(owner, minlength=num_subjects),
            "num_minute_gaps": np.bincount(owner[gap % 60 == 0], minlength=num_subjects),
            "num_hour_gaps": np.bincount(owner[gap % 3600 == 0], minlength=num_subjects),
        }
    )
