"""How fast and in how much memory a store is built: `python benchmarks/build_rate.py DATASET...`.

Each data set is built in a fresh process with one worker; the figures include starting Python, reading, checksums,
vocabulary, value statistics and writing. They are added to `results/build_rate.json` under the data set's name.
"""

import argparse
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy
import polars

from sojourn.events.build import report_of
from sojourn.files import read_json, write_json

RESULTS = Path(__file__).parent / "results" / "build_rate.json"
BUILD = """
import sys
from pathlib import Path
from sojourn.events.build import build_store
if __name__ == "__main__":
    build_store(Path(sys.argv[1]), [Path(sys.argv[2])])
"""


def measure(dataset: Path) -> dict[str, object]:
    """Build `dataset` once in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", BUILD, str(store), str(dataset)], check=True)
        wall = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        report = report_of(store)
        manifest = read_json(store / "manifest.json")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    fingerprint = json.dumps(manifest["inputs"]["datasets"], sort_keys=True).encode()
    return {
        "num_events": report.num_events,
        "num_subjects": report.num_subjects,
        "num_codes": report.num_codes,
        "bytes_per_event": round(report.bytes_per_event, 4),
        "wall_s": round(wall, 2),
        "cpu_s": round(cpu, 2),
        "events_per_cpu_s": round(report.num_events / cpu),
        "events_per_wall_s": round(report.num_events / wall),
        # The largest of all processes so far: give the smaller data set first.
        "peak_memory_mb": round(after.ru_maxrss / 1024),
        "data_sha256": hashlib.sha256(fingerprint).hexdigest(),
        "load_average": round(os.getloadavg()[0], 1),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "versions": {"python": platform.python_version(), "numpy": numpy.__version__, "polars": polars.__version__},
    }


def main() -> None:
    """Measure the data sets given and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", nargs="+", type=Path, help="MEDS data sets, smaller ones first")
    results = read_json(RESULTS) if RESULTS.exists() else {}
    for dataset in parser.parse_args().dataset:
        results[dataset.resolve().name] = found = measure(dataset)
        print(dataset.name, json.dumps(found))
    write_json(RESULTS, results)


if __name__ == "__main__":
    main()
