"""Masses, survival, quantiles and samples of logistic mixtures against scipy and by integration."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sojourn.model.logistic import LogisticMixture, logistic_mixture


def mixture(num: int = 1, seed: int = 0) -> LogisticMixture:
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(3, num, 4, generator=generator)
    return logistic_mixture(draw[0], 2 * draw[1], draw[2], smallest=1e-3)


def reference_cdf(m: LogisticMixture, x: float) -> float:
    weights, means, scales = (np.asarray(t[0], dtype=np.float64) for t in (m.log_weight.exp(), m.mean, m.scale))
    return float((weights * stats.logistic.cdf(x, means, scales)).sum())


@given(st.floats(-30, 30), st.floats(1e-3, 20), st.integers(0, 50))
def test_log_mass_is_the_difference_of_the_reference_cdf(lower: float, width: float, seed: int) -> None:
    m = mixture(seed=seed)
    mass = float(m.log_mass(torch.tensor([lower]), torch.tensor([lower + width])).exp())
    expected = reference_cdf(m, float(np.float32(lower + width))) - reference_cdf(m, float(np.float32(lower)))
    assert mass == pytest.approx(expected, rel=2e-3, abs=1e-6)


def test_log_mass_stays_exact_far_out_in_the_tail() -> None:
    m = LogisticMixture(torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, 1))
    # F(-39) - F(-40) = e^-39 (1 - e^-1) to first order
    got = float(m.log_mass(torch.tensor([-40.0]), torch.tensor([-39.0])))
    assert got == pytest.approx(-39 + np.log(1 - np.exp(-1)), abs=1e-4)
    assert float(m.log_mass(torch.tensor([39.0]), torch.tensor([40.0]))) == pytest.approx(got, abs=1e-3)


def test_masses_of_all_cells_sum_to_one() -> None:
    m = mixture()
    edges = torch.linspace(-200, 200, 4001)
    rows = LogisticMixture(*(x.expand(4000, -1) for x in m))
    assert float(rows.log_mass(edges[:-1], edges[1:]).exp().sum()) == pytest.approx(1.0, abs=1e-5)


def test_survival_and_cdf_add_to_one() -> None:
    m, x = mixture(50), torch.linspace(-5, 5, 50)
    torch.testing.assert_close(m.log_survival(x).exp() + m.cdf(x), torch.ones(50))


def test_quantile_inverts_the_cdf() -> None:
    m = mixture(20)
    torch.testing.assert_close(m.cdf(m.quantile(0.3)), torch.full((20,), 0.3), atol=1e-4, rtol=0)


def test_samples_follow_the_distribution() -> None:
    rows = LogisticMixture(*(x.expand(20000, -1) for x in mixture(seed=3)))
    x = rows.sample(torch.Generator().manual_seed(1)).numpy()
    cdf = np.vectorize(lambda v: reference_cdf(mixture(seed=3), v))
    assert stats.kstest(x[:2000], cdf).pvalue > 0.01


def test_truncated_samples_follow_the_conditional_distribution() -> None:
    m = mixture(seed=4)
    rows = LogisticMixture(*(x.expand(5000, -1) for x in m))
    lower = 1.0
    x = rows.sample(torch.Generator().manual_seed(2), torch.full((5000,), lower)).numpy()
    below = reference_cdf(m, lower)
    assert x.min() >= lower
    cdf = np.vectorize(lambda v: (reference_cdf(m, v) - below) / (1 - below))
    assert stats.kstest(x[:2000], cdf).pvalue > 0.01


def test_draws_outside_limits_follow_the_conditional_distribution() -> None:
    m = mixture(seed=5)
    rows = LogisticMixture(*(x.expand(4000, -1) for x in m))
    uniform = torch.rand(4000, 2, generator=torch.Generator().manual_seed(3))
    lower, upper = -0.5, 0.8
    x = rows.draw_outside(uniform, torch.full((4000,), lower), torch.full((4000,), upper)).numpy()
    assert not ((x > lower + 1e-4) & (x < upper - 1e-4)).any()
    gone = reference_cdf(m, upper) - reference_cdf(m, lower)

    def cdf(v: float) -> float:
        inside = min(max(v, lower), upper)
        return (reference_cdf(m, v) - (reference_cdf(m, inside) - reference_cdf(m, lower))) / (1 - gone)

    assert stats.kstest(x, np.vectorize(cdf)).pvalue > 0.01
    whole = rows.draw_outside(uniform, torch.full((4000,), torch.inf), torch.full((4000,), torch.inf))
    torch.testing.assert_close(whole, rows.draw(uniform), atol=1e-5, rtol=1e-4)


def test_draws_far_in_the_tail_are_those_of_the_tail() -> None:
    """After 48 h without a record, of a density that expects one after an hour: the rest is exponential."""
    num, lower = 4000, np.log(48.0)
    m = LogisticMixture(torch.zeros(num, 1), torch.zeros(num, 1), torch.full((num, 1), 0.2))
    drawn = m.sample(torch.Generator().manual_seed(0), torch.full((num,), float(lower))).numpy()
    assert (drawn > lower).mean() > 0.99
    assert np.median(drawn) - lower == pytest.approx(0.2 * np.log(2), rel=0.08)
