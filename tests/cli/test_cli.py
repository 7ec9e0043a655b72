"""The commands as a shell sees them: help, exit codes, JSON, the whole way, and Ctrl-C."""

import itertools
import json
import os
import pydoc
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
import yaml

from helpers.command import call
from helpers.toy_process import SETTINGS, write_toy_labels, write_toy_meds
from sojourn.cli import app
from sojourn.events.store import EventStore
from sojourn.sources.simulator.network import default_config, write_config
from sojourn.training.run import Run

COMMANDS = sorted(command.callback.__name__ for command in app.registered_commands if command.callback)
FIXED = {
    "demo",
    "ingest",
    "fetch",
    "inspect",
    "build",
    "pretrain",
    "label",
    "predict",
    "evaluate",
    "simulate",
    "report",
}
Capture = pytest.CaptureFixture[str]


def test_the_commands_that_others_script_against_are_there() -> None:
    assert set(COMMANDS) >= FIXED


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example_of_the_command(name: str, capsys: Capture) -> None:
    called = call(capsys, name, "--help")
    assert called.code == 0
    assert re.search(rf"Example:\s+sojourn\s+{name}", called.out)
    assert call(capsys, name, "-h").out == called.out


@pytest.mark.parametrize("name", ["blend", "evaluate"])
def test_help_shows_where_the_file_to_write_stands(name: str, capsys: Capture) -> None:
    assert f"{name} [OPTIONS] PREDICTIONS... OUT" in call(capsys, name, "--help").out


# -- the whole way --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the configuration of three small simulated hospitals and of a small network."""
    folder = tmp_path_factory.mktemp("cli")
    config = default_config(num_sites=3, stays_per_site=50, seed=3)
    truth = config.truth.model_copy(update={"states": False, "risks": False})
    write_config(config.model_copy(update={"truth": truth, "max_stay_days": 5.0}), folder / "simulator.yaml")
    small = {"max_steps": 12, "evaluate_every": 12, "context": 64, "held_out_sites": ["hospital-3"]}
    (folder / "pretrain.yaml").write_text(yaml.safe_dump(SETTINGS | small))
    return folder


def test_the_whole_way(place: Path, capsys: Capture) -> None:
    """Each command once, and once more: the second call says what is there, or makes the same again."""

    def run(*arguments: object, code: int = 0) -> dict[str, object]:
        called = call(capsys, *arguments, "--json")
        assert called.code == code, called.err
        return json.loads(called.out)  # type: ignore[no-any-return]

    ingested = run("ingest", "simulator", place / "simulator.yaml", place / "meds")
    assert ingested["num_subjects"] == 150
    for table in ingested["tables"]:  # type: ignore[attr-defined]
        assert table["rows"] == table["rows_to_events"] + table["rows_quarantined"]
    again = call(capsys, "ingest", "simulator", place / "simulator.yaml", place / "meds")
    assert (again.code, "was there already" in again.err) == (0, True)

    built = run("build", place / "store", place / "meds")
    assert built["num_subjects"] == 150
    assert "was there already" in call(capsys, "build", place / "store", place / "meds").err

    trained = run("pretrain", place / "store", place / "run", "--config", place / "pretrain.yaml")
    assert trained["steps"] == 12
    finished = call(capsys, "pretrain", place / "store", place / "run", "--config", place / "pretrain.yaml")
    assert "was finished already" in finished.err
    other = call(capsys, "pretrain", place / "store", place / "run")
    assert (other.code, "holds a run with other settings" in other.err) == (1, True)

    known, labels = place / "labels" / "known.parquet", place / "labels" / "death.parquet"
    labelled = run("label", "death-24h", place / "store", labels, "--site", "hospital-3")
    run("label", "death-24h", place / "store", known, "--exclude-site", "hospital-3")
    assert labelled["attrition"][0].keys() == {"step", "num_rows", "num_subjects"}  # type: ignore[index]
    assert labelled["num_labels"] == pl.read_parquet(labels).height > 50

    out = place / "predictions"
    predicted = run("predict", place / "run", place / "store", labels, out / "ours.parquet")
    assert predicted["num_predictions"] == labelled["num_labels"]
    assert predicted["unknown_codes"] > 0  # type: ignore[operator]
    control = ("--control", "shuffled-values")
    run("predict", place / "run", place / "store", labels, out / "shuffled.parquet", *control)
    first = (out / "ours.parquet").read_bytes()
    run("predict", place / "run", place / "store", labels, out / "ours.parquet")
    assert (out / "ours.parquet").read_bytes() == first
    prevalence = (place / "store", known, place / "store", labels, out / "prevalence.parquet")
    assert call(capsys, "baseline", "prevalence", *prevalence).code == 0
    leaky = call(capsys, "baseline", "prevalence", place / "store", labels, *prevalence[2:])
    assert (leaky.code, "Split by subject" in leaky.err) == (1, True)

    folder = place / "run" / "artifacts" / "evaluation" / "death"
    files = [out / f"{name}.parquet" for name in ("ours", "shuffled", "prevalence")]
    evaluated = run("evaluate", *files, folder, "--by", "site")
    assert {entry["group"] for entry in evaluated["entries"]} >= {"overall", "hospital-3"}  # type: ignore[attr-defined]

    row = pl.read_parquet(labels).row(0, named=True)
    moment = ("--subject", row["subject_id"], "--at", row["prediction_time"].isoformat())
    settings = ("--horizon", "6h", "--num-samples", 8)
    timeline = place / "run" / "artifacts" / "timeline"
    drawn = run("simulate", place / "run", place / "store", timeline, *moment, *settings)
    assert drawn["horizon_hours"] == 6.0
    there = call(capsys, "simulate", place / "run", place / "store", timeline, *moment, *settings)
    assert (there.code, "must not exist yet" in there.err) == (1, True)

    assert call(capsys, "report", place / "run", place / "report.html").code == 0
    page = (place / "report.html").read_text()
    assert "hospital-3" in page
    assert not re.search(r'(src|href)="https?://', page)  # one file, no network

    for path in (place / "meds", place / "store", place / "run"):
        assert run("inspect", path)
        shown = call(capsys, "inspect", path)
        assert (shown.code, len(shown.out) > 200) == (0, True)
    assert not list(place.rglob("*.part"))


def test_tables_are_printed_where_no_json_is_asked(place: Path, capsys: Capture) -> None:
    called = call(capsys, "tasks")
    assert (called.code, "death-24h" in called.out) == (0, True)
    assert "death-24h" in {row["task"] for row in json.loads(call(capsys, "tasks", "--json").out)}


# -- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["ingest", "simulator", "nowhere", "out"], "nowhere does not exist"),
        (["ingest", "luck", ".", "out"], "source must be one of"),
        (["ingest", "mimic-iv", ".", "out"], "hosp/patients"),
        (["fetch", "luck", "out"], "name must be one of"),
        (["inspect", "nowhere"], "nowhere is not there"),
        (["build", "store", "nowhere"], "must be a MEDS data set"),
        (["pretrain", "nowhere", "run"], "must be an event store"),
        (["pretrain", "nowhere", "run", "--config", "bad.yaml"], "learning_rat"),
        (["label", "luck", "nowhere", "out.parquet"], "task must be"),
        (["predict", "nowhere", "nowhere", "nowhere", "out.parquet"], "must be an event store"),
        (["predict", "nowhere", "nowhere", "nowhere", "out.csv"], "ends in .parquet"),
        (["label", "death-24h", "nowhere", "out"], "ends in .parquet"),
        (["report", "nowhere", "file/out.html"], "must lie in a folder"),
        (["evaluate", "a.parquet", "file/out"], "must lie in a folder"),
        (["evaluate", "nowhere.parquet", "out"], "nowhere.parquet"),
        (["report", "nowhere", "out.html"], "nowhere"),
        (
            ["simulate", "no[b]run[/b]", "nowhere", "out", "--subject", "1", "--at", "2150-01-01"],
            "no[b]run[/b] must be",
        ),
        (["ingest", "simulator", "good.yaml", "file/out"], "file"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(
    arguments: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text("learning_rat: 1\n")
    (tmp_path / "file").write_text("not a folder")
    write_config(default_config(num_sites=1, stays_per_site=2), tmp_path / "good.yaml")
    called = call(capsys, *arguments)
    assert called.code == 1
    assert called.out == ""
    message = called.err.strip().splitlines()[-1]
    assert message.startswith("error: ")
    assert named in message
    assert "Traceback" not in called.err
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))  # nor a hidden folder with nothing in it


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["luck"],
        ["build"],
        ["build", "--luck", "store", "meds"],
        ["evaluate", "out"],
        ["evaluate", "a.parquet", "out", "--by", "luck"],
        ["predict", "a", "b", "c", "d", "--method", "luck"],
        ["predict", "a", "b", "c", "d", "--control", "luck"],
        ["simulate", "a", "b", "c", "--subject", "1", "--at", "luck"],
        ["simulate", "a", "b", "c", "--subject", "1", "--at", "2150-01-01", "--horizon", "3y"],
        ["baseline", "probe", "a", "b", "c", "d", "e"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str], capsys: Capture) -> None:
    called = call(capsys, *arguments)
    assert called.code == 2
    assert "Traceback" not in called.err


# -- Ctrl-C ---------------------------------------------------------------------------------------------------------


def interrupt(arguments: list[str], sign: Path) -> tuple[int, str]:
    """Start a command, press Ctrl-C as soon as it writes to `sign`, and return exit code and error output."""
    child = subprocess.Popen(
        [sys.executable, "-m", "sojourn.cli", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while not sign.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert sign.exists(), "it never began to write"
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    return child.returncode, err


def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path, capsys: Capture) -> None:
    config = default_config(num_sites=4, stays_per_site=200, seed=1)
    write_config(
        config.model_copy(update={"truth": config.truth.model_copy(update={"risks": False})}), tmp_path / "s.yaml"
    )
    command = ["ingest", "simulator", str(tmp_path / "s.yaml"), str(tmp_path / "meds")]
    code, err = interrupt(command, tmp_path / ".meds.part")
    assert (code, "Traceback" in err) == (130, False)
    assert "the same command goes on" in err
    assert not (tmp_path / "meds").exists()
    assert call(capsys, *command).code == 0
    assert call(capsys, "ingest", "simulator", tmp_path / "s.yaml", tmp_path / "whole").code == 0
    for path in (tmp_path / "whole" / "data").rglob("*.parquet"):
        same = tmp_path / "meds" / path.relative_to(tmp_path / "whole")
        assert same.read_bytes() == path.read_bytes()


def test_ctrl_c_at_a_bad_moment_of_each_step(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the midst of the work of build, pretrain, predict and simulate; then each is called again and ends well."""
    meds, store, run = write_toy_meds(tmp_path / "meds", num_subjects=90), tmp_path / "store", tmp_path / "run"
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(SETTINGS | {"max_steps": 4, "evaluate_every": 2}))

    def interrupted(target: str, *arguments: object, after: int = 0) -> None:
        place, name = target.rsplit(".", 1)
        owner = pydoc.locate(place)
        real, calls = getattr(owner, name), itertools.count()

        def fail(*args: object, **settings: object) -> object:
            if next(calls) == after:
                raise KeyboardInterrupt
            return real(*args, **settings)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fail)
            called = call(capsys, *arguments)
        assert (called.code, "stopped" in called.err) == (130, True), called.err

    command: tuple[object, ...] = ("build", store, meds)
    interrupted("sojourn.pipeline.derive_outcomes", *command)
    assert not store.exists()
    assert call(capsys, *command).code == 0

    command = ("pretrain", store, run, "--config", tmp_path / "c.yaml")
    interrupted("sojourn.training.step.losses", *command, after=3)
    assert {line["step"] for line in Run(run).metrics()} == {2}
    assert call(capsys, *command).code == 0
    assert Run(run).metrics()[-1]["step"] == 4

    opened = EventStore.open(store)
    asked = opened.subjects.select("subject_id", prediction_time="origin")
    labels, out = write_toy_labels(tmp_path / "l.parquet", asked), tmp_path / "out.parquet"
    moment = asked.filter(subject_id=1)["prediction_time"][0].isoformat(sep=" ")
    for target, command in (
        ("sojourn.inference.risk.hazards", ("predict", run, store, labels, out)),
        (
            "sojourn.inference.simulate.hazards",
            ("simulate", run, store, out, "--subject", 1, "--at", moment, "--num-samples", 4),
        ),
    ):
        interrupted(target, *command)
        assert not out.exists()
        assert call(capsys, *command).code == 0
        assert out.exists()
        out.unlink() if out.is_file() else shutil.rmtree(out)
    assert not list(tmp_path.rglob("*.part"))
