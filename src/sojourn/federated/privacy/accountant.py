"""What noisy steps cost: epsilon by privacy loss distributions, from a kept library."""

from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from sojourn.errors import ConfigError
from sojourn.extras import need

_DISCRETIZATION = 1e-3
_TOLERANCE = 1e-3
_MIN_NOISE, _MAX_NOISE = 0.2, 1000.0
_MARGIN = 0.995
"""Composing round by round rounds up a little more often than composing all steps at once."""


class Spending(NamedTuple):
    """Some equal noisy steps: Poisson-sampled patients, clipped, Gaussian noise."""

    steps: int
    sampling: float
    """Probability that a patient is in a step."""
    noise: float
    """Standard deviation of the noise over the clipping norm."""


def epsilon_of(spent: Iterable[Spending], delta: float) -> float:
    """Epsilon of all steps together, for neighbours that differ in one patient added or removed.

    Parameters
    ----------
    spent : what was done, in any order.
    delta : probability with which epsilon may be exceeded.

    References
    ----------
    Privacy loss distributions: Koskela et al. 2020, arXiv 1906.03049; library `dp-accounting`.

    Examples
    --------
    >>> epsilon_of([], 1e-5)
    0.0
    >>> one = epsilon_of([Spending(100, 0.05, 1.0)], 1e-4)
    >>> one < epsilon_of([Spending(200, 0.05, 1.0)], 1e-4) < 2 * one
    True
    """
    steps: Counter[tuple[float, float]] = Counter()
    for one in spent:
        steps[one.sampling, one.noise] += one.steps
    # Equal steps are composed at once: a line for each round would make every round slower than the one before.
    return _epsilon(tuple(Spending(number, *kind) for kind, number in sorted(steps.items())), delta)


@cache
def _epsilon(spent: tuple[Spending, ...], delta: float) -> float:
    if not spent:
        return 0.0
    need("dp_accounting", "federated")
    from dp_accounting.pld.pld_privacy_accountant import PLDAccountant

    accountant = PLDAccountant(value_discretization_interval=_DISCRETIZATION)
    for one in spent:
        accountant.compose(_event(one.sampling, one.noise), one.steps)
    return float(accountant.get_epsilon(delta))


@cache
def noise_for(epsilon: float, delta: float, *, steps: int, sampling: float) -> float:
    """The least noise with which some steps cost no more than `epsilon`.

    Raises
    ------
    ConfigError
        If no noise below 1,000 times the clipping norm is enough.

    Examples
    --------
    >>> noise = noise_for(3.0, 1e-3, steps=50, sampling=0.1)
    >>> epsilon_of([Spending(50, 0.1, noise)], 1e-3) <= 3.0
    True
    """
    need("dp_accounting", "federated")
    from dp_accounting.dp_event import SelfComposedDpEvent
    from dp_accounting.mechanism_calibration import ExplicitBracketInterval, calibrate_dp_mechanism
    from dp_accounting.pld.pld_privacy_accountant import PLDAccountant

    goal = _MARGIN * epsilon
    if epsilon_of([Spending(steps, sampling, _MAX_NOISE)], delta) > goal:
        msg = f"epsilon must be reachable; got {epsilon} for {steps} steps of a {sampling:.3g} share. Make fewer steps."
        raise ConfigError(msg)
    if epsilon_of([Spending(steps, sampling, _MIN_NOISE)], delta) <= goal:
        return _MIN_NOISE
    found = calibrate_dp_mechanism(
        lambda: PLDAccountant(value_discretization_interval=_DISCRETIZATION),
        lambda noise: SelfComposedDpEvent(_event(sampling, noise), steps),
        goal,
        delta,
        bracket_interval=ExplicitBracketInterval(_MIN_NOISE, _MAX_NOISE),
        tol=_TOLERANCE,
    )
    return float(found)


def _event(sampling: float, noise: float):  # type: ignore[no-untyped-def]
    from dp_accounting.dp_event import GaussianDpEvent, PoissonSampledDpEvent

    return PoissonSampledDpEvent(sampling, GaussianDpEvent(noise))
