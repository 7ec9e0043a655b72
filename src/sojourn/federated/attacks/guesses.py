"""From guesses at who was trained on to the least epsilon that they leave possible: an audit in one training.

Candidates are put in or left out by fair coins. Of m coins an auditor who sees the finished model guesses r, and v of
the guesses are right. Under (epsilon, delta) differential privacy v is hardly ever larger than a binomial with success
probability e^epsilon / (1 + e^epsilon); an epsilon under which v would be too surprising cannot be what was kept.

References
----------
Steinke, Nasr, Jagielski 2023, arXiv 2305.08846, theorem 5.2.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import bisect
from scipy.special import expit
from scipy.stats import binom

GUESSED = 0.4
"""Share of the candidates that are guessed, half in and half out: set before anything was seen."""
_MOST = 50.0


class Guesses(NamedTuple):
    """How an auditor's guesses went."""

    num_candidates: int
    num_guessed: int
    """Candidates that the auditor dared to guess."""
    num_right: int


def guess(score: npt.NDArray[np.float64], is_member: npt.NDArray[np.bool_]) -> Guesses:
    """Guess that the candidates with the highest scores were trained on, and those with the lowest were not.

    Examples
    --------
    >>> guess(np.array([0.9, 0.1, 0.5, 0.4, 0.0]), np.array([True, False, True, False, True]))
    Guesses(num_candidates=5, num_guessed=2, num_right=1)
    """
    each = int(len(score) * GUESSED / 2)
    order = np.argsort(score, kind="stable")
    right = int(is_member[order[len(order) - each :]].sum() + (~is_member[order[:each]]).sum())
    return Guesses(len(score), 2 * each, right)


def p_value(guesses: Guesses, epsilon: float, delta: float) -> float:
    """The most probability that (epsilon, delta) differential privacy gives to so many right guesses, or more.

    Examples
    --------
    >>> round(p_value(Guesses(10, 10, 10), 0.0, 0.0), 6)  # fair coins, guessed blindly
    0.000977
    """
    num, guessed, right = guesses
    success = float(expit(epsilon))
    most = float(binom.sf(right - 1, guessed, success))
    below = binom.cdf(right - 1, guessed, success) - binom.cdf(right - 1 - np.arange(1, right + 1), guessed, success)
    worst = float(np.max(below / np.arange(1, right + 1), initial=0.0))
    return min(1.0, most + 2 * num * delta * worst)


def least_epsilon(guesses: Guesses, delta: float, *, level: float = 0.95) -> float:
    """The largest epsilon that the guesses rule out: a training that leaked less would not have been guessed so well.

    Parameters
    ----------
    guesses : of an auditor who saw nothing but the finished model and what does not depend on the coins.
    delta : of the training.
    level : confidence.

    Returns
    -------
    float
        0 where the guesses rule out nothing.

    Examples
    --------
    >>> least_epsilon(Guesses(100, 40, 22), 0.0)
    0.0
    >>> round(least_epsilon(Guesses(100, 40, 40), 0.0), 2)
    2.55
    """

    def excess(epsilon: float) -> float:
        return p_value(guesses, epsilon, delta) - (1 - level)

    if excess(0.0) >= 0:
        return 0.0
    return float(bisect(excess, 0.0, _MOST, xtol=1e-4))
