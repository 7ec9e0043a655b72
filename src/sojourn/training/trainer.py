"""The loop: steps, evaluations, checkpoints, until the planned steps are made or the tuning loss gets no better."""

import copy
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from sojourn.errors import ConfigError
from sojourn.model import Network
from sojourn.progress import console, progress_bar
from sojourn.training.average import WeightAverage
from sojourn.training.checkpoint import load_checkpoint, save_checkpoint
from sojourn.training.cut import whole
from sojourn.training.devices import make_fabric
from sojourn.training.evaluate import TuningLoss, tuning_loss
from sojourn.training.folder import forget_after, log
from sojourn.training.hazards import base_log_hazards
from sojourn.training.plan import Step, steps
from sojourn.training.run import WEIGHTS, code_table, save_tensors, words_of
from sojourn.training.sampler import Sampler
from sojourn.training.selection import Selection
from sojourn.training.step import Stepper, StepResult, TrainStep

_LOG_EVERY = 20
_CHECKPOINTS = "checkpoints"


class Trainer:
    """One run in the making: everything that the next step depends on.

    Parameters
    ----------
    selection : what the run learns from.
    run : the run's folder; a checkpoint in it is gone on from.

    Raises
    ------
    ConfigError
        If the device is not there, or the shares of a step do not go evenly into the processes.
    """

    def __init__(self, selection: Selection, run: Path) -> None:
        self.selection, self.run, self.config = selection, run, selection.config
        config = self.config
        self.fabric = make_fabric(config.accelerator, config.precision, is_cut=config.cut_weights)
        self.shares = _own_shares(config.num_shares, self.fabric.global_rank, self.fabric.world_size)
        self.sampler = Sampler(selection.reader, config, selection.outcomes, selection.any_weights())
        plan = selection.plan(selection.train_rows, epoch=0)
        torch.manual_seed(config.seed)
        hazards = base_log_hazards(self.sampler, plan, config.network().hazard_edges_hours)
        shape = config.network()
        codes = code_table(selection.vocabulary, hazards, words_of(selection.vocabulary, shape.num_word_features))
        self.network = Network(shape, codes, len(selection.sites)).to(self.fabric.device)
        self.averaged = copy.deepcopy(self.network).eval()
        """Takes the average of the weights to be evaluated: whole, also where those that are trained are cut."""
        self.module = self.fabric.setup_module(TrainStep(self.network))
        self.optimizer = make_optimizer(self.network, config.learning_rate, config.weight_decay)
        self.average = WeightAverage(self.network, config.average_decay)
        state = load_checkpoint(run / _CHECKPOINTS, self.network, self.average, self.optimizer)
        start = {"step": 0, "best_step": 0, "best": math.inf, "bits": math.nan, "worse": 0}
        self.state: dict[str, Any] = state or start
        self.total = self._total_steps()

    @property
    def num_parameters(self) -> int:
        """Trained weights."""
        return sum(p.numel() for p in self.network.parameters())

    @property
    def is_finished(self) -> bool:
        """Whether all steps are made, or the tuning loss has not improved for as long as `patience` says."""
        return self.state["step"] >= self.total or self._is_worn_out()

    def _is_worn_out(self) -> bool:
        return self.config.patience is not None and self.state["worse"] >= self.config.patience

    def fit(self) -> None:
        """Make the steps that are left, with log, evaluations and checkpoints."""
        config, state, fabric = self.config, self.state, self.fabric
        if fabric.is_global_zero:
            forget_after(self.run, state["step"])
            console.print(
                f"{self.num_parameters:,} weights, {len(self.selection.train_rows):,} training subjects, "
                f"{len(self.selection.vocabulary):,} codes, {len(self.selection.outcomes)} outcomes, "
                f"{self.total:,} steps"
            )
        with progress_bar("pre-training", self.total, is_shown=fabric.is_global_zero) as bar:
            bar.advance(state["step"])
            for step, result in self.steps():
                bar.advance()
                if state["step"] % _LOG_EVERY == 0:
                    line = result.over_processes(fabric).line()
                    self._log({"step": state["step"], "epoch": step.epoch, "split": "train", **line})
                    bar.note(f"{line['bits_per_event']:.2f} bits per event")
                if state["step"] % config.evaluate_every == 0 or state["step"] == self.total:
                    self._evaluate(step.epoch)
                    self._save_checkpoint()
                    if self._is_worn_out():
                        break

    def steps(self) -> Iterator[tuple[Step, StepResult]]:
        """Make the steps that are left; each is given out when the average has taken it in."""
        config, state, selection, shares = self.config, self.state, self.selection, self.shares
        stepper = Stepper(self.module, self.optimizer, self.fabric, config=config, total=self.total)
        rows = selection.train_rows
        planned = steps(
            rows,
            selection.num_instants[rows],
            context=config.context,
            instants_per_batch=config.instants_per_batch,
            seed=config.seed,
        )
        first, left = state["step"], self.total - state["step"]
        for step, samples in self.sampler.stream(planned, first, left, shares=shares, num_shares=config.num_shares):
            result = stepper.step(samples, state["step"], shares.start)
            self.average.update(self.network, state["step"])
            state["step"] += 1
            yield step, result

    def _evaluate(self, epoch: int) -> None:
        """Evaluate the averaged weights on the tuning subjects, and keep them if they are the best so far."""
        state, plan = self.state, self.selection.plan(self.selection.tuning_rows, epoch=0)
        self.averaged.load_state_dict({name: whole(w) for name, w in self.average.weights.items()}, strict=False)
        result = tuning_loss(self.averaged, self.sampler, plan, self.fabric)
        self._log({"step": state["step"], "epoch": epoch, "split": "tuning", **asdict(result)})
        score = self._score(result)
        state["worse"] += 1
        if score < state["best"]:
            state.update(best=score, best_step=state["step"], bits=result.bits_per_event, worse=0)
            if self.fabric.is_global_zero:
                save_tensors(self.run / WEIGHTS, self.averaged.state_dict())

    def _score(self, result: TuningLoss) -> float:
        queries = self.config.outcome_weight * result.query_nats
        return {
            "likelihood": result.nats_per_event,
            "outcomes": queries,
            "both": result.nats_per_event + queries,
        }[self.config.select]

    def _save_checkpoint(self) -> None:
        path = self.run / _CHECKPOINTS
        is_written = self.fabric.is_global_zero
        save_checkpoint(path, self.network, self.average, self.optimizer, self.state, is_written=is_written)

    def _log(self, line: dict[str, Any]) -> None:
        if self.fabric.is_global_zero:
            log(self.run, line)

    def _total_steps(self) -> int:
        """Steps of `epochs` epochs, capped by `max_steps`."""
        config, rows, whole = self.config, self.selection.train_rows, int(self.config.epochs)
        counts = [len(self.selection.plan(rows, epoch)) for epoch in range(math.ceil(config.epochs))]
        total = sum(counts[:whole]) + sum(math.ceil((config.epochs - whole) * count) for count in counts[whole:])
        return min(total, config.max_steps) if config.max_steps else total


def make_optimizer(network: Network, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW that shrinks matrices only."""
    decayed = [p for p in network.parameters() if p.ndim >= 2]
    plain = [p for p in network.parameters() if p.ndim < 2]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )


def _own_shares(num_shares: int, rank: int, num_processes: int) -> range:
    """Shares of every step that one of the processes takes."""
    if num_shares % num_processes:
        msg = (
            f"num_shares must be a multiple of the number of processes; got {num_shares} for {num_processes}. "
            f"Set num_shares: {num_processes}."
        )
        raise ConfigError(msg)
    own = num_shares // num_processes
    return range(rank * own, (rank + 1) * own)
