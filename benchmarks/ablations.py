"""Switches of the model, each measured once: site adapters off, thinning on.

    python benchmarks/ablations.py WORK [--stays 300] [--epochs 4]

Six simulated hospitals, five to learn from. Bits per event of held-out subjects at the known hospitals and of all
subjects at the unseen one; AUROC and expected:observed of two tasks at the unseen one.
"""

import argparse
from pathlib import Path
from typing import Any

import polars as pl
from common import entries, keep, metric

import sojourn as sj
from sojourn.demo import SETTINGS
from sojourn.inference.likelihood import likelihood
from sojourn.sources.simulator import default_config, write_config

TASKS = ("vasopressor-24h", "lactate-gt-4-24h")
SWITCHES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "without site adapters": {"model": SETTINGS["model"] | {"use_site": False}},
    "thinning of 30 % of the subjects": {"thin_share": 0.3},
}


def main() -> None:
    """Train every switch and write `results/ablations.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--stays", type=int, default=300)
    parser.add_argument("--epochs", type=float, default=4)
    given = parser.parse_args()
    known, unseen = _stores(given.work, given.stays)
    results = {}
    for name, switch in SWITCHES.items():
        run = given.work / "runs" / name.replace(" ", "-").replace("%", "percent")
        sj.pretrain(known, run, config=SETTINGS | {"epochs": given.epochs} | switch)
        results[name] = {
            "known_hospitals": _bits(run, known, "held_out"),
            "unseen_hospital": _bits(run, unseen, None),
            "tasks": [_task(task, run, unseen, given.work / "evaluation" / run.name) for task in TASKS],
        }
        print(name, results[name])
    keep("ablations", {"stays_per_site": given.stays, "epochs": given.epochs, "results": results})


def _stores(work: Path, stays: int) -> tuple[Path, Path]:
    """Stores of the five known hospitals and of the unseen one."""
    work.mkdir(parents=True, exist_ok=True)
    config = default_config(num_sites=6, stays_per_site=stays, seed=11)
    truth = config.truth.model_copy(update={"risks": False, "states": False})
    last = config.sites[-1].model_copy(update={"num_stays": 2 * stays})
    stores = []
    for name, sites in (("known", config.sites[:-1]), ("unseen", (last,))):
        part = config.model_copy(update={"sites": sites, "truth": truth})
        sj.ingest("simulator", write_config(part, work / f"{name}.yaml"), work / f"{name}-meds")
        sj.build(work / name, [work / f"{name}-meds"])
        stores.append(work / name)
    return stores[0], stores[1]


def _bits(run: Path, store: Path, split: str | None) -> dict[str, float]:
    """Bits per event of the run itself, with its interval."""
    found = likelihood(run, store, split=split)[0]
    names = ("bits_per_event", "lower", "upper", "bits_gap", "bits_code", "bits_value")
    return {name: round(getattr(found, name), 4) for name in names}


def _task(task: str, run: Path, store: Path, work: Path) -> dict[str, Any]:
    """AUROC and calibration of a task at the unseen hospital."""
    labels, predictions = work / f"{task}-labels.parquet", work / f"{task}.parquet"
    sj.label(task, store, labels)
    sj.predict(run, store, labels, predictions)
    (entry,) = [e for e in entries(sj.evaluate([predictions], work / task).path) if e["group"] == "overall"]
    positive = int(pl.read_parquet(labels)["boolean_value"].sum())
    return {"task": task, "positive": positive, **{n: metric(entry, n) for n in ("auroc", "expected_observed")}}


if __name__ == "__main__":
    main()
