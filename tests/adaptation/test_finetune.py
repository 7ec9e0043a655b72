"""Fine-tuning: the tuning loss falls, the result is an ordinary run, and finished or foreign folders are respected."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from helpers.toy_process import is_sick, write_toy_labels
from sojourn.adaptation import descent
from sojourn.adaptation.finetune import FinetuneReport, _judges, finetune
from sojourn.errors import ConfigError, RunError, TaskError
from sojourn.inference.predict import predict
from sojourn.tasks.files import read_labels, read_predictions, write_labels
from sojourn.tasks.label import label
from sojourn.training.run import Run

SHORT = {"epochs": 4, "instants_per_batch": 128, "learning_rate": 5e-3, "average_decay": 0.5}
Labels = tuple[Path, Path]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(str(run / "model.safetensors"))


def changed(one: Path, two: Path) -> set[str]:
    first, second = weights(one), weights(two)
    assert first.keys() == second.keys()
    return {name for name in first if not torch.equal(first[name], second[name])}


@pytest.fixture(scope="module")
def tuned(
    toy_run: Path, toy_store: Path, flipped_labels: Labels, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, FinetuneReport]]:
    folder, found = tmp_path_factory.mktemp("tuned"), {}
    for method in ("full", "lora", "head"):
        report = finetune(toy_run, toy_store, flipped_labels[0], folder / method, config=SHORT | {"method": method})
        found[method] = (folder / method, report)
    return found


@pytest.mark.parametrize("method", ["full", "lora", "head"])
def test_the_tuning_loss_falls_and_the_new_run_predicts(
    tuned: dict[str, tuple[Path, FinetuneReport]],
    toy_run: Path,
    toy_store: Path,
    flipped_labels: Labels,
    tmp_path: Path,
    method: str,
) -> None:
    """The run has learnt that the sick die; the labels say that the healthy do."""
    new, report = tuned[method]
    assert report.log_loss < 0.8 * report.log_loss_before
    assert report.num_labels + report.num_tuning_labels == 120
    figures = {}
    for name, run in (("before", toy_run), ("after", new)):
        predict(run, toy_store, flipped_labels[1], tmp_path / f"{name}.parquet")
        table = read_predictions(tmp_path / f"{name}.parquet").table
        figures[name] = roc_auc_score(table["boolean_value"], table["predicted_boolean_probability"])
    assert figures["before"] < 0.2
    assert figures["after"] > 0.9


def test_only_what_a_method_trains_is_changed(tuned: dict[str, tuple[Path, FinetuneReport]], toy_run: Path) -> None:
    heads, head_only = ("first_head.",), changed(toy_run, tuned["head"][0])
    assert head_only
    assert all(name.startswith(heads) for name in head_only)
    assert all(name.startswith((*heads, "backbone.")) for name in changed(toy_run, tuned["lora"][0]))
    full = changed(toy_run, tuned["full"][0])
    assert {"events.code.weight", "start"} <= full
    assert not [name for name in full if name.startswith(("gap_head", "code_head", "value_head", "site"))]
    assert tuned["lora"][1].num_trained_weights < tuned["head"][1].num_trained_weights


def test_a_low_rank_run_has_no_trace_of_rank(tuned: dict[str, tuple[Path, FinetuneReport]]) -> None:
    assert not [name for name in weights(tuned["lora"][0]) if "parametrizations" in name]


def test_the_new_run_says_where_it_comes_from(tuned: dict[str, tuple[Path, FinetuneReport]], toy_run: Path) -> None:
    run = Run(tuned["lora"][0])
    (step,) = run.settings["adapted"]
    assert (step["kind"], step["task"], step["config"]["rank"]) == ("finetune", "toy-death", 8)
    assert (run.sites, run.outcomes) == (Run(toy_run).sites, Run(toy_run).outcomes)
    assert not list(run.path.glob("checkpoints*"))


def test_the_risk_keeps_the_level_of_the_labels(
    tuned: dict[str, tuple[Path, FinetuneReport]], toy_store: Path, flipped_labels: Labels, tmp_path: Path
) -> None:
    predict(tuned["full"][0], toy_store, flipped_labels[1], tmp_path / "o.parquet")
    table = read_predictions(tmp_path / "o.parquet").table
    expected = table["predicted_boolean_probability"].mean() / table["boolean_value"].mean()
    assert 0.8 < expected < 1.25


def test_labels_of_noise_leave_the_weights_alone(
    toy_run: Path, toy_store: Path, west: pl.DataFrame, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    table = west[:60].with_columns(boolean_value=pl.Series(rng.random(60) < 0.3))
    labels = write_toy_labels(tmp_path / "noise.parquet", table)
    report = finetune(toy_run, toy_store, labels, tmp_path / "new", config=SHORT | {"epochs": 2, "learning_rate": 0.3})
    assert report.best_epoch == 0
    assert changed(toy_run, tmp_path / "new") <= {"first_head.log_base"}


def test_an_interrupted_fine_tuning_goes_on_to_the_same_weights(
    toy_run: Path, toy_store: Path, flipped_labels: Labels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SHORT | {"epochs": 3, "method": "lora"}
    finetune(toy_run, toy_store, flipped_labels[0], tmp_path / "whole", config=config)
    original, saved = descent.save_checkpoint, []

    def stop_after_two(*arguments: object) -> None:
        original(*arguments)  # type: ignore[arg-type]
        saved.append(1)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(descent, "save_checkpoint", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        finetune(toy_run, toy_store, flipped_labels[0], tmp_path / "cut", config=config)
    assert not (tmp_path / "cut").exists()
    finetune(toy_run, toy_store, flipped_labels[0], tmp_path / "cut", config=config)
    assert len(saved) == 3
    assert not changed(tmp_path / "whole", tmp_path / "cut")


def test_a_finished_run_is_left_alone_and_another_not_overwritten(
    tuned: dict[str, tuple[Path, FinetuneReport]], toy_run: Path, toy_store: Path, flipped_labels: Labels
) -> None:
    new, report = tuned["full"]
    before = (new / "model.safetensors").stat().st_mtime_ns
    again = finetune(toy_run, toy_store, flipped_labels[0], new, config=SHORT | {"method": "full"})
    assert again.was_finished
    assert again.log_loss == report.log_loss
    with pytest.raises(RunError, match="Choose another folder"):
        finetune(toy_run, toy_store, flipped_labels[0], new, config=SHORT | {"method": "full", "epochs": 5})
    with pytest.raises(RunError, match="Choose another folder"):
        finetune(toy_run, toy_store, flipped_labels[0], toy_run)
    assert (new / "model.safetensors").stat().st_mtime_ns == before


def test_what_an_interrupted_call_of_another_kind_left_is_not_taken_up(
    tuned: dict[str, tuple[Path, FinetuneReport]],
    toy_run: Path,
    toy_store: Path,
    flipped_labels: Labels,
    tmp_path: Path,
) -> None:
    shutil.copytree(tuned["head"][0], tmp_path / ".new.part")
    config = SHORT | {"epochs": 1, "method": "head"}
    finetune(toy_run, toy_store, flipped_labels[0], tmp_path / "new", config=config)
    epochs = [json.loads(line) for line in (tmp_path / "new" / "adaptation.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in epochs if "epoch" in line] == [0, 1]


def test_what_cannot_be_taught_is_said(toy_run: Path, toy_store: Path, flipped_labels: Labels, tmp_path: Path) -> None:
    known = read_labels(flipped_labels[0])
    cases = (
        (known.table, {"name": "own", "outcomes": None}, "must name outcome codes to be fine-tuned; task own"),
        (known.table, known.task | {"outcomes": ["OUTCOME//sepsis"]}, "the run has never seen"),
        (known.table[:1], known.task, "at least two subjects"),
    )
    for table, task, message in cases:
        write_labels(tmp_path / "l.parquet", table, task)
        with pytest.raises(TaskError, match=message):
            finetune(toy_run, toy_store, tmp_path / "l.parquet", tmp_path / "new")
    with pytest.raises(ConfigError, match=r"FinetuneConfig; tuning_share: .*; luck: "):
        finetune(toy_run, toy_store, flipped_labels[0], tmp_path / "new", config={"tuning_share": 2, "luck": 1})
    assert not (tmp_path / "new").exists()


def test_two_labelled_subjects_are_enough(toy_run: Path, toy_store: Path, west: pl.DataFrame, tmp_path: Path) -> None:
    table = pl.concat([west.filter([is_sick(i) == sick for i in west["subject_id"]])[:1] for sick in (True, False)])
    labels = write_toy_labels(tmp_path / "l.parquet", table.with_columns(boolean_value=pl.Series([True, False])))
    report = finetune(toy_run, toy_store, labels, tmp_path / "new", config=SHORT | {"epochs": 1})
    assert (report.num_labels, report.num_tuning_labels) == (1, 1)


def test_others_may_choose_the_epoch(toy_run: Path, toy_store: Path, flipped_labels: Labels, tmp_path: Path) -> None:
    teach, choose = flipped_labels
    report = finetune(toy_run, toy_store, teach, tmp_path / "new", tuning=choose, config=SHORT | {"epochs": 1})
    assert (report.num_labels, report.num_tuning_labels) == (120, 140)
    again = finetune(toy_run, toy_store, teach, tmp_path / "new", tuning=choose, config=SHORT | {"epochs": 1})
    assert again.was_finished


def test_those_who_choose_are_not_taught(
    toy_run: Path, toy_store: Path, flipped_labels: Labels, tmp_path: Path
) -> None:
    with pytest.raises(TaskError, match="of other subjects than the labels; 120"):
        finetune(toy_run, toy_store, flipped_labels[0], tmp_path / "new", tuning=flipped_labels[0])
    known = read_labels(flipped_labels[1])
    write_labels(tmp_path / "l.parquet", known.table, known.task | {"name": "other"})
    with pytest.raises(TaskError, match="must be of the same task"):
        finetune(toy_run, toy_store, flipped_labels[0], tmp_path / "new", tuning=tmp_path / "l.parquet")
    write_labels(tmp_path / "l.parquet", known.table[:0], known.task)
    with pytest.raises(TaskError, match="must not be empty"):
        finetune(toy_run, toy_store, flipped_labels[0], tmp_path / "new", tuning=tmp_path / "l.parquet")


def test_labels_of_two_splits_are_of_one_task_and_those_of_another_horizon_are_not(
    toy_store: Path, tmp_path: Path
) -> None:
    for name, phrase, split in (
        ("teach", "first(lactate > 4, 24h)", "train"),
        ("choose", "first(lactate > 4, 24h)", "tuning"),
        ("longer", "first(lactate > 4, 48h)", "tuning"),
    ):
        label(phrase, toy_store, tmp_path / f"{name}.parquet", splits=[split])
    known = read_labels(tmp_path / "teach.parquet")
    assert _judges(known, tmp_path / "choose.parquet").table.height > 0
    with pytest.raises(TaskError, match=r"of the same task .* differ in .*horizon_hours"):
        _judges(known, tmp_path / "longer.parquet")
