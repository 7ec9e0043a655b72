"""Checkpoints to resume from: weights, their average and the optimiser's moments, in one safetensors file."""

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from sojourn.errors import RunError
from sojourn.training.average import WeightAverage
from sojourn.training.cut import cut_like, whole
from sojourn.training.run import save_tensors

NAME = "latest.safetensors"


def save_checkpoint(
    folder: Path,
    network: nn.Module,
    average: WeightAverage,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    *,
    is_written: bool = True,
) -> None:
    """Write everything that the next step depends on; `state` must be JSON.

    Where weights are cut over processes, all must call it together, and one of them writes.
    """
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    tensors = {f"network.{name}": weight for name, weight in network.state_dict().items()}
    tensors |= {f"average.{name}": weight for name, weight in average.weights.items()}
    for parameter, moments in optimizer.state.items():
        for key, moment in moments.items():
            tensors[f"optimizer.{key}.{names[id(parameter)]}"] = moment
    tensors = {name: whole(tensor) for name, tensor in tensors.items()}
    if is_written:
        save_tensors(folder / NAME, tensors, {"state": json.dumps(state)})


def load_checkpoint(
    folder: Path, network: nn.Module, average: WeightAverage, optimizer: torch.optim.Optimizer
) -> dict[str, Any] | None:
    """Bring everything back to where the checkpoint was written; None where there is none.

    Raises
    ------
    RunError
        If the checkpoint does not fit the network.
    """
    path = folder / NAME
    if not path.exists():
        return None
    tensors = safetensors.torch.load_file(str(path))
    try:
        own = network.state_dict()
        weights = _part(tensors, "network.").items()
        network.load_state_dict({name: cut_like(weight, own.get(name)) for name, weight in weights})
        average.load(_part(tensors, "average."))
    except RuntimeError as error:
        msg = f"{path} must fit the configured network; its tensors differ. Use the run's own configuration."
        raise RunError(msg) from error
    parameters = dict(network.named_parameters())
    for name, moment in _part(tensors, "optimizer.").items():
        key, parameter = name.split(".", 1)
        optimizer.state[parameters[parameter]][key] = cut_like(moment, parameters[parameter].detach())
    with safetensors.safe_open(str(path), "pt") as file:
        state: dict[str, Any] = json.loads(file.metadata()["state"])
    return state


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
