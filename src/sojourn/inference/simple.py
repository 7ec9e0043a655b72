"""The likelihood to beat: gaps by their frequency, codes by theirs, values by the code's previous value.

It is scored on the same recorded cells as the network: gaps in ticks, values in the code's own resolution, codes in
canonical order with END.

Shape letters: K instants, E events, V codes.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sojourn.model import Batch
from sojourn.model.embedding import EventEmbedding
from sojourn.model.logistic import LogisticMixture

_EXACT_TICKS, _NUM_LOG_BINS, _MAX_TICKS = 120, 60, 1e9
_BROAD_WEIGHT, _BROAD_SCALE = 0.05, 3.0


class Terms(NamedTuple):
    """Log-probabilities in nats; zero where a part is not scored."""

    gap: Tensor
    """(K,)"""
    code: Tensor
    """(E,)"""
    value: Tensor
    """(E,)"""


class SimpleModel:
    """Counts training batches, then scores others.

    Parameters
    ----------
    events : the run's event embedding, for its value scales and resolutions.
    """

    def __init__(self, events: EventEmbedding) -> None:
        self.events = events
        later = np.unique(np.geomspace(_EXACT_TICKS + 1, _MAX_TICKS, _NUM_LOG_BINS).astype(np.int64))
        self.edges = np.concatenate([np.arange(1, _EXACT_TICKS + 1), later])
        self.gaps = np.ones(len(self.edges) - 1)
        num_codes = len(events.loc)
        self.codes = np.full(num_codes, 0.1)
        self.num_instants = 1.0
        self._free: list[tuple[np.ndarray, np.ndarray]] = []
        self._change: list[tuple[np.ndarray, np.ndarray]] = []

    def count(self, batch: Batch) -> None:
        """Take in a training batch."""
        ticks = self._ticks(batch)
        self.gaps += np.histogram(ticks.numpy(), bins=self.edges)[0]
        scored, code, z, previous = self._values(batch)
        self.codes += np.bincount(batch.code[scored].numpy(), minlength=len(self.codes))
        self.num_instants += int(batch.is_predicted.sum())
        has_value, has_previous = ~torch.isnan(z), ~torch.isnan(previous)
        self._free.append((code[has_value].numpy(), z[has_value].numpy()))
        both = has_value & has_previous
        self._change.append((code[both].numpy(), (z - previous)[both].numpy()))

    def finish(self) -> "SimpleModel":
        """Turn counts into probabilities and scales."""
        self._gap_log_p = np.log(self.gaps / self.gaps.sum() / np.diff(self.edges))
        self._code_p = torch.from_numpy(self.codes / self.codes.sum())
        # Codes are drawn in canonical order: what lies before the last one cannot come any more.
        self._at_or_after = torch.flip(torch.cumsum(torch.flip(self._code_p, (0,)), 0), (0,))
        self._end = self.num_instants / (self.codes.sum() + self.num_instants)
        self._free_at = _location_and_scale(self._free, len(self.codes))
        self._change_at = _location_and_scale(self._change, len(self.codes))
        return self

    @torch.inference_mode()
    def terms(self, batch: Batch) -> Terms:
        """Log-probabilities of a batch."""
        gap = torch.zeros(batch.gap.numel())
        place = np.clip(
            np.searchsorted(self.edges, self._ticks(batch).numpy(), side="right") - 1, 0, len(self.gaps) - 1
        )
        gap[batch.is_gap_predicted.flatten()] = torch.from_numpy(self._gap_log_p[place]).float()
        scored, code, z, previous = self._values(batch)
        return Terms(gap, self._code_terms(batch, scored), self._value_terms(batch, scored, code, z, previous))

    def _code_terms(self, batch: Batch, scored: Tensor) -> Tensor:
        rank, code = batch.event_rank, batch.code
        before = torch.cat([code[:1], code[:-1]])
        left = torch.where(rank == 0, 1.0, self._at_or_after[before])
        log_p = torch.log(self._code_p[code] / left)
        log_p = torch.where(rank == 0, log_p, log_p + np.log1p(-self._end))
        is_last = torch.cat([rank[1:] == 0, torch.ones(1, dtype=torch.bool)])[: len(rank)]
        return torch.where(scored, log_p + is_last * np.log(self._end), 0.0).float()

    def _value_terms(self, batch: Batch, scored: Tensor, code: Tensor, z: Tensor, previous: Tensor) -> Tensor:
        share = self.events.value_share[code]
        out = torch.log(torch.where(torch.isnan(z), 1 - share, share))
        has_value = ~torch.isnan(z)
        c, last = code[has_value], previous[has_value]
        has_previous = ~torch.isnan(last)
        centre = torch.where(has_previous, torch.nan_to_num(last) + self._change_at[0][c], self._free_at[0][c])
        scale = torch.where(has_previous, self._change_at[1][c], self._free_at[1][c])
        weight = torch.log(torch.tensor([1 - _BROAD_WEIGHT, _BROAD_WEIGHT])).expand(len(c), 2)
        mean = torch.stack([centre, self._free_at[0][c]], -1)
        width = torch.stack([scale, _BROAD_SCALE * self._free_at[1][c]], -1)
        mass = LogisticMixture(weight, mean, width).log_mass(*self.events.cell(c, batch.value[scored][has_value]))
        out = out + torch.zeros_like(out).masked_scatter(has_value, mass)
        return torch.zeros(len(scored)).masked_scatter(scored, out)

    def _ticks(self, batch: Batch) -> Tensor:
        asked = batch.is_gap_predicted
        return (batch.gap[asked] / batch.tick[asked]).round().clamp_min(1.0)

    def _values(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        scored = batch.is_predicted.flatten()[batch.event_position]
        code = batch.code[scored]
        z = self.events.normalise(code, batch.value[scored])
        return scored, code, z, self.events.normalise(code, batch.previous_value[scored])


def _location_and_scale(parts: list[tuple[np.ndarray, np.ndarray]], num_codes: int) -> tuple[Tensor, Tensor]:
    """Median and interquartile range / 2.197 (the scale of a logistic) by code; (0, 1) where there are few values."""
    code = np.concatenate([p[0] for p in parts])
    x = np.concatenate([p[1] for p in parts])
    order = np.argsort(code, kind="stable")
    code, x = code[order], x[order]
    centre, scale = np.zeros(num_codes), np.ones(num_codes)
    start = np.searchsorted(code, np.arange(num_codes + 1))
    for c in np.flatnonzero(np.diff(start) >= 5):
        low, middle, high = np.quantile(x[start[c] : start[c + 1]], [0.25, 0.5, 0.75])
        # Half the values of some codes never change: the spread of the rest then keeps the scale above zero.
        spread = (high - low) / 2.197 or np.std(x[start[c] : start[c + 1]]) / 1.814
        centre[c], scale[c] = middle, max(spread, 1e-2)
    return torch.from_numpy(centre).float(), torch.from_numpy(scale).float()
