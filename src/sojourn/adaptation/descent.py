"""Training a little further from where a network stands: a few epochs at a low rate, and the best of them is kept.

The start counts as epoch 0, so that what is kept is never worse than it on the subjects that choose.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from sojourn.adaptation.config import DescentConfig
from sojourn.errors import RunError
from sojourn.progress import Bar
from sojourn.training.average import WeightAverage
from sojourn.training.checkpoint import load_checkpoint, save_checkpoint
from sojourn.training.run import save_tensors
from sojourn.training.step import schedule

_BEST = "best.safetensors"


@dataclass(frozen=True, slots=True)
class Objective:
    """What is minimised, and what chooses."""

    steps: Callable[[int], Sequence[Callable[[], Tensor]]]
    """The losses of an epoch's steps, each computed when it is called; the same epoch gives the same steps."""
    score: Callable[[], float]
    """Loss of the network as it stands on subjects that are not trained on."""


@dataclass(slots=True)
class Course:
    """How the training went."""

    best_epoch: int = 0
    """0: the start."""
    scores: list[float] = field(default_factory=list)
    """Score of the start and of every epoch."""
    num_steps: int = 0


def descend(
    network: nn.Module,
    objective: Objective,
    config: DescentConfig,
    *,
    rate: float,
    epochs: int,
    patience: int | None = None,
    folder: Path,
    bar: Bar | None = None,
) -> Course:
    """Train those weights that require gradients; the network is left with the best averaged ones.

    Parameters
    ----------
    network : left in evaluation mode.
    objective : losses and score.
    config : clipping, averaging and seed.
    rate : peak learning rate; a tenth of all steps leads up to it, half a cosine down to a twentieth of it.
    epochs : at most.
    patience : epochs without a better score before the training stops.
    folder : where a checkpoint is written after each epoch, and found by the same call after an interruption.

    Raises
    ------
    RunError
        If the loss is no number.
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
    average = WeightAverage(network, config.average_decay)
    state: dict[str, Any] = load_checkpoint(folder, network, average, optimizer) or {}
    course = Course(**state)
    network.eval()
    if not course.scores:
        course.scores.append(objective.score())
        _keep(network, folder)
    # Epochs differ by a step or so: the rates of a resumed call must be those of one that was never interrupted.
    total = epochs * len(objective.steps(1))
    while (epoch := len(course.scores)) <= epochs and not _is_worn_out(course, patience):
        steps = objective.steps(epoch)
        for loss_of in steps:
            _step(
                network, optimizer, loss_of, config, rate * schedule(course.num_steps, total, total), course.num_steps
            )
            average.update(network, course.num_steps)
            course.num_steps += 1
        with average.applied_to(network):
            course.scores.append(objective.score())
            if course.scores[-1] < course.scores[course.best_epoch]:
                course.best_epoch = epoch
                _keep(network, folder)
        if bar is not None:
            bar.advance()
            bar.note(f"tuning loss {course.scores[-1]:.4f}")
        save_checkpoint(folder, network, average, optimizer, asdict(course))
    _restore(network, folder)
    network.eval()
    return course


def _step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_of: Callable[[], Tensor],
    config: DescentConfig,
    rate: float,
    number: int,
) -> None:
    torch.manual_seed(config.seed * 1_000_003 + number)
    for group in optimizer.param_groups:
        group["lr"] = rate
    network.train()
    loss = loss_of()
    if not torch.isfinite(loss):
        msg = f"the loss must stay finite; it is {loss.item()} at step {number}. Lower learning_rate."
        raise RunError(msg)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    torch.nn.utils.clip_grad_norm_(trained, config.gradient_clip)
    optimizer.step()


def _is_worn_out(course: Course, patience: int | None) -> bool:
    return patience is not None and len(course.scores) - 1 - course.best_epoch >= patience


def _keep(network: nn.Module, folder: Path) -> None:
    save_tensors(folder / _BEST, network.state_dict())


def _restore(network: nn.Module, folder: Path) -> None:
    network.load_state_dict(safetensors.torch.load_file(str(folder / _BEST)))
