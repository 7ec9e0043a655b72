"""What a record's past comes to, code by code: the hand-made table that boosted trees read, as one vector.

    s_q = sum over the codes c seen by question q of   P A_c + (1 + Q A_c) * F f(last, mean, min, max; the same of the
          last day; counts; time since the last record)

A state of a hundred numbers must choose what to remember of hundreds of codes; this sum holds the level, the extremes
and the recency of every one of them exactly, however long ago they were recorded. It is invariant to the order of
codes (Zaheer et al. 2017, Deep Sets), and a code that was never trained has a part in it through its embedding.

Shape letters: N pairs of a question and a code that its record holds, Q questions, D width of the sum, V codes.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sojourn.model.features import bumps, delay_features
from sojourn.model.linear import Linear

VALUE_STATISTICS = ("last", "mean", "min", "max", "mean_24h", "min_24h", "max_24h")
NUM_VALUES = len(VALUE_STATISTICS)
_FIRST_RECENT = VALUE_STATISTICS.index("mean_24h")
_NUM_BUMPS, _NUM_COUNT, _NUM_DELAY = 9, 6, 8
_LARGEST_COUNT = 1000.0
_PAIRS_AT_ONCE = 8192
"""Pairs whose features are made at the same time: they stay in the processor's cache, and memory stays flat."""


class CodeStatistics(NamedTuple):
    """What each question's record holds of each code up to the moment of asking: N pairs, sorted by question."""

    question: Tensor
    """(N,) int64, never decreases."""
    code: Tensor
    """(N,) int64."""
    values: Tensor
    """(N, 7) float32 in the code's own unit, as `VALUE_STATISTICS`; NaN: no such value."""
    counts: Tensor
    """(N, 2) float32, records of the whole past and of the last 24 h."""
    delay: Tensor
    """(N,) float32, seconds since the last record; NaN for a static fact."""

    def to(self, device: torch.device | str) -> "CodeStatistics":
        """Copy with all tensors on `device`."""
        return CodeStatistics(*(field.to(device) for field in self))


class HistorySummary(nn.Module):
    """Sums the statistics of all codes of a record into one vector for each question."""

    def __init__(self, d_event: int, d_summary: int, dropout: float) -> None:
        super().__init__()
        num_features = NUM_VALUES * (_NUM_BUMPS + 1) + 2 + 2 * _NUM_COUNT + _NUM_DELAY + 1
        self.feature = Linear(num_features, d_summary)
        self.code = Linear(d_event, 2 * d_summary)
        self.norm = nn.RMSNorm(d_summary)
        self.dropout = dropout

    def forward(self, past: CodeStatistics, z_N7: Tensor, embedding_VD: Tensor, num_questions: int) -> Tensor:
        """The sums, normalised, shape (Q, D) float32.

        Parameters
        ----------
        past : the statistics.
        z_N7 : their values on the normalised scale of each code.
        embedding_VD : of all codes.
        num_questions : Q; a question without a pair has the sum zero.
        """
        if self.training and self.dropout:  # some codes are forgotten, as if nobody had looked
            kept = (torch.rand(len(z_N7), device=z_N7.device) >= self.dropout).nonzero()[:, 0]
            past, z_N7 = CodeStatistics(*(field[kept] for field in past)), z_N7[kept]
        shift, gate = (part.contiguous() for part in self.code(embedding_VD).float().chunk(2, -1))
        start = torch.searchsorted(past.question, torch.arange(num_questions, device=z_N7.device))
        total = F.embedding_bag(past.code, shift, start, mode="sum")
        for begin in range(0, len(z_N7), _PAIRS_AT_ONCE):
            part = slice(begin, begin + _PAIRS_AT_ONCE)
            some = CodeStatistics(*(field[part] for field in past))
            pairs = F.embedding(some.code, 1 + gate) * self.feature(_features(some, z_N7[part])).float()
            total = total.index_add(0, some.question, pairs)
        # How many were forgotten shows in the length of the sum alone, which the norm takes out.
        normal: Tensor = self.norm(total)
        return normal


def _features(past: CodeStatistics, z_N7: Tensor) -> Tensor:
    """Smooth features of the statistics, shape (N, F)."""
    is_none = torch.isnan(z_N7)
    plain = torch.nan_to_num(z_N7).clamp(-8, 8)
    log_count = torch.log1p(past.counts)
    return torch.cat(
        [
            bumps(z_N7, -3.0, 3.0, _NUM_BUMPS).flatten(1),
            plain,
            is_none[:, 0:1].float(),
            is_none[:, _FIRST_RECENT : _FIRST_RECENT + 1].float(),
            bumps(log_count, 0.0, math.log1p(_LARGEST_COUNT), _NUM_COUNT).flatten(1),
            delay_features(past.delay, _NUM_DELAY),
        ],
        dim=-1,
    )
