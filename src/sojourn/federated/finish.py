"""A federated training as an ordinary run folder, so that every other command works on it."""

import hashlib
import json
import shutil
from importlib.metadata import version
from pathlib import Path

import safetensors
import torch

from sojourn.errors import RunError
from sojourn.federated.checkpoint import Progress
from sojourn.federated.config import FederatedConfig
from sojourn.federated.local import Job
from sojourn.federated.messages import Tensors
from sojourn.files import atomic_file
from sojourn.training.run import (
    SETTINGS,
    VOCABULARY,
    WEIGHTS,
    read_settings,
    resolved,
    save_settings,
    save_tensors,
)

_ROUNDS = "rounds"
_UNTAUGHT = Path("checkpoints") / "untaught.safetensors"
_AFTER_ALL = 2**31
"""Weights that do not say are those of the last round."""


def open_run(run: Path, job: Job, config: FederatedConfig, progress: Progress) -> None:
    """Write settings, vocabulary and first hazards.

    Raises
    ------
    RunError
        If the folder holds a run of another kind.
    """
    refuse_other(run)
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    save_tensors(run / "checkpoints" / "hazards.safetensors", {"log_hazard": job.log_hazard})
    told = json.dumps([progress.num_subjects, job.vocabulary.table["count"].to_list()], sort_keys=True)
    settings = {
        "config": resolved(config.pretrain),
        "sites": list(job.sites),
        "outcomes": list(job.outcomes),
        "data": {
            "store": "at the sites",
            "fingerprint": hashlib.sha256(told.encode()).hexdigest(),
            "num_training_subjects": sum(progress.num_subjects.values()),
            "num_tuning_subjects": None,
        },
        "federated": config.model_dump(mode="json", exclude={"pretrain"}),
        "versions": {name: version(name) for name in ("sojourn", "torch", "polars", "numpy", "meds")},
    }
    save_settings(run, settings)
    job.vocabulary.save(run / VOCABULARY)


def refuse_other(run: Path) -> None:
    """Raise `RunError` where a folder holds anything but a federated training."""
    has_settings = (run / SETTINGS).exists()
    # A store has a file of the name of the vocabulary too.
    if ("federated" not in read_settings(run)) if has_settings else (run / VOCABULARY).exists():
        msg = f"run must be new or of a federated training; {run} holds something else. Choose another folder."
        raise RunError(msg)


def write_weights(run: Path, job: Job, weights: Tensors, *, num_rounds: int) -> None:
    """Write the weights after some rounds as those of the run; the file says after how many.

    Under FedFactor the policy part is the one that everybody started from: each site's own never left it.
    """
    network = job.network()
    network.load_state_dict({name: torch.from_numpy(weight) for name, weight in weights.items()}, strict=False)
    save_tensors(run / WEIGHTS, network.state_dict(), {_ROUNDS: str(num_rounds)})


def keep_untaught(run: Path) -> Path:
    """A copy of the run's weights as they were before co-training, made by the first call of it.

    A call that was killed after it wrote what was taught would otherwise teach that again.
    """
    copy = run / _UNTAUGHT
    if not copy.exists():
        with atomic_file(copy) as part:
            shutil.copyfile(run / WEIGHTS, part)
    return copy


def rounds_of(run: Path) -> int:
    """After how many rounds the weights of a federated run stood."""
    return rounds_in(run / WEIGHTS)


def rounds_in(weights: Path) -> int:
    """After how many rounds the weights in a file of `write_weights` stood."""
    with safetensors.safe_open(str(weights), "pt") as file:
        return int((file.metadata() or {}).get(_ROUNDS, _AFTER_ALL))
