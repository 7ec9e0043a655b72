"""Settings of a federated training name what is wrong with them."""

from pathlib import Path

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


def test_the_last_rounds_are_of_one_step_and_a_schedule_of_their_own() -> None:
    config = read_federated({"rounds": 10, "local_steps": 5, "settling_rounds": 4})
    assert config.total_steps == 30
    assert [config.stage(k)[:3] for k in (0, 5, 6, 9)] == [(5, 0, 30), (5, 25, 30), (1, 0, 4), (1, 3, 4)]
    assert [config.stage(k).is_settling for k in (5, 6)] == [False, True]
    with pytest.raises(ConfigError, match="fewer than rounds; got 10 of 10"):
        read_federated({"rounds": 10, "settling_rounds": 10})
    for other in ({"privacy": {}}, {"strategy": {"name": "scaffold"}}, {"strategy": {"name": "daisy"}}):
        with pytest.raises(ConfigError, match="settling_rounds are not for"):
            read_federated({"settling_rounds": 2} | other)


def test_settings_are_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "planned.yaml").write_text("rounds: 7\nstrategy: {name: diloco}\n")
    assert read_federated(tmp_path / "planned.yaml").rounds == 7
    for content in ("rounds: [", "- rounds"):
        (tmp_path / "wrong.yaml").write_text(content)
        with pytest.raises(ConfigError, match="config must"):
            read_federated(tmp_path / "wrong.yaml")
    with pytest.raises(ConfigError, match="does not exist"):
        read_federated(tmp_path / "none.yaml")


def test_settings_survive_the_way_to_a_site() -> None:
    config = read_federated({"strategy": {"name": "fedadam", "tau": 0.1}, "privacy": {"epsilon": 3.0}})
    assert FederatedConfig.model_validate_json(config.model_dump_json()) == config


def test_privacy_takes_all_patients() -> None:
    """Without one patient, rows evenly spread over the others are other ones, and noise hides one patient alone."""
    read_federated({"pretrain": {"train_subjects": 40}})
    with pytest.raises(ConfigError, match="train_subjects"):
        read_federated({"privacy": {"epsilon": 8}, "pretrain": {"train_subjects": 40}})
