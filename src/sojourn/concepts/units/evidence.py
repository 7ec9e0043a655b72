"""How well the values of one code at one site fit each unit of its concept: likelihoods with an unknown site median.

In logarithms most units differ by a shift. A site's values are expected around the concept's median plus a shift of
their own, small and normal over sites with now and then a larger one, and the likelihood of a unit is the mean over
that shift. The hypothesis of an unknown unit has the same shape anywhere within eight powers of ten. Values of one
patient resemble each other, so they count for less than values of different patients.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sojourn.concepts.units.known import Expected, Unit

Floats = npt.NDArray[np.float64]

_WITHIN_SUBJECT = 0.8
"""Correlation of the values of one subject."""
_MOST = 60.0
"""More values than this say no more: the expected distribution is not that exact."""
_RANGE = math.log(1e8)
"""Width, in natural logarithms, of what a value can be at all."""
_STRAY = 0.005
"""Share of values that are errors, anywhere in `_RANGE`."""
_WIDE_SHARE, _WIDE = 0.05, 2.0
"""Share of values, and of sites, that lie wider than the rest, and by how much."""
_ODD_SITES, _ODD = 0.1, 2.5
_STEPS = 81


class Values(NamedTuple):
    """The values of one code at one site that tell something: zero is zero in every unit."""

    value: Floats
    """[B] values as recorded, ascending."""
    num: Floats
    """[B] how many of each."""
    num_subjects: int

    @property
    def effective(self) -> float:
        """How many independent values they are worth.

        Examples
        --------
        >>> one, two = np.ones(1), np.array([100.0])
        >>> Values(one, two, 1).effective < 2 < 30 < Values(one, two, 100).effective
        True
        """
        total = self.num.sum()
        each = total / max(self.num_subjects, 1)
        return min(float(total / (1 + (each - 1) * _WITHIN_SUBJECT)), _MOST)


def density(z: Floats, expected: Expected, *, extra_sd: float = 0.0) -> Floats:
    """Density of logarithms under the expected distribution: two half-normals, and 5 % twice as wide."""
    left, right = (math.hypot(sd, extra_sd) for sd in (expected.left, expected.right))
    x = z - expected.middle
    x = np.where(x < 0, x / left, x / right)
    peak = 2 / (math.sqrt(2 * math.pi) * (left + right))
    narrow, wide = np.exp(-0.5 * x**2), np.exp(-0.5 * (x / _WIDE) ** 2) / _WIDE
    return np.asarray(peak * ((1 - _WIDE_SHARE) * narrow + _WIDE_SHARE * wide))


def logarithms(value: Floats, unit: Unit, low: float = 0.0, high: float = math.inf) -> tuple[Floats, Floats]:
    """Logarithms in the concept's unit, and d(log converted)/d(log recorded).

    NaN and 0 where there is no logarithm or where the converted value is not from `low` to `high`.
    """
    converted = value * unit.scale + unit.offset
    is_positive = (converted > 0) & (value > 0) & (converted >= low) & (converted <= high)
    safe = np.where(is_positive, converted, 1.0)
    slope = np.where(is_positive, np.abs(unit.scale) * np.abs(value) / safe, 0.0)
    return np.where(is_positive, np.log(safe), np.nan), slope


def log_likelihoods(values: Values, units: tuple[Unit, ...], expected: Expected) -> Floats:
    """Log-likelihood of the values for each unit, and last for a unit that is not known.

    Returns
    -------
    array of float64, shape [number of units + 1]
    """
    sd = expected.site_sd
    shift = np.linspace(-4 * _ODD * sd, 4 * _ODD * sd, _STEPS)
    prior = (1 - _ODD_SITES) * np.exp(-0.5 * (shift / sd) ** 2)
    prior += _ODD_SITES / _ODD * np.exp(-0.5 * (shift / (_ODD * sd)) ** 2)
    prior /= prior.sum()
    limits = (expected.low, expected.high)
    found = [_log_mean(_shifted(values, unit, expected, shift, limits), prior) for unit in units]
    return np.array([*found, _unknown(values, units[0], expected)])


def _shifted(
    values: Values, unit: Unit, expected: Expected, shift: Floats, limits: tuple[float, float] = (0.0, math.inf)
) -> Floats:
    """[S] log-likelihood at each shift of the site, worth `values.effective` values."""
    z, slope = logarithms(values.value, unit, *limits)
    told = np.nan_to_num(density(z[None, :] - shift[:, None], expected), nan=0.0) * slope
    log = np.log((1 - _STRAY) * told + _STRAY / _RANGE)
    return np.asarray(values.effective * (log @ (values.num / values.num.sum())))


def _unknown(values: Values, own: Unit, expected: Expected) -> float:
    """Log-likelihood of the same shape at any place, by integration around the place that fits best."""
    z, _ = logarithms(values.value, own)
    is_told = np.isfinite(z)
    if not is_told.any():
        return -values.effective * math.log(_RANGE)
    cumulative = np.cumsum(values.num[is_told])
    middle = z[is_told][np.searchsorted(cumulative, 0.5 * cumulative[-1])] - expected.middle
    reach = 1.5 * max(expected.left, expected.right)
    shift = middle + np.linspace(-reach, reach, _STEPS)
    width = shift[1] - shift[0]
    return _log_mean(_shifted(values, own, expected, shift), np.full(_STEPS, width / _RANGE))


def _log_mean(log: Floats, weight: Floats) -> float:
    """Log of the weighted sum of exponentials."""
    top = log.max()
    return float(top + np.log(np.exp(log - top) @ weight))


class Mixture(NamedTuple):
    """Which of several units each value was recorded in."""

    share: Floats
    """[U] share of the values of each unit."""
    stray: float
    """Share of values of none."""
    certainty: float
    """Mean probability of the most probable unit, over values that have one."""


def unmix(values: Values, units: tuple[Unit, ...], expected: Expected) -> Mixture:
    """Shares of the units by expectation-maximisation, with sites' medians as spread."""
    each = np.empty((len(units) + 1, len(values.value)))
    for row, unit in enumerate(units):
        z, slope = logarithms(values.value, unit, expected.low, expected.high)
        each[row] = np.nan_to_num(density(z, expected, extra_sd=expected.site_sd), nan=0.0) * slope
    each[-1] = 1 / _RANGE
    weight = np.append(np.full(len(units), (1 - _STRAY) / len(units)), _STRAY)
    part = values.num / values.num.sum()
    belongs = each
    for _ in range(60):
        belongs = weight[:, None] * each
        belongs /= belongs.sum(axis=0)
        weight = np.maximum(belongs @ part, 1e-9)
    best = belongs.argmax(axis=0)
    is_told = best < len(units)
    certainty = float(part[is_told] @ belongs.max(axis=0)[is_told] / part[is_told].sum()) if is_told.any() else 0.0
    share = np.bincount(best, weights=part, minlength=len(units) + 1).astype(np.float64)
    return Mixture(share[:-1], float(share[-1]), certainty)


def border(lower: Unit, upper: Unit, expected: Expected) -> tuple[float, float]:
    """Recorded value that parts two units, and the larger share of a unit's values on the wrong side of it.

    Parameters
    ----------
    lower, upper : Unit
        Units whose recorded medians are in this order.
    """
    start, stop = (math.log(_recorded(expected, unit)) for unit in (lower, upper))
    grid = np.exp(np.linspace(start, stop, 801))
    told = []
    for unit in (lower, upper):
        z, slope = logarithms(grid, unit)
        told.append(np.nan_to_num(density(z, expected, extra_sd=expected.site_sd), nan=0.0) * slope)
    at = grid[int(np.argmax(told[1] > told[0]))]
    wrong = max(_beyond(at, lower, expected, above=True), _beyond(at, upper, expected, above=False))
    return float(at), wrong


def _recorded(expected: Expected, unit: Unit) -> float:
    """The expected median as it is recorded in a unit."""
    return (math.exp(expected.middle) - unit.offset) / unit.scale


def _beyond(at: float, unit: Unit, expected: Expected, *, above: bool) -> float:
    """Share of the expected values of a unit that are recorded above (or below) a value."""
    converted = at * unit.scale + unit.offset
    if converted <= 0:
        return float(above)
    left, right = (math.hypot(sd, expected.site_sd) for sd in (expected.left, expected.right))
    sd = right if above else left
    x = (math.log(converted) - expected.middle) / sd * (1 if above else -1)
    tails = [math.erfc(x / width / math.sqrt(2)) for width in (1.0, _WIDE)]
    return sd / (left + right) * ((1 - _WIDE_SHARE) * tails[0] + _WIDE_SHARE * tails[1])
