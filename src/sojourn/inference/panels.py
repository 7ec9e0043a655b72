"""Panels that the events of an instant open, one event at a time: what `model/panel.py` finds for a whole record.

Shape letters: N futures, M futures that still draw events of their instant, V codes.
"""

import torch
from torch import Tensor

from sojourn.model.panel import NEVER, LastEvent, Mates, find_mates
from sojourn.model.recency import LONGEST_S


class OpenPanels:
    """The panels of one instant of N futures.

    Parameters
    ----------
    delay_NV : float32, seconds since each code was last recorded before the instant; NaN for never.
    count_NV : float32, how many times the code came then; NaN for never.
    """

    def __init__(self, delay_NV: Tensor, count_NV: Tensor) -> None:
        self._delay, self._count, self._number = delay_NV, count_NV, 0
        self._code = torch.arange(delay_NV.shape[1], device=delay_NV.device).expand_as(delay_NV)
        self._opened = torch.full_like(self._code, NEVER)
        self._last = self._code.new_full((len(delay_NV),), -1)
        self._so_far = torch.zeros_like(self._last)

    def mates(self, row_M: Tensor) -> Mates:
        """Mates of the next decision of some futures, all of which have drawn as many events."""
        last = self._last[row_M]
        known = row_M, last.clamp_min(0)
        number = torch.full_like(last, self._number)
        event = LastEvent(last, self._delay[known], self._count[known] - self._so_far[row_M], number)
        return find_mates(event, self._code, self._delay, self._opened, row_M, self._code.shape[1])

    def add(self, row_M: Tensor, code_M: Tensor) -> None:
        """Take in the event that each of some futures has drawn."""
        self._so_far[row_M] = torch.where(code_M == self._last[row_M], self._so_far[row_M] + 1, 1)
        self._last[row_M] = code_M
        delay = self._delay[row_M, code_M]
        is_in = (self._delay[row_M] == delay[:, None]) & (delay <= LONGEST_S)[:, None]
        self._opened[row_M] = torch.where(is_in, self._opened[row_M].clamp_max(self._number), self._opened[row_M])
        self._number += 1
