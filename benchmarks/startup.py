"""How long one waits before anything happens: `python benchmarks/startup.py [--rounds 15]`.

Each command runs in a fresh process, in turn with the others, so that a busy moment of the machine meets all of them;
the smallest of the rounds counts. Beside ours: Python itself, the libraries that a program on such data imports when it
starts, and the help of two tools for the same data. All start from compiled bytecode, as an installed package does: a
first round writes it to a folder of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import keep

_BIN = Path(sys.executable).parent
_COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import sojourn": [sys.executable, "-c", "import sojourn"],
    "sojourn --help": [str(_BIN / "sojourn"), "--help"],
    "sojourn predict --help": [str(_BIN / "sojourn"), "predict", "--help"],
    "sojourn tasks": [str(_BIN / "sojourn"), "tasks"],
    "import of predict": [sys.executable, "-c", "import sojourn.inference.predict"],
    "import numpy": [sys.executable, "-c", "import numpy"],
    "import polars": [sys.executable, "-c", "import polars"],
    "import torch": [sys.executable, "-c", "import torch"],
    "aces-cli --help": [str(_BIN / "aces-cli"), "--help"],
    "MEDS_transform-pipeline --help": [str(_BIN / "MEDS_transform-pipeline"), "--help"],
}


def once(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """CPU and wall seconds of one process."""
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    if status:
        raise RuntimeError(f"{' '.join(command)} failed")
    return used.ru_utime + used.ru_stime, wall


def main() -> None:
    """Measure all commands and write `results/startup.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as bytecode:
        environment = os.environ | {"PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}
        for command in _COMMANDS.values():
            once(command, environment)
        taken = [{name: once(command, environment) for name, command in _COMMANDS.items()} for _ in range(rounds)]
    results = {
        name: {
            "cpu_s": round(min(one[name][0] for one in taken), 3),
            "wall_s": round(min(one[name][1] for one in taken), 3),
        }
        for name in _COMMANDS
    }
    keep("startup", {"rounds": rounds, "commands": results})
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
