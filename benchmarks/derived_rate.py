"""Derived events from MEDS data sets: events per second of processor time, and peak memory on growing data.

    python benchmarks/derived_rate.py NAME=DATASET... [--times 10] [--work DIR]

Each data set is read, scored (all of `SCORES`, which hold SOFA and KDIGO) and written by one `sojourn derive`, once as
it is and once with every subject `times` times, under other ids. Sepsis-3 is an outcome, which `build` derives; so all
onsets are found as well, on the first piece in memory. One thread.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl
from common import keep, measure

from sojourn.concepts.derived import ONSETS, derive_onsets
from sojourn.concepts.derived.dataset import as_concepts
from sojourn.events.meds import shard_paths, write_table
from sojourn.events.pieces import read_piece
from sojourn.events.plan import Piece, pack, read_subjects
from sojourn.events.units import read_rules


def replicate(dataset: Path, out: Path, times: int) -> None:
    """Copy a data set with every subject `times` times: shard by shard, under ids that do not meet."""
    subjects = pl.concat(pl.scan_parquet(path).select("subject_id") for path in shard_paths(dataset))
    largest = subjects.max().collect().item()
    for path in shard_paths(dataset):
        for copy in range(times):
            rows = pl.read_parquet(path).with_columns(pl.col("subject_id") + copy * (largest + 1))
            write_table(rows, out / "data" / f"{copy}-{path.name}")
    shutil.copytree(dataset / "metadata", out / "metadata", ignore=shutil.ignore_patterns("subject_splits.parquet"))


def derived(dataset: Path, out: Path) -> dict[str, Any]:
    """One `sojourn derive` in a process of its own."""
    num_events = sum(pl.scan_parquet(path).select(pl.len()).collect().item() for path in shard_paths(dataset))
    used = measure("derive", str(dataset), str(out))
    return used | {"num_events": num_events, "events_per_cpu_s": round(num_events / used["cpu_s"])}


def onsets(dataset: Path) -> dict[str, Any]:
    """All onsets of the first piece, in memory."""
    spans = next(pack((path, read_subjects(path)[1]) for path in shard_paths(dataset)))
    rows = read_piece(Piece(0, dataset.name, dataset, spans))
    events = as_concepts(rows, read_rules(dataset), [root for onset in ONSETS.values() for root in onset.roots])
    begin = time.process_time()
    found = derive_onsets(events, list(ONSETS))
    cpu_s = time.process_time() - begin
    counts = {name: len(table) for name, table in found.items()}
    rate = round(len(rows) / cpu_s)
    return {"num_events": len(rows), "cpu_s": round(cpu_s, 2), "events_per_cpu_s": rate, "onsets": counts}


def main() -> None:
    """Measure every data set, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", nargs="+")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--work", type=Path)
    asked = parser.parse_args()
    os.environ |= {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    results = {}
    with tempfile.TemporaryDirectory(dir=asked.work) as folder:
        for text in asked.datasets:
            name, _, place = text.partition("=")
            many = Path(folder) / f"{name}-many"
            replicate(Path(place), many, asked.times)
            results[name] = {
                "once": derived(Path(place), Path(folder) / f"{name}-scored"),
                f"x{asked.times}": derived(many, Path(folder) / f"{name}-many-scored"),
                "onsets": onsets(Path(place)),
            }
            shutil.rmtree(many)
            shutil.rmtree(Path(folder) / f"{name}-many-scored")
    keep("derived_rate", {"results": results, "target_events_per_s": 100_000})


if __name__ == "__main__":
    sys.exit(main())
