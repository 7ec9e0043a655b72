"""Pre-training: from an event store to a run."""

import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sojourn.events.store import EventStore
from sojourn.training.config import PretrainConfig, read_config
from sojourn.training.devices import is_first_process
from sojourn.training.folder import (
    FITS,
    begun_vocabulary,
    check_folder,
    describe,
    forget_description,
    held,
    open_folder,
)
from sojourn.training.selection import Selection
from sojourn.training.trainer import Trainer


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a pre-training run came to."""

    path: str
    num_parameters: int
    num_subjects: int
    """Training subjects."""
    steps: int
    best_step: int
    bits_per_event: float
    """On the tuning subjects, of the weights that were kept."""
    seconds: float | None
    """Wall time of this call; None where there was nothing left to do."""
    was_finished: bool
    """Whether there was nothing left to do."""


def pretrain(
    store: Path, run: Path, *, config: Path | PretrainConfig | dict[str, Any] | None = None, resume: bool = False
) -> RunSummary:
    """Pre-train a network on a store and leave everything about it in a run folder.

    An interrupted call is taken up again by the same call, to the same numbers. A finished one is left as it is.
    Under ``torchrun`` all processes train one run together; the first of them writes it.

    Parameters
    ----------
    store : event store made by `build_store`.
    run : folder of the run.
    config : settings; a YAML file, a `PretrainConfig`, a dictionary, or None for the defaults.
    resume : allow other `epochs`, `max_steps`, `patience`, `accelerator` or `cut_weights` than the run was started
        with, to train further.

    Raises
    ------
    ConfigError
        If the settings are wrong.
    RunError
        If the folder holds a run with other settings or one that is being trained, or the loss does not stay finite.
    """
    began = time.monotonic()
    settings = read_config(config)
    selection = Selection(EventStore.open(store), settings)
    check_folder(run, selection, resume=resume)
    begun, now = begun_vocabulary(run), selection.vocabulary
    if begun is not None and begun.index != now.index and begun.index.keys() == now.index.keys():
        selection = Selection(selection.store, settings, begun)  # a version before this one put codes in another order
    trainer = Trainer(selection, run)  # where it cannot be made, say for want of a device, nothing is written
    with held(run) if is_first_process() else nullcontext():
        if is_first_process():
            open_folder(run, selection)
        was_finished = trainer.is_finished
        if not was_finished:
            if is_first_process():
                forget_description(run)
            trainer.fit()
        # A finished run lacks its fits where it was killed after the last step.
        if is_first_process() and not (was_finished and (run / FITS).exists()):
            describe(run, selection.store, selection.tuning_rows)
    return RunSummary(
        path=str(run),
        num_parameters=trainer.num_parameters,
        num_subjects=len(selection.train_rows),
        steps=trainer.state["step"],
        best_step=trainer.state["best_step"],
        bits_per_event=trainer.state["bits"],
        seconds=None if was_finished else time.monotonic() - began,
        was_finished=was_finished,
    )
