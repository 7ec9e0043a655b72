"""Baselines learn what is there, use what is missing, and repeat themselves."""

import numpy as np
import pytest

from sojourn.trust.baselines import (
    fit_lightgbm,
    fit_lightgbm_numbers,
    fit_logistic,
    fit_mean,
    fit_prevalence,
    split_groups,
)
from sojourn.trust.metrics import auroc, calibration_slope
from sojourn.trust.regression import r2


def table(seed: int, num_rows: int = 1500) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num_rows, 4)).astype(np.float32)
    is_measured = rng.random(num_rows) < 0.5
    score = 1.2 * x[:, 0] - 1.0 + 1.5 * is_measured
    y = rng.random(num_rows) < 1 / (1 + np.exp(-score))
    x[~is_measured, 1] = np.nan
    x[:, 3] = 7.0
    return x, y, np.arange(num_rows) // 3


@pytest.mark.parametrize("method", ["lightgbm", "logistic"])
def test_values_and_missingness_are_both_used(method: str) -> None:
    x, y, groups = table(0)
    test_x, test_y, _ = table(1)
    model = fit_lightgbm(x, y, groups) if method == "lightgbm" else fit_logistic(x, y)
    p = model.predict(test_x)
    assert p.dtype == np.float32
    assert auroc(test_y, p) > 0.78
    assert 0.7 < calibration_slope(test_y, p) < 1.4


@pytest.mark.parametrize("method", ["lightgbm", "logistic"])
def test_the_same_seed_gives_the_same_predictions(method: str) -> None:
    x, y, groups = table(2, 300)

    def fit() -> np.ndarray:
        return (fit_lightgbm(x, y, groups, seed=3) if method == "lightgbm" else fit_logistic(x, y, seed=3)).predict(x)

    np.testing.assert_array_equal(fit(), fit())


def test_logistic_regression_matches_scikit_learn_on_complete_data() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    x, y, _ = table(3)
    x = x[:, [0, 2]]
    scaled = StandardScaler().fit_transform(x)
    theirs = LogisticRegression(C=0.1).fit(scaled, y).predict_proba(scaled)[:, 1]
    np.testing.assert_allclose(fit_logistic(x, y).predict(x), theirs, atol=1e-3)


def test_many_rows_are_drawn_down_before_the_logistic_fit() -> None:
    x, y, _ = table(4)
    few = fit_logistic(x, y, max_rows=400)
    assert auroc(y, few.predict(x)) > 0.75


@pytest.mark.parametrize("outcome", [0, 1])
def test_one_class_only_gives_a_constant(outcome: int) -> None:
    x, _, groups = table(5, 50)
    y = np.full(50, outcome)
    for model in (fit_lightgbm(x, y, groups), fit_logistic(x, y), fit_prevalence(y)):
        np.testing.assert_array_equal(model.predict(x), np.full(50, outcome, dtype=np.float32))


def test_no_rows_are_refused_by_prevalence_and_predicted_as_none() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        fit_prevalence([])
    x, y, _ = table(6, 60)
    assert fit_logistic(x, y).predict(x[:0]).shape == (0,)


def test_few_events_need_no_early_stopping() -> None:
    x, _, groups = table(7, 60)
    y = np.zeros(60)
    y[:5] = 1
    assert np.isfinite(fit_lightgbm(x, y, groups).predict(x)).all()


def test_an_outlier_at_a_new_site_does_not_rule() -> None:
    x, y, _ = table(8)
    model = fit_logistic(x, y)
    row = x[:1].copy()
    row[0, 2] = 1e9
    assert 0.001 < model.predict(row)[0] < 0.999


def test_no_group_is_on_both_sides() -> None:
    groups = np.repeat(np.arange(40), 5)
    chosen = split_groups(groups, share=0.25, seed=0)
    assert chosen.sum() == 50
    assert not set(groups[chosen]) & set(groups[~chosen])


def test_boosted_trees_learn_a_number_and_the_mean_does_not() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 5)).astype(np.float32)
    y = 3 * features[:, 0] + rng.normal(0, 0.3, 400)
    groups = np.arange(400) // 2
    fitted = fit_lightgbm_numbers(features[:300], y[:300], groups[:300])
    assert r2(y[300:], fitted.predict(features[300:])) > 0.8
    assert r2(y, fit_mean(y).predict(features)) == pytest.approx(0, abs=1e-6)
    assert fit_lightgbm_numbers(features, np.full(400, 2.0), groups).predict(features[:2]).tolist() == [2.0, 2.0]


def test_few_rows_are_fitted_without_early_stopping() -> None:
    features = np.arange(12, dtype=np.float32)[:, None]
    predicted, again = (
        fit_lightgbm_numbers(features, np.arange(12.0), np.arange(12)).predict(features) for _ in range(2)
    )
    assert predicted[0] < predicted[-1]
    np.testing.assert_array_equal(predicted, again)


def test_few_rows_get_one_thread_since_threads_that_spin_starve_on_a_busy_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    threads, train = [], lightgbm.train

    def watched(settings: dict[str, object], *arguments: object, **named: object) -> object:
        threads.append(settings["num_threads"])
        return train(settings, *arguments, **named)

    monkeypatch.setattr(lightgbm, "train", watched)
    rng = np.random.default_rng(0)
    for rows in (1_000, 100_000):
        x = rng.normal(size=(rows, 1)).astype(np.float32)
        fit_lightgbm(x, rng.random(rows) < 0.5, np.arange(rows))
    assert threads == [1, 2]
