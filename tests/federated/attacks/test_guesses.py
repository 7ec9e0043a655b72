"""The bound is no bound on less than was leaked: checked on coins that leak exactly epsilon."""

import numpy as np
import pytest
from scipy.special import expit

from sojourn.federated.attacks.guesses import Guesses, guess, least_epsilon, p_value


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_coins_that_leak_epsilon_are_rarely_said_to_leak_more(epsilon: float) -> None:
    rng = np.random.default_rng(0)
    bounds = []
    for _ in range(400):  # randomised response: each coin is told with probability e^epsilon / (1 + e^epsilon)
        coins = rng.random(100) < 0.5
        told = np.where(rng.random(100) < expit(epsilon), coins, ~coins)
        bounds.append(least_epsilon(guess(told + 1e-3 * rng.random(100), coins), 0.0))
    assert np.mean(np.array(bounds) > epsilon) <= 0.07  # 5 % and what 400 draws may add
    assert np.mean(bounds) > 0.1 * epsilon  # and it is no empty bound


def test_guesses_from_noise_prove_nothing() -> None:
    rng = np.random.default_rng(1)
    proved = [least_epsilon(guess(rng.random(100), rng.random(100) < 0.5), 0.005) for _ in range(200)]
    assert np.mean(np.array(proved) > 0) <= 0.05


def test_a_larger_delta_leaves_less_proved() -> None:
    found = [least_epsilon(Guesses(100, 40, 38), delta) for delta in (0.0, 1e-4, 1e-2)]
    assert found == sorted(found, reverse=True)
    assert found[0] > found[2]
    assert p_value(Guesses(100, 40, 38), found[0], 0.0) == pytest.approx(0.05, abs=1e-3)
