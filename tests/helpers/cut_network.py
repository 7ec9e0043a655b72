"""Run by torchrun: trains a few steps with cut weights, and each process prints what it holds of them."""

import sys
from pathlib import Path

from sojourn.events.store import EventStore
from sojourn.training.config import read_config
from sojourn.training.cut import is_cut
from sojourn.training.devices import sum_over_processes
from sojourn.training.selection import Selection
from sojourn.training.trainer import Trainer


def main(store: Path, run: Path, config: Path) -> None:
    """Print the share of all weights, and of all moments, that each process holds."""
    trainer = Trainer(Selection(EventStore.open(store), read_config(config)), run)
    for _ in trainer.steps():
        pass
    weights = list(trainer.network.parameters())
    assert all(is_cut(weight) for weight in weights)
    moments = [moment["exp_avg"] for moment in trainer.optimizer.state.values()]
    held = [sum(t.to_local().numel() for t in tensors) / trainer.num_parameters for tensors in (weights, moments)]
    total = sum_over_processes(trainer.fabric, held)
    if trainer.fabric.is_global_zero:
        print(*held, *total)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
