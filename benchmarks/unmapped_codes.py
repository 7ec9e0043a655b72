"""What a hospital loses whose codes nobody has mapped, and what the words of its codes give back.

    python benchmarks/unmapped_codes.py WORK [--seeds 0 1 2]     # WORK of unseen_hospital.py, run before

At the simulated hospital that the runs have never seen, a third of the codes that have a concept lose it: they keep
their local name, description and unit. The same run then predicts (1) with the mapping, (2) with these codes as
`//unknown`, (3) after `extend`, which takes their rows from their descriptions. Labels come from the mapped store.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from common import entries, keep

import sojourn as sj
from sojourn.adaptation.codes import extend
from sojourn.demo import TASKS
from sojourn.events.splits import splitmix64

HIDDEN_SHARE = 1 / 3


def main() -> None:
    """Hide, extend, predict, and write `results/unmapped_codes.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    by_seed = {seed: _one(given.work / f"seed-{seed}", seed) for seed in given.seeds}
    summary = []
    for task in TASKS:
        for arm in ("mapped", "hidden", "extended"):
            values = [found[task][arm]["auroc"]["value"] for found in (f["tasks"] for f in by_seed.values())]
            summary.append({"task": task, "arm": arm, "auroc": float(np.mean(values)), "by_seed": values})
            print(summary[-1])
    keep("unmapped_codes", {"summary": summary, "seeds": {str(seed): found for seed, found in by_seed.items()}})


def _one(demo: Path, seed: int) -> dict[str, Any]:
    """All arms for one network of hospitals."""
    store = sj.EventStore.open(demo / "store")
    site = sorted(store.subjects["site"].unique())[-1]
    hidden = _hide(demo, site, seed)
    taught = extend(demo / "run", hidden, demo / "unmapped" / "run", sites=[site])
    arms = {
        "mapped": (demo / "run", demo / "store"),
        "hidden": (demo / "run", hidden),
        "extended": (Path(taught.path), hidden),
    }
    tasks = {}
    for task in TASKS:
        labels = demo / "labels" / f"{task}-test.parquet"
        files = [demo / "unmapped" / task / f"{arm}.parquet" for arm in arms]
        for path, (run, where) in zip(files, arms.values(), strict=True):
            if not path.exists():
                sj.predict(run, where, labels, path)
        result = sj.evaluate(files, demo / "unmapped" / "evaluation" / task)
        overall = [entry for entry in entries(result.path) if entry["group"] == "overall"]
        tasks[task] = {Path(entry["file"]).stem: entry["metrics"] for entry in overall}
    return {
        "taught": {"num_codes": taught.num_codes, "num_events": taught.num_events, "gain": taught.gain},
        "tasks": tasks,
    }


def _hide(demo: Path, site: str, seed: int) -> Path:
    """A store of the same records, in which a third of the site's mapped codes have no concept."""
    place = demo / "unmapped" / "store"
    if place.exists():
        return place
    meds = demo / "unmapped" / "meds"
    (meds / "metadata").mkdir(parents=True, exist_ok=True)
    if not (meds / "data").exists():
        (meds / "data").symlink_to((demo / "meds" / "data").resolve())
    for path in (demo / "meds" / "metadata").iterdir():
        (meds / "metadata" / path.name).write_bytes(path.read_bytes())
    codes = pl.read_parquet(meds / "metadata" / "codes.parquet")
    own = pl.scan_parquet(demo / "meds" / "data" / "*.parquet").filter(pl.col("site") == site)
    used = own.select(pl.col("code").unique()).collect()["code"]
    mapped = (
        codes.filter(pl.col("code").is_in(used.implode()) & pl.col("concept").is_not_null())["concept"].unique().sort()
    )
    # Whole concepts are hidden: start and end of an infusion may part, but not two names of one thing.
    draw = splitmix64(np.arange(len(mapped), dtype=np.uint64) + np.uint64(seed * 1_000_003))
    chosen = mapped.gather(np.sort(np.argsort(draw, kind="stable")[: round(HIDDEN_SHARE * len(mapped))]))
    is_hidden = pl.col("code").is_in(used.implode()) & pl.col("concept").is_in(chosen.implode())
    cleared = {
        name: pl.when(is_hidden).then(None).otherwise(name).alias(name)
        for name in ("concept", "concept_unit", "concept_description")
    }
    ones = {
        name: pl.when(is_hidden).then(default).otherwise(name).alias(name)
        for name, default in (("scale", 1.0), ("offset", 0.0))
    }
    codes.with_columns(**cleared, **ones).write_parquet(meds / "metadata" / "codes.parquet")
    sj.build(place, [meds])
    return place


if __name__ == "__main__":
    main()
