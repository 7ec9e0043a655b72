"""Makes the golden losses: `python tests/helpers/golden_run.py` writes tests/training/golden_losses.json.

Run it only after a change that is meant to change what is learnt, and say so with the commit.
"""

import json
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "training" / "golden_losses.json"
NUM_STEPS = 20


def golden_losses(folder: Path) -> list[dict[str, float]]:
    """Losses of the first steps on the toy process, and the tuning loss after them."""
    from helpers.toy_process import SETTINGS, build_toy_store
    from sojourn.training import trainer as module
    from sojourn.training.pretrain import pretrain

    store = build_toy_store(folder / "toy", num_subjects=120, seed=7)
    settings = SETTINGS | {"seed": 7, "max_steps": NUM_STEPS, "epochs": 100, "instants_per_batch": 256}
    before, module._LOG_EVERY = module._LOG_EVERY, 1
    try:
        pretrain(store, folder / "run", config=settings | {"evaluate_every": NUM_STEPS, "thin_share": 0.2})
    finally:
        module._LOG_EVERY = before
    return [figures(line) for line in map(json.loads, (folder / "run" / "metrics.jsonl").read_text().splitlines())]


def figures(line: dict[str, Any]) -> dict[str, float]:
    """The losses of a line of the log."""
    return {name: line[name] for name in ("step", "nats_gap", "nats_code", "nats_value", "query_nats")}


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        losses = golden_losses(Path(folder))
    made = {
        "made_by": "python tests/helpers/golden_run.py",
        "what": "first steps on 120 patients of tests/helpers/toy_process.py in float32; the last line is tuning",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    GOLDEN.write_text(json.dumps(made | {"losses": losses}, indent=1) + "\n")
