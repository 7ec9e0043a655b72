"""Settings of a run: what is wrong with them is said by name."""

from pathlib import Path
from typing import Any

import pytest

from sojourn.errors import ConfigError
from sojourn.training.config import PretrainConfig, read_config
from sojourn.training.run import Run


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"learning_rat": 1e-3}, "learning_rat"),
        ({"epochs": -1, "context": 2}, "epochs.*context"),
        ({"select": "luck"}, "select"),
        ({"precision": "64"}, "precision"),
        ({"model": {"d_modell": 64}}, "d_modell"),
        ({"model": {"d_model": 100, "num_heads": 8}}, "d_model must be a multiple"),
        ({"model": {"d_model": 48, "num_heads": 3}}, "num_heads must be even"),
        ({"model": {"hazard_edges_hours": [1, 1]}}, "hazard_edges_hours"),
        ({"train_splits": ["train", "tuning"]}, "tuning_split must not be one of train_splits"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        read_config(settings)


def test_settings_come_from_a_file_a_dictionary_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "pretrain.yaml"
    path.write_text("epochs: 3\nheld_out_sites: [west]\nmodel: {d_model: 64, num_heads: 2}\n")
    config = read_config(path)
    assert config == read_config({"epochs": 3, "held_out_sites": ["west"], "model": {"d_model": 64, "num_heads": 2}})
    assert config.network().d_model == 64
    assert read_config(None) == PretrainConfig()
    assert read_config(config) is config


@pytest.mark.parametrize("content", ["epochs: [3", "just words", "- 1\n- 2"])
def test_a_file_without_settings_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "pretrain.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match="config must"):
        read_config(path)
    with pytest.raises(ConfigError, match="does not exist"):
        read_config(tmp_path / "other.yaml")


def test_the_settings_of_a_run_can_be_used_again(toy_run: Path) -> None:
    assert read_config(toy_run / "run.yaml") == Run(toy_run).config
