"""Epsilon by a library, against what is known in closed form."""

import math

import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from sojourn.errors import ConfigError
from sojourn.federated.privacy.accountant import Spending, epsilon_of, noise_for


def gaussian_epsilon(noise: float, steps: int, delta: float) -> float:
    """Exact epsilon of `steps` Gaussian mechanisms without sampling (Balle and Wang 2018, theorem 8)."""
    mu = math.sqrt(steps) / noise

    def excess(epsilon: float) -> float:
        return norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu) - delta

    return float(brentq(excess, 0.0, 100.0))


@pytest.mark.parametrize(("noise", "steps"), [(1.0, 1), (4.0, 10), (10.0, 100)])
def test_steps_that_draw_everybody_cost_what_gaussian_mechanisms_cost(noise: float, steps: int) -> None:
    exact = gaussian_epsilon(noise, steps, 1e-5)
    assert exact <= epsilon_of([Spending(steps, 1.0, noise)], 1e-5) < 1.01 * exact + 0.02


def test_drawing_fewer_patients_and_more_noise_cost_less() -> None:
    base = epsilon_of([Spending(100, 0.1, 1.0)], 1e-4)
    assert epsilon_of([Spending(100, 0.05, 1.0)], 1e-4) < base
    assert epsilon_of([Spending(100, 0.1, 2.0)], 1e-4) < base


def test_rounds_cost_what_their_steps_cost_together() -> None:
    rounds = [Spending(10, 0.1, 1.0)] * 5
    assert epsilon_of(rounds, 1e-4) == pytest.approx(epsilon_of([Spending(50, 0.1, 1.0)], 1e-4), rel=0.01)


@pytest.mark.parametrize("epsilon", [1.0, 8.0])
def test_the_noise_keeps_to_epsilon_and_is_not_wasted(epsilon: float) -> None:
    noise = noise_for(epsilon, 1e-3, steps=100, sampling=0.05)
    assert 0.97 * epsilon < epsilon_of([Spending(100, 0.05, noise)], 1e-3) <= epsilon
    assert epsilon_of([Spending(10, 0.05, noise)] * 10, 1e-3) <= epsilon


def test_an_epsilon_out_of_reach_is_refused() -> None:
    with pytest.raises(ConfigError, match="Make fewer steps"):
        noise_for(1e-4, 1e-9, steps=10_000, sampling=1.0)
