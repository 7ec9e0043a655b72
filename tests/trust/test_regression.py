"""Errors of predicted numbers, by hand, against scikit-learn, and against copying the drawn rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from sojourn.trust.bootstrap import cluster_counts
from sojourn.trust.regression import NUMBER_METRICS, bootstrap_numbers, mae, r2, rmse


def cohort(num_subjects: int = 80, rows_each: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    subject = np.repeat(np.arange(num_subjects), rows_each)
    y = 1000 + np.repeat(rng.normal(0, 1, num_subjects), rows_each) + rng.normal(0, 0.2, subject.size)
    return y, y + rng.normal(0.1, 0.5, subject.size), subject


def test_by_hand() -> None:
    y, p = [1.0, 2.0, 6.0], [2.0, 2.0, 4.0]
    assert mae(y, p) == pytest.approx(1.0)
    assert rmse(y, p) == pytest.approx(np.sqrt(5 / 3))
    assert r2(y, p) == pytest.approx(1 - 5 / 14)
    assert np.isnan(r2([3.0, 3.0], [3.0, 4.0]))
    assert np.isnan(mae([], []))
    assert np.isnan(r2([0.0, 7e-154], [0.0, 7.0]))  # whose square is next to nothing: dividing by it overflowed


@given(st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=2, max_size=30))
def test_as_scikit_learn_has_them(pairs: list[tuple[float, float]]) -> None:
    y, p = np.array(pairs).T
    assert mae(y, p) == pytest.approx(reference.mean_absolute_error(y, p))
    assert rmse(y, p) == pytest.approx(reference.root_mean_squared_error(y, p))
    if y.std() > 1e-3:
        assert r2(y, p) == pytest.approx(reference.r2_score(y, p))


def test_intervals_equal_those_from_copying_the_drawn_rows() -> None:
    y, p, subject = cohort()
    fast = bootstrap_numbers(y, p, subject, num_bootstrap=120, seed=5)
    counts = np.concatenate(list(cluster_counts(np.zeros(80, dtype=np.intp), None, num_bootstrap=120, seed=5)))
    for name, metric in NUMBER_METRICS.items():
        rows = [np.repeat(np.arange(y.size), count[subject].astype(int)) for count in counts]
        drawn = [metric(y[row], p[row]) for row in rows]
        np.testing.assert_allclose([fast[name].lower, fast[name].upper], np.quantile(drawn, [0.025, 0.975]), atol=1e-9)
        assert fast[name].value == pytest.approx(metric(y, p))
        assert fast[name].num_replicates == 120


def test_drawing_sites_widens_the_interval_where_sites_differ() -> None:
    y, p, subject = cohort(num_subjects=90)
    sites = subject % 6
    p = p + sites
    plain = bootstrap_numbers(y, p, subject, num_bootstrap=200)["mae"]
    by_site = bootstrap_numbers(y, p, subject, sites=sites, num_bootstrap=200)["mae"]
    assert by_site.upper - by_site.lower > 2 * (plain.upper - plain.lower)
    assert by_site.value == plain.value


def test_no_rows_no_replicates_and_numbers_that_are_none() -> None:
    none = bootstrap_numbers([], [], [])
    assert all(np.isnan(found.value) and found.num_replicates == 0 for found in none.values())
    assert np.isnan(bootstrap_numbers([1.0, 2.0], [1.0, 2.0], [0, 1], num_bootstrap=0)["mae"].lower)
    with pytest.raises(ValueError, match="finite"):
        mae([1.0], [float("nan")])
    with pytest.raises(ValueError, match="shape"):
        mae([1.0], [1.0, 2.0])
