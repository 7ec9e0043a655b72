"""True risks against what happens."""

import numpy as np
import polars as pl
import pytest

from sojourn.sources.simulator import SimulatorConfig, TruthConfig, default_config
from sojourn.sources.simulator.branching import OUTCOMES, true_risks
from sojourn.sources.simulator.state import State
from sojourn.sources.simulator.trajectories import Stays
from sojourn.sources.simulator.truth import chunk_risks


def _states(stays: Stays, num: int) -> State:
    return State(stays.state.matrix[:, np.flatnonzero(stays.step == 24)[:num]])


def test_risks_are_probabilities_and_nested(small_config: SimulatorConfig, small_stays: Stays) -> None:
    site = small_config.sites[0]
    risks = true_risks(_states(small_stays, 20), small_config, site, np.random.default_rng(0))
    assert risks.risk.shape == risks.standard_error.shape == (20, len(OUTCOMES))
    assert ((risks.risk >= 0) & (risks.risk <= 1 + 1e-6)).all()
    names = list(OUTCOMES)
    assert (risks.risk[:, names.index("death_48h")] >= risks.risk[:, names.index("death_24h")]).all()
    assert (risks.risk[:, names.index("death_24h")] > 0).all()


def test_the_sicker_the_likelier_to_die(small_config: SimulatorConfig, small_stays: Stays) -> None:
    site = small_config.sites[0]
    sicker = State(_states(small_stays, 20).matrix.copy())
    well = true_risks(sicker, small_config, site, np.random.default_rng(0)).risk[:, 0]
    for organ in ("cardio", "respiratory", "neuro"):
        sicker[organ] += 1.5
    assert (true_risks(sicker, small_config, site, np.random.default_rng(0)).risk[:, 0] > well).mean() > 0.9


def test_two_runs_differ_as_their_standard_errors_say(small_config: SimulatorConfig, small_stays: Stays) -> None:
    site = small_config.sites[0]
    many = small_config.model_copy(update={"truth": TruthConfig(num_replicates=64)})
    one, two = (true_risks(_states(small_stays, 24), many, site, np.random.default_rng(k)) for k in (1, 2))
    column = list(OUTCOMES).index("death_48h")
    spread = np.hypot(one.standard_error[:, column], two.standard_error[:, column])
    z = (one.risk[:, column] - two.risk[:, column]) / spread
    assert np.sqrt((z**2).mean()) < 1.8


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1, 2])
def test_true_risks_agree_with_what_happened(number: int) -> None:
    config = default_config(num_sites=3, stays_per_site=2048, seed=11)
    config = config.model_copy(update={"truth": TruthConfig(num_replicates=16, max_stays=2048, every_hours=24.0)})
    risks = pl.concat([chunk_risks(config, config.sites[number], chunk) for chunk in range(2)])
    for (task,), rows in risks.group_by("task"):
        observed, expected = rows["happened"].to_numpy(), rows["true_risk"].to_numpy()
        # predictions of one stay are not independent: intervals from sums per stay
        gap = rows.group_by("subject_id").agg((pl.col("happened") - pl.col("true_risk")).sum())["happened"].to_numpy()
        error = np.sqrt(max((gap**2).sum(), expected.sum()))
        assert abs(observed.sum() - expected.sum()) < 3.5 * error, task
        high = expected > np.quantile(expected, 0.8)
        assert observed[high].mean() > 1.5 * observed[~high].mean(), task
