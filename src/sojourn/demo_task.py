"""One task of the demo: label it, predict it in every way, and evaluate, at the hospital that was never seen.

As a program it does one task by itself, so that several go on beside each other: ``python -m sojourn.demo_task`` with
the fields of a `DemoTask` as JSON.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sojourn.cores import shared_environment
from sojourn.events.splits import splitmix64
from sojourn.events.store import EventStore
from sojourn.files import read_json
from sojourn.inference.predict import predict
from sojourn.inference.probe import probe
from sojourn.progress import console, progress_bar
from sojourn.report.evaluation import evaluate
from sojourn.tasks.baseline import baseline
from sojourn.tasks.files import Labels, read_labels, write_labels, write_predictions
from sojourn.tasks.label import label

Way = Callable[[Path], Any]
"""Writes a prediction file."""


@dataclass(frozen=True, slots=True)
class DemoTask:
    """What is asked at the hospital that was never seen, and where everything is."""

    out: str
    """Folder of the demo."""
    name: str
    truth: str
    """What the simulator's truth calls the task."""
    unseen: str
    """Name of the hospital."""
    local_stays: int
    """Labelled stays of that hospital that the local baseline may learn from."""
    seed: int
    has_level: bool
    """Whether the run that knows how often the hospital looks and treats has another level for this task."""

    @property
    def folder(self) -> Path:
        """Where its prediction files are."""
        return Path(self.out) / "predictions" / self.name

    @property
    def evaluation(self) -> Path:
        """The evaluation's folder."""
        return Path(self.out) / "run" / "artifacts" / "evaluation" / self.name

    def is_finished(self) -> bool:
        """Whether the evaluation is there, no prediction file is younger, and none of ours is missing."""
        found = self.evaluation / "evaluation.json"
        ours = ["sojourn", "sojourn-levels"] if self.has_level else ["sojourn"]
        files = {*self.folder.glob("*.parquet"), *(self.folder / f"{name}.parquet" for name in ours)}
        return found.exists() and all(f.exists() and f.stat().st_mtime <= found.stat().st_mtime for f in files)


def do_tasks(tasks: Sequence[DemoTask], *, num_processes: int) -> list[dict[str, Any]]:
    """Do all tasks, in several processes if asked for; returns the overall entries of their evaluations."""
    todo = [task for task in tasks if not task.is_finished()]
    if num_processes > 1 and len(todo) > 1:
        _do_beside_each_other(todo, min(num_processes, len(todo)))
    for task in todo:
        if not task.is_finished():  # one process only, or the error that ended another one is told here
            do_task(task)
    return [entry for task in tasks for entry in _overall(task)]


def do_task(task: DemoTask) -> None:
    """Label, predict and evaluate; prediction files that are there are not made again."""
    labels = Path(task.out) / "labels" / f"{task.name}.parquet"
    if not labels.exists():
        label(task.name, Path(task.out) / "store", labels)
    files: list[Path] = []
    for name, write in _ways(task, labels).items():
        files.append(task.folder / f"{name}.parquet")
        if not files[-1].exists():
            write(files[-1])
    evaluate(files, task.evaluation, by="site", seed=task.seed)


def _ways(task: DemoTask, labels: Path) -> dict[str, Way]:
    """Ours, its controls, the baselines and the truth, by the names of their files."""
    out, seed = Path(task.out), task.seed
    run, store = out / "run", out / "store"
    stays = split_labels(
        EventStore.open(store), read_labels(labels), task.unseen, labels.parent, task.name, num_local=task.local_stays
    )
    known, local, test = stays

    def ours(run: Path, **control: Any) -> Way:
        return lambda path: predict(run, store, test, path, **control)

    def learnt(method: str, labels: Path) -> Way:
        return lambda path: baseline(method, store, labels, store, test, path, seed=seed)

    def random_probe(path: Path) -> None:
        probe(run, store, known, store, test, path, random_weights=True, seed=seed)

    return {
        "sojourn": ours(run),
        **({"sojourn-levels": ours(out / "run-levels")} if task.has_level else {}),
        "random-weights": ours(run, control="random-weights", seed=seed),
        "random-weights-probe": random_probe,
        "shuffled-values": ours(run, control="shuffled-values", seed=seed),
        "prevalence": learnt("prevalence", known),
        "logistic-others": learnt("logistic", known),
        "lightgbm-others": learnt("lightgbm", known),
        "lightgbm-local": learnt("lightgbm", local),
        "truth": lambda path: write_truth_predictions(out / "meds", read_labels(test), task.truth, task.unseen, path),
    }


def split_labels(
    store: EventStore, labels: Labels, unseen: str, folder: Path, task: str, *, num_local: int
) -> tuple[Path, Path, Path]:
    """Split labels into those of the known hospitals' training subjects, of some local stays, and of the rest.

    Which stays of the unseen hospital are the `num_local` local ones depends on their ids alone.
    """
    ids = labels.table["subject_id"].unique().to_numpy()
    rows = store.find(ids)
    site = store.subjects["site"].to_numpy()[rows]
    is_train = store.subjects["split"].to_numpy()[rows] == "train"
    at_unseen = np.sort(ids[site == unseen])
    order = np.argsort(splitmix64(at_unseen.astype(np.uint64)), kind="stable")
    local, test = at_unseen[order[:num_local]], at_unseen[order[num_local:]]
    paths = []
    for name, chosen in (("known", ids[is_train & (site != unseen)]), ("local", local), ("test", test)):
        path = folder / f"{task}-{name}.parquet"
        write_labels(path, labels.table.filter(pl.col("subject_id").is_in(chosen)), labels.task)
        paths.append(path)
    return paths[0], paths[1], paths[2]


def write_truth_predictions(dataset: Path, labels: Labels, truth: str, site: str, out: Path) -> None:
    """The simulator's own risks given the latent state, as predictions: nobody can do better than this.

    Only prediction times whose true risk was computed are kept.
    """
    columns = ["subject_id", "prediction_time", "true_risk"]
    risks = (
        pl.read_parquet(dataset / "truth" / "risks.parquet", glob=False).filter(pl.col("task") == truth).select(columns)
    )
    joined = labels.table.join(risks, on=["subject_id", "prediction_time"], how="inner", maintain_order="left")
    kept = Labels(joined.drop("true_risk"), labels.task)
    write_predictions(out, kept, joined["true_risk"].to_numpy(), method="truth", site=[site] * joined.height)


def _do_beside_each_other(tasks: Sequence[DemoTask], num_processes: int) -> None:
    """A process for each task, some at a time; what one of them leaves undone is said."""
    environment = shared_environment(num_processes)

    def start(task: DemoTask) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sojourn.demo_task", json.dumps(asdict(task))]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    with progress_bar("tasks", len(tasks)) as bar, ThreadPoolExecutor(num_processes) as pool:
        waiting = {pool.submit(start, task): task for task in tasks}
        try:
            for future in as_completed(waiting):
                if code := future.result().returncode:
                    console.print(f"the process for {waiting[future].name} ended with code {code}; once more, here.")
                bar.advance()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _overall(task: DemoTask) -> list[dict[str, Any]]:
    content = read_json(task.evaluation / "evaluation.json")
    overall = [entry for entry in content["entries"] if entry["group"] == "overall"]
    return [entry | {"method": Path(entry["file"]).stem} for entry in overall]


if __name__ == "__main__":
    do_task(DemoTask(**json.loads(sys.argv[1])))
