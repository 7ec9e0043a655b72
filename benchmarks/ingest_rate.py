"""How fast and in how much memory raw records become MEDS and a store, small and large.

    python benchmarks/ingest_rate.py WORK [--stays 42000]        # SOJOURN_DATA names the open data

Each step runs in a fresh process with one worker: the MIMIC-IV demo, then a simulated network (about 500 events a
stay; its truth is not computed). Peak memory should not grow with the number of events.
"""

import argparse
import os
import shutil
from pathlib import Path

from common import keep, measure

from sojourn.files import read_json
from sojourn.sources.simulator import default_config, write_config


def main() -> None:
    """Measure both and write `results/ingest_rate.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--stays", type=int, default=42_000)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    config = default_config(num_sites=6, stays_per_site=given.stays // 6)
    config = config.model_copy(update={"truth": config.truth.model_copy(update={"risks": False, "states": False})})
    simulated = write_config(config, given.work / "simulator.yaml")
    mimic = Path(os.environ["SOJOURN_DATA"]) / "mimic-iv-demo"
    results = {}
    for name, source, raw in (("mimic-iv-demo", "mimic-iv", mimic), ("simulated", "simulator", simulated)):
        data, store = given.work / f"{name}-meds", given.work / f"{name}-store"
        for folder in (data, store):
            shutil.rmtree(folder, ignore_errors=True)
        ingest = measure("ingest", source, str(raw), str(data))
        num_events = read_json(data / "metadata" / "ingest.json")["num_events"]
        build = measure("build", str(store), str(data))
        results[name] = {
            "num_events": num_events,
            **{f"ingest_{k}": v for k, v in ingest.items()},
            "ingest_events_per_s": round(num_events / ingest["wall_s"]),
            **{f"build_{k}": v for k, v in build.items()},
            "build_events_per_s": round(num_events / build["wall_s"]),
        }
        print(name, results[name])
    keep("ingest_rate", results)


if __name__ == "__main__":
    main()
