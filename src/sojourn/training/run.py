"""A run: the folder with everything about a trained model, and nothing that needs pickle."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch
import yaml
from torch import Tensor

from sojourn.errors import RunError
from sojourn.events.codes import UNKNOWN, ancestors
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.files import atomic_file
from sojourn.model import CodeTable, Network
from sojourn.training.code_words import word_features
from sojourn.training.config import PretrainConfig
from sojourn.training.records import RecordReader

SETTINGS, WEIGHTS, VOCABULARY, METRICS = "run.yaml", "model.safetensors", "vocabulary.parquet", "metrics.jsonl"
LINEAGE = "adapted"
"""Name in ``run.yaml`` of the list of what was done to a pre-trained run, oldest first."""


def code_table(vocabulary: ModelVocabulary, log_hazard_VJ: Tensor, words_VF: Tensor | None = None) -> CodeTable:
    """What the network must know of the codes, from the vocabulary."""
    table = vocabulary.table
    scale = torch.tensor(table["scale"].to_numpy(), dtype=torch.float32)
    tick = torch.tensor(table["resolution"].to_numpy(), dtype=torch.float32)
    is_gridded = torch.isfinite(tick) & (tick > 0)
    # Where codes were static facts only, another data set may have a code of that level in its history.
    is_static = table["is_static"] & ~table["code"].str.ends_with(UNKNOWN)
    hidden = torch.tensor((table["target_only"] | is_static).to_numpy())
    return CodeTable(
        loc=torch.tensor(table["loc"].fill_null(0.0).fill_nan(0.0).to_numpy(), dtype=torch.float32),
        scale=scale,
        # Values without a grid of their own are taken as recorded to a thousandth of their spread.
        tick=torch.where(is_gridded, tick, 1e-3 * scale),
        can_emit=~hidden,
        value_share=torch.tensor(_value_share(vocabulary)).float(),
        log_hazard=log_hazard_VJ,
        words=words_VF,
    )


def taught(vocabulary: ModelVocabulary) -> npt.NDArray[np.bool_]:
    """Whether each code stands for events of training, shape (V,); codes that `extend` adds do not."""
    return vocabulary.table["count"].to_numpy() > 0


def words_of(vocabulary: ModelVocabulary, size: int) -> Tensor | None:
    """Features of the words of all codes, (V, size); None for no features."""
    return torch.from_numpy(word_features(vocabulary.table, taught(vocabulary), size)) if size else None


def _value_share(vocabulary: ModelVocabulary) -> npt.NDArray[np.float64]:
    """Share of the events of each code that carry a value, shape (V,), inside (0, 1).

    The values of an `//unknown` entry are those of all codes below its level, so its events must be theirs too.
    """
    table = vocabulary.table
    counts = dict(zip(table["code"], table["count"], strict=True))
    pooled = Counter({UNKNOWN: sum(counts.values())})
    for code, count in counts.items():
        for above in ancestors(code):
            pooled[above + UNKNOWN] += count
    num_events = np.array([pooled.get(code, count) for code, count in counts.items()], dtype=np.float64)
    num_values = table["num_values"].to_numpy().astype(np.float64)
    # Rare codes may stand in a level itself while their values count below it: never more values than events.
    share: npt.NDArray[np.float64] = (num_values + 0.5) / (np.maximum(num_events, num_values) + 1.0)
    return share


class Run:
    """A finished (or stopped) run, opened for use.

    Parameters
    ----------
    path : the run's folder.

    Raises
    ------
    RunError
        If the folder is not a run, holds no trained weights yet, or has damaged settings or weights.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = path = Path(path)
        for name in (SETTINGS, WEIGHTS, VOCABULARY):
            if not (path / name).exists():
                msg = f"{path} must be a run with trained weights; {name} is missing. Run `sojourn pretrain` first."
                raise RunError(msg)
        self.settings = read_settings(path)
        self.config = PretrainConfig.model_validate(self.settings["config"])
        self.vocabulary = ModelVocabulary.load(path / VOCABULARY)
        self.sites: list[str] = self.settings["sites"]
        self.outcomes: list[str] = self.settings["outcomes"]

    def network(self, *, random_weights_seed: int | None = None) -> Network:
        """The trained network in evaluation mode; with a seed, the same network with random weights (a control)."""
        try:
            weights = safetensors.torch.load_file(str(self.path / WEIGHTS))
        except safetensors.SafetensorError as error:
            msg = f"{self.path / WEIGHTS} must hold the run's weights; it is damaged. Restore it or train again."
            raise RunError(msg) from error
        try:
            codes = code_table(self.vocabulary, weights["first_head.log_base"], weights.get("events.words"))
            if random_weights_seed is not None:
                torch.manual_seed(random_weights_seed)
            network = Network(self.config.network(), codes, len(self.sites))
            if random_weights_seed is None:
                network.load_state_dict(_ends_of_earlier_versions(network) | weights)
        except (KeyError, RuntimeError) as error:
            made_by = self.settings.get("versions", {}).get("sojourn", "an unknown version")
            msg = f"{self.path / WEIGHTS} must fit the network of this version; it was made by {made_by}. Train again."
            raise RunError(msg) from error
        return network.eval()

    def reader(self, store: EventStore) -> RecordReader:
        """Reads subjects of any store in this run's terms."""
        return RecordReader(store, self.vocabulary, self.sites)

    def metrics(self) -> list[dict[str, Any]]:
        """Lines of the training log."""
        path = self.path / METRICS
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _ends_of_earlier_versions(network: Network) -> dict[str, Tensor]:
    """Weights with which every discharge ends a future, as runs took it that were made before they learnt this."""
    ends = network.gap_head.ends
    filled = {"weight": torch.zeros_like(ends.weight), "bias": torch.full_like(ends.bias, 30)}
    return {
        "gap_head.knows_ends": torch.zeros(1, dtype=torch.bool),
        **{f"gap_head.ends.{name}": tensor for name, tensor in filled.items()},
    }


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors with safetensors, atomically."""
    with atomic_file(path) as part:
        whole = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
        safetensors.torch.save_file(whole, str(part), metadata=dict(metadata or {}))


def save_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Write ``run.yaml``."""
    with atomic_file(path / SETTINGS) as part:
        part.write_text(yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True))


def read_settings(path: Path) -> dict[str, Any]:
    """Content of ``run.yaml``.

    Raises
    ------
    RunError
        If it is not what `save_settings` wrote.
    """
    try:
        settings = yaml.safe_load((path / SETTINGS).read_text())
    except (yaml.YAMLError, UnicodeDecodeError):
        settings = None
    if not isinstance(settings, dict) or not {"config", "sites", "outcomes", "data"} <= settings.keys():
        msg = f"{path / SETTINGS} must hold the settings of a run; it is damaged. Restore it or train in a new folder."
        raise RunError(msg)
    return settings


def resolved(config: PretrainConfig) -> dict[str, Any]:
    """The whole configuration, with the network's defaults filled in, as plain YAML types."""
    network = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config.network()).items()}
    return config.model_dump(mode="json") | {"model": network}
