"""The main job on an embedded default: six simulated hospitals, learn from five, predict at the sixth.

Every step is the function behind a command, so the demo is also the shortest example of the Python interface.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import polars as pl

from sojourn.adaptation.adapt import adapt
from sojourn.cores import num_cores
from sojourn.demo_task import DemoTask, do_tasks
from sojourn.errors import ConfigError
from sojourn.events.store import EventStore
from sojourn.inference.simulate import simulate
from sojourn.paths import takes_strings
from sojourn.pipeline import build, ingest
from sojourn.progress import console
from sojourn.report.html import report
from sojourn.tasks.definitions import get_task
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


class Size(NamedTuple):
    """How large the network of hospitals is, and how long the training."""

    stays_per_site: int
    unseen_stays: int
    epochs: float
    truth_stays: int
    """Stays of the unseen hospital whose true risks are computed."""
    local_stays: int = 500
    """Labelled stays of the unseen hospital that the local baseline may learn from."""


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
    # As many as are surely among the local stays, the first by the same hash: whom the tests ask about is not read.
    levels = {"what": "levels", "max_subjects": round(0.86 * size.local_stays)}
    fitted = adapt(run, out / "store", out / "run-levels", site=unseen, config=levels)
    tasks = [
        DemoTask(
            out=str(out),
            name=name,
            truth=truth,
            unseen=unseen,
            local_stays=size.local_stays,
            seed=seed,
            has_level=not fitted.levels.keys().isdisjoint(get_task(name).codes()),
        )
        for name, truth in TASKS.items()
    ]
    entries = do_tasks(tasks, num_processes=num_cores())
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


def _timeline(out: Path, run: Path) -> None:
    """One simulated patient of the unseen hospital, with futures, for the report."""
    place = run / "artifacts" / "timeline"
    if place.exists():
        return
    predicted = pl.read_parquet(out / "predictions" / "death-48h" / "sojourn.parquet", glob=False)
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
