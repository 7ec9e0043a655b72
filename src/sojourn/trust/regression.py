"""How far predicted numbers are from the true ones: mean absolute error, root mean squared error, R2, with intervals.

Whole subjects (or sites, and subjects in them) are drawn, as `sojourn.trust.bootstrap` does it for probabilities. All
three are functions of sums over subjects, so every replicate comes from one matrix product.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sojourn.trust.bootstrap import Interval, cluster_counts, cluster_indices, percentile_interval
from sojourn.trust.metrics import FloatArray

__all__ = ["NUMBER_METRICS", "bootstrap_numbers", "mae", "r2", "rmse"]


def mae(observed: ArrayLike, predicted: ArrayLike) -> float:
    """Mean absolute error, in the unit of the label; NaN without rows.

    Examples
    --------
    >>> mae([1.0, 3.0], [2.0, 5.0])
    1.5
    """
    return _named(observed, predicted, "mae")


def rmse(observed: ArrayLike, predicted: ArrayLike) -> float:
    """Root mean squared error, in the unit of the label; NaN without rows.

    Examples
    --------
    >>> round(rmse([1.0, 3.0], [2.0, 5.0]), 4)
    1.5811
    """
    return _named(observed, predicted, "rmse")


def r2(observed: ArrayLike, predicted: ArrayLike) -> float:
    """Coefficient of determination: 1 less the squared error over that of the mean; NaN where all labels are equal.

    0 is what the mean of these very labels gets, so a constant from elsewhere is below.

    Examples
    --------
    >>> r2([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]), r2([1.0, 3.0], [2.0, 2.0])
    (1.0, 0.0)
    """
    return _named(observed, predicted, "r2")


NUMBER_METRICS: dict[str, Callable[[ArrayLike, ArrayLike], float]] = {"mae": mae, "rmse": rmse, "r2": r2}
"""All metrics of predicted numbers by name."""


def bootstrap_numbers(
    observed: ArrayLike,
    predicted: ArrayLike,
    clusters: ArrayLike,
    *,
    sites: ArrayLike | None = None,
    num_bootstrap: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Every metric of `NUMBER_METRICS` with a cluster-bootstrap percentile interval.

    Parameters
    ----------
    observed, predicted
        True and predicted numbers in the same unit, finite, shape [N].
    clusters
        Subject of each row, any type that sorts, shape [N].
    sites
        Site of each row, shape [N]. If given, sites are drawn first and then subjects within each drawn site.
    num_bootstrap
        Number of replicates; 0 gives values without intervals.
    seed
        Seed of the draws: the same seed gives the same intervals.
    level
        Share of the replicates inside the interval.

    Returns
    -------
    dict[str, Interval]
        One entry per metric; R2 is left out of replicates in which all labels are equal.

    Raises
    ------
    ValueError
        If the shapes differ, or a number is not finite.
    """
    terms = _terms(observed, predicted)
    values = {name: float(found[0]) for name, found in _metrics(terms.sum(axis=0, keepdims=True)).items()}
    if num_bootstrap <= 0 or not len(terms):
        return {name: Interval(value, np.nan, np.nan, 0) for name, value in values.items()}
    cluster, site = cluster_indices(clusters, sites)
    sums = np.stack([np.bincount(cluster, weights=column) for column in terms.T], axis=1)
    strata = np.zeros(len(sums), dtype=np.intp)
    blocks = cluster_counts(strata, site, num_bootstrap=num_bootstrap, seed=seed)
    draws = _metrics(np.concatenate([block @ sums for block in blocks]))
    return {name: percentile_interval(values[name], draws[name], level) for name in NUMBER_METRICS}


def _named(observed: ArrayLike, predicted: ArrayLike, name: str) -> float:
    """One metric on all rows."""
    return float(_metrics(_terms(observed, predicted).sum(axis=0, keepdims=True))[name][0])


def _terms(observed: ArrayLike, predicted: ArrayLike) -> NDArray[np.float64]:
    """What the metrics sum over rows, shape [N, 5]: 1, |error|, error^2, and the label and its square.

    Labels are taken from their mean, so that the difference of large sums does not eat the variance.
    """
    y, p = np.asarray(observed, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if y.shape != p.shape or y.ndim != 1:
        msg = f"observed and predicted must have one dimension and the same shape; got {y.shape} and {p.shape}."
        raise ValueError(msg)
    if not (np.isfinite(y).all() and np.isfinite(p).all()):
        msg = "observed and predicted must be finite numbers; some are not. Leave those rows out."
        raise ValueError(msg)
    error, centred = p - y, y - (y.mean() if y.size else 0.0)
    return np.stack([np.ones_like(y), np.abs(error), error**2, centred, centred**2], axis=1)


def _metrics(sums: FloatArray) -> dict[str, FloatArray]:
    """The metrics from sums of `_terms`, shape [B, 5], shape [B] each."""
    rows, absolute, squared, label, label_squared = sums.T
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = label_squared - label**2 / rows
        has_spread = spread > 1e-12 * np.maximum(label_squared, 1e-280)
        return {
            "mae": absolute / rows,
            "rmse": np.sqrt(squared / rows),
            "r2": np.where(has_spread, 1 - squared / np.where(has_spread, spread, 1.0), np.nan),
        }
