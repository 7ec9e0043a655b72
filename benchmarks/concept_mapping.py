"""What shared concepts are worth at hospitals that were never seen: the eICU demo with and without them.

    python benchmarks/concept_mapping.py WORK        # SOJOURN_DATA names the open data

Two stores are built from the same events: one in which codes with a concept became that concept, in one unit, and one
that keeps every hospital's own codes. The outcomes are the same events in both. Two networks of the same settings are
trained on the known hospitals of each, and asked at those that were held out whole.
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import torch
from common import entries, keep
from real_data import STUDIES, _parted, _store

import sojourn as sj
from sojourn.events.store import EventStore
from sojourn.inference.likelihood import likelihood

TASKS = ("death-48h", "vasopressor-24h")


def main() -> None:
    """Train both and write `results/concept_mapping.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = parser.parse_args()
    torch.set_num_threads(1)
    study, work = STUDIES["eicu"], given.work
    stores = {"concepts": _store(study, work), "own codes": work / "store-own-codes"}
    sj.build(stores["own codes"], [work / "eicu-meds"], use_concepts=False)
    found = []
    for name, store in stores.items():
        subjects = EventStore.open(store).subjects
        is_test = study.is_test(subjects)
        held_out = sorted(subjects.filter(is_test)["site"].unique())
        for seed in given.seeds:
            run = work / f"run-{name.replace(' ', '-')}-{seed}"
            summary = sj.pretrain(store, run, config={**study.config, "held_out_sites": held_out, "seed": seed})
            found.append(
                {"codes": name, "seed": seed, "training": asdict(summary) | {"path": None}}
                | _scored(run, store, stores["concepts"], work, subjects.filter(is_test)["subject_id"])
            )
    figures = {"config": study.config, "tasks": TASKS, "runs": found}
    print(keep("concept_mapping", figures))


def _scored(run: Path, store: Path, mapped: Path, work: Path, test_ids: pl.Series) -> dict[str, Any]:
    """Zero-shot AUROC with intervals over hospitals, and bits per event of subjects that were not trained on.

    Who is asked is told from the mapped store for both: without concepts nobody knows who was on a vasopressor already.
    """
    evaluated = []
    for task in TASKS:
        labels = work / "labels" / f"{task}.parquet"
        if not labels.exists():
            sj.label(task, mapped, labels)
        known, test = _parted(labels, test_ids, ("known", "test"))
        made = [run / "predictions" / f"{task}-{method}.parquet" for method in ("sojourn", "lightgbm")]
        if not made[0].exists():
            sj.predict(run, store, test, made[0])
        if not made[1].exists():
            sj.baseline("lightgbm", store, known, store, test, made[1])
        result = sj.evaluate(made, run / "artifacts" / "evaluation" / task, by="site")
        evaluated += [entry for entry in entries(result.path) if entry["group"] == "overall"]
    bits = [asdict(line) for line in likelihood(run, store, run / "artifacts" / "likelihood.json")]
    return {"entries": evaluated, "likelihood_of_held_out_subjects": bits}


if __name__ == "__main__":
    main()
