"""MEDS to "ready to train": ours, the best rival and the least work possible, on the same synthetic events.

    python benchmarks/prepare_rate.py WORK                                    # 6.2 million events, with the rival
    python benchmarks/prepare_rate.py WORK --events 62000000 --rivals none    # is memory flat, is time linear?

* `sojourn`: `sojourn build` with one worker: checksums, vocabulary, value scales, times, outcomes, accounts.
* `meds-torch-data`: its own `MTD_preprocess` (filter, normalise, tokenise, write tensors), in a virtual environment
  that this script makes under WORK. If that cannot be done, the error stands in the results instead.
* `polars-pass`: `polars_pass.py`, a bare pass over the same files: the ceiling.

Each runs in a fresh process, start-up included, with one thread for each library; the pipelines' sub-processes count.
Results go to `results/prepare_rate.json` under the number of events asked for; results of other sizes stay.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from common import RESULTS, keep, measure, measure_command

from sojourn.files import read_json

ONE_THREAD = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "HYDRA_FULL_ERROR": "1"}
_CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"


def sojourn(data: Path, out: Path, work: Path) -> dict[str, Any]:
    """Our build."""
    return measure("build", str(out), str(data))


def polars_pass(data: Path, out: Path, work: Path) -> dict[str, Any]:
    """The bare pass."""
    return measure_command(sys.executable, str(Path(__file__).with_name("polars_pass.py")), str(data), str(out))


def meds_torch_data(data: Path, out: Path, work: Path) -> dict[str, Any]:
    """The rival's own command, after installing it."""
    environment = work / "venv-meds-torch-data"
    pip = [str(environment / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    if not (environment / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
        subprocess.run([*pip, "-c", str(_CONSTRAINTS), "torch"], check=True)
        subprocess.run([*pip, "-c", str(_CONSTRAINTS), "MEDS-transforms", "meds-torch-data"], check=True)
        (environment / "installed").touch()
    listed = subprocess.run([*pip[:1], "freeze"], check=True, capture_output=True, text=True).stdout.split()
    versions = [line for line in listed if line.lower().startswith(("meds", "polars==", "torch==", "numpy=="))]
    # Its stages are programs of their own, found by name.
    path = f"{environment / 'bin'}:{os.environ['PATH']}"
    command = [str(environment / "bin" / "MTD_preprocess"), f"MEDS_dataset_dir={data}", f"output_dir={out}"]
    return measure_command(*command, PATH=path) | {"versions": versions}


CONTESTANTS: dict[str, Callable[[Path, Path, Path], dict[str, Any]]] = {
    "polars-pass": polars_pass,
    "sojourn": sojourn,
    "meds-torch-data": meds_torch_data,
}


def compare(work: Path, num_events: int, names: list[str], repeats: int) -> dict[str, Any]:
    """Measure each contestant on the same data, in turn; the run with the least CPU time counts."""
    data = work / f"synthetic-{num_events}"
    # In a process apart: Linux counts the memory of the process that starts a command as the command's own.
    make = [sys.executable, str(Path(__file__).with_name("synthetic_events.py")), str(data), f"--events={num_events}"]
    subprocess.run(make, check=True)
    rows = sum(pq.read_metadata(path).num_rows for path in (data / "data").rglob("*.parquet"))
    found: dict[str, Any] = {"num_rows": rows, "load_1min": round(os.getloadavg()[0], 2)}
    for _ in range(repeats):
        for name in names:
            out = work / f"{name}-{num_events}"
            shutil.rmtree(out, ignore_errors=True)
            try:
                used = CONTESTANTS[name](data, out, work)
            except (subprocess.CalledProcessError, RuntimeError, OSError) as error:
                found[name] = {"error": str(error)[-500:]}
                continue
            used["events_per_cpu_s"] = round(rows / used["cpu_s"])
            used["disk_bytes_per_event"] = round(_size(out) / rows, 2)
            best = found.get(name, used)
            found[name] = used if used["cpu_s"] <= best.get("cpu_s", used["cpu_s"]) else best
            shutil.rmtree(out, ignore_errors=True)
    measured = {name: found[name]["events_per_cpu_s"] for name in names if "cpu_s" in found[name]}
    found["times_the_rate_of"] = {
        name: round(measured["sojourn"] / rate, 3) for name, rate in measured.items() if name != "sojourn"
    }
    return found


def _size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Measure one size and write `results/prepare_rate.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for data, environments and stores")
    parser.add_argument("--events", type=int, default=6_200_000)
    parser.add_argument("--rivals", choices=["all", "none"], default="all")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    os.environ |= ONE_THREAD
    names = [name for name in CONTESTANTS if given.rivals == "all" or name != "meds-torch-data"]
    found = compare(given.work.resolve(), given.events, names, given.repeats)
    path = RESULTS / "prepare_rate.json"
    before = read_json(path) if path.exists() else {}
    keep("prepare_rate", before | {f"synthetic-{given.events}": found})
    print(found)


if __name__ == "__main__":
    main()
