"""The models that any other has to beat: prevalence, logistic regression and gradient boosting on a feature matrix.

Settings are fixed and common, not searched: a baseline is a point of reference that anybody can reproduce. NaN in a
feature means that it was never measured; LightGBM splits on that, logistic regression gets an indicator for it.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Fitted",
    "fit_lightgbm",
    "fit_lightgbm_numbers",
    "fit_logistic",
    "fit_mean",
    "fit_prevalence",
    "split_groups",
]

Matrix = NDArray[np.float32]

_MOST_THREADS = 2
_ROWS_FOR_A_THREAD = 50_000
"""Threads of LightGBM spin while they wait for each other: beside another program two of them took 77 seconds for
14,000 rows, and one took 2 (1.3 with two on an idle machine). The trees are the same."""
_MIN_EVENTS_TO_STOP_EARLY = 10
_MIN_ROWS_TO_STOP_EARLY = 10
_ROUNDS_WITHOUT_STOPPING = 60


class Fitted(Protocol):
    """A fitted baseline."""

    def predict(self, features: Matrix) -> NDArray[np.float32]:
        """Probabilities (or numbers), shape [N], for features of shape [N, F]."""
        ...


@dataclass(frozen=True, slots=True)
class _Constant:
    """The same probability or number for everybody."""

    value: float

    def predict(self, features: Matrix) -> NDArray[np.float32]:
        return np.full(len(features), self.value, dtype=np.float32)


def fit_prevalence(observed: ArrayLike) -> Fitted:
    """Predict the share of events, whatever the features.

    Examples
    --------
    >>> fit_prevalence([0, 0, 0, 1]).predict(np.zeros((2, 0), dtype=np.float32)).tolist()
    [0.25, 0.25]
    """
    return fit_mean(observed)


def fit_mean(observed: ArrayLike) -> Fitted:
    """Predict the mean of the labels, whatever the features.

    Examples
    --------
    >>> fit_mean([1.0, 2.0, 6.0]).predict(np.zeros((1, 0), dtype=np.float32)).tolist()
    [3.0]
    """
    y = np.asarray(observed, dtype=np.float64)
    if not y.size:
        msg = "observed must hold at least one row; got none. Label more subjects."
        raise ValueError(msg)
    return _Constant(float(y.mean()))


@dataclass(frozen=True, slots=True)
class _Boosted:
    """A LightGBM booster, cut at its best round."""

    booster: Any

    def predict(self, features: Matrix) -> NDArray[np.float32]:
        return np.asarray(self.booster.predict(features, num_threads=_num_threads(features)), dtype=np.float32)


def fit_lightgbm(features: Matrix, observed: ArrayLike, groups: ArrayLike, *, seed: int = 0) -> Fitted:
    """Gradient-boosted trees with early stopping on the log-loss of 15 % of the groups.

    Parameters
    ----------
    features
        Shape [N, F], NaN where unmeasured.
    observed
        0/1, shape [N].
    groups
        Subject of each row, shape [N]; no subject is on both sides of the early-stopping split. With fewer than 10
        events on either side there is no split and 60 rounds are run.
    seed
        Seed of the split and of LightGBM; the same seed gives the same model.

    Returns
    -------
    Fitted
        A constant where `observed` has one class only.
    """
    y = np.asarray(observed, dtype=np.float32)
    if np.unique(y).size < 2:
        return fit_prevalence(y)
    is_stopping = split_groups(groups, share=0.15, seed=seed)
    enough = min(_num_minority(y[is_stopping]), _num_minority(y[~is_stopping])) >= _MIN_EVENTS_TO_STOP_EARLY
    return _boost(features, y, is_stopping if enough else None, objective="binary", seed=seed)


def fit_lightgbm_numbers(features: Matrix, observed: ArrayLike, groups: ArrayLike, *, seed: int = 0) -> Fitted:
    """Gradient-boosted trees for the mean of a number, with early stopping on the squared error.

    Parameters
    ----------
    features
        Shape [N, F], NaN where unmeasured.
    observed
        Numbers, shape [N].
    groups
        Subject of each row, shape [N]; no subject is on both sides of the early-stopping split. With fewer than 10 rows
        on either side there is no split and 60 rounds are run.
    seed
        Seed of the split and of LightGBM; the same seed gives the same model.

    Returns
    -------
    Fitted
        A constant where all numbers are equal.
    """
    y = np.asarray(observed, dtype=np.float32)
    if np.unique(y).size < 2:
        return fit_mean(y)
    is_stopping = split_groups(groups, share=0.15, seed=seed)
    enough = min(is_stopping.sum(), (~is_stopping).sum()) >= _MIN_ROWS_TO_STOP_EARLY
    return _boost(features, y, is_stopping if enough else None, objective="regression", seed=seed)


def _num_threads(features: Matrix) -> int:
    return int(np.clip(len(features) // _ROWS_FOR_A_THREAD, 1, _MOST_THREADS))


def _boost(
    features: Matrix, y: NDArray[np.float32], is_stopping: NDArray[np.bool_] | None, *, objective: str, seed: int
) -> Fitted:
    """Boosted trees, stopped early on some rows, or after a fixed number of rounds."""
    import lightgbm

    settings = {
        "objective": objective,
        "learning_rate": 0.05,
        "num_leaves": 31,
        "min_data_in_leaf": int(np.clip(y.size // 50, 5, 100)),
        "feature_fraction": 0.5,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 1.0,
        "max_bin": 127,
        "num_threads": _num_threads(features),
        "seed": seed,
        "deterministic": True,
        "force_col_wise": True,
        "verbosity": -1,
    }
    if is_stopping is None:
        data = lightgbm.Dataset(features, y)
        return _Boosted(lightgbm.train(settings, data, num_boost_round=_ROUNDS_WITHOUT_STOPPING))
    train = lightgbm.Dataset(features[~is_stopping], y[~is_stopping])
    stopping = lightgbm.Dataset(features[is_stopping], y[is_stopping], reference=train)
    callbacks = [lightgbm.early_stopping(50, verbose=False)]
    return _Boosted(lightgbm.train(settings, train, num_boost_round=2000, valid_sets=[stopping], callbacks=callbacks))


@dataclass(frozen=True, slots=True)
class _Logistic:
    """A linear model on imputed, standardised features and missing indicators."""

    design: "_Design"
    coefficients: NDArray[np.float32]
    """Shape [F + I]."""
    intercept: float

    def predict(self, features: Matrix) -> NDArray[np.float32]:
        blocks = [
            self.design.transform(features[start : start + 50_000]) @ self.coefficients
            for start in range(0, len(features), 50_000)
        ]
        score = np.concatenate(blocks) + self.intercept if blocks else np.zeros(0)
        return (1 / (1 + np.exp(-score))).astype(np.float32)


def fit_logistic(
    features: Matrix, observed: ArrayLike, *, seed: int = 0, strength: float = 0.1, max_rows: int = 200_000
) -> Fitted:
    """Ridge logistic regression on median-imputed, standardised features and missing indicators.

    Parameters
    ----------
    features
        Shape [N, F], NaN where unmeasured.
    observed
        0/1, shape [N].
    seed
        Seed of the draw of rows.
    strength
        Inverse of the ridge penalty (scikit-learn's `C`).
    max_rows
        With more rows than this, as many are drawn: a linear model of some hundred features learns nothing from more.

    Returns
    -------
    Fitted
        A constant where `observed` has one class only.
    """
    from sklearn.linear_model import LogisticRegression

    y = np.asarray(observed, dtype=np.float32)
    if np.unique(y).size < 2:
        return fit_prevalence(y)
    rows = np.arange(y.size)
    if y.size > max_rows:
        rows = np.sort(np.random.default_rng(seed).choice(rows, max_rows, replace=False))
    design = _Design.fit(features[rows])
    model = LogisticRegression(C=strength, max_iter=300, tol=1e-4)
    _fit_quietly(model, design.transform(features[rows]), y[rows])
    return _Logistic(design, model.coef_[0].astype(np.float32), float(model.intercept_[0]))


@dataclass(frozen=True, slots=True)
class _Design:
    """Imputation, standardisation and missing indicators, learned on the training rows."""

    median: NDArray[np.float32]
    """Value in place of NaN, shape [F]."""
    mean: NDArray[np.float32]
    """Mean after imputation, shape [F]."""
    scale: NDArray[np.float32]
    """Standard deviation after imputation, 1 for constants, shape [F]."""
    indicators: NDArray[np.intp]
    """Features whose missing pattern differs from that of every earlier one and is not constant, shape [I]."""

    @classmethod
    def fit(cls, features: Matrix) -> "_Design":
        num_features = features.shape[1]
        median, mean, scale = (np.zeros(num_features, dtype=np.float32) for _ in range(3))
        patterns: dict[bytes, int] = {}
        for index in range(num_features):
            column = features[:, index]
            is_missing = np.isnan(column)
            if is_missing.any() and not is_missing.all():
                patterns.setdefault(np.packbits(is_missing).tobytes(), index)
            median[index] = 0 if is_missing.all() else np.median(column[~is_missing])
            filled = np.where(is_missing, median[index], column).astype(np.float64)
            mean[index], scale[index] = filled.mean(), filled.std() or 1.0
        return cls(median, mean, scale, np.array(sorted(patterns.values()), dtype=np.intp))

    def transform(self, features: Matrix) -> Matrix:
        """Shape [N, F + I]; standardised values are held within +-8 so that no outlier at a new site rules."""
        values = (np.where(np.isnan(features), self.median, features) - self.mean) / self.scale
        return np.hstack([np.clip(values, -8, 8), np.isnan(features[:, self.indicators])]).astype(np.float32)


def split_groups(groups: ArrayLike, *, share: float, seed: int) -> NDArray[np.bool_]:
    """Mark the rows of a random `share` of the groups (at least one), shape [N]; no group is on both sides."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    chosen = np.random.default_rng(seed).permutation(names.size)[: max(1, round(share * names.size))]
    is_chosen = np.zeros(names.size, dtype=bool)
    is_chosen[chosen] = True
    return np.asarray(is_chosen[index])


def _num_minority(y: NDArray[np.float32]) -> int:
    """Rows of the rarer class."""
    return int(min(y.sum(), y.size - y.sum()))


def _fit_quietly(model: Any, design: Matrix, y: NDArray[np.float32]) -> None:
    """Fit; a solver that stops at its last iteration is near enough for a ridge model and no news."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(design, y)
