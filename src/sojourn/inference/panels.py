"""Panels that the events of an instant open, one event at a time: what `model/panel.py` finds for a whole record.

Shape letters: N futures, M futures that still draw events of their instant, V codes, P codes in opened panels.
"""

import torch
from torch import Tensor

from sojourn.model.panel import LastEvent, Mates, OpenCodes, find_mates
from sojourn.model.recency import LONGEST_S, PastOfCodes


class OpenPanels:
    """The panels of one instant of N futures.

    Parameters
    ----------
    past : of every code, (N, V) each, before the instant.
    count_NV : float32, how many times each code came at its last instant; NaN for never.
    """

    def __init__(self, past: PastOfCodes, count_NV: Tensor) -> None:
        self._past, self._count, self._number = past, count_NV, 0
        self._is_open = torch.zeros_like(past.delay, dtype=torch.bool)
        self._last = past.code.new_full((len(past.code),), -1)
        self._so_far = torch.zeros_like(self._last)
        # Of the open codes, by future and code: both in one number, and what `OpenCodes` says.
        self._key, self._rank = past.code.new_empty(0), past.code.new_empty(0)
        self._delay, self._is_twice = past.delay.new_empty(0), self._is_open.new_empty(0)

    def mates(self, row_M: Tensor) -> Mates:
        """Mates of the next decision of some futures, in increasing order, all of which have drawn as many events."""
        last, num_codes = self._last[row_M], self._count.shape[1]
        known = row_M, last.clamp_min(0)
        number = torch.full_like(last, self._number)
        event = LastEvent(last, self._past.delay[known], self._count[known] - self._so_far[row_M], number)
        place = torch.full_like(self._last, -1)
        place[row_M] = torch.arange(len(row_M), device=row_M.device)
        own = place[self._key // num_codes]
        is_asked = own >= 0
        opened = OpenCodes(
            self._key[is_asked] % num_codes,
            self._delay[is_asked],
            self._rank[is_asked],
            self._is_twice[is_asked],
            torch.bincount(own[is_asked], minlength=len(row_M)),
        )
        return find_mates(event, opened, place[row_M], num_codes)

    def add(self, row_M: Tensor, code_M: Tensor) -> None:
        """Take in the event that each of some futures has drawn."""
        self._so_far[row_M] = torch.where(code_M == self._last[row_M], self._so_far[row_M] + 1, 1)
        self._last[row_M] = code_M
        delay = self._past.delay[row_M, code_M]
        # A code lies in one panel only, which is open where the code is.
        opens = ((delay <= LONGEST_S) & ~self._is_open[row_M, code_M]).nonzero()[:, 0]
        row, delay, interval = row_M[opens], delay[opens], self._past.interval[row_M[opens], code_M[opens]]
        own, code = (self._past.delay.index_select(0, row) == delay[:, None]).nonzero(as_tuple=True)
        self._is_open[row[own], code] = True
        key = torch.cat([self._key, row[own] * self._count.shape[1] + code])
        self._key, order = torch.sort(key)
        is_twice = self._past.interval[row[own], code] == interval[own]
        self._rank = torch.cat([self._rank, torch.full_like(code, self._number)])[order]
        self._delay = torch.cat([self._delay, delay[own]])[order]
        self._is_twice = torch.cat([self._is_twice, is_twice])[order]
        self._number += 1
