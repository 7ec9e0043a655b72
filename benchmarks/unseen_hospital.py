"""Zero-shot risks at a simulated hospital that was never seen, beside rivals and the ceiling, for several seeds.

    python benchmarks/unseen_hospital.py WORK [--seeds 0 1 2]

Each seed draws other hospitals, other patients and other initial weights: it is the demo, run once per seed, but with
more stays at the unseen hospital. The demo's 900 test stays hold 25 to 179 events per task, so that
even the true risks miss the observed count by up to 40 %; with five times as many, expected:observed tells calibration
from chance.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from common import keep
from scipy.stats import spearmanr

import sojourn as sj
from sojourn.demo import FULL, TASKS, demo
from sojourn.tasks.files import read_labels, write_labels

NUM_DRAWN, NUM_FUTURES = 300, 8
"""Test moments whose risk is drawn too, and futures of each."""
SIZE = FULL._replace(unseen_stays=5500, epochs=4, truth_stays=1400)


def main() -> None:
    """Run the seeds and write `results/unseen_hospital.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    by_seed = {seed: demo(given.work / f"seed-{seed}", seed=seed, size=SIZE).entries for seed in given.seeds}
    summary = list(summarise(by_seed))
    agreement = [agree(given.work / f"seed-{seed}", task) | {"seed": seed} for seed in given.seeds for task in TASKS]
    seeds = {str(seed): [_short(entry) for entry in found] for seed, found in by_seed.items()}
    keep("unseen_hospital", {"size": SIZE._asdict(), "summary": summary, "seeds": seeds, "asked_and_drawn": agreement})
    for row in [*summary, *agreement]:
        print(row)


def summarise(by_seed: dict[int, list[dict[str, Any]]]) -> Iterable[dict[str, Any]]:
    """Mean and range over the seeds for each task and method."""
    methods = dict.fromkeys(entry["method"] for found in by_seed.values() for entry in found)
    for task in TASKS:
        for method in methods:
            chosen = [e for found in by_seed.values() for e in found if (e["task"], e["method"]) == (task, method)]
            if not chosen:
                continue
            figures = {}
            for name in ("auroc", "expected_observed"):
                values = [entry["metrics"][name]["value"] for entry in chosen]
                figures[name] = {"mean": np.mean(values), "lowest": min(values), "highest": max(values)}
            yield {"task": task, "method": method, "seeds": len(chosen), **figures}


def agree(work: Path, task: str) -> dict[str, Any]:
    """Mean risk of some test moments as asked in one pass, as drawn in futures, and as it came true."""
    labels = read_labels(work / "labels" / f"{task}-test.parquet")
    rows = np.unique(np.linspace(0, len(labels.table) - 1, NUM_DRAWN).astype(int))
    asked, drawn = work / "drawn" / f"{task}-labels.parquet", work / "drawn" / f"{task}.parquet"
    if not drawn.exists():
        write_labels(asked, labels.table[rows], labels.task)
        sj.predict(work / "run", work / "store", asked, drawn, method="simulate", num_samples=NUM_FUTURES)
    key, risk = ["subject_id", "prediction_time"], "predicted_boolean_probability"
    one_pass = pl.read_parquet(work / "predictions" / task / "sojourn.parquet").select(*key, asked=risk)
    both = pl.read_parquet(drawn).join(one_pass, on=key)
    difference = both[risk] - both["asked"]
    return {
        "task": task,
        "moments": len(both),
        "drawn": float(both[risk].mean()),
        "asked": float(both["asked"].mean()),
        "observed": float(both["boolean_value"].mean()),
        "difference": float(difference.mean()),
        # Over moments and futures both: the same moments are asked and drawn.
        "standard_error": float(difference.std() / np.sqrt(len(both))),
        "monte_carlo_error": float(np.sqrt((both["standard_error"] ** 2).sum()) / len(both)),
        "rank_correlation": float(spearmanr(both[risk], both["asked"]).statistic),
    }


def _short(entry: dict[str, Any]) -> dict[str, Any]:
    names = ("task", "method", "num_predictions", "num_subjects", "prevalence", "metrics")
    return {name: entry[name] for name in names}


if __name__ == "__main__":
    main()
