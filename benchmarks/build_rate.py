"""How fast and in how much memory a store is built: `python benchmarks/build_rate.py DATASET...`.

Each data set is built in a fresh process with one worker; the figures include starting Python, reading, checksums,
vocabulary, value statistics and writing. They stand in `results/build_rate.json` under the data set's name.
"""

import argparse
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from common import keep, measure

from sojourn.events.build import report_of
from sojourn.files import read_json


def rate(dataset: Path) -> dict[str, Any]:
    """Build `dataset` once in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        used = measure("build", str(store), str(dataset))
        report = report_of(store)
        inputs = read_json(store / "manifest.json")["inputs"]["datasets"]
    return {
        "num_events": report.num_events,
        "num_subjects": report.num_subjects,
        "num_codes": report.num_codes,
        "bytes_per_event": round(report.bytes_per_event, 4),
        **used,
        "events_per_cpu_s": round(report.num_events / used["cpu_s"]),
        "events_per_wall_s": round(report.num_events / used["wall_s"]),
        "data_sha256": hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest(),
    }


def main() -> None:
    """Measure the data sets given and write `results/build_rate.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="+", type=Path, help="MEDS data sets")
    results = {dataset.resolve().name: rate(dataset) for dataset in parser.parse_args().dataset}
    keep("build_rate", results)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
