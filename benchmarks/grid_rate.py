"""How fast and in how much memory a MEDS data set becomes an hourly grid.

    python benchmarks/grid_rate.py WORK MEDS...      # such as those of ingest_rate.py

Each grid is made by the command in a process of its own. Peak memory should not grow with the number of events.
"""

import argparse
import shutil
from pathlib import Path

import polars as pl
from common import keep, measure

from sojourn.events.meds import shard_paths


def main() -> None:
    """Measure each and write `results/grid_rate.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("meds", type=Path, nargs="+")
    given = parser.parse_args()
    results = {}
    for meds in given.meds:
        out = given.work / "grid"
        shutil.rmtree(out, ignore_errors=True)
        used = measure("grid", str(meds), str(out))
        events = sum(pl.scan_parquet(path).select(pl.len()).collect().item() for path in shard_paths(meds))
        rows = pl.scan_parquet(out / "grid.parquet").select(pl.len()).collect().item()
        results[meds.name] = used | {
            "num_shards": len(shard_paths(meds)),
            "num_events": events,
            "num_rows": rows,
            "events_per_cpu_s": round(events / used["cpu_s"]),
        }
        print(meds.name, results[meds.name])
    keep("grid_rate", results)


if __name__ == "__main__":
    main()
