"""The bootstrap draws whole clusters, agrees with refitting, and covers."""

import time

import numpy as np
import pytest

from sojourn.trust import metrics as m
from sojourn.trust.bootstrap import bootstrap_metrics, cluster_counts


def cohort(seed: int, num_subjects: int, rows_each: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    subject = np.repeat(np.arange(num_subjects), rows_each)
    score = np.repeat(rng.normal(-1.5, 1, num_subjects), rows_each) + rng.normal(0, 0.3, subject.size)
    p = 1 / (1 + np.exp(-score))
    return rng.random(p.size) < p, p, subject


def test_intervals_equal_those_from_copying_the_drawn_rows() -> None:
    y, p, subject = cohort(0, 150, 4)
    fast = bootstrap_metrics(y, p, subject, num_bootstrap=200, seed=5)
    (counts,) = [np.concatenate(list(cluster_counts(np.zeros(150, dtype=np.intp), None, num_bootstrap=200, seed=5)))]
    for name, metric in m.METRICS.items():
        drawn = []
        for row in counts:
            rows = np.repeat(np.arange(y.size), row[subject].astype(int))
            drawn.append(metric(y[rows], p[rows]))
        tolerance = 0.05 if name.startswith("calibration") else 1e-9  # one Newton step, not a refit
        np.testing.assert_allclose(
            [fast[name].lower, fast[name].upper], np.quantile(drawn, [0.025, 0.975]), atol=tolerance
        )
        assert fast[name].value == pytest.approx(metric(y, p))
        assert fast[name].num_replicates == 200


def test_the_same_seed_gives_the_same_intervals() -> None:
    y, p, subject = cohort(1, 60, 3)
    first = bootstrap_metrics(y, p, subject, num_bootstrap=60, seed=7)
    assert first == bootstrap_metrics(y, p, subject, num_bootstrap=60, seed=7)
    assert first != bootstrap_metrics(y, p, subject, num_bootstrap=60, seed=8)


def test_rows_of_one_subject_do_not_narrow_the_interval() -> None:
    y, p, subject = cohort(2, 100, 1)
    once = bootstrap_metrics(y, p, subject, num_bootstrap=300)["auroc"]
    copies = bootstrap_metrics(np.repeat(y, 20), np.repeat(p, 20), np.repeat(subject, 20), num_bootstrap=300)["auroc"]
    assert copies.upper - copies.lower == pytest.approx(once.upper - once.lower, rel=1e-9)


def test_each_draw_has_as_many_clusters_as_there_are() -> None:
    strata = np.array([0, 0, 0, 1, 1], dtype=np.intp)
    counts = np.concatenate(list(cluster_counts(strata, None, num_bootstrap=70, seed=0)))
    assert counts.shape == (70, 5)
    assert (counts[:, :3].sum(1) == 3).all()
    assert (counts[:, 3:].sum(1) == 2).all()


def test_drawing_sites_leaves_whole_sites_out_and_widens_the_interval() -> None:
    sites = np.repeat(np.arange(4), 25)
    counts = np.concatenate(list(cluster_counts(np.zeros(100, dtype=np.intp), sites, num_bootstrap=50, seed=0)))
    by_site = counts.reshape(50, 4, 25).sum(2)
    assert (by_site % 25 == 0).all()
    assert (by_site == 0).any()
    y, p, subject = cohort(3, 100, 2)
    site = np.repeat(sites, 2)
    y = np.where(site == 0, np.random.default_rng(0).random(y.size) < 0.5, y)  # one hospital where nothing holds
    plain = bootstrap_metrics(y, p, subject, num_bootstrap=300)["expected_observed"]
    drawn = bootstrap_metrics(y, p, subject, sites=site, num_bootstrap=300)["expected_observed"]
    assert drawn.upper - drawn.lower > plain.upper - plain.lower


def test_a_subject_number_used_at_two_sites_is_two_subjects() -> None:
    y, p, subject = cohort(4, 40, 2)
    site = np.repeat(np.array(["a", "b"]), 40)
    apart = bootstrap_metrics(y, p, subject, sites=site, num_bootstrap=80)
    shared = bootstrap_metrics(y, p, subject % 20, sites=site, num_bootstrap=80)
    assert shared == apart


def test_rare_events_leave_out_replicates_without_any_and_say_so() -> None:
    y, p, subject = cohort(5, 50, 1)
    y[:] = False
    y[3] = True
    plain = bootstrap_metrics(y, p, subject, num_bootstrap=400)["auroc"]
    assert 0.5 * 400 < plain.num_replicates < 0.8 * 400
    assert bootstrap_metrics(y, p, subject, num_bootstrap=400, stratify=True)["auroc"].num_replicates == 400


def test_no_event_at_all_gives_nan_and_no_error() -> None:
    result = bootstrap_metrics(np.zeros(10), np.linspace(0.1, 0.2, 10), np.arange(10), num_bootstrap=20)
    assert np.isnan(result["auroc"].lower)
    assert result["auroc"].num_replicates == 0
    assert np.isfinite(result["brier"].lower)


def test_zero_replicates_give_values_alone() -> None:
    y, p, subject = cohort(6, 30, 1)
    result = bootstrap_metrics(y, p, subject, num_bootstrap=0)
    assert np.isfinite(result["auroc"].value)
    assert np.isnan(result["auroc"].lower)


def test_stratifying_while_drawing_sites_is_refused() -> None:
    y, p, subject = cohort(7, 30, 1)
    with pytest.raises(ValueError, match="stratify"):
        bootstrap_metrics(y, p, subject, sites=subject % 3, stratify=True)


@pytest.mark.slow
def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    hits = 0
    truth = m.auroc(*cohort(99, 200_000, 1)[:2])
    for seed in range(200):
        y, p, subject = cohort(1000 + seed, 150, 3)
        interval = bootstrap_metrics(y, p, subject, num_bootstrap=200, seed=seed)["auroc"]
        hits += interval.lower <= truth <= interval.upper
    assert 0.89 <= hits / 200 <= 0.99


@pytest.mark.slow
def test_eight_hundred_thousand_rows_take_less_than_a_minute() -> None:
    y, p, subject = cohort(8, 20_000, 40)
    start = time.perf_counter()
    bootstrap_metrics(y, p, subject, num_bootstrap=1000)
    assert time.perf_counter() - start < 60
