"""Metrics against worked numbers, scikit-learn and scipy, and at their edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from sklearn import metrics as sk

from sojourn.trust import metrics as m


def drawn(seed: int, num_rows: int, *, digits: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = np.round(rng.random(num_rows), digits)
    y = rng.random(num_rows) < p
    y[0], y[1] = True, False
    return y, p


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(1, 4))
def test_areas_and_losses_agree_with_scikit_learn_whatever_the_ties(seed: int, num_rows: int, digits: int) -> None:
    y, p = drawn(seed, num_rows, digits=digits)
    w = np.random.default_rng(seed + 1).integers(0, 4, num_rows).astype(float)
    w[:2] += 1
    assert m.auroc(y, p, w) == pytest.approx(sk.roc_auc_score(y, p, sample_weight=w), abs=1e-12)
    assert m.auprc(y, p, w) == pytest.approx(sk.average_precision_score(y, p, sample_weight=w), abs=1e-12)
    assert m.brier(y, p, w) == pytest.approx(sk.brier_score_loss(y, p, sample_weight=w), abs=1e-12)
    clipped = np.clip(p, m.CLIP, 1 - m.CLIP)
    assert m.log_loss(y, p, w) == pytest.approx(sk.log_loss(y, clipped, sample_weight=w), rel=1e-9)


@pytest.mark.parametrize("metric", ["auroc", "auprc", "log_loss", "brier", "expected_observed", "calibration_slope"])
def test_a_count_as_weight_equals_the_row_written_that_often(metric: str) -> None:
    y, p = drawn(3, 80, digits=2)
    w = np.random.default_rng(4).integers(0, 4, 80)
    function = getattr(m, metric)
    assert function(y, p, w) == pytest.approx(function(np.repeat(y, w), np.repeat(p, w)), rel=1e-8)


def test_recalibration_maximises_the_likelihood() -> None:
    y, p = drawn(5, 400, digits=3)
    p = np.clip(p, 0.01, 0.99)
    x = np.log(p / (1 - p))

    def loss(theta: np.ndarray) -> float:
        return float(np.sum(np.logaddexp(0, -(2 * y - 1) * (theta[0] + theta[1] * x))))

    best = optimize.minimize(loss, [0.0, 1.0], method="BFGS").x
    assert m.calibration_slope(y, p) == pytest.approx(best[1], abs=1e-4)
    shift = optimize.minimize_scalar(lambda a: loss(np.array([a, 1.0]))).x
    assert m.calibration_intercept(y, p) == pytest.approx(shift, abs=1e-5)


def test_slope_and_intercept_recover_a_known_distortion() -> None:
    rng = np.random.default_rng(0)
    score = rng.normal(-1, 1.5, 200_000)
    y = rng.random(score.size) < 1 / (1 + np.exp(-score))
    too_extreme = 1 / (1 + np.exp(-2 * score))
    assert m.calibration_slope(y, too_extreme) == pytest.approx(0.5, abs=0.01)
    too_high = 1 / (1 + np.exp(-(score + 1)))
    assert m.calibration_intercept(y, too_high) == pytest.approx(-1.0, abs=0.02)
    assert m.expected_observed(y, too_high) > 1.3


@pytest.mark.parametrize("outcome", [0, 1])
def test_one_class_only_has_no_discrimination_and_no_calibration(outcome: int) -> None:
    y, p = np.full(5, outcome), np.linspace(0.1, 0.9, 5)
    for name in ("auroc", "auprc", "calibration_slope", "calibration_intercept"):
        if outcome == 0 or name != "auprc":
            assert np.isnan(getattr(m, name)(y, p)), name
    assert np.isfinite(m.brier(y, p))
    assert np.isnan(m.expected_observed(y, p)) == (outcome == 0)


def test_no_rows_give_nan_everywhere() -> None:
    for name, metric in m.METRICS.items():
        assert np.isnan(metric([], [])), name
    assert m.reliability([], []) == []


def test_constant_predictions_have_no_slope_and_rank_nothing() -> None:
    y, p = np.array([0, 1, 0, 1]), np.full(4, 0.5)
    assert np.isnan(m.calibration_slope(y, p))
    assert m.auroc(y, p) == 0.5
    assert m.calibration_intercept(y, p) == pytest.approx(0, abs=1e-9)


def test_separated_classes_have_no_slope() -> None:
    assert np.isnan(m.calibration_slope([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]))


@pytest.mark.parametrize("bad", [[0.5, np.nan], [0.5, 1.2], [-0.1, 0.5]])
def test_what_is_no_probability_is_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="1 of 2"):
        m.brier([0, 1], bad)


def test_certain_but_wrong_costs_much_and_not_everything() -> None:
    assert m.log_loss([1, 0], [0.0, 0.0]) == pytest.approx(-np.log(m.CLIP) / 2, abs=1e-6)


def test_reliability_bins_hold_all_rows_and_keep_ties_together() -> None:
    p = np.r_[np.full(50, 0.1), np.full(30, 0.2), np.linspace(0.3, 0.9, 20)]
    y = np.random.default_rng(1).random(100) < p
    bins = m.reliability(y, p, num_bins=5)
    assert sum(b.count for b in bins) == 100
    assert bins[0].count == 50
    assert bins[0].mean_predicted == pytest.approx(0.1)
    assert all(b.lower <= b.observed <= b.upper for b in bins)
    assert [b.mean_predicted for b in bins] == sorted(b.mean_predicted for b in bins)


def test_wilson_limits_match_the_defining_equation() -> None:
    lower, upper = m.wilson_interval(3, 20)
    for limit in (lower, upper):
        assert abs(0.15 - limit) / np.sqrt(limit * (1 - limit) / 20) == pytest.approx(1.959964, abs=1e-5)
    assert m.wilson_interval(0, 20)[0] == 0
    assert np.isnan(m.wilson_interval(0, 0)[0])


def test_curves_match_scikit_learn() -> None:
    y, p = drawn(8, 200, digits=2)
    false_pos, true_pos = m.roc_curve(y, p)
    assert np.trapezoid(true_pos, false_pos) == pytest.approx(m.auroc(y, p))
    recall, precision = m.precision_recall_curve(y, p)
    theirs_precision, theirs_recall, _ = sk.precision_recall_curve(y, p)
    np.testing.assert_allclose(recall[::-1], theirs_recall[:-1])
    np.testing.assert_allclose(precision[::-1], theirs_precision[:-1])


@pytest.mark.parametrize(
    ("slope", "level", "shift"), [(0.3, -3.0, 0.0), (1.0, -3.0, 2.0), (0.1, 0.0, 3.0), (4.0, 1.0, -2.0)]
)
def test_far_miscalibrated_predictions_have_the_slope_of_the_likeliest_fit(
    slope: float, level: float, shift: float
) -> None:
    """Newton steps that were clipped one by one went in circles here; checked against scipy."""
    rng = np.random.default_rng(0)
    x = rng.normal(level, 1.5, 3000)
    y = (rng.random(3000) < 1 / (1 + np.exp(-(shift + slope * x)))).astype(float)

    def loss(theta: np.ndarray) -> float:
        eta = theta[0] + theta[1] * x
        return float(np.sum(np.logaddexp(0, eta) - y * eta))

    best = optimize.minimize(loss, [0.0, 1.0], method="BFGS").x
    assert m.calibration_slope(y, 1 / (1 + np.exp(-x))) == pytest.approx(best[1], abs=1e-3)
