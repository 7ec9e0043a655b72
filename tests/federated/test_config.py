"""Settings of a federated training name what is wrong with them."""

import pytest

from sojourn.errors import ConfigError
from sojourn.federated.config import DiLoCo, FederatedConfig, FedYogi, read_federated


def test_strategies_are_chosen_by_name() -> None:
    assert isinstance(read_federated({"strategy": {"name": "diloco", "rate": 0.5}}).strategy, DiLoCo)
    assert isinstance(read_federated({"strategy": {"name": "fedyogi"}}).strategy, FedYogi)
    assert read_federated(None) == FederatedConfig()


def test_every_wrong_setting_is_named() -> None:
    with pytest.raises(ConfigError, match=r"rounds: .*; min_cell: .*docs/federated.md"):
        read_federated({"rounds": 0, "min_cell": 0})
    with pytest.raises(ConfigError, match="strategy"):
        read_federated({"strategy": {"name": "krum"}})
    with pytest.raises(ConfigError, match="privacy has no scaffold"):
        read_federated({"strategy": {"name": "scaffold"}, "privacy": {}})


def test_settings_survive_the_way_to_a_site() -> None:
    config = read_federated({"strategy": {"name": "fedadam", "tau": 0.1}, "privacy": {"epsilon": 3.0}})
    assert FederatedConfig.model_validate_json(config.model_dump_json()) == config
