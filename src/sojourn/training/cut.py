"""Weights, gradients and moments cut over the processes that train together, so that each holds its part (FSDP2).

A block of the backbone is gathered whole while it is computed, everything else from the beginning of a step to its end.
What PyTorch has for this is imported where it is needed: it takes as long as PyTorch itself.
"""

from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor

    from sojourn.training.step import TrainStep


def cut_weights(step: nn.Module, mesh: "DeviceMesh") -> nn.Module:
    """Cut the weights of a network behind its loss, in place."""
    from torch.distributed.fsdp import fully_shard

    module, over = cast("TrainStep", step), mesh["data_parallel"]
    for block in module.network.backbone.blocks:
        fully_shard(block, mesh=over)
    fully_shard(module, mesh=over)
    module.is_cut = True
    return module


def is_cut(tensor: Tensor) -> bool:
    """Whether a tensor is a part of one (a `DTensor`)."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor; all processes must ask together if it is cut."""
    return cast("DTensor", tensor).full_tensor() if is_cut(tensor) else tensor


def cut_like(tensor: Tensor, model: Tensor | None) -> Tensor:
    """A whole tensor cut, and placed, as another one of its shape is."""
    if model is None or not is_cut(model) or tensor.shape != model.shape:
        return tensor if model is None else tensor.to(model.device)
    from torch.distributed.tensor import distribute_tensor

    cut = cast("DTensor", model)
    return distribute_tensor(tensor.to(model.device), cut.device_mesh, cut.placements)
