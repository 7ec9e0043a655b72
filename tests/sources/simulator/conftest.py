"""A small network, simulated once."""

import pytest

from sojourn.sources.simulator import SimulatorConfig, TruthConfig, default_config
from sojourn.sources.simulator.trajectories import Stays, simulate_chunk


@pytest.fixture(scope="session")
def small_config() -> SimulatorConfig:
    """Three hospitals (one of each kind of policy) of 96 stays in chunks of 64."""
    config = default_config(num_sites=3, stays_per_site=96, seed=5)
    truth = TruthConfig(num_replicates=8, max_stays=24, states_every_hours=4)
    return config.model_copy(update={"chunk_stays": 64, "max_stay_days": 7.0, "truth": truth})


@pytest.fixture(scope="session")
def small_stays(small_config: SimulatorConfig) -> Stays:
    """First chunk of the first hospital."""
    return simulate_chunk(small_config, small_config.sites[0], 0)
