"""Two small simulated hospitals: the toy process has too few codes for canaries."""

from pathlib import Path

import pytest

import sojourn as sj
from sojourn.sources.simulator.network import default_config, write_config


@pytest.fixture(scope="session")
def simulated_meds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attacked")
    network = default_config(num_sites=2, stays_per_site=90, seed=3)
    truth = network.truth.model_copy(update={"max_stays": 1, "states": False, "num_replicates": 2})
    write_config(network.model_copy(update={"truth": truth}), folder / "simulator.yaml")
    sj.ingest("simulator", folder / "simulator.yaml", folder / "meds")
    return folder / "meds"
