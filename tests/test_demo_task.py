"""Whose labels a task of the demo learns from, and when it is finished."""

import os
from dataclasses import replace
from pathlib import Path

from helpers.toy_process import build_toy_store, toy_record, write_toy_labels
from sojourn.demo_task import DemoTask, split_labels
from sojourn.events.store import EventStore
from sojourn.tasks.files import read_labels

NUM_LOCAL = 500


def test_no_subject_is_both_learnt_from_and_predicted(tmp_path: Path) -> None:
    """The baselines learn from training stays elsewhere or from some local ones; the others here are predicted."""
    rows = [row for i in range(1800) for row in toy_record(i + 1, ("north", "west")[i % 3 > 0], 0) if row[2] != "LAB"]
    store = EventStore.open(build_toy_store(tmp_path, num_subjects=0, rows=rows))
    asked = store.subjects.select("subject_id", prediction_time="origin")
    labels = read_labels(write_toy_labels(tmp_path / "all.parquet", asked))
    paths = split_labels(store, labels, "west", tmp_path, "toy", num_local=NUM_LOCAL)
    known, local, test = (set(read_labels(path).table["subject_id"]) for path in paths)
    assert len(local) == NUM_LOCAL
    assert len(known | local | test) == len(known) + len(local) + len(test)
    where = dict(store.subjects.select("subject_id", "site").iter_rows())
    split = dict(store.subjects.select("subject_id", "split").iter_rows())
    assert {where[i] for i in local | test} == {"west"}
    assert {(where[i], split[i]) for i in known} == {("north", "train")}
    assert len(local | test) == sum(site == "west" for site in where.values())


def test_a_task_is_finished_while_no_prediction_is_younger_than_its_evaluation(tmp_path: Path) -> None:
    task = DemoTask(str(tmp_path), "toy", "toy", unseen="west", local_stays=1, seed=0, has_level=False)
    assert not task.is_finished()
    for folder in (task.folder, task.evaluation):
        folder.mkdir(parents=True)
    predictions, evaluation = task.folder / "sojourn.parquet", task.evaluation / "evaluation.json"
    for path in (predictions, evaluation):
        path.touch()
    os.utime(predictions, (1000, 1000))
    assert task.is_finished()
    assert not replace(task, has_level=True).is_finished()  # made by an earlier version
    os.utime(evaluation, (999, 999))
    assert not task.is_finished()
