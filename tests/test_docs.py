"""The documentation says what the code does: settings, commands, tasks, and no link that leads nowhere."""

import dataclasses
import re
from pathlib import Path

import pytest

from sojourn.cli import app
from sojourn.model import ModelConfig
from sojourn.tasks.definitions import list_tasks
from sojourn.tasks.outcomes import outcomes
from sojourn.training.config import PretrainConfig

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def read(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def settings_of_page() -> dict[str, str]:
    """Setting -> default, from the tables of docs/pretrain.md."""
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) ?\|", read("pretrain.md"), re.M))


def defaults() -> dict[str, object]:
    of_run = {name: field.default for name, field in PretrainConfig.model_fields.items()}
    return of_run | {field.name: field.default for field in dataclasses.fields(ModelConfig)}


def test_every_setting_is_on_the_page_and_no_other() -> None:
    assert set(settings_of_page()) == set(defaults())


@pytest.mark.parametrize("name", [n for n, value in defaults().items() if isinstance(value, bool | int | float | str)])
def test_a_default_on_the_page_is_that_of_the_code(name: str) -> None:
    value, said = defaults()[name], settings_of_page()[name]
    if isinstance(value, bool | str):
        assert said == str(value).lower()
    else:
        assert isinstance(value, int | float)
        assert float(said) == value


def test_every_command_has_its_section() -> None:
    names = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert set(re.findall(r"^## (\w+)$", read("commands.md"), re.M)) == names


def test_every_task_and_outcome_is_on_the_page() -> None:
    page = read("tasks.md")
    missing = [name for name in [*list_tasks(), *outcomes()] if f"`{name}`" not in page]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} in {page.name}"
        if anchor and target.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{link} in {page.name}"
