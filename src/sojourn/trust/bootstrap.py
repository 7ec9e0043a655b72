"""Bootstrap intervals that respect clusters: whole subjects are drawn, or whole sites and subjects within them.

Rows of one subject are alike, so drawing rows one by one gives intervals that are too narrow. Each replicate draws
subjects with replacement and gives every row its subject's count as weight; nothing is copied or sorted again. The
losses and E:O are sums over subjects, so that all replicates come from one matrix product. AUROC and AUPRC take one
pass over the ranked rows per replicate. Calibration slope and intercept take one Newton step from the full-sample
fit with the replicate's own gradient and Hessian, which agrees with refitting to second order.

Draws are not stratified by outcome unless asked for: fixing the number of subjects with an event would hide the
uncertainty of the prevalence, which E:O and AUPRC depend on. With `stratify`, replicates without events cannot occur;
without it, they are left out for the metrics that do not exist there and `Interval.num_replicates` says how many
remained.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from sojourn.trust.metrics import CLIP, METRICS, FloatArray, RankedPredictions, logit, recalibration

__all__ = ["Interval", "bootstrap_metrics", "cluster_counts", "cluster_indices", "percentile_interval"]

_CHUNK = 50


@dataclass(frozen=True, slots=True)
class Interval:
    """A metric with its percentile interval."""

    value: float
    """The metric on all rows; NaN where it does not exist."""
    lower: float
    """Lower limit; NaN when fewer than half of the replicates have the metric."""
    upper: float
    """Upper limit; NaN likewise."""
    num_replicates: int
    """Replicates in which the metric exists."""


def bootstrap_metrics(
    observed: ArrayLike,
    predicted: ArrayLike,
    clusters: ArrayLike,
    *,
    sites: ArrayLike | None = None,
    num_bootstrap: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    stratify: bool = False,
) -> dict[str, Interval]:
    """Every metric of `METRICS` with a cluster-bootstrap percentile interval.

    Parameters
    ----------
    observed, predicted
        Outcomes (0/1) and probabilities, shape [N].
    clusters
        Subject of each row, any type that sorts, shape [N].
    sites
        Site of each row, shape [N]. If given, sites are drawn first and then subjects within each drawn site, which
        answers "at another hospital like these"; else subjects of all sites are drawn alike.
    num_bootstrap
        Number of replicates; 0 gives values without intervals.
    seed
        Seed of the draws: the same seed gives the same intervals.
    level
        Share of the replicates inside the interval.
    stratify
        Draw subjects with and without an event apart, keeping both numbers fixed. Not together with `sites`.

    Returns
    -------
    dict[str, Interval]
        One entry per metric, in the order of `METRICS`.
    """
    y, p = np.asarray(observed, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    values = {name: metric(y, p) for name, metric in METRICS.items()}
    cluster, site = cluster_indices(clusters, sites)
    if num_bootstrap <= 0 or not y.size:
        return {name: Interval(value, np.nan, np.nan, 0) for name, value in values.items()}
    has_event = np.bincount(cluster, weights=y) > 0
    if stratify and site is not None:
        msg = "stratify must be False when sites are drawn; got both. Choose one of them."
        raise ValueError(msg)
    strata = has_event.astype(np.intp) if stratify else np.zeros(has_event.size, dtype=np.intp)
    counts = cluster_counts(strata, site, num_bootstrap=num_bootstrap, seed=seed)
    draws = _replicates(y, p, cluster, counts)
    return {name: percentile_interval(values[name], draws[name], level) for name in METRICS}


def cluster_counts(
    strata: NDArray[np.intp], sites: NDArray[np.intp] | None, *, num_bootstrap: int, seed: int
) -> Iterator[FloatArray]:
    """Draw how often each cluster occurs in each replicate, in blocks of shape [<= 50, number of clusters].

    Parameters
    ----------
    strata
        Stratum of each cluster, shape [C]; each keeps its number of draws. Used when `sites` is None.
    sites
        Site of each cluster, 0..S-1, shape [C]: S sites are drawn, then from each as many clusters as it has.
    """
    generator = np.random.default_rng(seed)
    groups = strata if sites is None else sites
    members = [np.flatnonzero(groups == group) for group in range(int(groups.max()) + 1)]
    members = [rows for rows in members if rows.size]
    for start in range(0, num_bootstrap, _CHUNK):
        block = np.zeros((min(_CHUNK, num_bootstrap - start), strata.size))
        if sites is None:
            times = np.ones((len(block), len(members)), dtype=np.int64)
        else:
            times = generator.multinomial(len(members), np.full(len(members), 1 / len(members)), size=len(block))
        for group, rows in enumerate(members):
            for replicate in np.flatnonzero(times[:, group]):
                drawn = generator.integers(0, rows.size, size=rows.size * int(times[replicate, group]))
                block[replicate, rows] = np.bincount(drawn, minlength=rows.size)
        yield block


def cluster_indices(clusters: ArrayLike, sites: ArrayLike | None) -> tuple[NDArray[np.intp], NDArray[np.intp] | None]:
    """Row -> cluster number [N], and cluster -> site number [C]; a subject at two sites counts as two clusters."""
    cluster = np.unique(np.asarray(clusters), return_inverse=True)[1]
    if sites is None:
        return cluster, None
    site = np.unique(np.asarray(sites), return_inverse=True)[1]
    pairs, cluster = np.unique(site.astype(np.int64) * (cluster.max(initial=0) + 1) + cluster, return_inverse=True)
    first = np.zeros(pairs.size, dtype=np.intp)
    first[cluster] = site
    return cluster, first


def _replicates(
    y: FloatArray, p: FloatArray, cluster: NDArray[np.intp], counts: Iterator[FloatArray]
) -> dict[str, FloatArray]:
    """Every metric in every replicate, shape [B] each."""
    sums, both, large = _cluster_sums(y, p, cluster)
    ranked = RankedPredictions(y, p)
    cluster_ranked = cluster[ranked.order].astype(np.int32)
    found: dict[str, list[FloatArray]] = {name: [] for name in METRICS}
    for block in counts:
        total = block @ sums
        areas = np.array([ranked.areas(weight[cluster_ranked]) for weight in block])
        rows, events, expected, loss, squares = total[:, :5].T
        with np.errstate(invalid="ignore", divide="ignore"):
            found["log_loss"].append(loss / rows)
            found["brier"].append(squares / rows)
            found["expected_observed"].append(np.where(events > 0, expected / events, np.nan))
        found["auroc"].append(areas[:, 0])
        found["auprc"].append(areas[:, 1])
        is_mixed = (events > 0) & (events < rows)
        found["calibration_slope"].append(_newton_slope(both, total[:, 5:10], is_mixed))
        found["calibration_intercept"].append(_newton_intercept(large, total[:, 10:12], is_mixed))
    return {name: np.concatenate(blocks) for name, blocks in found.items()}


def _cluster_sums(y: FloatArray, p: FloatArray, cluster: NDArray[np.intp]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """What the summed metrics need of each cluster, shape [C, 12], and the two full-sample recalibrations."""
    q, x, ones = np.clip(p, CLIP, 1 - CLIP), logit(p), np.ones_like(p)
    columns = [ones, y, p, -(y * np.log(q) + (1 - y) * np.log1p(-q)), (p - y) ** 2]
    both = recalibration(y, p, ones)
    fitted = expit(both[0] + both[1] * x)
    curvature = fitted * (1 - fitted)
    columns += [y - fitted, (y - fitted) * x, curvature, curvature * x, curvature * x * x]
    large = recalibration(y, p, ones, fixed_slope=True)
    shifted = expit(large[0] + x)
    columns += [y - shifted, shifted * (1 - shifted)]
    return np.stack([np.bincount(cluster, weights=column) for column in columns], axis=1), both, large


def _newton_slope(both: FloatArray, terms: FloatArray, is_mixed: NDArray[np.bool_]) -> FloatArray:
    """Slope after one Newton step from `both`, by replicate, shape [B]."""
    g0, g1, h00, h01, h11 = terms.T
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = both[1] + (h00 * g1 - h01 * g0) / (h00 * h11 - h01 * h01)
    return np.where(is_mixed, slope, np.nan)


def _newton_intercept(large: FloatArray, terms: FloatArray, is_mixed: NDArray[np.bool_]) -> FloatArray:
    """Intercept after one Newton step from `large`, by replicate, shape [B]."""
    with np.errstate(invalid="ignore", divide="ignore"):
        intercept = large[0] + terms[:, 0] / terms[:, 1]
    return np.where(is_mixed, intercept, np.nan)


def percentile_interval(value: float, draws: FloatArray, level: float) -> Interval:
    """Percentile interval over the replicates that have the metric."""
    usable = draws[np.isfinite(draws)]
    if np.isnan(value) or usable.size * 2 < draws.size:
        return Interval(value, np.nan, np.nan, usable.size)
    lower, upper = np.quantile(usable, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(lower), float(upper), usable.size)
