import json
import math
import struct
from pathlib import Path

from sojourn.report.artifacts import find, read_run, unseen_sites
from sojourn.report.methods import look, method_order, select, sites_of


def write_evaluation(run: Path, name: str, *entries: dict[str, object]) -> None:
    folder = run / "artifacts" / "evaluation"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({"seed": 0, "entries": list(entries)}))


def test_methods_of_one_task_may_come_from_several_evaluations(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "ours", {"task": "death", "method": "query"})
    write_evaluation(tmp_path, "theirs", {"task": "death", "method": "lightgbm"})
    assert [entry.task for entry in read_run(tmp_path).entries] == ["death", "death"]


def test_same_task_and_method_in_two_evaluations_are_told_apart(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "north", {"task": "death", "method": "query"}, {"task": "rrt", "method": "query"})
    write_evaluation(tmp_path, "south", {"task": "death", "method": "query"})
    assert [entry.task for entry in read_run(tmp_path).entries] == ["death · north", "rrt", "death · south"]


def test_two_files_of_one_method_are_told_apart(tmp_path: Path) -> None:
    same = {"task": "death", "method": "lightgbm"}
    write_evaluation(tmp_path, "e", {**same, "file": "local.parquet"}, {**same, "file": "network.parquet"})
    entries = read_run(tmp_path).entries
    assert [entry.method for entry in entries] == ["lightgbm local", "lightgbm network"]
    assert [look(entry.method).label for entry in entries] == ["LightGBM (local)", "LightGBM (network)"]


def test_evaluations_may_lie_in_folders_of_their_own(tmp_path: Path) -> None:
    entry = {"task": "death", "method": "query"}
    for name in ("north", "south"):
        folder = tmp_path / "artifacts" / "evaluation" / name
        folder.mkdir(parents=True)
        (folder / "evaluation.json").write_text(json.dumps({"entries": [entry]}))
    assert [entry.task for entry in read_run(tmp_path).entries] == ["death · north", "death · south"]


def test_metrics_may_be_bare_or_without_bounds(tmp_path: Path) -> None:
    metrics = {"auroc": 0.8, "brier": {"value": 0.1, "lower": None}, "log_loss": None}
    write_evaluation(tmp_path, "e", {"task": "death", "method": "query", "metrics": metrics})
    found = read_run(tmp_path).entries[0].metrics
    assert found["auroc"].value == 0.8
    assert math.isnan(found["auroc"].lower)
    assert math.isnan(found["brier"].lower)
    assert math.isnan(found["log_loss"].value)


def test_unseen_sites_are_those_held_out_and_those_not_trained_at(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("config: {held_out_sites: [b]}\nsites: [a]\n")
    write_evaluation(tmp_path, "e", *({"task": "t", "method": "query", "group": g} for g in ("overall", "a", "c")))
    assert unseen_sites(read_run(tmp_path)) == ["b", "c"]


def test_without_training_sites_nothing_is_called_unseen(tmp_path: Path) -> None:
    write_evaluation(tmp_path, "e", {"task": "t", "method": "query", "group": "c"})
    assert unseen_sites(read_run(tmp_path)) == []


def test_weights_are_counted_from_the_header_alone(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {}, "a": {"shape": [3, 4]}, "b": {"shape": []}}).encode()
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert read_run(tmp_path).num_weights == 13


def test_outer_levels_win_when_a_setting_is_sought() -> None:
    assert find({"a": {"seed": 1}, "seed": 2}, "seed") == 2
    assert find({"a": {"seed": 1}}, "other") is None


def test_methods_have_an_order_and_a_kind() -> None:
    methods = ["shuffled-values", "truth", "mine", "prevalence", "lightgbm_local_500", "lightgbm", "simulate", "query"]
    assert sorted(methods, key=method_order) == [
        "query",
        "simulate",
        "lightgbm",
        "lightgbm_local_500",
        "prevalence",
        "mine",
        "truth",
        "shuffled-values",
    ]
    assert [look(m).kind for m in ("random-weights", "truth", "simulate")] == ["control", "ceiling", "ours"]


def test_sites_are_in_numerical_order(tmp_path: Path) -> None:
    write_evaluation(
        tmp_path, "e", *({"task": "t", "method": "query", "group": g} for g in ("10", "9", "overall", "x"))
    )
    entries = read_run(tmp_path).entries
    assert sites_of(entries) == ["9", "10", "x"]
    assert len(select(entries, task="t", group="9", kinds=("ours",))) == 1
