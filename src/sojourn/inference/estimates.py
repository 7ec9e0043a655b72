"""Risks from sampled futures: from their chances or from counts, with the Monte-Carlo error of either.

Shape letters: N moments, n futures of each.
"""

from typing import Literal, NamedTuple

import numpy as np
from scipy import special

from sojourn.inference.risk import Probabilities

Estimator = Literal["conditional", "count"]

# Found on the toy process of the tests: 16 and 64 futures then cover at the nominal rate, also tiny risks.
_GUARD = 0.01


class SampledRisk(NamedTuple):
    """Risks of N moments from sampled futures."""

    probability: Probabilities
    """(N,)"""
    lower: Probabilities
    """(N,) end of a 90 % interval, which covers the error of sampling only."""
    upper: Probabilities
    """(N,)"""
    standard_error: Probabilities
    """(N,) of sampling; NaN where a single future cannot tell."""
    estimator: Estimator
    """What was used: outcomes that no single decision brings about are counted whatever was wished."""


def conditional(risk: np.ndarray, coverage: float = 0.9) -> SampledRisk:
    """Means of the chances (N, n) of n futures each, with guarded Student intervals.

    Where few futures carry most of the risk, a sample may hold none of them and look surer than it is. So the interval
    (not the standard error) counts a hundredth of one further future in which the outcome is sure, or surely absent.
    """
    count, mean = risk.shape[1], risk.mean(1)
    if count < 2:
        return SampledRisk(mean, np.zeros_like(mean), np.ones_like(mean), np.full_like(mean, np.nan), "conditional")
    error = risk.std(1, ddof=1) / np.sqrt(count)
    guard = _GUARD * np.maximum(mean, 1 - mean) ** 2 / (count * (count - 1))
    reach = special.stdtrit(count - 1, 0.5 + coverage / 2) * np.sqrt(error**2 + guard)
    return SampledRisk(mean, np.maximum(mean - reach, 0.0), np.minimum(mean + reach, 1.0), error, "conditional")


def wilson(share: np.ndarray, count: int, coverage: float = 0.9) -> SampledRisk:
    """Shares of `count` draws with their Wilson intervals (Wilson 1927)."""
    z = float(special.ndtri(0.5 + coverage / 2))
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    error = np.sqrt(share * (1 - share) / count) if count > 1 else np.full_like(share, np.nan)
    return SampledRisk(share, centre - reach, centre + reach, error, "count")
