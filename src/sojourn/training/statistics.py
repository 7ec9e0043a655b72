"""What a record holds of each code up to the moments at which it is asked: the network's table of hand-made features.

Shape letters: Q questions, N pairs of a question and a code that its record holds.
"""

from typing import NamedTuple

import numpy as np
import torch

from sojourn.events.ranges import value_statistics
from sojourn.model.summary import NUM_VALUES, CodeStatistics
from sojourn.training.records import Floats, Ints, Records

_DAY_S = 86400


class _Pairs(NamedTuple):
    """Pairs before they are put together; the fields are those of `CodeStatistics`."""

    question: Ints
    code: Ints
    values: Floats
    counts: Floats
    delay: Floats


def code_statistics(records: Records, subject_Q: Ints, seconds_Q: Ints) -> CodeStatistics:
    """Statistics of what the history shows up to each moment, the moment included; static facts stand with it.

    Parameters
    ----------
    records : what is asked about; hidden events and target-only codes have no part.
    subject_Q : place of the subject among those read.
    seconds_Q : moments, in seconds since the subject's origin.
    """
    parts = (_static(records, subject_Q), _timed(records, subject_Q, seconds_Q))
    pairs = _Pairs(*(np.concatenate([part[i] for part in parts]) for i in range(len(_Pairs._fields))))
    order = np.argsort(pairs.question, kind="stable")
    return CodeStatistics(*(torch.from_numpy(field[order]) for field in pairs))


def num_pairs(records: Records, subject_Q: Ints, seconds_Q: Ints) -> Ints:
    """How many codes the statistics of each moment would be of, shape (Q,): far cheaper than these.

    The arguments are those of `code_statistics`.
    """
    subject, seconds = records.history_index.first_times()
    key = np.sort((subject << 34) + seconds)
    asked = subject_Q << 34
    timed = np.searchsorted(key, asked + seconds_Q, side="right") - np.searchsorted(key, asked)
    return timed + np.bincount(records.static.subject, minlength=len(records.rows))[subject_Q]


def _each(first: Ints, count: Ints) -> tuple[Ints, Ints]:
    """Owner and number of `count` neighbours from `first` on, for every owner."""
    owner = np.repeat(np.arange(len(count)), count)
    return owner, np.arange(len(owner)) - (np.cumsum(count) - count)[owner] + first[owner]


def _static(records: Records, subject_Q: Ints) -> _Pairs:
    """Static facts: every statistic of the whole past is the fact, none is of the last day."""
    start = np.searchsorted(records.static.subject, np.arange(len(records.rows) + 1))
    question, fact = _each(start[subject_Q], np.diff(start)[subject_Q])
    values = np.full((len(fact), NUM_VALUES), np.nan, np.float32)
    values[:, :4] = records.static.value[fact, None]
    counts = np.tile(np.array([1, 0], np.float32), (len(fact), 1))
    return _Pairs(question, records.static.code[fact], values, counts, np.full(len(fact), np.nan, np.float32))


def _timed(records: Records, subject_Q: Ints, seconds_Q: Ints) -> _Pairs:
    """Codes of the history, from ranges of its events in the order of subject, code and time."""
    events = records.events.take(records.history_index.order)
    is_first = np.ones(len(events.code), bool)
    is_first[1:] = (np.diff(events.subject) != 0) | (np.diff(events.code) != 0)
    first = np.flatnonzero(is_first)
    slots = np.searchsorted(events.subject[first], np.arange(len(records.rows) + 1))
    question, slot = _each(slots[subject_Q], np.diff(slots)[subject_Q])
    number = np.cumsum(is_first) - 1
    key = (number << 34) + events.seconds
    asked = seconds_Q[question]
    end = np.searchsorted(key, (slot << 34) + asked, side="right")
    is_seen = end > first[slot]
    question, slot, asked, end = question[is_seen], slot[is_seen], asked[is_seen], end[is_seen]
    begin = first[slot]
    recent = np.maximum(np.searchsorted(key, (slot << 34) + np.maximum(asked - _DAY_S, -1), side="right"), begin)
    return _Pairs(
        question,
        events.code[begin],
        value_statistics(events.value, begin, recent, end),
        np.stack([end - begin, end - recent], -1).astype(np.float32),
        (asked - events.seconds[end - 1]).astype(np.float32),
    )
