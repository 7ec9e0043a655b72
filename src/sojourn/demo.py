"""The main job on an embedded default: six simulated hospitals, learn from five, predict at the sixth.

Every step is the function behind a command, so the demo is also the shortest example of the Python interface.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from sojourn.adaptation.adapt import adapt
from sojourn.errors import ConfigError
from sojourn.events.splits import splitmix64
from sojourn.events.store import EventStore
from sojourn.inference.predict import predict
from sojourn.inference.probe import probe
from sojourn.inference.simulate import simulate
from sojourn.paths import takes_strings
from sojourn.pipeline import build, ingest
from sojourn.progress import console
from sojourn.report.evaluation import evaluate
from sojourn.report.html import report
from sojourn.tasks.baseline import baseline
from sojourn.tasks.definitions import get_task
from sojourn.tasks.files import Labels, read_labels, write_labels, write_predictions
from sojourn.tasks.label import label
from sojourn.training.config import PretrainConfig
from sojourn.training.folder import describe
from sojourn.training.pretrain import pretrain

TASKS = {
    "death-48h": "death_48h",
    "vasopressor-24h": "vasopressor_start_24h",
    "ventilation-24h": "ventilation_start_24h",
    "lactate-gt-4-24h": "lactate_gt_4_24h",
}
"""Tasks of the demo, and what the simulator's truth calls each of them."""
NUM_LOCAL_STAYS = 500
"""Labelled stays of the unseen hospital that the local baseline may learn from."""


class Size(NamedTuple):
    """How large the network of hospitals is, and how long the training."""

    stays_per_site: int
    unseen_stays: int
    epochs: float
    truth_stays: int
    """Stays of the unseen hospital whose true risks are computed."""


FULL = Size(stays_per_site=800, unseen_stays=1400, epochs=4, truth_stays=900)
QUICK = Size(stays_per_site=200, unseen_stays=700, epochs=4, truth_stays=700)
_REPLICATES = 24
"""Branches per true risk: with the deaths weighted instead of drawn, the ceiling hardly gains from more."""
_ROUNDS_PER_EPOCH = 4
"""Of the federated demo: each hospital makes a quarter of an epoch between two means."""
SETTINGS: dict[str, Any] = {
    "instants_per_batch": 1024,
    "learning_rate": 3e-3,
    "num_outcome_queries": 512,
    "num_value_queries": 256,
    "evaluate_every": 400,
    "tuning_subjects": 300,
    "model": {"d_model": 96, "num_layers": 3, "d_event": 48, "d_decoder": 96},
}
"""A network that two CPU cores train in some minutes."""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """Where everything is, and how well the unseen hospital was predicted."""

    report: str
    run: str
    seconds: float
    """Wall time of this call."""
    entries: list[dict[str, Any]]
    """Per task and method at the unseen hospital: auroc and expected_observed with intervals."""

    def table(self) -> list[dict[str, Any]]:
        """Rows to print."""

        def cell(metric: dict[str, float]) -> str:
            return f"{metric['value']:.3f} ({metric['lower']:.3f}-{metric['upper']:.3f})"

        return [
            {
                "task": entry["task"],
                "method": entry["method"],
                "predictions": entry["num_predictions"],
                "prevalence": round(entry["prevalence"], 4),
                "AUROC": cell(entry["metrics"]["auroc"]),
                "expected:observed": cell(entry["metrics"]["expected_observed"]),
            }
            for entry in self.entries
        ]


def demo(
    out: Path,
    *,
    quick: bool = False,
    federated: bool = False,
    seed: int = 0,
    config: dict[str, Any] | None = None,
    size: Size | None = None,
) -> DemoResult:
    """Simulate hospitals, pre-train on all but the last, predict at it, and write a report.

    What was finished before is not done again, so an interrupted demo goes on where it stopped.

    Parameters
    ----------
    out : folder for everything.
    quick : a smaller network of hospitals.
    federated : the hospitals train together, each on its own records, instead of on all records in one place.
    seed : of the hospitals, their patients and the training.
    config : settings of the training that differ from the demo's.
    size : how large everything is, instead of what `quick` says.

    Raises
    ------
    ConfigError
        If `out` holds a demo of another size or seed.
    """
    began, size = time.monotonic(), size or (QUICK if quick else FULL)
    unseen = _ingest(out, size, seed)
    build(out / "store", [out / "meds"])
    settings = SETTINGS | {"seed": seed, "epochs": size.epochs, "held_out_sites": [unseen]} | (config or {})
    run = out / "run"
    if federated:
        _train_together(out, run, settings, size)
    else:
        pretrain(out / "store", run, config=PretrainConfig.model_validate(settings))
    # As many as are surely among the first `NUM_LOCAL_STAYS` by the same hash: whom the tests ask about is not read.
    looking = {"what": "looking", "max_subjects": round(0.86 * NUM_LOCAL_STAYS)}
    fitted = adapt(run, out / "store", out / "run-looking", site=unseen, config=looking)
    entries = []
    for task, truth in TASKS.items():
        has_level = not fitted.levels.keys().isdisjoint(get_task(task).codes())
        entries += _task(out, run, Path(fitted.path) if has_level else None, task, truth, unseen, seed)
    _timeline(out, run)
    shown = unseen.replace("-", "\N{NON-BREAKING HYPHEN}")
    page = report(run, out / "report.html", title=f"Zero-shot risks at {shown}, a hospital that was never seen")
    console.print(f"report: [bold]{page.resolve()}[/]")
    return DemoResult(str(page), str(run), time.monotonic() - began, entries)


def _train_together(out: Path, run: Path, settings: dict[str, Any], size: Size) -> None:
    """The known hospitals make about as many steps together as the pooled demo does."""
    from sojourn.federated.on_one_machine import federate_store
    from sojourn.federated.processes import most_processes

    store = EventStore.open(out / "store")
    sites = sorted(set(store.subjects["site"]) - set(settings["held_out_sites"]))
    rounds = _ROUNDS_PER_EPOCH * size.epochs
    pretrain = settings | {"held_out_sites": (), "epochs": 1, "tuning_subjects": 60}
    config = {
        "rounds": round(rounds),
        "local_steps": 25,
        "max_local_epochs": 1 / _ROUNDS_PER_EPOCH,
        "pretrain": pretrain,
    }
    private, num_processes = out / "sites", most_processes(len(sites))
    federate_store(store, run, sites=sites, private=private, config=config, num_processes=num_processes)
    describe(run, store, store.rows(split="tuning", sites=sites))


def _ingest(out: Path, size: Size, seed: int) -> str:
    """Simulate the network of hospitals as a MEDS data set; returns the name of the unseen one."""
    from sojourn.sources.simulator.network import default_config, load_config, write_config

    network = default_config(num_sites=6, stays_per_site=size.stays_per_site, seed=seed)
    last = network.sites[-1].model_copy(update={"num_stays": size.unseen_stays})
    asked = {"first_hours": 12.0, "max_stays": size.truth_stays, "states": False, "num_replicates": _REPLICATES}
    truth = network.truth.model_copy(update=asked)
    network = network.model_copy(update={"sites": (*network.sites[:-1], last), "truth": truth})
    place = out / "simulator.yaml"
    if not place.exists():
        write_config(network, place)
    elif load_config(place) != network:
        msg = f"out must be new or hold a demo of the same size and seed; {out} holds another. Choose another folder."
        raise ConfigError(msg)
    ingest("simulator", place, out / "meds")
    return last.name


def _task(
    out: Path, run: Path, fitted: Path | None, task: str, truth: str, unseen: str, seed: int
) -> list[dict[str, Any]]:
    """Label, predict and evaluate one task at the unseen hospital; `fitted` knows how often that one looks."""
    store, folder = out / "store", out / "predictions" / task
    labels = out / "labels" / f"{task}.parquet"
    if not labels.exists():
        label(task, store, labels)
    known, local, test = split_labels(EventStore.open(store), read_labels(labels), unseen, out / "labels", task)
    files: list[Path] = []

    def make(name: str, write: Callable[[Path], Any]) -> None:
        path = folder / f"{name}.parquet"
        if not path.exists():
            write(path)
        files.append(path)

    make("sojourn", lambda path: predict(run, store, test, path))
    if fitted is not None:
        make("sojourn-looking", lambda path: predict(fitted, store, test, path))
    make("random-weights", lambda path: predict(run, store, test, path, control="random-weights", seed=seed))
    make(
        "random-weights-probe", lambda path: probe(run, store, known, store, test, path, random_weights=True, seed=seed)
    )
    make("shuffled-values", lambda path: predict(run, store, test, path, control="shuffled-values", seed=seed))
    make("prevalence", lambda path: baseline("prevalence", store, known, store, test, path, seed=seed))
    make("logistic-others", lambda path: baseline("logistic", store, known, store, test, path, seed=seed))
    make("lightgbm-others", lambda path: baseline("lightgbm", store, known, store, test, path, seed=seed))
    make("lightgbm-local", lambda path: baseline("lightgbm", store, local, store, test, path, seed=seed))
    make("truth", lambda path: write_truth_predictions(out / "meds", read_labels(test), truth, unseen, path))
    result = evaluate(files, run / "artifacts" / "evaluation" / task, by="site", seed=seed)
    content = json.loads((result.path / "evaluation.json").read_text())
    overall = [entry for entry in content["entries"] if entry["group"] == "overall"]
    return [entry | {"method": Path(entry["file"]).stem} for entry in overall]


def split_labels(store: EventStore, labels: Labels, unseen: str, folder: Path, task: str) -> tuple[Path, Path, Path]:
    """Split labels into those of the known hospitals' training subjects, of some local stays, and of the rest.

    Which stays of the unseen hospital are the local ones depends on their ids alone.
    """
    ids = labels.table["subject_id"].unique().to_numpy()
    rows = store.find(ids)
    site = store.subjects["site"].to_numpy()[rows]
    is_train = store.subjects["split"].to_numpy()[rows] == "train"
    at_unseen = np.sort(ids[site == unseen])
    order = np.argsort(splitmix64(at_unseen.astype(np.uint64)), kind="stable")
    local, test = at_unseen[order[:NUM_LOCAL_STAYS]], at_unseen[order[NUM_LOCAL_STAYS:]]
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
    risks = pl.read_parquet(dataset / "truth" / "risks.parquet").filter(pl.col("task") == truth).select(columns)
    joined = labels.table.join(risks, on=["subject_id", "prediction_time"], how="inner", maintain_order="left")
    kept = Labels(joined.drop("true_risk"), labels.task)
    write_predictions(out, kept, joined["true_risk"].to_numpy(), method="truth", site=[site] * joined.height)


def _timeline(out: Path, run: Path) -> None:
    """One simulated patient of the unseen hospital, with futures, for the report."""
    place = run / "artifacts" / "timeline"
    if place.exists():
        return
    predicted = pl.read_parquet(out / "predictions" / "death-48h" / "sojourn.parquet")
    ranked = predicted.sort("predicted_boolean_probability", "subject_id", "prediction_time")
    chosen = ranked.row(int(0.95 * ranked.height), named=True)
    simulate(
        run,
        out / "store",
        subject=chosen["subject_id"],
        at=chosen["prediction_time"],
        horizon_hours=48,
        num_samples=128,
        out=place,
    )


class _Module(ModuleType):
    """This module has the name of its function: once imported it stands at `sojourn.demo`, and is called like it."""

    def __call__(self, *args: Any, **settings: Any) -> DemoResult:
        result: DemoResult = takes_strings(demo)(*args, **settings)
        return result


sys.modules[__name__].__class__ = _Module
