"""From evidence to a decision: keep the declared unit, infer another, part a mixture, or refuse."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sojourn.concepts.units.declared import Declared
from sojourn.concepts.units.evidence import Values, border, log_likelihoods, unmix
from sojourn.concepts.units.known import Expected, Unit, expected_of, units_of
from sojourn.events.units import DECLARED, INFERRED, MIXED, REFUSED

Floats = npt.NDArray[np.float64]

KEEP, SURE = 0.85, 0.99
"""Probabilities at which a declared unit is kept, and at which another is taken."""
_TRUST = 0.97
"""Prior probability of a declared unit; `_UNKNOWN` is that of a unit which the table lacks."""
_UNKNOWN = 0.002
_MOST_OTHER_SITES, _OWN_WEIGHT = 8.0, 4.0
"""Weight of the other sites of a code in its prior, beside what is said above."""
_SECOND_SHARE, _SECOND_COUNT = 0.02, 3
"""A mixture is one from this share and number of values in a second unit."""
_WRONG_SIDE = 0.005
"""Units are told apart value by value if no more of either lies beyond their border."""
_TOO_STRAY, _STRAY_COUNT = 0.3, 5
"""Values that fit no unit are a reason to refuse from this share and number on."""
_FEW = 10


class Candidate(NamedTuple):
    """A code at a site, with its evidence."""

    declared: Declared
    units: tuple[Unit, ...]
    """What it may be recorded in; the declared unit with the declared conversion."""
    values: Values
    expected: Expected | None
    log_likelihood: Floats
    """[U + 1] of each unit, and of none of them."""


class Interval(NamedTuple):
    """Recorded values from `low` to `high` (both included) are of one unit."""

    unit: Unit
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done with the values of a code at a site."""

    kind: str
    """One of `sojourn.events.units.DECISIONS`."""
    reason: str
    """One word."""
    unit: Unit | None
    """None if refused or mixed."""
    confidence: float
    """Probability of the decision's unit; NaN where there was nothing to compare."""
    intervals: tuple[Interval, ...] = ()
    """Of a mixture; values outside all of them are not converted."""


def candidate(declared: Declared, values: Values) -> Candidate:
    """Weigh the values of a code at a site against the units of its concept."""
    units, expected = list(units_of(declared.concept)), expected_of(declared.concept)
    unit = declared.unit or (None if units else declared.as_written)
    if unit is not None:
        same = [k for k, other in enumerate(units) if other.is_as(unit.scale, unit.offset)]
        if same:
            units[same[0]] = unit
        else:
            units.append(unit)
    if expected is None or not len(values.value):
        return Candidate(declared, tuple(units), values, expected, np.zeros(len(units) + 1))
    return Candidate(declared, tuple(units), values, expected, log_likelihoods(values, tuple(units), expected))


def decide(candidates: Sequence[Candidate]) -> list[Decision]:
    """Decide for all sites of one code: what the values of the others say is part of each one's prior."""
    own = [_prior(each) for each in candidates]
    first = [_posterior(prior, each.log_likelihood) for prior, each in zip(own, candidates, strict=True)]
    total = np.sum(first, axis=0)
    num = len(candidates) - 1
    decisions = []
    for prior, alone, each in zip(own, first, candidates, strict=True):
        weight = min(float(num), _MOST_OTHER_SITES)
        pooled = (_OWN_WEIGHT * prior + weight * (total - alone) / max(num, 1)) / (_OWN_WEIGHT + weight)
        decisions.append(_decide(each, _posterior(pooled, each.log_likelihood)))
    return decisions


def _prior(each: Candidate) -> Floats:
    """Before a value is seen: the declared unit, or all alike."""
    size = len(each.units)
    prior = np.full(size + 1, (1 - _UNKNOWN) / size)
    if each.declared.unit is not None and size > 1:
        prior[:-1] = (1 - _UNKNOWN - _TRUST) / (size - 1)
        prior[each.units.index(each.declared.unit)] = _TRUST
    prior[-1] = _UNKNOWN
    return prior


def _posterior(prior: Floats, log_likelihood: Floats) -> Floats:
    log = np.log(prior) + log_likelihood
    told = np.exp(log - log.max())
    return np.asarray(told / told.sum())


def _decide(each: Candidate, posterior: Floats) -> Decision:
    """Decide for one site."""
    declared = each.declared.unit
    if each.expected is None or not len(each.values.value):
        reason = "not_checked" if each.expected is None else "no_values"
        return Decision(DECLARED, reason, declared or each.declared.as_written, math.nan)
    mixture = _mixture(each, each.expected)
    if mixture is not None:
        return mixture
    best = int(posterior.argmax())
    if declared is not None:
        probability = float(posterior[each.units.index(declared)])
        if probability >= KEEP:
            return _without_strays(each, Decision(DECLARED, "fits", declared, probability), each.expected)
    if best < len(each.units) and posterior[best] >= SURE:
        reason = "nothing_declared" if declared is None else "contradicts_declared"
        found = Decision(INFERRED, reason, each.units[best], float(posterior[best]))
        return _without_strays(each, found, each.expected)
    return Decision(REFUSED, _why(each, best), None, float(posterior[best]))


def _without_strays(each: Candidate, found: Decision, expected: Expected) -> Decision:
    """The same unit for plausible values only, where the others are too many to be errors: L/min among percent."""
    assert found.unit is not None
    part = _plausible(found.unit, expected, -math.inf, math.inf)
    is_outside = (each.values.value < part.low) | (each.values.value > part.high)
    outside, total = each.values.num[is_outside].sum(), each.values.num.sum()
    if outside < _SECOND_COUNT or outside < _SECOND_SHARE * total:
        return found
    return Decision(MIXED, "some_implausible", None, found.confidence, (part,))


def _plausible(unit: Unit, expected: Expected, low: float, high: float) -> Interval:
    """The part of an interval in which a unit gives plausible values of the concept."""
    least, most = ((limit - unit.offset) / unit.scale for limit in (expected.low, expected.high))
    return Interval(unit, max(low, least), min(high, most))


def _why(each: Candidate, best: int) -> str:
    """Why no unit is sure."""
    if best == len(each.units):
        return "fits_no_unit"
    return "too_few_values" if each.values.num.sum() < _FEW else "units_overlap"


def _mixture(each: Candidate, expected: Expected) -> Decision | None:
    """A decision where a single unit cannot explain the values: a mixture, or a refusal; None where one can."""
    found = unmix(each.values, each.units, expected)
    if found.stray > _TOO_STRAY and found.stray * each.values.effective >= _STRAY_COUNT:
        return Decision(REFUSED, "fits_no_unit", None, math.nan)
    total = each.values.num.sum()
    used = [u for u, share in enumerate(found.share) if share >= _SECOND_SHARE and share * total >= _SECOND_COUNT]
    if len(used) < 2:
        return None
    ordered = sorted((each.units[u] for u in used), key=lambda unit: -unit.scale)
    borders = [border(a, b, expected) for a, b in pairwise(ordered)]
    if any(wrong > _WRONG_SIDE for _, wrong in borders):
        return None  # units that cannot be told apart value by value explain each other's values
    ends = [0.0, *(at for at, _ in borders), float("inf")]
    parts = tuple(
        _plausible(unit, expected, low, high) for unit, low, high in zip(ordered, ends, ends[1:], strict=False)
    )
    return Decision(MIXED, "several_units", None, found.certainty, parts)
