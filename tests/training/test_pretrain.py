"""Pre-training: the same numbers again, also after a kill; nothing of the held-out hospital; clear refusals."""

import errno
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from safetensors.torch import load_file

from helpers.golden_run import GOLDEN, golden_losses
from helpers.toy_process import LACTATE_SHARE, LOCAL_CODE, SETTINGS, Row, build_toy_store, toy_record
from sojourn.errors import ConfigError, RunError
from sojourn.events.store import EventStore
from sojourn.training.config import read_config
from sojourn.training.folder import held
from sojourn.training.pretrain import pretrain
from sojourn.training.run import Run
from sojourn.training.sampler import Sampler
from sojourn.training.selection import Selection

SHORT = SETTINGS | {"max_steps": 20, "epochs": 100, "instants_per_batch": 256}


@pytest.fixture(scope="module")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_toy_store(tmp_path_factory.mktemp("small"), num_subjects=150)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums of several threads may round differently from one call to the next."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def losses_of(run: Path) -> list[dict[str, Any]]:
    """The log without the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in {"seconds", "events_per_second"}} for line in lines]


def assert_same_run(one: Path, two: Path) -> None:
    assert losses_of(one) == losses_of(two)
    first, second = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def short_run(small_store: Path) -> Path:
    run = small_store.parent / "run"
    torch.set_num_threads(1)
    summary = pretrain(small_store, run, config=SHORT)
    assert (summary.steps, summary.was_finished) == (20, False)
    return run


def test_the_same_seed_gives_the_same_run_and_another_does_not(
    small_store: Path, short_run: Path, tmp_path: Path
) -> None:
    pretrain(small_store, tmp_path / "again", config=SHORT)
    assert_same_run(short_run, tmp_path / "again")
    pretrain(small_store, tmp_path / "other", config=SHORT | {"seed": 1})
    assert losses_of(short_run)[0] != losses_of(tmp_path / "other")[0]


def test_a_run_holds_everything_and_no_pickle(short_run: Path) -> None:
    names = {path.relative_to(short_run).as_posix() for path in short_run.rglob("*") if path.is_file()}
    kept = {"run.yaml", "model.safetensors", "vocabulary.parquet", "metrics.jsonl", "checkpoints/latest.safetensors"}
    assert names == kept | {"artifacts/data.json", "artifacts/fits.json", "artifacts/looking.json"}
    settings = yaml.safe_load((short_run / "run.yaml").read_text())
    assert settings["config"]["seed"] == 0
    assert settings["config"]["model"]["dropout"] == 0.0
    assert settings["config"]["model"]["d_site"] == 16  # defaults are resolved
    assert settings["outcomes"] == ["OUTCOME//death", "OUTCOME//hospital_death", "OUTCOME//lactate_gt_4"]
    assert [line["step"] for line in losses_of(short_run)] == [10, 20, 20]
    last = losses_of(short_run)[-1]
    assert last["nats_per_event"] == pytest.approx(last["nats_gap"] + last["nats_code"] + last["nats_value"], abs=1e-5)
    assert last["bits_per_event"] == pytest.approx(last["nats_per_event"] / math.log(2), abs=1e-5)


def test_what_comes_after_the_steps_is_shown_and_the_library_is_silent(small_store: Path, tmp_path: Path) -> None:
    """In a process of its own: who loads the library first decides where it writes."""
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(SHORT | {"max_steps": 1, "precision": "bf16-mixed"}))
    command = [sys.executable, "-m", "sojourn.cli", "pretrain", small_store, tmp_path / "run"]
    done = subprocess.run([*command, "--config", tmp_path / "c.yaml"], capture_output=True, text=True, check=True)
    assert "Mixed Precision" not in done.stdout + done.stderr
    assert "describing the run" in done.stderr


def test_a_finished_run_is_left_alone(small_store: Path, short_run: Path) -> None:
    before = {path: (path.read_bytes()) for path in short_run.rglob("*") if path.is_file()}
    summary = pretrain(small_store, short_run, config=SHORT)
    assert summary.was_finished
    assert summary.steps == 20
    assert summary.seconds is None  # this call trained nothing, and how long training took is not kept
    assert {path: path.read_bytes() for path in before} == before


def test_a_run_killed_after_its_last_step_gets_its_fits(small_store: Path, short_run: Path, tmp_path: Path) -> None:
    shutil.copytree(short_run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "artifacts")
    assert pretrain(small_store, tmp_path / "run", config=SHORT).was_finished
    for name in ("fits.json", "data.json"):
        again = (tmp_path / "run" / "artifacts" / name).read_bytes()
        assert again == (short_run / "artifacts" / name).read_bytes()


def test_a_folder_of_another_run_is_refused_and_not_touched(small_store: Path, short_run: Path, tmp_path: Path) -> None:
    before = (short_run / "run.yaml").read_bytes()
    again = f"--config {short_run / 'run.yaml'}"
    other = build_toy_store(tmp_path, num_subjects=60, seed=9)
    for store, changed, told, way in (
        (small_store, {"learning_rate": 1e-4}, "learning_rate differs", again),
        (small_store, {"learning_rate": 1e-4, "max_steps": 30}, "max_steps, learning_rate differ", again),
        (small_store, {"max_steps": 30}, "max_steps differs", "--resume: it allows other accelerator, cut_weights,"),
        (other, {}, "the store differs", "the store that it was made from"),
        (other, {"max_steps": 30}, "max_steps, the store differ", "the store that it was made from"),
    ):
        with pytest.raises(RunError, match=re.escape(f"({told}). ")) as raised:
            pretrain(store, short_run, config=SHORT | changed)
        assert way in str(raised.value)
        assert ("--resume" in str(raised.value)) == ("--resume" in way)
    with pytest.raises(RunError, match=re.escape(again)):
        pretrain(small_store, short_run, resume=True)  # without the settings of the run
    assert pretrain(small_store, short_run, config=short_run / "run.yaml", resume=True).was_finished
    assert (short_run / "run.yaml").read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_two_trainings_in_one_folder_are_refused(small_store: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with held(run), pytest.raises(RunError, match="another process trains"):
        pretrain(small_store, run, config=SHORT)
    assert not list(run.iterdir())
    assert pretrain(small_store, run, config=SHORT | {"max_steps": 2}).steps == 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_a_file_system_without_locks_is_told_and_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(code: int) -> None:
        def flock(*_: object) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr("fcntl.flock", flock)

    fail(errno.ENOLCK)
    with held(tmp_path / "run"):
        pass
    assert "without locks" in " ".join(capsys.readouterr().err.split())
    fail(errno.EIO)
    with pytest.raises(OSError, match="Input/output"), held(tmp_path / "run"):
        pass


def test_resume_goes_on_with_more_steps(small_store: Path, short_run: Path, tmp_path: Path) -> None:
    shutil.copytree(short_run, tmp_path / "run")
    with (tmp_path / "run" / "metrics.jsonl").open("a") as log:
        log.write('{"step": 21, "spl')  # killed while it wrote
    summary = pretrain(small_store, tmp_path / "run", config=SHORT | {"max_steps": 30}, resume=True)
    assert (summary.steps, summary.was_finished) == (30, False)
    lines = losses_of(tmp_path / "run")
    assert lines[:3] == losses_of(short_run)
    assert [line["step"] for line in lines[3:]] == [30]
    assert yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())["config"]["max_steps"] == 30


def test_a_run_of_a_version_with_another_order_of_codes_keeps_it(
    small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights would stand for other codes, whether it goes on or is only asked for again."""
    with monkeypatch.context() as earlier:
        earlier.setattr("sojourn.events.codes.family_expr", lambda: pl.lit(""))
        for name in ("whole", "begun"):
            pretrain(small_store, tmp_path / name, config=SHORT)
        pretrain(small_store, tmp_path / "whole", config=SHORT | {"max_steps": 30}, resume=True)
    old = Run(tmp_path / "begun").vocabulary
    assert list(old.index) != list(Selection(EventStore.open(small_store), read_config(SHORT)).vocabulary.index)
    assert pretrain(small_store, tmp_path / "begun", config=SHORT).was_finished
    assert Run(tmp_path / "begun").vocabulary.table.equals(old.table)
    pretrain(small_store, tmp_path / "begun", config=SHORT | {"max_steps": 30}, resume=True)
    assert_same_run(tmp_path / "begun", tmp_path / "whole")


def test_a_killed_run_goes_on_to_the_same_numbers(small_store: Path, tmp_path: Path) -> None:
    settings = SHORT | {"max_steps": 30, "evaluate_every": 5}
    config = tmp_path / "pretrain.yaml"
    config.write_text(yaml.safe_dump(settings))
    run, checkpoint = tmp_path / "killed", tmp_path / "killed" / "checkpoints" / "latest.safetensors"
    command = [sys.executable, "-m", "sojourn.cli", "pretrain", str(small_store), str(run), "--config", str(config)]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "it was finished before it could be killed"
    assert checkpoint.exists()
    resumed = pretrain(small_store, run, config=config)
    assert resumed.steps == 30
    pretrain(small_store, tmp_path / "whole", config=config)
    assert_same_run(run, tmp_path / "whole")


def test_patience_stops_a_run_that_gets_no_better(small_store: Path, tmp_path: Path) -> None:
    settings = SHORT | {"max_steps": 40, "evaluate_every": 2, "patience": 2, "learning_rate": 1e-12, "warmup_steps": 0}
    summary = pretrain(small_store, tmp_path / "run", config=settings)
    assert summary.steps < 40
    assert summary.best_step < summary.steps
    assert pretrain(small_store, tmp_path / "run", config=settings).was_finished
    longer = pretrain(small_store, tmp_path / "run", config=settings | {"patience": 4}, resume=True)
    assert longer.steps >= summary.steps + 2


def test_golden_losses(tmp_path: Path) -> None:
    expected = json.loads(GOLDEN.read_text())["losses"]
    got = golden_losses(tmp_path)
    assert len(got) == len(expected) == 21
    for mine, golden in zip(got, expected, strict=True):
        assert mine == pytest.approx(golden, rel=1e-3, abs=1e-3)


# -- what must not be learnt from --------------------------------------------------------------------------------------


def altered_rows(store: Path, num_subjects: int) -> list[Row]:
    """The toy patients of a store, with everything of `west` and of the held-out split made up anew."""
    subjects = EventStore.open(store).subjects
    is_free = pl.col("split").eq("held_out") | pl.col("site").eq("west")
    free = set(subjects.filter(is_free)["subject_id"].to_list())
    assert 50 < len(free) < num_subjects - 50
    rows: list[Row] = []
    for i in range(num_subjects):
        rows += toy_record(i + 1, list(LACTATE_SHARE)[i % 3], seed=99 if i + 1 in free else 0)
    return rows


def test_a_folder_that_holds_something_else_is_left_alone(small_store: Path, tmp_path: Path) -> None:
    """A store has files of the same names as a run."""
    store = tmp_path / "store"
    shutil.copytree(small_store, store)
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match="something else"):
        pretrain(small_store, store, config=SHORT)
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before


def test_a_training_that_cannot_begin_leaves_its_folder_free(small_store: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="GPU"):
        pretrain(small_store, tmp_path / "run", config=SHORT | {"accelerator": "cuda"})
    pretrain(small_store, tmp_path / "run", config=SHORT | {"max_steps": 2})


def test_the_held_out_hospital_and_split_change_nothing(small_store: Path, tmp_path: Path) -> None:
    settings = SHORT | {"held_out_sites": ["west"]}
    pretrain(small_store, tmp_path / "a", config=settings)
    other = build_toy_store(tmp_path, num_subjects=150, rows=altered_rows(small_store, 150))
    pretrain(other, tmp_path / "b", config=settings)
    assert_same_run(tmp_path / "a", tmp_path / "b")
    first, second = Run(tmp_path / "a"), Run(tmp_path / "b")
    assert first.vocabulary.table.equals(second.vocabulary.table)
    assert first.sites == ["north", "south"]
    assert LOCAL_CODE not in first.vocabulary.index
    assert (tmp_path / "a/artifacts/fits.json").read_bytes() == (tmp_path / "b/artifacts/fits.json").read_bytes()


@pytest.mark.parametrize("tuning_split", ["tuning", None])
def test_no_subject_crosses_splits_or_sites(
    small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tuning_split: str | None
) -> None:
    seen: dict[bool, set[int]] = {True: set(), False: set()}
    sample = Sampler.sample

    def spy(self: Sampler, step: Any, number: int, *, is_training: bool) -> Any:
        seen[is_training].update(step.rows.tolist())
        return sample(self, step, number, is_training=is_training)

    monkeypatch.setattr(Sampler, "sample", spy)
    settings = {"held_out_sites": ["south"], "tuning_subjects": 1000, "tuning_split": tuning_split}
    pretrain(small_store, tmp_path / "run", config=SHORT | settings)
    store = EventStore.open(small_store)
    train, tuning = (set(store.rows(split=s, exclude_sites=["south"]).tolist()) for s in ("train", "tuning"))
    if tuning_split is None:  # a tenth of the training subjects
        assert seen[True] | seen[False] == train
        assert 0 < len(seen[False]) < len(train) / 4
    else:
        assert (seen[True], seen[False]) == (train, tuning)
    assert not seen[True] & seen[False]
    assert store.subjects["subject_id"].is_unique().all()


# -- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"outcomes": ["OUTCOME//luck"]}, "OUTCOME//luck"),
        ({"held_out_sites": ["wset"]}, "wset.*north, south, west"),
        ({"held_out_sites": ["north", "south", "west"]}, "training and tuning subjects; got 0 and 0"),
        ({"train_splits": ["trian"]}, "got 0 and"),
    ],
)
def test_what_a_store_cannot_give_is_said(
    small_store: Path, tmp_path: Path, settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        pretrain(small_store, tmp_path / "run", config=SHORT | settings)
    assert not (tmp_path / "run").exists()


def test_outcomes_may_be_chosen(small_store: Path, tmp_path: Path) -> None:
    chosen = ["HOSPITAL_DISCHARGE//DIED", "OUTCOME//death"]
    pretrain(small_store, tmp_path / "run", config=SHORT | {"outcomes": chosen, "max_steps": 2})
    assert Run(tmp_path / "run").outcomes == chosen


def test_a_loss_that_is_not_finite_stops_the_run(small_store: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"loss must stay finite.*learning_rate"):
        pretrain(small_store, tmp_path / "run", config=SHORT | {"learning_rate": 1e30, "warmup_steps": 0})


def test_a_checkpoint_of_another_network_is_refused(small_store: Path, short_run: Path, tmp_path: Path) -> None:
    wider = SHORT | {"model": SHORT["model"] | {"d_decoder": 48}}
    pretrain(small_store, tmp_path / "run", config=wider | {"max_steps": 2})
    source = short_run / "checkpoints" / "latest.safetensors"
    shutil.copy(source, tmp_path / "run" / "checkpoints" / "latest.safetensors")
    with pytest.raises(RunError, match="must fit the configured network"):
        pretrain(small_store, tmp_path / "run", config=wider | {"max_steps": 2})


def test_weights_are_finite_and_were_averaged(short_run: Path) -> None:
    kept = load_file(short_run / "model.safetensors")
    latest = load_file(short_run / "checkpoints" / "latest.safetensors")
    averaged = [name for name in kept if f"average.{name}" in latest]
    assert np.mean([not torch.equal(kept[name], latest[f"network.{name}"]) for name in averaged]) > 0.9
    assert all(torch.isfinite(kept[name]).all() for name in averaged)


def test_what_was_told_of_earlier_weights_does_not_outlive_them(
    small_store: Path, short_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained further, and killed between the last checkpoint and the description."""

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    run, longer = shutil.copytree(short_run, tmp_path / "run"), SHORT | {"max_steps": 30}
    with monkeypatch.context() as patch:
        patch.setattr("sojourn.training.pretrain.describe", kill)
        with pytest.raises(KeyboardInterrupt):
            pretrain(small_store, run, config=longer, resume=True)
    assert not (run / "artifacts" / "fits.json").exists()
    assert not (run / "artifacts" / "looking.json").exists()
    assert pretrain(small_store, run, config=longer).was_finished
    assert (run / "artifacts" / "fits.json").read_bytes() != (short_run / "artifacts" / "fits.json").read_bytes()
