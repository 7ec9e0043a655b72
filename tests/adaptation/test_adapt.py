"""Adapting to a hospital: its vector alone, or everything, from records whose outcomes are never looked at."""

import copy
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from helpers.toy_process import LACTATE_SHARE, Row, build_toy_store, toy_record
from sojourn.adaptation.adapt import AdaptReport, _subjects, adapt
from sojourn.adaptation.config import LEVELS, AdaptConfig
from sojourn.adaptation.unlabelled import UnlabelledReader
from sojourn.errors import ConfigError, RunError
from sojourn.events.store import EventStore
from sojourn.inference.likelihood import likelihood
from sojourn.training.run import Run

SHORT = {"instants_per_batch": 512, "max_subjects": 150, "learning_rate": 0.05, "epochs": 3}


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(str(run / "model.safetensors"))


@pytest.fixture(scope="module")
def fitted(toy_run: Path, toy_store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AdaptReport]:
    new = tmp_path_factory.mktemp("adapt") / "site"
    return new, adapt(toy_run, toy_store, new, site="west", config=SHORT)


def test_the_vector_of_the_site_is_the_only_weight_that_moves(fitted: tuple[Path, AdaptReport], toy_run: Path) -> None:
    before, after = weights(toy_run), weights(fitted[0])
    assert before.keys() == after.keys()
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["site.weight"]
    known = len(before["site.weight"])
    assert after["site.weight"].shape == (known + 1, before["site.weight"].shape[1])
    assert torch.equal(after["site.weight"][:known], before["site.weight"])
    assert not torch.equal(after["site.weight"][known], before["site.weight"][0])
    assert Run(fitted[0]).sites == ["north", "south", "west"]


def test_the_site_is_described_better_than_as_an_unknown_one(
    fitted: tuple[Path, AdaptReport], toy_run: Path, toy_store: Path
) -> None:
    new, report = fitted
    assert report.nats < report.nats_before
    assert (report.num_subjects, report.num_tuning_subjects) == (135, 15)
    held_out = toy_store.parent / "west-held-out.json"
    bits = {run: likelihood(run, toy_store, held_out, split="held_out")[0] for run in (toy_run, new)}
    assert bits[new].bits_code < bits[toy_run].bits_code
    assert bits[new].bits_value == pytest.approx(bits[toy_run].bits_value, abs=1e-6)


@pytest.fixture(scope="module")
def outcomes_apart(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two stores of the same histories, in one of which the source also knows who got sepsis and was followed on."""
    sites = list(LACTATE_SHARE)
    rows: list[Row] = [row for i in range(1, 181) for row in toy_record(i, sites[i % 3], 0)]
    more: list[Row] = []
    for subject in range(1, 181):
        mine = [row for row in rows if row[0] == subject and row[1] is not None and "OUTCOME" not in row[2]]
        last = mine[-1][1]
        assert last is not None
        if subject % 2:
            more.append((subject, last, "OUTCOME//death", None, mine[-1][4]))
        more.append((subject, last + (last - START), "OUTCOME//follow_up_end", None, mine[-1][4]))
    folders = [tmp_path_factory.mktemp(name) for name in ("plain", "labelled")]
    bare = [row for row in rows if "OUTCOME" not in row[2]]
    return (
        build_toy_store(folders[0], num_subjects=0, rows=bare),
        build_toy_store(folders[1], num_subjects=0, rows=bare + more),
    )


START = min(row[1] for row in toy_record(7, "west", 0) if row[1] is not None)


@pytest.mark.parametrize("what", ["site", "all", "looking", "levels"])
def test_outcomes_are_not_looked_at(
    toy_run: Path, outcomes_apart: tuple[Path, Path], tmp_path: Path, what: str
) -> None:
    found = []
    for name, store in zip(("plain", "labelled"), outcomes_apart, strict=True):
        config = {"what": what, "epochs": None if what in LEVELS else 1, "instants_per_batch": 512}
        adapt(toy_run, store, tmp_path / name, site="west", config=config)
        found.append(weights(tmp_path / name))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert any(not torch.equal(weights(toy_run)[n], found[0][n]) for n in found[0] if n != "site.weight") is (
        what != "site"
    )


def test_an_unlabelled_reader_hides_every_target(toy_run: Path, outcomes_apart: tuple[Path, Path]) -> None:
    run, store = Run(toy_run), EventStore.open(outcomes_apart[1])
    rows = store.rows(sites=["west"])
    labelled = run.reader(store).read(rows)
    hidden = UnlabelledReader(store, run.vocabulary, run.sites).read(rows)
    is_target = run.vocabulary.table["target_only"].to_numpy()
    assert is_target[labelled.all_events.code].any()
    assert not is_target[hidden.all_events.code].any()
    assert len(hidden.all_events.code) == len(hidden.events.code)
    is_closed = np.isinf(labelled.follow_up)
    assert (np.isinf(hidden.follow_up) == is_closed).all()
    last = hidden.instant_time[hidden.subject_start[1:] - 1]
    assert (hidden.follow_up[~is_closed] == last[~is_closed]).all()


def test_with_every_weight_the_likelihood_at_the_site_rises(toy_run: Path, toy_store: Path, tmp_path: Path) -> None:
    config = {"what": "all", "instants_per_batch": 512, "learning_rate": 2e-3, "epochs": 2}
    report = adapt(toy_run, toy_store, tmp_path / "all", site="west", config=config)
    assert report.best_epoch > 0
    assert report.nats < report.nats_before


def test_a_finished_run_is_left_alone_and_another_not_overwritten(
    fitted: tuple[Path, AdaptReport], toy_run: Path, toy_store: Path
) -> None:
    new, report = fitted
    again = adapt(toy_run, toy_store, new, site="west", config=SHORT)
    assert again.was_finished
    assert (again.nats, again.best_epoch) == (report.nats, report.best_epoch)
    with pytest.raises(RunError, match="Choose another folder"):
        adapt(toy_run, toy_store, new, site="west", config=SHORT | {"seed": 1})


def test_a_known_site_keeps_its_place_and_steps_add_up(
    fitted: tuple[Path, AdaptReport], toy_store: Path, tmp_path: Path
) -> None:
    adapt(fitted[0], toy_store, tmp_path / "again", site="west", config=SHORT | {"epochs": 1})
    again = Run(tmp_path / "again")
    assert again.sites == ["north", "south", "west"]
    assert [step["kind"] for step in again.settings["adapted"]] == ["adapt", "adapt"]


def test_what_cannot_be_fitted_is_said(toy_run: Path, toy_store: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"at least two subjects of mars .* has 0"):
        adapt(toy_run, toy_store, tmp_path / "new", site="mars")
    with pytest.raises(ConfigError, match="AdaptConfig; what: "):
        adapt(toy_run, toy_store, tmp_path / "new", site="west", config={"what": "luck"})
    with pytest.raises(ConfigError, match="trains nothing"):
        adapt(toy_run, toy_store, tmp_path / "new", site="west", config={"what": "looking", "epochs": 2})
    assert not (tmp_path / "new").exists()


def test_held_out_subjects_are_not_read(
    toy_run: Path, toy_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[int] = set()
    original = EventStore.subject

    def watching(self: EventStore, row: int) -> object:
        seen.add(row)
        return original(self, row)

    monkeypatch.setattr(EventStore, "subject", watching)
    adapt(toy_run, toy_store, tmp_path / "new", site="west", config=SHORT | {"max_subjects": None, "epochs": 1})
    found = EventStore.open(toy_store).subjects.filter(pl.col("row").is_in(list(seen)))
    assert set(found["site"]) == {"west"}
    assert set(found["split"]) == {"train", "tuning"}


@pytest.mark.parametrize(("tuning_split", "read"), [("tuning", {"train", "tuning"}), (None, {"train"})])
def test_a_split_that_pre_training_did_not_read_is_not_read(
    toy_run: Path, toy_store: Path, tuning_split: str | None, read: set[str]
) -> None:
    store, base = EventStore.open(toy_store), copy.copy(Run(toy_run))
    base.config = base.config.model_copy(update={"tuning_split": tuning_split})
    rows = np.concatenate(_subjects(store, base, "west", AdaptConfig()))
    assert set(store.subjects["split"].gather(rows)) == read
