"""When each code of a subject was last recorded before each position of its windows.

Shape letters: W windows, P used positions, O records of codes (those of one code at one instant count once), S codes of
a window at most.
"""

from typing import NamedTuple

import numpy as np
import torch

from sojourn.model.recency import LONGEST_S
from sojourn.training.records import Bools, Ints, Records

_SHIFT = 34


class Where(NamedTuple):
    """W windows and the positions that they use, window after window, each behind its static one."""

    subject: Ints
    """(W,)"""
    start: Ints
    """(W,) first instant, counted over all subjects."""
    end: Ints
    """(W,) one past the last instant."""
    flat: Ints
    """(P,) index of each position in the flattened rows."""
    size: int
    """Number of positions of the flattened rows."""

    @property
    def first(self) -> Ints:
        """(W,) place of each window's static position among those used."""
        length = self.end - self.start + 1
        first: Ints = np.cumsum(length) - length
        return first


class _Told(NamedTuple):
    """Records of codes, sorted by subject, code and instant; a slot is a code of a subject."""

    slot: Ints
    instant: Ints
    seconds: Ints
    is_later: Bools
    """Whether it is not the first record in its slot."""
    slot_code: Ints
    slot_start: Ints
    """(subjects + 1,) where the slots of each subject start."""

    @classmethod
    def of(cls, records: Records) -> "_Told":
        order = records.history_index.order
        subject, code, instant = records.events.subject[order], records.events.code[order], records.instant[order]
        is_later = np.zeros(len(order), bool)
        is_later[1:] = (subject[1:] == subject[:-1]) & (code[1:] == code[:-1])
        is_kept = ~is_later
        is_kept[1:] |= instant[1:] != instant[:-1]
        subject, code, instant, is_later = subject[is_kept], code[is_kept], instant[is_kept], is_later[is_kept]
        start = np.searchsorted(subject[~is_later], np.arange(len(records.rows) + 1))
        slot = np.cumsum(~is_later) - 1
        return cls(slot, instant, records.instant_time[instant], is_later, code[~is_later], start)

    def last_before(self, slot: Ints, instant: Ints) -> Ints:
        """Number of the last record in each slot before an instant; -1 for none."""
        key = (self.slot << _SHIFT) + self.instant
        place = np.searchsorted(key, (slot << _SHIFT) + instant) - 1
        return np.where((place >= 0) & (self.slot[place] == slot), place, -1)


def seen_before(records: Records, where: Where) -> dict[str, torch.Tensor]:
    """The `seen_` fields of a batch: what was recorded when, no longer ago than `LONGEST_S`."""
    told = _Told.of(records)
    if not len(told.slot):
        nothing = torch.empty(where.size, 0)
        return _fields(torch.empty(len(where.subject), 0, dtype=torch.int64), nothing, nothing)
    window, slot = _slots(records, where, told)
    start = np.searchsorted(window, np.arange(len(where.subject)))
    column = np.arange(len(window)) - start[window]
    code = np.full((len(where.subject), int(column.max(initial=-1)) + 1), -1, np.int64)
    code[window, column] = told.slot_code[slot]
    record = _last_records(where, told, (window, slot, column), code.shape[1])
    length = where.end - where.start + 1
    instant = np.arange(len(where.flat)) + np.repeat(where.start - where.first - 1, length)
    instant[where.first] = 0  # static positions, which have no past
    delay = (records.instant_time[instant][:, None] - told.seconds[record]).astype(np.float32)
    interval = np.where(told.is_later, np.diff(told.seconds, prepend=0), np.nan).astype(np.float32)

    def spread(content: np.ndarray) -> torch.Tensor:
        flat = torch.full((where.size, code.shape[1]), torch.nan)
        flat[torch.from_numpy(where.flat)] = torch.from_numpy(np.where(record >= 0, content, np.float32(np.nan)))
        return flat

    return _fields(torch.from_numpy(code), spread(delay), spread(interval[record]))


def _fields(code: torch.Tensor, delay: torch.Tensor, interval: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"seen_code": code, "seen_delay": delay, "seen_interval": interval}


def _inside(told: _Told, where: Where) -> tuple[Ints, Ints]:
    """Window and number of every record in every window."""
    by_time = np.argsort(told.instant, kind="stable")
    sorted_instant = told.instant[by_time]
    begin, end = np.searchsorted(sorted_instant, where.start), np.searchsorted(sorted_instant, where.end)
    count = end - begin
    window = np.repeat(np.arange(len(count)), count)
    place = np.arange(len(window)) - (np.cumsum(count) - count)[window] + begin[window]
    return window, by_time[place]


def _slots(records: Records, where: Where, told: _Told) -> tuple[Ints, Ints]:
    """Window and slot of every code that a window's subject saw up to its end and not too long before its start."""
    count = np.diff(told.slot_start)[where.subject]
    window = np.repeat(np.arange(len(count)), count)
    slot = np.arange(len(window)) - (np.cumsum(count) - count)[window] + told.slot_start[where.subject[window]]
    last = told.last_before(slot, where.end[window])
    began = records.instant_time[np.minimum(where.start, len(records.instant_time) - 1)]
    is_kept = (last >= 0) & (told.seconds[last] >= began[window] - LONGEST_S)
    return window[is_kept], slot[is_kept]


def _last_records(where: Where, told: _Told, slots: tuple[Ints, Ints, Ints], width: int) -> Ints:
    """Last record before each position in each column of its window, (P, width); -1 for none.

    It is the one with the largest number so far: records are numbered in time inside a slot, and a window's numbers
    begin above those of the window before.
    """
    window, slot, column = slots
    step = len(told.slot) + 1
    latest = np.zeros((len(where.flat), width), np.int64)
    latest[where.first] = step * np.arange(len(where.subject))[:, None]
    latest[where.first[window], column] += told.last_before(slot, where.start[window]) + 1
    inside, record = _inside(told, where)
    is_followed = told.instant[record] + 1 < where.end[inside]
    inside, record = inside[is_followed], record[is_followed]
    pair = np.searchsorted((window << _SHIFT) + slot, (inside << _SHIFT) + told.slot[record])
    # A record is the past of the instant after it, whose row stands two behind, the static one being the first.
    row = where.first[inside] + told.instant[record] - where.start[inside] + 2
    latest[row, column[pair]] = step * inside + record + 1
    np.maximum.accumulate(latest, axis=0, out=latest)
    latest -= 1 + step * np.repeat(np.arange(len(where.subject)), where.end - where.start + 1)[:, None]
    latest[where.first] = -1
    return latest
