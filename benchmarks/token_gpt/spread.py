"""What a record holds beyond its tokens: exact values and gaps, given their bins, as often as in training.

A forecast of tokens says nothing of where in its bin a value or a gap lies. With the frequencies of the training
records, smoothed by a broad density, it becomes a likelihood of the record as it was, which ours is from the start.
Then nothing that either model goes on from has been left unpaid for. Gaps below the first edge have no token in the
language of ETHOS: where and how long they are is given to the model of tokens for nothing, while ours pays.
"""

from typing import NamedTuple

import numpy as np
import torch

from sojourn.inference.bins import Bins
from sojourn.model.embedding import EventEmbedding
from sojourn.model.logistic import LogisticMixture
from sojourn.training.records import EventTable, Ints, RecordReader, Records

_CELLS = 1 << 40
_BROAD = 1.0
"""Weight of the broad density, in records."""


class _Counts(NamedTuple):
    """How often each key was seen."""

    key: Ints
    count: Ints

    @classmethod
    def of(cls, keys: list[Ints]) -> "_Counts":
        return cls(*np.unique(np.concatenate(keys), return_counts=True))

    def at(self, key: Ints) -> Ints:
        place = np.searchsorted(self.key, key).clip(max=len(self.key) - 1)
        return np.where(self.key[place] == key, self.count[place], 0)


class Spread:
    """Frequencies of recorded values and gaps inside their bins.

    Parameters
    ----------
    reader : reads the store.
    rows : training subjects.
    bins : bins of the language.
    events : event embedding of our run, for the scales and resolutions of the codes.
    """

    def __init__(self, reader: RecordReader, rows: Ints, bins: Bins, events: EventEmbedding) -> None:
        self.bins, self.events = bins, events
        values, value_bins, gaps, gap_bins = [], [], [], []
        for begin in range(0, len(rows), 64):
            records = reader.read(rows[begin : begin + 64])
            cell, value_bin = self._value_keys(_with_value(records.events))
            gap, gap_bin = self._gap_keys(*_gaps(records))
            for found, mine in ((values, cell), (value_bins, value_bin), (gaps, gap), (gap_bins, gap_bin)):
                found.append(mine)
        self._values, self._value_bins = _Counts.of(values), _Counts.of(value_bins)
        self._gaps, self._gap_bins = _Counts.of(gaps), _Counts.of(gap_bins)

    def bits(self, records: Records) -> float:
        """Bits of all values and gaps after the first instant of some subjects, given their bins."""
        is_later = records.instant > records.subject_start[records.events.subject]
        return self._value_bits(_with_value(records.events.take(is_later))) + self._gap_bits(*_gaps(records))

    def _value_keys(self, events: EventTable) -> tuple[Ints, Ints]:
        tick = self.events.tick.numpy()[events.code].astype(np.float64)
        cell = np.rint(events.value / tick).astype(np.int64)
        number = self.bins.value_bin(torch.from_numpy(events.code), torch.from_numpy(events.value)).numpy()
        return events.code * _CELLS + cell, events.code * 1024 + number

    def _gap_keys(self, gap: Ints, tick: Ints) -> tuple[Ints, Ints]:
        return gap // tick * _CELLS + tick, self.bins.gap_bin(torch.from_numpy(gap)).numpy()

    def _value_bits(self, events: EventTable) -> float:
        code, value = torch.from_numpy(events.code), torch.from_numpy(events.value)
        one, zero = torch.ones(len(code), 1), torch.zeros(len(code), 1)
        broad = LogisticMixture(zero, zero, one)
        ends = self.bins.value_bin_ends(code, self.bins.value_bin(code, value))
        cell = broad.log_mass(*self.events.cell(code, value)).double()
        share = (cell - broad.log_mass(*(self.events.normalise(code, end) for end in ends)).double()).exp().numpy()
        cells, in_bin = self._value_keys(events)
        return _bits(self._values.at(cells), self._value_bins.at(in_bin), share)

    def _gap_bits(self, gap: Ints, tick: Ints) -> float:
        gaps, in_bin = self._gap_keys(gap, tick)
        first, past = (end.numpy() for end in self.bins.gap_bin_ends(torch.from_numpy(in_bin)))
        ticks = np.ceil(past / tick) - np.maximum(np.ceil(first / tick), 1.0)
        is_told = (in_bin > 0) | self.bins.has_short_token
        counts = self._gaps.at(gaps), self._gap_bins.at(in_bin), 1 / np.maximum(ticks, 1.0)
        return _bits(*(field[is_told] for field in counts))


def _bits(count: np.ndarray, total: np.ndarray, share: np.ndarray) -> float:
    return float(-np.log2((count + _BROAD * share) / (total + _BROAD)).sum())


def _with_value(events: EventTable) -> EventTable:
    return events.take(~np.isnan(events.value))


def _gaps(records: Records) -> tuple[Ints, Ints]:
    """Gaps of all subjects in seconds, and the ticks of their sources."""
    is_same = np.diff(records.instant_subject) == 0
    tick = records.tick[records.instant_subject[1:]].astype(np.int64)
    return np.diff(records.instant_time)[is_same], np.maximum(tick, 1)[is_same]
