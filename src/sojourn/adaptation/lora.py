"""Low-rank changes of linear layers that can be merged into their weights.

    W' = W + (alpha / r) U V,   V of shape (r, in) drawn at random, U of shape (out, r) zero at the start

with W frozen (Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models). The change is a parametrisation of
the weight, so the layer's own forward pass is used, and merging leaves exactly the weight that was used unmerged.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_WEIGHT = "weight"


class LowRank(nn.Module):
    """A weight plus a trainable change of low rank.

    Parameters
    ----------
    weight : (out, in) the frozen weight; only its shape and type are used.
    rank : of the change; no more than the smaller side of the weight has is used.
    alpha : the change is scaled by alpha / rank, so that another rank needs no other learning rate.
    """

    def __init__(self, weight: Tensor, *, rank: int, alpha: float = 8.0) -> None:
        super().__init__()
        rank = min(rank, *weight.shape)
        self.scale = alpha / rank
        self.down = nn.Parameter(torch.empty(rank, weight.shape[1], dtype=weight.dtype))
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank, dtype=weight.dtype))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """The changed weight, shape (out, in); in the weight's own precision, whatever autocast says."""
        with torch.autocast(weight.device.type, enabled=False):
            return weight + self.scale * (self.up @ self.down)


def add_low_rank(modules: Iterable[nn.Module], *, rank: int) -> list[nn.Parameter]:
    """Put a low-rank change on every linear layer in some modules, and freeze everything else in them.

    Returns
    -------
    list of nn.Parameter
        What is left to train: two matrices for each layer.
    """
    added = []
    for module in modules:
        module.requires_grad_(requires_grad=False)
        for layer in linear_layers(module):
            change = LowRank(layer.weight, rank=rank)
            parametrize.register_parametrization(layer, _WEIGHT, change)
            added += [change.down, change.up]
    return added


def merge(modules: Iterable[nn.Module]) -> None:
    """Add the changes to the weights, so that plain linear layers are left."""
    for module in modules:
        for layer in linear_layers(module):
            if parametrize.is_parametrized(layer, _WEIGHT):
                parametrize.remove_parametrizations(layer, _WEIGHT, leave_parametrized=True)


def linear_layers(module: nn.Module) -> list[nn.Linear]:
    """All linear layers in a module, itself included."""
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
