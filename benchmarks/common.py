"""What benchmarks share: a command measured, and a result kept beside machine, versions and date."""

import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sojourn.files import read_json, write_json

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("sojourn", "torch", "polars", "numpy", "lightgbm", "scikit-learn")


def machine() -> dict[str, Any]:
    """The machine and the versions of what did the work."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")), ""
    )
    return {
        "cpu": model or platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _PACKAGES},
        "load_1min": round(os.getloadavg()[0], 2),
        "date": datetime.now(UTC).date().isoformat(),
    }


def keep(name: str, content: dict[str, Any]) -> Path:
    """Write a result beside the machine that it was made on."""
    path = RESULTS / f"{name}.json"
    write_json(path, content | {"machine": machine()})
    return path


def measure(*arguments: str) -> dict[str, Any]:
    """Wall time, CPU time and peak memory of one `sojourn` command, in a process of its own."""
    return measure_command(sys.executable, "-m", "sojourn.cli", *arguments)


def measure_command(*command: str, **variables: str) -> dict[str, Any]:
    """Wall time, CPU time and peak memory of a command and of all processes that it starts and waits for.

    `peak_memory_mb` is that of the largest of its processes; those of a pipeline run one after the other. `variables`
    are added to its environment.
    """
    start = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=os.environ | variables)
        # Linux counts the children that a process has waited for in what it has used itself.
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - start
        if status:
            said.seek(0)
            message = said.read().decode(errors="replace")[-4000:]
            raise RuntimeError(f"{' '.join(command)} failed: {message}")
    return {
        "wall_s": round(wall, 2),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "peak_memory_mb": round(used.ru_maxrss / 1024),
    }


def entries(evaluation: Path) -> list[dict[str, Any]]:
    """Entries of an `evaluation.json` without the curves."""
    found = read_json(evaluation / "evaluation.json")["entries"]
    return [{k: v for k, v in entry.items() if k != "reliability"} for entry in found]


def metric(entry: dict[str, Any], name: str) -> str:
    """`value (lower-upper)` of a metric; a dash where it cannot be computed, as without any event."""
    found = entry["metrics"][name]
    if any(found[end] is None for end in ("value", "lower", "upper")):
        return "-"
    return f"{found['value']:.3f} ({found['lower']:.3f}-{found['upper']:.3f})"


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
