"""Where the few-shot benchmark learns and where it is tested: a pool of labelled stays, test stays, another source."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

import sojourn as sj
from sojourn.events.splits import splitmix64
from sojourn.tasks.files import Labels, read_labels, write_labels

TASK_2012, SIMULATED_TASK = "in-hospital-death-48h", "vasopressor-24h"
NUM_POOL = 1000
"""Stays of the simulated hospital that labels are drawn from; all others are tested on."""
NUM_SIMULATED = 3600


class Study(NamedTuple):
    """A run, and the labels around it."""

    run: Path
    store: Path
    task: str
    pool: Labels
    """What labels are drawn from."""
    test: Labels
    others: tuple[Path, Path]
    """Store and label file of other stays, for the reference of somebody with many labels elsewhere."""
    note: str
    """What the run has seen of all this."""


def challenge_2012(work: Path, out: Path) -> Study:
    """Labels from half of set b; the other half is tested on. The run was trained on set a, its outcomes too."""
    run, store, labels = _challenge(work)
    at_b = _of_site(labels, store, "challenge-2012-b")
    is_pool = splitmix64(at_b.table["subject_id"].to_numpy().astype(np.uint64)) % np.uint64(2) == 0
    pool, test = (at_b._replace(table=at_b.table.filter(pl.Series(chosen))) for chosen in (is_pool, ~is_pool))
    others = _written(out / "others.parquet", _of_site(labels, store, "challenge-2012-a"))
    note = "the run was pre-trained on set a, with its outcomes; it has seen nothing of set b"
    return Study(run, store, TASK_2012, pool, test, (store, others), note)


def challenge_2012_a_to_b(work: Path, out: Path) -> Study:
    """Labels from set a, whose outcomes the run has seen in pre-training; all of set b is tested on."""
    run, store, labels = _challenge(work)
    at_a, at_b = (_of_site(labels, store, f"challenge-2012-{part}") for part in "ab")
    note = "the run was pre-trained on set a, with its outcomes: labels drawn from set a tell it nothing new"
    return Study(run, store, TASK_2012, at_a, at_b, (store, _written(out / "others.parquet", at_a)), note)


def simulated(work: Path, out: Path) -> Study:
    """Labels of a simulated hospital that the run has never seen; WORK/unseen/seed-0 holds a demo."""
    from sojourn.sources.simulator.network import load_config, write_config

    demo = work / "unseen" / "seed-0"
    network = load_config(demo / "simulator.yaml")
    last = network.sites[-1].model_copy(update={"num_stays": NUM_SIMULATED})
    truth = network.truth.model_copy(update={"risks": False, "states": False})
    place = out / "hospital.yaml"
    if not place.exists():
        write_config(network.model_copy(update={"sites": (last,), "truth": truth}), place)
    sj.ingest("simulator", place, out / "meds")
    sj.build(out / "store", [out / "meds"])
    if not (out / "labels.parquet").exists():
        sj.label(SIMULATED_TASK, out / "store", out / "labels.parquet")
    labels = read_labels(out / "labels.parquet")
    ids = np.unique(labels.table["subject_id"].to_numpy())
    chosen = pl.Series(ids[np.argsort(splitmix64(ids.astype(np.uint64)), kind="stable")][:NUM_POOL])
    is_pool = labels.table["subject_id"].is_in(chosen.implode())
    pool, test = (labels._replace(table=labels.table.filter(part)) for part in (is_pool, ~is_pool))
    known = demo / "labels" / f"{SIMULATED_TASK}-known.parquet"
    note = "the run was pre-trained on five other simulated hospitals, with their outcomes; it has not seen this one"
    return Study(demo / "run", out / "store", SIMULATED_TASK, pool, test, (demo / "store", known), note)


STUDIES: dict[str, Callable[[Path, Path], Study]] = {
    "challenge-2012": challenge_2012,
    "challenge-2012-a-to-b": challenge_2012_a_to_b,
    "simulated-hospital": simulated,
}


def draw(pool: Labels, count: int, number: int) -> Labels:
    """Labels of `count` stays drawn at random; drawn again where all of them have the same outcome."""
    ids = np.unique(pool.table["subject_id"].to_numpy())
    rng = np.random.default_rng([count, number])
    while True:
        chosen = pl.Series(rng.choice(ids, min(count, len(ids)), replace=False))
        table = pool.table.filter(pl.col("subject_id").is_in(chosen.implode()))
        if table["boolean_value"].n_unique() == 2:
            return pool._replace(table=table)


def _challenge(work: Path) -> tuple[Path, Path, Labels]:
    folder = work / "challenge-2012"
    labels = folder / "labels" / f"{TASK_2012}.parquet"
    if not labels.exists():
        raise SystemExit(f"{labels} is missing: run `python benchmarks/real_data.py challenge-2012 {work}` first")
    return folder / "run", folder / "store", read_labels(labels)


def _of_site(labels: Labels, store: Path, site: str) -> Labels:
    ids = sj.EventStore.open(store).subjects.filter(pl.col("site") == site)["subject_id"]
    return labels._replace(table=labels.table.filter(pl.col("subject_id").is_in(ids.implode())))


def _written(path: Path, labels: Labels) -> Path:
    write_labels(path, labels.table, labels.task)
    return path
