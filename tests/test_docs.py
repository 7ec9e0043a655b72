"""The documentation says what the code does: settings, commands, tasks, and no link that leads nowhere."""

import dataclasses
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from sojourn.cli import app
from sojourn.events.store import EventStore
from sojourn.model import ModelConfig
from sojourn.pipeline import build, ingest
from sojourn.sources.accounting import IngestReport
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


COUNTED = ("rows", "rows_to_events", "rows_quarantined", "events")
Walk = Callable[[str, str], tuple[IngestReport, Path]]


@pytest.fixture(scope="module")
def walk(sojourn_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """The first steps of a walkthrough: what ingestion counted, and the data set."""
    folder = tmp_path_factory.mktemp("walkthroughs")

    @cache
    def walk(source: str, raw: str) -> tuple[IngestReport, Path]:
        out = folder / "data" / raw
        return ingest(source, sojourn_data / raw, out), out

    return walk


def store_of(*datasets: Path) -> EventStore:
    store = datasets[0].with_name("-".join(["store", *(path.name for path in datasets)]))
    build(store, datasets)
    return EventStore.open(store)


def num_events(store: EventStore) -> int:
    return int(store.subjects["num_events"].sum())


def is_outcome(code: str | None) -> bool:
    return (code or "").startswith("OUTCOME//")


@pytest.mark.real
def test_walkthrough_of_mimic_iv_says_what_a_build_counts(walk: Walk) -> None:
    report, dataset = walk("mimic-iv", "mimic-iv-demo")
    store = store_of(dataset)
    derived = sum(count for code, count in store.vocabulary.select("code", "count").rows() if is_outcome(code))
    instants = store.subjects["num_instants"].sum()
    said = (
        f"The MEDS data set has {report.num_events:,} events, the store {num_events(store):,} timed events "
        f"({derived:,} of them derived outcomes) in {instants:,} instants"
    )
    assert said in " ".join(read("walkthroughs/mimic-iv-demo.md").split())
    rows = (sum(getattr(table, name) for table in report.tables) for name in COUNTED)
    assert "| all tables read | " + " | ".join(f"{count:,}" for count in rows) in read("walkthroughs/mimic-iv-demo.md")


@pytest.mark.real
@pytest.mark.parametrize(
    ("page", "source", "raws"),
    [
        ("eicu-demo", "eicu", ["eicu-demo"]),
        ("challenge-2012", "challenge-2012", ["challenge-2012/set-a.parquet", "challenge-2012/set-b.parquet"]),
        ("challenge-2019", "challenge-2019", ["challenge-2019"]),
    ],
)
def test_walkthroughs_say_what_a_build_counts(walk: Walk, page: str, source: str, raws: list[str]) -> None:
    walked = [walk(source, raw) for raw in raws]
    in_data = " | ".join(f"{report.num_events:,}" for report, _ in walked)
    in_store = " | ".join(f"{num_events(store_of(dataset)):,}" for _, dataset in walked)
    text = read(f"walkthroughs/{page}.md")
    assert f"| events in the MEDS data set | {in_data} |" in text
    assert f"| events in the store, derived outcomes included | {in_store} |" in text


@pytest.mark.real
def test_walkthrough_of_several_sources_says_what_both_record(walk: Walk) -> None:
    datasets = [walk(source, raw)[1] for source, raw in (("mimic-iv", "mimic-iv-demo"), ("eicu", "eicu-demo"))]
    text, store = read("walkthroughs/several-stores.md"), store_of(*datasets)
    assert f"| events | {num_events(store):,} |" in text
    assert f"| codes | {store.vocabulary.height:,} |" in text
    counts = [dict(store_of(dataset).vocabulary.select("code", "count").rows()) for dataset in datasets]
    recorded = [{code: n for code, n in count.items() if code and n and not is_outcome(code)} for count in counts]
    both = recorded[0].keys() & recorded[1].keys()
    shared = sum(code.startswith("CONCEPT//") for code in both)
    assert f"| codes that both sources record | {len(both)}, of them {shared} shared concepts |" in text
    for name, of in zip(("MIMIC-IV", "eICU"), recorded, strict=True):
        share = sum(of[code] for code in both) / sum(of.values())
        assert f"| share of the {name} events with such a code | {share:.0%} |" in text
