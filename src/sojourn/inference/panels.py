"""Panels that the events of an instant open, one event at a time: what `model/panel.py` finds for a whole record.

Shape letters: N futures, M futures that still draw events of their instant, V codes.
"""

import torch
from torch import Tensor

from sojourn.model.panel import NEVER, LastEvent, Mates, Panels, find_mates
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
        never = torch.full_like(past.code, NEVER)
        self._panels = Panels(past.code, past.delay, never, torch.zeros_like(never, dtype=torch.bool))
        self._last = never.new_full((len(never),), -1)
        self._so_far = torch.zeros_like(self._last)

    def mates(self, row_M: Tensor) -> Mates:
        """Mates of the next decision of some futures, all of which have drawn as many events."""
        last = self._last[row_M]
        known = row_M, last.clamp_min(0)
        number = torch.full_like(last, self._number)
        event = LastEvent(last, self._past.delay[known], self._count[known] - self._so_far[row_M], number)
        # All futures have the same codes: these are not copied.
        code, *others = self._panels
        mine = Panels(code[:1].expand(len(row_M), -1), *(field[row_M] for field in others))
        return find_mates(event, mine, torch.arange(len(row_M), device=row_M.device), self._count.shape[1])

    def add(self, row_M: Tensor, code_M: Tensor) -> None:
        """Take in the event that each of some futures has drawn."""
        self._so_far[row_M] = torch.where(code_M == self._last[row_M], self._so_far[row_M] + 1, 1)
        self._last[row_M] = code_M
        delay, interval = self._past.delay[row_M, code_M, None], self._past.interval[row_M, code_M, None]
        rank, is_twice = self._panels.rank[row_M], self._panels.is_twice[row_M]
        is_new = (self._past.delay[row_M] == delay) & (delay <= LONGEST_S) & (rank == NEVER)
        self._panels.rank[row_M] = torch.where(is_new, self._number, rank)
        self._panels.is_twice[row_M] = torch.where(is_new, self._past.interval[row_M] == interval, is_twice)
        self._number += 1
