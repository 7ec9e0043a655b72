"""How good predicted probabilities are: discrimination, calibration and overall loss, as pure functions of arrays.

Every function takes `observed` (bool or 0/1, shape [N]) and `predicted` (probabilities, shape [N]), optionally
`weight` (counts >= 0, shape [N]), and returns a float. Where a metric has no meaning (one class only, no rows,
constant predictions for a slope) it returns NaN, never a number that looks like a result.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

__all__ = [
    "METRICS",
    "RankedPredictions",
    "ReliabilityBin",
    "auprc",
    "auroc",
    "brier",
    "calibration_intercept",
    "calibration_slope",
    "expected_observed",
    "log_loss",
    "precision_recall_curve",
    "reliability",
    "roc_curve",
    "wilson_interval",
]

FloatArray = NDArray[np.float64]

#: Probabilities nearer to 0 or 1 than this are moved here before a logarithm is taken.
CLIP = 1e-7


def _checked(observed: ArrayLike, predicted: ArrayLike, weight: ArrayLike | None) -> tuple[FloatArray, ...]:
    """The three arrays as float64 of one length; rejects NaN and values that are no probability."""
    y, p = np.asarray(observed, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    w = np.ones_like(p) if weight is None else np.asarray(weight, dtype=np.float64)
    if not (y.ndim == 1 and y.shape == p.shape == w.shape):
        msg = f"observed, predicted and weight must be vectors of one length; got {y.shape}, {p.shape}, {w.shape}."
        raise ValueError(msg)
    num_bad = int(np.count_nonzero(~((p >= 0) & (p <= 1))))
    if num_bad:
        msg = f"predicted must lie in [0, 1]; got {num_bad} of {p.size} outside or NaN."
        raise ValueError(msg)
    return y, p, w


class RankedPredictions:
    """Predictions sorted once, so that AUROC and AUPRC for many weightings cost one pass each.

    Parameters
    ----------
    observed, predicted
        Shape [N].

    Attributes
    ----------
    order : NDArray[np.intp]
        Positions from the highest prediction to the lowest, shape [N].
    """

    def __init__(self, observed: ArrayLike, predicted: ArrayLike) -> None:
        y, p, _ = _checked(observed, predicted, None)
        self.order = np.argsort(-p, kind="stable")
        is_positive = y[self.order] > 0
        ranked = p[self.order]
        starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]]) if p.size else np.zeros(0, dtype=np.intp)
        ends = np.r_[starts[1:], p.size]
        self._positives = np.flatnonzero(is_positive)
        # Only groups of tied predictions that hold a positive contribute to either area.
        group = np.searchsorted(starts, self._positives, side="right") - 1
        kept, self._first = np.unique(group, return_index=True)
        self._start, self._end = starts[kept], ends[kept]

    def areas(self, weight: FloatArray) -> tuple[float, float]:
        """AUROC and AUPRC (average precision) under `weight`, given in *ranked* order, shape [N]."""
        if not self._positives.size:
            return np.nan, np.nan
        mass = np.concatenate(([0.0], np.cumsum(weight)))
        group_pos = np.add.reduceat(weight[self._positives], self._first)
        true_pos = np.cumsum(group_pos)
        num_pos, num_neg = true_pos[-1], mass[-1] - true_pos[-1]
        if num_pos <= 0 or num_neg <= 0:
            return np.nan, np.nan
        above, through = mass[self._start], mass[self._end]
        neg_above = above - (true_pos - group_pos)
        neg_tied = through - above - group_pos
        roc = float(np.sum(group_pos * (num_neg - neg_above - 0.5 * neg_tied)) / (num_pos * num_neg))
        precision = np.divide(true_pos, through, out=np.zeros_like(through), where=through > 0)
        return roc, float(np.sum(group_pos * precision) / num_pos)


def auroc(observed: ArrayLike, predicted: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Area under the ROC curve: P(a positive is ranked above a negative), ties counting one half.

    Examples
    --------
    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    y, p, w = _checked(observed, predicted, weight)
    ranked = RankedPredictions(y, p)
    return ranked.areas(w[ranked.order])[0]


def auprc(observed: ArrayLike, predicted: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Area under the precision-recall curve as average precision: no interpolation between thresholds.

    Examples
    --------
    >>> round(auprc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
    0.8333
    """
    y, p, w = _checked(observed, predicted, weight)
    ranked = RankedPredictions(y, p)
    return ranked.areas(w[ranked.order])[1]


def log_loss(observed: ArrayLike, predicted: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Mean negative log-likelihood in nats; predictions are clipped to [1e-7, 1 - 1e-7].

    Examples
    --------
    >>> round(log_loss([1, 0], [0.5, 0.5]), 4)
    0.6931
    """
    y, p, w = _checked(observed, predicted, weight)
    q = np.clip(p, CLIP, 1 - CLIP)
    return _mean(-(y * np.log(q) + (1 - y) * np.log1p(-q)), w)


def brier(observed: ArrayLike, predicted: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Mean squared difference between probability and outcome.

    Examples
    --------
    >>> round(brier([1, 0], [0.8, 0.4]), 4)
    0.1
    """
    y, p, w = _checked(observed, predicted, weight)
    return _mean((p - y) ** 2, w)


def expected_observed(observed: ArrayLike, predicted: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Expected over observed number of events; above 1 the model predicts too many.

    Examples
    --------
    >>> expected_observed([1, 0, 0, 0], [0.2, 0.1, 0.1, 0.1])
    0.5
    """
    y, p, w = _checked(observed, predicted, weight)
    events = float(w @ y)
    return float(w @ p) / events if events > 0 else np.nan


def calibration_slope(observed: ArrayLike, predicted: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Slope b of the recalibration logit P(y) = a + b logit(p); below 1 the predictions are too extreme.

    Returns NaN where the slope does not exist: one class, constant predictions, or classes that p separates.

    References
    ----------
    Cox DR. Two further applications of a model for binary regression. Biometrika 1958;45:562-565.
    """
    y, p, w = _checked(observed, predicted, weight)
    return float(recalibration(y, p, w)[1])


def calibration_intercept(observed: ArrayLike, predicted: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Calibration in the large: a in logit P(y) = a + logit(p), the slope held at 1; above 0 p is too low.

    References
    ----------
    Van Calster B et al. Calibration: the Achilles heel of predictive analytics. BMC Med 2019;17:230.
    """
    y, p, w = _checked(observed, predicted, weight)
    return float(recalibration(y, p, w, fixed_slope=True)[0])


def logit(p: FloatArray) -> FloatArray:
    """Log-odds of clipped probabilities, shape as given."""
    q = np.clip(p, CLIP, 1 - CLIP)
    return np.asarray(np.log(q) - np.log1p(-q))


def recalibration(y: FloatArray, p: FloatArray, w: FloatArray, *, fixed_slope: bool = False) -> FloatArray:
    """Maximum-likelihood (a, b) of logit P(y) = a + b logit(p) by Newton's method, shape [2]; NaN if there is none."""
    none = np.full(2, np.nan)
    if not 0 < w @ y < w.sum():
        return none
    x = logit(p)
    theta = np.array([0.0, 1.0])
    size = 1 if fixed_slope else 2
    if not fixed_slope and np.ptp(x[w > 0]) < 1e-9:
        return none
    for _ in range(50):
        gradient, hessian = _newton_terms(y, x, w, theta)
        step = np.zeros(2)
        step[:size] = np.linalg.lstsq(hessian[:size, :size], gradient[:size], rcond=None)[0]
        if np.max(np.abs(step)) < 1e-9:
            return theta
        theta = _uphill(y, x, w, theta, step)
        if np.abs(theta).max() > 1e3:
            break
    return none


def _uphill(y: FloatArray, x: FloatArray, w: FloatArray, theta: FloatArray, step: FloatArray) -> FloatArray:
    """`theta` after the step, or the largest half, quarter and so on of it that does not lose likelihood."""
    least = _log_likelihood(y, x, w, theta)
    least -= 1e-12 * abs(least)  # what rounding may cost where the step is all but nothing
    for _ in range(30):
        if _log_likelihood(y, x, w, theta + step) >= least:
            break
        step = step / 2
    return theta + step


def _log_likelihood(y: FloatArray, x: FloatArray, w: FloatArray, theta: FloatArray) -> float:
    log_odds = theta[0] + theta[1] * x
    return float(w @ (y * log_odds - np.logaddexp(0, log_odds)))


def _newton_terms(y: FloatArray, x: FloatArray, w: FloatArray, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gradient [2] and negative Hessian [2, 2] of the weighted log-likelihood at `theta`."""
    q = expit(theta[0] + theta[1] * x)
    residual, curvature = w * (y - q), w * q * (1 - q)
    c1 = curvature @ x
    gradient = np.array([residual.sum(), residual @ x])
    return gradient, np.array([[curvature.sum(), c1], [c1, curvature @ (x * x)]])


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """One point of a reliability curve."""

    mean_predicted: float
    """Mean probability in the bin."""
    observed: float
    """Share of events in the bin."""
    lower: float
    """Wilson 95 % limit of that share, as if rows were independent."""
    upper: float
    """Wilson 95 % limit of that share, as if rows were independent."""
    count: int
    """Number of predictions in the bin."""


def reliability(observed: ArrayLike, predicted: ArrayLike, *, num_bins: int = 10) -> list[ReliabilityBin]:
    """Observed against predicted in bins of equal mass, from low to high; equal predictions share a bin.

    Parameters
    ----------
    observed, predicted
        Shape [N].
    num_bins
        Number of bins wanted; ties make it fewer.
    """
    y, p, _ = _checked(observed, predicted, None)
    if not p.size:
        return []
    order = np.argsort(p, kind="stable")
    y, p = y[order], p[order]
    wanted = (np.arange(1, num_bins) * p.size) // num_bins
    # A cut inside a run of equal predictions moves to the start of the run.
    cuts = np.unique(np.r_[0, np.searchsorted(p, p[wanted], side="left"), p.size])
    bins = []
    for start, end in pairwise(cuts):
        lower, upper = wilson_interval(int(y[start:end].sum()), int(end - start))
        bins.append(
            ReliabilityBin(float(p[start:end].mean()), float(y[start:end].mean()), lower, upper, int(end - start))
        )
    return bins


def wilson_interval(num_events: int, num_rows: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson score interval of a proportion.

    References
    ----------
    Wilson EB. Probable inference, the law of succession, and statistical inference. JASA 1927;22:209-212.

    Examples
    --------
    >>> [round(limit, 4) for limit in wilson_interval(1, 10)]
    [0.0179, 0.4042]
    """
    if num_rows == 0:
        return np.nan, np.nan
    share, spread = num_events / num_rows, z * z / num_rows
    centre = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / num_rows + spread / (4 * num_rows)) / (1 + spread)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def roc_curve(observed: ArrayLike, predicted: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """False-positive and true-positive rate at every distinct threshold, from (0, 0) to (1, 1)."""
    true_pos, called = _threshold_counts(observed, predicted)
    num_pos, num_neg = true_pos[-1], called[-1] - true_pos[-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return (called - true_pos) / num_neg, true_pos / num_pos


def precision_recall_curve(observed: ArrayLike, predicted: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Recall and precision at every distinct threshold, from the strictest to the laxest."""
    true_pos, called = _threshold_counts(observed, predicted)
    with np.errstate(invalid="ignore", divide="ignore"):
        return true_pos[1:] / true_pos[-1], true_pos[1:] / called[1:]


def _threshold_counts(observed: ArrayLike, predicted: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """True positives and rows called positive at every distinct threshold, with a leading zero."""
    y, p, _ = _checked(observed, predicted, None)
    order = np.argsort(-p, kind="stable")
    ranked = p[order]
    ends = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True]) if p.size else np.zeros(0, dtype=np.intp)
    return np.r_[0.0, np.cumsum(y[order])[ends]], np.r_[0.0, ends + 1.0]


def _mean(values: FloatArray, weight: FloatArray) -> float:
    """Weighted mean; NaN without weight."""
    total = weight.sum()
    return float(values @ weight / total) if total > 0 else np.nan


#: Every metric by its name in the results, in the order of the tables.
METRICS: dict[str, Callable[[ArrayLike, ArrayLike], float]] = {
    "auroc": auroc,
    "auprc": auprc,
    "log_loss": log_loss,
    "brier": brier,
    "calibration_slope": calibration_slope,
    "calibration_intercept": calibration_intercept,
    "expected_observed": expected_observed,
}
