"""The main job, small: six hospitals in, a report of the unseen one out."""

import json
import runpy
from importlib import import_module
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from helpers.command import call
from sojourn.adaptation.adapt import _subjects as subjects_of
from sojourn.adaptation.config import AdaptConfig
from sojourn.demo import TASKS
from sojourn.demo_task import DemoTask, do_tasks
from sojourn.errors import ConfigError
from sojourn.events.store import EventStore
from sojourn.tasks.definitions import builtin_tasks
from sojourn.tasks.files import read_labels
from sojourn.training.run import Run

EXAMPLES = Path(__file__).parents[1] / "examples"
FREE = {"epochs": None, "learning_rate": None}
METHODS = {
    "sojourn",
    "random-weights",
    "random-weights-probe",
    "shuffled-values",
    "prevalence",
    "logistic-others",
    "lightgbm-others",
    "lightgbm-local",
    "truth",
}


def test_the_tasks_of_the_demo_are_built_in() -> None:
    assert set(TASKS) <= set(builtin_tasks())


def test_a_demo_of_another_size_or_seed_is_not_taken_for_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module("sojourn.demo")
    ingested: list[Path] = []
    monkeypatch.setattr(module, "ingest", lambda _, raw, __: ingested.append(raw))
    tmp_path.joinpath("demo").mkdir()
    for _ in range(2):  # the second call goes on with the first one's
        assert module._ingest(tmp_path / "demo", module.QUICK, 0) == "hospital-6"
    for size, seed in ((module.FULL, 0), (module.QUICK, 1)):
        with pytest.raises(ConfigError, match="same size and seed"):
            module._ingest(tmp_path / "demo", size, seed)
    assert len(ingested) == 2


@pytest.fixture(scope="module")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole way with few patients and a network that has hardly learnt."""
    module = import_module("sojourn.demo")
    size = module.Size(stays_per_site=30, unseen_stays=100, epochs=1, truth_stays=60, local_stays=40)
    network = {"d_model": 16, "num_layers": 1, "num_heads": 2, "d_event": 16, "d_decoder": 16}
    config = {"max_steps": 12, "evaluate_every": 6, "tuning_subjects": 10, "model": network}
    out = tmp_path_factory.mktemp("demo") / "demo"
    with pytest.MonkeyPatch.context() as patch:  # to start processes would take longer than the tasks
        patch.setattr("sojourn.demo.num_cores", lambda: 1)
        result = module.demo(out, size=size, config=config)
    assert {entry["method"] for entry in result.entries} >= METHODS
    assert {entry["task"] for entry in result.entries} == set(TASKS)
    return out


def test_the_main_job_ends_in_a_page_about_the_unseen_hospital(small_demo: Path) -> None:
    page = (small_demo / "report.html").read_text()
    assert "hospital\N{NON-BREAKING HYPHEN}6" in page
    assert "--site hospital-6" in page
    assert 'src="http' not in page


def test_tasks_are_done_in_processes_and_those_whose_process_fails_by_the_demo_itself(
    small_demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"unseen": "hospital-6", "local_stays": 40, "seed": 0, "has_level": False}
    tasks = [
        DemoTask(out=str(small_demo), name=name, truth=truth, **settings) for name, truth in list(TASKS.items())[:2]
    ]
    before = do_tasks(tasks, num_processes=1)
    for fails in (False, True):
        for task in tasks:
            (task.evaluation / "evaluation.json").unlink()
            assert not task.is_finished()
        if fails:
            monkeypatch.setattr("sys.executable", "/bin/false")
        assert do_tasks(tasks, num_processes=2) == before
        assert all(task.is_finished() for task in tasks)
        told = capsys.readouterr().err
        assert all((f"the process for {task.name} ended with code 1" in told) == fails for task in tasks)


@pytest.mark.parametrize("name", ["one_patient", "own_aces_task"])
def test_examples_run_on_what_the_main_job_leaves(
    name: str, small_demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](small_demo)
    assert "hospital-6" in capsys.readouterr().out


@pytest.mark.slow
def test_the_quick_demo_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    called = call(capsys, "demo", "--quick", "--out", tmp_path / "demo", "--json")
    assert called.code == 0, called.err
    result = json.loads(called.out)
    page = Path(result["report"]).read_text()
    assert len(page) > 50_000
    assert 'src="http' not in page
    assert {entry["task"] for entry in result["entries"]} == set(TASKS)
    assert {entry["method"] for entry in result["entries"]} >= METHODS | {"sojourn-levels"}
    # Whose measuring sets the level is not whom the tests ask about.
    store, run = EventStore.open(tmp_path / "demo" / "store"), Run(tmp_path / "demo" / "run")
    config = AdaptConfig.model_validate(Run(tmp_path / "demo" / "run-levels").settings["adapted"][-1]["config"] | FREE)
    looked_at = store.subjects["subject_id"].to_numpy()[np.concatenate(subjects_of(store, run, "hospital-6", config))]
    for task in TASKS:
        asked = read_labels(tmp_path / "demo" / "labels" / f"{task}-test.parquet").table["subject_id"]
        assert not set(asked) & set(looked_at)
    auroc = {(e["task"], e["method"]): e["metrics"]["auroc"]["value"] for e in result["entries"]}
    # Nobody beats the truth by more than chance, and what was learnt beats what knows nothing.
    ours, truth, nothing = (
        np.mean([auroc[task, method] for task in TASKS]) for method in ("sojourn", "truth", "random-weights")
    )
    assert nothing + 0.05 < ours < truth + 0.05
    run = tmp_path / "demo" / "run"
    assert "hospital-6" not in (run / "run.yaml").read_text().split("sites:")[-1]
    predicted = pl.read_parquet(tmp_path / "demo" / "predictions" / "death-48h" / "sojourn.parquet")
    assert predicted["site"].unique().to_list() == ["hospital-6"]
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "demo").rglob("*.parquet")}
    again = json.loads(call(capsys, "demo", "--quick", "--out", tmp_path / "demo", "--json").out)
    assert again["entries"] == result["entries"]
    assert made == {path: path.stat().st_mtime_ns for path in made}  # what was finished is not done again
