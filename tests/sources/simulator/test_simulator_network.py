"""Drawing, writing and reading configurations."""

from pathlib import Path

import pytest

from sojourn.errors import ConfigError
from sojourn.sources.simulator import Charting, SimulatorConfig, SiteConfig, default_config, load_config, write_config


def test_a_written_configuration_reads_back_equal(tmp_path: Path) -> None:
    config = default_config(num_sites=4, stays_per_site=20, seed=3)
    assert load_config(write_config(config, tmp_path)) == config
    assert load_config(tmp_path) == config


def test_a_hospital_does_not_depend_on_how_many_there_are() -> None:
    assert default_config(num_sites=2, seed=1).sites == default_config(num_sites=6, seed=1).sites[:2]


def test_hospitals_and_seeds_differ() -> None:
    sites = default_config(num_sites=6, seed=1).sites
    assert len({site.policy.model_dump_json() for site in sites}) == 6
    assert len({site.case_mix.model_dump_json() for site in sites}) == 6
    assert default_config(seed=2).sites[0].policy != sites[0].policy


def test_a_short_file_draws_the_network(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text("num_sites: 2\nstays_per_site: 7\nseed: 9\ntruth: {risks: false}\n")
    config = load_config(path)
    assert config.sites == default_config(num_sites=2, stays_per_site=7, seed=9).sites
    assert not config.truth.risks


@pytest.mark.parametrize(
    "text",
    ["num_sites: 2\nnonsense: 1\n", "seed: [1\n", "- 1\n", "num_sites: two\n", "truth: {first_hours: 24.3}\n",
     "num_sites: 1\ntruth: {sites: [elsewhere]}\n"],
)  # fmt: skip
def test_a_wrong_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"net\.yaml"):
        load_config(path)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="write_config"):
        load_config(tmp_path)


def test_unknown_units_and_repeated_sites_are_refused() -> None:
    with pytest.raises(ValueError, match="units"):
        SiteConfig(name="a", index=1, num_stays=1, charting=Charting(units={"glucose": "stones"}))
    site = SiteConfig(name="a", index=1, num_stays=1)
    with pytest.raises(ValueError, match="differ in name"):
        SimulatorConfig(sites=(site, site.model_copy(update={"index": 2})))
