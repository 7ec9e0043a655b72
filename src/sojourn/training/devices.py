"""Where a run is trained: which device, and how many processes share its steps.

Processes are started by ``torchrun`` (or anything that sets the same variables of the environment): each holds the
whole network, or its part of it, takes its shares of every planned step, and adds its gradient to that of the others.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch

from sojourn.errors import ConfigError
from sojourn.training.cut import cut_weights

if TYPE_CHECKING:  # importing them takes as long as torch itself, and what only asks a run does without
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import Strategy

Accelerator = Literal["cpu", "cuda", "auto"]


def world_size() -> int:
    """Number of processes that train together; 1 unless ``torchrun`` started this one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Whether this process writes and prints: always, unless it is one of several and not their first."""
    return int(os.environ.get("RANK", "0")) == 0


def make_fabric(accelerator: Accelerator, precision: str, *, is_cut: bool = False) -> "Fabric":
    """The device and the processes that the environment offers, ready for a network.

    Parameters
    ----------
    accelerator : ``auto`` takes a GPU where there is one.
    precision : as in `PretrainConfig`.
    is_cut : whether weights are cut over the processes, as `PretrainConfig.cut_weights`; otherwise each holds all.

    Raises
    ------
    ConfigError
        If ``cuda`` is wanted and there is none.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy, ModelParallelStrategy

    if accelerator == "cuda" and not torch.cuda.is_available():
        msg = "accelerator must be one that this machine has; got cuda, and PyTorch finds no GPU. Use cpu or auto."
        raise ConfigError(msg)
    chosen = "cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu"
    processes = world_size()
    if processes == 1:
        with _without_its_notes():
            return Fabric(accelerator=chosen, devices=1, precision=precision)
    on_this_machine = int(os.environ.get("LOCAL_WORLD_SIZE", str(processes)))
    strategy: Strategy
    if is_cut:
        strategy = ModelParallelStrategy(cut_weights, data_parallel_size=processes, tensor_parallel_size=1)
    else:
        # A share may hold no values to ask, so that the head for them has no gradient there.
        strategy = DDPStrategy(find_unused_parameters=True)
    with _without_its_notes():
        fabric = Fabric(
            accelerator=chosen,
            devices=on_this_machine,
            num_nodes=processes // on_this_machine,
            precision=precision,
            strategy=strategy,
        )
    fabric.launch()
    return fabric


@contextmanager
def _without_its_notes() -> Iterator[None]:
    """Let the library keep to itself which precision it was told to use."""
    its_log = logging.getLogger("lightning_fabric.utilities.rank_zero")
    before = its_log.level
    its_log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        its_log.setLevel(before)


def sum_over_processes(fabric: "Fabric", numbers: list[float]) -> list[float]:
    """Sums over all processes, in float64; the numbers as they are where there is one process."""
    if fabric.world_size == 1:
        return numbers
    total: Any = fabric.all_reduce(torch.tensor(numbers, dtype=torch.float64, device=fabric.device), reduce_op="sum")
    sums: list[float] = total.tolist()
    return sums
