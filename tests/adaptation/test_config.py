"""Settings of further training: documented with their defaults, and checked."""

import re
from pathlib import Path

import pytest

from sojourn.adaptation.config import ADAPT_EPOCHS, AdaptConfig, FinetuneConfig
from sojourn.errors import ConfigError
from sojourn.training.config import settings_of

PAGE = (Path(__file__).parents[2] / "docs" / "adaptation.md").read_text()


def test_every_setting_of_fine_tuning_is_on_the_page_with_its_default() -> None:
    said = dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) \|", PAGE.split("class `FinetuneConfig`")[1], re.M))
    assert set(said) == set(FinetuneConfig.model_fields)
    plain = {name: field.default for name, field in FinetuneConfig.model_fields.items() if name != "learning_rate"}
    assert {name: said[name] for name in plain} == {name: str(value) for name, value in plain.items()}
    for method in ("full", "lora", "head"):
        assert f"{FinetuneConfig(method=method).rate:g} {method}" in said["learning_rate"]


def test_every_setting_of_adapting_is_on_the_page() -> None:
    text = PAGE.split("`AdaptConfig`:")[1].split("##")[0]
    assert all(f"`{name}`" in text for name in AdaptConfig.model_fields)
    assert f"({ADAPT_EPOCHS['site']} for site, {ADAPT_EPOCHS['all']} for all)" in text


@pytest.mark.parametrize("what", ["site", "all"])
def test_rate_and_epochs_go_with_what_is_adapted(what: str) -> None:
    plain = AdaptConfig.model_validate({"what": what})
    assert plain.num_epochs == ADAPT_EPOCHS[what]
    asked = AdaptConfig.model_validate({"what": what, "epochs": 7, "learning_rate": 0.5})
    assert (asked.num_epochs, asked.rate) == (7, 0.5)


def test_settings_are_taken_as_they_are_or_read() -> None:
    made = FinetuneConfig(method="lora", rank=2)
    assert settings_of(FinetuneConfig, made, page="x") is made
    assert settings_of(FinetuneConfig, None, page="x") == FinetuneConfig()
    with pytest.raises(ConfigError, match="rank: Input should be greater than or equal to 1"):
        settings_of(FinetuneConfig, {"rank": 0}, page="x")


@pytest.mark.parametrize(
    ("kind", "asked", "told"),
    [
        (FinetuneConfig, {"method": "full", "rank": 4}, "rank is of method lora; got method full. See x."),
        (FinetuneConfig, {"method": "head", "rank": 4}, "rank is of method lora; got method head. See x."),
        (AdaptConfig, {"level_prior": 0.1}, "level_prior is of what looking and levels; got what site. See x."),
        (AdaptConfig, {"what": "levels", "epochs": 3}, "leave out epochs and learning_rate. See x."),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(
    kind: type[FinetuneConfig | AdaptConfig], asked: dict[str, object], told: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)) as raised:
        settings_of(kind, asked, page="x")
    assert "Value error" not in str(raised.value)


def test_settings_as_they_are_recorded_can_be_read_again() -> None:
    for made in (FinetuneConfig(), FinetuneConfig(method="lora", rank=4), AdaptConfig(what="looking", level_prior=0.1)):
        assert settings_of(type(made), made.model_dump(mode="json"), page="x") == made
