"""How far a federated training has come: one file, written after every round."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
import torch

from sojourn.errors import RunError
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.federated.config import FederatedConfig
from sojourn.federated.local import Job
from sojourn.federated.messages import Tensors
from sojourn.federated.scores import Scores
from sojourn.files import atomic_file
from sojourn.training.run import VOCABULARY, read_settings

AGREED = Path("checkpoints") / "agreed.safetensors"
"""What the sites agreed on before the first round, as the message that asks for hazards."""
_PLACE = Path("checkpoints") / "federated.safetensors"
_SAID = ("round", "best_told", "best_round", "bits", "refused", "num_subjects", "usual", "is_cotrained")


@dataclass(slots=True)
class Progress:
    """What the next round depends on."""

    sites: tuple[str, ...]
    num_subjects: dict[str, int]
    """Training subjects by site, as they told."""
    round: int = 0
    """Rounds that are finished."""
    weights: Tensors = field(default_factory=dict)
    strategy: Tensors = field(default_factory=dict)
    best_told: Scores = field(default_factory=dict)
    """What the sites told of the weights that were kept."""
    best_round: int = 0
    bits: float = math.nan
    refused: int = 0
    usual: dict[str, float] = field(default_factory=dict)
    """Median length of the last round's updates, by part: what a round of one or two sites is compared with."""
    is_cotrained: bool = False
    """Whether the sites have taught the shared model after the last round."""

    def job(self, run: Path, config: FederatedConfig) -> Job:
        """What the sites share, from the run's folder."""
        settings = read_settings(run)
        hazards = safetensors.numpy.load_file(str(run / "checkpoints" / "hazards.safetensors"))["log_hazard"]
        vocabulary = ModelVocabulary.load(run / VOCABULARY)
        return Job(vocabulary, tuple(settings["outcomes"]), self.sites, torch.from_numpy(hazards), config.pretrain)


def save_progress(run: Path, config: FederatedConfig, progress: Progress) -> None:
    """Write the state after a round; it is whole or the one before."""
    tensors = {f"weights/{name}": np.ascontiguousarray(t) for name, t in progress.weights.items()}
    tensors |= {f"strategy/{name}": np.ascontiguousarray(t) for name, t in progress.strategy.items()}
    said = {name: getattr(progress, name) for name in _SAID} | {"sites": progress.sites}
    header = {"progress": json.dumps(said), "config": config.model_dump_json()}
    with atomic_file(run / _PLACE) as part:
        safetensors.numpy.save_file(tensors, str(part), header)


def load_progress(run: Path, config: FederatedConfig) -> Progress | None:
    """The state after the last finished round; None where there is none.

    Raises
    ------
    RunError
        If the file is damaged or belongs to other settings or another version.
    """
    path = run / _PLACE
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(str(path), "np") as file:
            header = file.metadata()
        said, tensors = json.loads(header["progress"]), safetensors.numpy.load_file(str(path))
    except (OSError, safetensors.SafetensorError, KeyError, ValueError) as error:
        msg = f"{path} must hold the state of a federated training; it is damaged. Remove {run} to start again."
        raise RunError(msg) from error
    if FederatedConfig.model_validate_json(header["config"]) != config:
        msg = f"run must be new or of the same settings; {run} holds a federated training with others. Choose another."
        raise RunError(msg)
    if said.keys() != {*_SAID, "sites"}:
        msg = f"run must be of this version of Sojourn; an earlier one began {run}. Start again in another folder."
        raise RunError(msg)
    parts: dict[str, Tensors] = {"weights": {}, "strategy": {}}
    for full, tensor in tensors.items():
        part, name = full.split("/", 1)
        parts[part][name] = tensor
    return Progress(**said | {"sites": tuple(said["sites"])}, weights=parts["weights"], strategy=parts["strategy"])
