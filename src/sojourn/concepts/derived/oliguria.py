"""Stages of acute kidney injury by urine: the mean rate over windows that are wholly covered by collections."""

from typing import NamedTuple

import numpy as np

from sojourn.concepts.derived.axis import HOUR, Ints, distinct
from sojourn.concepts.derived.record import Floats
from sojourn.concepts.derived.urine import Collections


class _Rule(NamedTuple):
    """A stage is reached where the mean rate of the last `hours` is below `rate`."""

    hours: int
    rate: float
    stage: int


ANURIA = 1e-9
"""mL/kg/h: nothing at all."""
RULES = (_Rule(6, 0.5, 1), _Rule(12, 0.5, 2), _Rule(24, 0.3, 3), _Rule(12, ANURIA, 3))
"""Mean rate below 0.5 mL/kg/h for 6 h: stage 1; for 12 h: stage 2; below 0.3 for 24 h or none for 12 h: stage 3."""


class UrineStages(NamedTuple):
    """What is known at each charting at which a 6-hour window was covered; arrays have shape [N]."""

    place: Ints
    """The charting."""
    stage: Floats
    """The worst stage, 0 to 3, of the windows that end between the charting before and this one."""


class _Windows(NamedTuple):
    """Windows of one length that are wholly covered, by their end, in order."""

    end: Ints
    collection: Ints
    """Index of the collection in which the window ends."""
    mean: Floats
    """mL/h"""


def urine_stages(found: Collections) -> UrineStages:
    """Stage by urine at each charting.

    Notes
    -----
    The mean over a window is a continuous, piecewise linear function of the window's end: it can bend only where a
    collection begins or ends, or such a place leaves the window. So it is lowest at one of these, and looking there
    finds the worst window, whether it ends at a charting or between two. Two nurses who chart the same flow once or
    every hour therefore give the same worst stage.
    """
    stage = np.full(len(found.end), -1.0)
    for rule in RULES:
        windows = _windows(found, rule.hours * HOUR)
        # A window that ends where a collection begins is the limit of those that end just after, inside it.
        after = np.minimum(np.searchsorted(found.begin, windows.end), len(found.begin) - 1)
        is_limit = found.begin[after] == windows.end
        for collection, mean in ((windows.collection, windows.mean), (after[is_limit], windows.mean[is_limit])):
            level = np.where(mean / found.weight[collection] < rule.rate, rule.stage, 0)
            np.maximum.at(stage, collection, level)
    stage[~np.isfinite(found.weight)] = -1
    is_known = stage >= 0
    return UrineStages(found.end[is_known], stage[is_known])


def urine_onsets(found: Collections) -> dict[int, Ints]:
    """Stage -> every place from which a window's mean is below a threshold of at least that stage, in order.

    These are the ends of the windows themselves, known only at the next charting: they are for outcomes. The place at
    which the mean falls through the threshold is interpolated, so it does not depend on when somebody charted.
    """
    windows = {hours: _windows(found, hours * HOUR) for hours in {rule.hours for rule in RULES}}
    places = [(rule.stage, _below(found, windows[rule.hours], rule)) for rule in RULES]
    return {
        stage: distinct(np.concatenate([place for reached, place in places if reached >= stage])) for stage in (1, 2, 3)
    }


def _windows(found: Collections, length: int) -> _Windows:
    """The ends at which the mean over windows of `length` seconds can bend, where the window is covered."""
    corners = np.concatenate([found.begin, found.end])
    ends = distinct(np.concatenate([corners, corners + length]))
    is_covered = found.covered_until(ends) - found.covered_until(ends - length) >= length
    ends = ends[is_covered]
    volume = found.volume_until(ends) - found.volume_until(ends - length)
    return _Windows(ends, found.holding(ends), volume / (length / HOUR))


def _below(found: Collections, windows: _Windows, rule: _Rule) -> Ints:
    """Ends of windows below the rule's rate, and where the mean falls through it inside a collection."""
    weight = found.weight[windows.collection]
    is_below = windows.mean / weight < rule.rate
    start, end = windows.end[:-1], windows.end[1:]
    # Between two neighbouring ends the mean is a straight line; the later end's collection holds what lies between.
    threshold = rule.rate * weight[1:]
    high, low = windows.mean[:-1], windows.mean[1:]
    is_straight = start >= found.begin[windows.collection[1:]]
    falls = is_straight & (high >= threshold) & (low < threshold)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (high - threshold) / (high - low)
    crossing = start[falls] + np.ceil(share[falls] * (end - start)[falls]).astype(np.int64)
    return np.concatenate([windows.end[is_below], crossing])
