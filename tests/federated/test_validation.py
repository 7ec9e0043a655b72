"""Figures of a task at the sites: those of the ordinary way, and nothing about few patients."""

from pathlib import Path

import polars as pl
import pytest

import sojourn as sj
from federated.conftest import SMALL
from helpers.toy_process import build_toy_store
from sojourn.errors import JobRefusedError
from sojourn.events.store import EventStore
from sojourn.federated.config import read_federated
from sojourn.federated.coordinator import federate
from sojourn.federated.governance.approval import check_question
from sojourn.federated.governance.manifest import propose
from sojourn.federated.messages import Message, Refusal
from sojourn.federated.site import Site
from sojourn.federated.transport import InProcess
from sojourn.federated.validation import figures_of, mean_auroc
from sojourn.tasks.definitions import get_task
from sojourn.training.run import Run
from sojourn.trust.metrics import auroc

TASK = "death-48h"


@pytest.fixture(scope="module")
def larger_store(tmp_path_factory: pytest.TempPathFactory) -> EventStore:
    return EventStore.open(build_toy_store(tmp_path_factory.mktemp("larger"), num_subjects=600, seed=6))


@pytest.fixture(scope="module")
def run(larger_store: EventStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("validation") / "run"
    names = sorted(larger_store.subjects["site"].unique())
    federate(InProcess({n: Site(n, larger_store, out.parent / n) for n in names}), out, config=SMALL)
    return out


def ask(run: Path, store: EventStore, site: str, task: str, left_out: tuple[int, ...] = ()) -> Message | Refusal:
    weights = {name: weight.detach().numpy() for name, weight in Run(run).network().named_parameters()}
    transport = InProcess({site: Site(site, store, run.parent / site, left_out=left_out)})
    question = Message("validate", SMALL["rounds"] - 1, weights, {}, {"task": task})
    return dict(transport.ask({site: question}, timeout_s=60.0))[site]


def test_figures_are_those_of_the_ordinary_commands(run: Path, larger_store: EventStore, tmp_path: Path) -> None:
    sj.label(TASK, larger_store.path, tmp_path / "labels.parquet", splits=["held_out"], sites=["north"])
    sj.predict(run, larger_store.path, tmp_path / "labels.parquet", tmp_path / "risks.parquet")
    risks = pl.read_parquet(tmp_path / "risks.parquet")
    told = figures_of("north", ask(run, larger_store, "north", TASK))
    assert told.told == "ok"
    assert told.auroc == pytest.approx(auroc(risks["boolean_value"], risks["predicted_boolean_probability"]))
    assert told.auroc_lower <= told.auroc <= told.auroc_upper
    had_it = risks.group_by("subject_id").agg(pl.col("boolean_value").any())
    assert (told.patients, told.with_outcome) == (len(had_it), had_it["boolean_value"].sum())
    assert not list((run.parent / "north").glob("tmp*"))  # no prediction stays behind


def test_nothing_is_told_of_few_patients(run: Path, larger_store: EventStore) -> None:
    everyone = tuple(larger_store.subjects.filter(pl.col("split") == "held_out")["subject_id"])
    assert figures_of("north", ask(run, larger_store, "north", TASK, everyone[1:])).told == "too_few"


@pytest.mark.parametrize(
    "change",
    [
        {"auroc": 7.0},
        {"auroc_lower": 0.9},
        {"patients": -4.0},
        {"with_outcome": 0.0},
        {"with_outcome": 0.5},
        {"with_outcome": 50.0},
        {"expected_observed": -1.0},
        {"expected_observed": None},
        {"another": 1.0},
    ],
)
def test_figures_that_cannot_be_are_not_shown(change: dict[str, float | None]) -> None:
    usual = {"patients": 50.0, "with_outcome": 10.0, "auroc": 0.7, "auroc_lower": 0.6, "auroc_upper": 0.8}
    usual |= {"expected_observed": 1.1, "expected_observed_lower": 0.9, "expected_observed_upper": 1.4}
    numbers = {name: number for name, number in (usual | change).items() if number is not None}
    one, other = (figures_of("south", Message("validate", 2, {}, told)) for told in (usual, numbers))
    assert (one.told, one.patients, one.with_outcome, one.expected_observed) == ("ok", 50, 10, 1.1)
    assert (other.told, other.patients) == ("malformed", 0)
    assert mean_auroc([one, other]) == 0.7
    assert figures_of("south", Message("train", 2, {}, usual)).told == "wrong_kind"


def test_a_file_is_no_task(run: Path, larger_store: EventStore, tmp_path: Path) -> None:
    answer = ask(run, larger_store, "north", str(tmp_path / "task.yaml"))
    assert isinstance(answer, Refusal)
    assert figures_of("north", answer).told == "site_error"


def test_a_site_answers_for_approved_outcomes_alone() -> None:
    codes = [outcome.code for outcome in get_task(TASK).definitions()]
    manifest = propose("n", read_federated(SMALL), ["a"], outcomes=codes)
    question = Message("validate", SMALL["rounds"] - 1, {}, {}, {"task": TASK})
    check_question(manifest, question, "a")
    for task in ("lactate-gt-4-24h", "/etc/passwd", ""):
        with pytest.raises(JobRefusedError, match="outcomes"):
            check_question(manifest, question._replace(texts={"task": task}), "a")
    with pytest.raises(JobRefusedError, match="nothing but"):
        check_question(manifest, question._replace(kind="evaluate"), "a")
