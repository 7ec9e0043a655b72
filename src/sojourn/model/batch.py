"""The record that training and inference hand to the network: packed windows of event streams."""

from typing import NamedTuple

import torch
from torch import Tensor

_NOTHING = torch.empty(0, 0)


class Batch(NamedTuple):
    """B rows of L positions, each an instant; the E events of all instants lie flat beside them.

    Several windows may share a row (their `segment` differs, they never see each other); a window starts with a
    position that holds its static events and is not predicted.
    """

    segment: Tensor
    """(B, L) int64, window of the position; -1 for padding."""
    order: Tensor
    """(B, L) int64, position inside its record: 0 for the static one, then 1, 2, ..."""
    time: Tensor
    """(B, L) float64, seconds since the subject's origin."""
    gap: Tensor
    """(B, L) float32, seconds since the record's previous instant; NaN where there is none."""
    clock: Tensor
    """(B, L) float32, seconds since midnight."""
    age: Tensor
    """(B, L) float32, age in years; NaN unknown."""
    tick: Tensor
    """(B, L) float32, seconds between two times that the source can tell apart."""
    site: Tensor
    """(B, L) int64, site of the record; 0 for an unknown one."""
    is_predicted: Tensor
    """(B, L) bool, whether the codes and values of the position are scored."""
    is_gap_predicted: Tensor
    """(B, L) bool, whether the gap before the position is scored."""
    survival: Tensor
    """(B, L) float32, seconds after this (last) instant in which surely nothing was recorded; 0 where unknown, inf
    where the record ends here for good."""
    may_end: Tensor
    """(B, L) bool, whether the instant holds a terminal code (death or discharge), after which a record may end."""
    event_position: Tensor
    """(E,) int64, index of the event's instant in the flattened (B * L); never decreases."""
    event_rank: Tensor
    """(E,) int64, place of the event in its instant, from 0, in canonical order (code, then value)."""
    code: Tensor
    """(E,) int64, index of the code."""
    value: Tensor
    """(E,) float32, value in the code's own unit; NaN for none."""
    previous_value: Tensor
    """(E,) float32, last value of the same code at an earlier instant of the record; NaN for none."""
    previous_delay: Tensor
    """(E,) float32, seconds since the same code was last recorded at an earlier instant; NaN for never."""
    previous_interval: Tensor
    """(E,) float32, seconds between that record and the one before it; NaN for none."""
    times_left: Tensor
    """(E,) float32, how many more times the code came at its last instant than so far at this one; NaN for never."""

    seen_code: Tensor = _NOTHING
    """(W, S) int64, codes that each window has seen or will, S at most; -1 for none. Empty where nothing is scored."""
    seen_delay: Tensor = _NOTHING
    """(B * L, S) float32, seconds since the code was last recorded at an earlier instant; NaN for never."""
    seen_interval: Tensor = _NOTHING
    """(B * L, S) float32, seconds between that record and the one before it; NaN for none."""

    @property
    def num_events(self) -> int:
        """Number of events that are scored."""
        return int(self.is_predicted.flatten()[self.event_position].sum())

    def to(self, device: torch.device | str) -> "Batch":
        """Copy to `device`."""
        return Batch(*(field.to(device) for field in self))
