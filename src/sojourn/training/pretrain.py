"""Pre-training: from an event store to a run."""

import hashlib
import json
import math
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import nn

from sojourn.errors import ConfigError, RunError
from sojourn.events.splits import assign_splits
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.files import atomic_file, read_json, write_json
from sojourn.model import Network
from sojourn.progress import console, progress_bar
from sojourn.tasks.outcomes import outcomes
from sojourn.training.average import WeightAverage
from sojourn.training.checkpoint import load_checkpoint, save_checkpoint
from sojourn.training.config import PretrainConfig, read_config
from sojourn.training.evaluate import TuningLoss, tuning_loss
from sojourn.training.fits import density_fits
from sojourn.training.hazards import base_log_hazards
from sojourn.training.loss import Losses, Sample, losses
from sojourn.training.plan import Step, epoch_steps, steps
from sojourn.training.records import Ints, RecordReader
from sojourn.training.run import (
    METRICS,
    VOCABULARY,
    WEIGHTS,
    Run,
    code_table,
    read_settings,
    resolved,
    save_settings,
    save_tensors,
)
from sojourn.training.sampler import Sampler

_LOG_EVERY = 20
_TUNING_SEED = 1
_FIT_SUBJECTS = 300
_CHECKPOINTS = "checkpoints"
FITS = "artifacts/fits.json"


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
    seconds: float
    """Wall time of this call."""
    was_finished: bool
    """Whether there was nothing left to do."""


class Uncast:
    """Carries a sample into a wrapped module as it is: Fabric would round its float64 times to the lower precision."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample


class TrainStep(nn.Module):
    """The network behind its loss, so that precision and devices wrap both."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, held: Uncast) -> Losses:
        return losses(self.network, held.sample)


def pretrain(
    store: Path, run: Path, *, config: Path | PretrainConfig | dict[str, Any] | None = None, resume: bool = False
) -> RunSummary:
    """Pre-train a network on a store and leave everything about it in a run folder.

    An interrupted call is taken up again by the same call, to the same numbers. A finished one is left as it is.

    Parameters
    ----------
    store : event store made by `build_store`.
    run : folder of the run.
    config : settings; a YAML file, a `PretrainConfig`, a dictionary, or None for the defaults.
    resume : allow other `epochs`, `max_steps` or `patience` than the run was started with, to train further.

    Raises
    ------
    ConfigError
        If the settings are wrong, or differ from those of the run in the folder.
    """
    settings = read_config(config)
    opened = EventStore.open(store)
    trainer = _Trainer(opened, run, settings, resume=resume)
    return trainer.fit()


class _Trainer:
    """One run in the making."""

    def __init__(self, store: EventStore, run: Path, config: PretrainConfig, *, resume: bool) -> None:
        self.store, self.run, self.config = store, run, config
        self._check_sites()
        self.train_rows, tuning_rows = self._split()
        self.tuning_rows = _evenly(tuning_rows, config.tuning_subjects)
        if not len(self.train_rows) or not len(self.tuning_rows):
            msg = (
                f"store must hold training and tuning subjects; got {len(self.train_rows)} and "
                f"{len(self.tuning_rows)} in {store.path}. Check held_out_sites, train_splits and tuning_split."
            )
            raise ConfigError(msg)
        self.vocabulary = ModelVocabulary.fit(store, self.train_rows, min_count=config.min_count)
        self.outcomes = self._outcomes()
        chosen = store.subjects[self.train_rows]
        self.sites = sorted(chosen["site"].unique().to_list())
        self.reader = RecordReader(store, self.vocabulary, self.sites)
        self.settings: dict[str, Any] = {
            "config": resolved(config),
            "sites": self.sites,
            "outcomes": [self.vocabulary.table["code"][int(i)] for i in self.outcomes],
            "data": {
                "store": str(store.path.resolve()),
                "fingerprint": _fingerprint(store),
                "num_training_subjects": len(self.train_rows),
                "num_tuning_subjects": len(self.tuning_rows),
            },
            "versions": {name: version(name) for name in ("sojourn", "torch", "polars", "numpy", "meds")},
        }
        self._open_folder(resume)

    def _check_sites(self) -> None:
        """A misspelt site would be trained on instead of held out."""
        sites = self.store.subjects["site"].unique().sort().to_list()
        unknown = sorted(set(self.config.held_out_sites) - set(sites))
        if unknown:
            shown = ", ".join(sites[:20]) + (", ..." if len(sites) > 20 else "")
            msg = f"held_out_sites must be sites of the store; got {', '.join(unknown)}. It has {shown}."
            raise ConfigError(msg)

    def _rows(self, splits: tuple[str, ...]) -> Ints:
        parts = [self.store.rows(split=s, exclude_sites=self.config.held_out_sites or None) for s in splits]
        return np.sort(np.concatenate(parts)).astype(np.int64)

    def _split(self) -> tuple[Ints, Ints]:
        """Training and tuning subjects."""
        rows = self._rows(self.config.train_splits)
        if self.config.tuning_split is not None:
            return rows, self._rows((self.config.tuning_split,))
        ids = self.store.subjects["subject_id"].to_numpy()[rows]
        is_tuning = assign_splits(ids, seed=_TUNING_SEED, fractions=(0.9, 0.1, 0.0)) == "tuning"
        return rows[~is_tuning], rows[is_tuning]

    def _outcomes(self) -> Ints:
        table = self.vocabulary.table
        if self.config.outcomes is None:
            names = [outcome.code for outcome in outcomes().values()]
            is_outcome = table["code"].is_in(names) & (table["count"] > 0)
            return table.filter(is_outcome)["index"].to_numpy().astype(np.int64)
        known = dict(zip(table["code"], table["index"], strict=True))
        missing = [code for code in self.config.outcomes if code not in known]
        if missing:
            msg = f"outcomes must be codes of the vocabulary; {', '.join(missing)} are not. See `sojourn inspect`."
            raise ConfigError(msg)
        return np.array(sorted(known[code] for code in self.config.outcomes), dtype=np.int64)

    def _open_folder(self, resume: bool) -> None:
        path = self.run / "run.yaml"
        if path.exists():
            before = read_settings(self.run)
            free = {"epochs", "max_steps", "patience"} if resume else set()
            was, now = (
                {k: v for k, v in config.items() if k not in free}
                for config in (before["config"], resolved(self.config))
            )
            if was != now or before["data"]["fingerprint"] != self.settings["data"]["fingerprint"]:
                changed = [k for k in now if was.get(k) != now[k]] or ["the store"]
                msg = (
                    f"{self.run} holds a run with other settings ({', '.join(changed)} differ). Choose another folder, "
                    f"or pass --resume to train it further with other epochs, max_steps or patience."
                )
                raise RunError(msg)
        self.run.mkdir(parents=True, exist_ok=True)
        save_settings(self.run, self.settings)
        self.vocabulary.save(self.run / VOCABULARY)

    def fit(self) -> RunSummary:
        config, began = self.config, time.monotonic()
        sampler = Sampler(self.reader, config, self.outcomes, self._any_weights())
        plan = self._plan(self.train_rows, epoch=0)
        edges = config.network().hazard_edges_hours
        torch.manual_seed(config.seed)
        codes = code_table(self.vocabulary, base_log_hazards(sampler, plan, edges))
        network = Network(config.network(), codes, len(self.sites))
        # Samples, averages and questions live on the CPU: a GPU that happens to be there must not take the network.
        fabric = Fabric(accelerator="cpu", devices=1, precision=config.precision)
        decayed = [p for p in network.parameters() if p.ndim >= 2]
        plain = [p for p in network.parameters() if p.ndim < 2]
        optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=config.learning_rate,
            betas=(0.9, 0.98),
        )
        average = WeightAverage(network, config.average_decay)
        state = load_checkpoint(self.run / _CHECKPOINTS, network, average, optimizer)
        state = state or {"step": 0, "best_step": 0, "best": math.inf, "bits": math.nan, "worse": 0}
        total = self._total_steps()
        if state["step"] >= total or self._is_worn_out(state):
            if not (self.run / FITS).exists():  # killed after the last step
                self._describe()
            return self._summary(network, state, began, was_finished=True)
        self._forget_after(state["step"])
        module, wrapped = fabric.setup(TrainStep(network), optimizer)
        rows = self.train_rows
        num_instants = self.store.subjects["num_instants"].to_numpy().astype(np.int64)[rows]
        stream = steps(
            rows,
            num_instants,
            context=config.context,
            instants_per_batch=config.instants_per_batch,
            seed=config.seed,
        )
        console.print(
            f"{sum(p.numel() for p in network.parameters()):,} weights, {len(rows):,} training subjects, "
            f"{len(self.vocabulary):,} codes, {len(self.outcomes)} outcomes, {total:,} steps"
        )
        with progress_bar("pre-training", total) as bar:
            bar.advance(state["step"])
            for step, sample in sampler.stream(stream, state["step"], total - state["step"]):
                line = self._step(module, wrapped, fabric, sample, state["step"], total)
                average.update(network, state["step"])
                state["step"] += 1
                bar.advance()
                if state["step"] % _LOG_EVERY == 0:
                    self._log({"step": state["step"], "epoch": step.epoch, "split": "train", **line})
                    bar.note(f"{line['bits_per_event']:.2f} bits per event")
                if state["step"] % config.evaluate_every == 0 or state["step"] == total:
                    self._evaluate(network, average, sampler, state, step.epoch)
                    save_checkpoint(self.run / _CHECKPOINTS, network, average, optimizer, state)
                    if self._is_worn_out(state):
                        break
        self._describe()
        return self._summary(network, state, began, was_finished=False)

    def _describe(self) -> None:
        """Leave beside the weights what a report tells of the data and of how well the densities fit."""
        names = ("num_subjects", "num_events", "num_codes", "datasets", "sites", "inputs")
        manifest = {name: self.store.manifest[name] for name in names if name in self.store.manifest}
        datasets = [read_json(path) | {"name": path.stem} for path in _ingest_files(self.store)]
        write_json(self.run / "artifacts" / "data.json", {"datasets": datasets, "store": manifest})
        fits = density_fits(Run(self.run), self.store, self.tuning_rows[:_FIT_SUBJECTS])
        write_json(self.run / FITS, fits)

    def _step(
        self, module: Any, optimizer: Any, fabric: Fabric, sample: Sample, number: int, total: int
    ) -> dict[str, float]:
        config, began = self.config, time.monotonic()
        torch.manual_seed(config.seed * 1_000_003 + number)
        rate = config.learning_rate * _schedule(number, config.warmup_steps, total)
        for group in optimizer.param_groups:
            group["lr"] = rate
        module.train()
        result: Losses = module(Uncast(sample))
        loss = result.total(config)
        if not torch.isfinite(loss):
            msg = f"the loss must stay finite; it is {loss.item()} at step {number}. Lower learning_rate."
            raise RunError(msg)
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(loss)
        fabric.clip_gradients(module, optimizer, max_norm=config.gradient_clip)
        optimizer.step()
        seconds = time.monotonic() - began
        return summarise(result) | {"events_per_second": result.num_events / seconds, "seconds": seconds}

    def _evaluate(
        self, network: Network, average: WeightAverage, sampler: Sampler, state: dict[str, Any], epoch: int
    ) -> None:
        """Evaluate the averaged weights on the tuning subjects, and keep them if they are the best so far."""
        plan = self._plan(self.tuning_rows, epoch=0)
        with average.applied_to(network):
            result = tuning_loss(network, sampler, plan)
            weights = {name: weight.detach().clone() for name, weight in network.state_dict().items()}
        self._log({"step": state["step"], "epoch": epoch, "split": "tuning", **asdict(result)})
        score = _score(result, self.config)
        state["worse"] += 1
        if score < state["best"]:
            state.update(best=score, best_step=state["step"], bits=result.bits_per_event, worse=0)
            save_tensors(self.run / WEIGHTS, weights)

    def _is_worn_out(self, state: dict[str, Any]) -> bool:
        """Whether the tuning loss has not improved for as long as `patience` says."""
        return self.config.patience is not None and state["worse"] >= self.config.patience

    def _total_steps(self) -> int:
        """Steps of `epochs` epochs, capped by `max_steps`."""
        config, whole = self.config, int(self.config.epochs)
        counts = [len(self._plan(self.train_rows, epoch)) for epoch in range(math.ceil(config.epochs))]
        total = sum(counts[:whole]) + sum(math.ceil((config.epochs - whole) * count) for count in counts[whole:])
        return min(total, config.max_steps) if config.max_steps else total

    def _plan(self, rows: Ints, epoch: int) -> list[Step]:
        """The steps of one epoch over some subjects."""
        return epoch_steps(
            rows,
            self.store.subjects["num_instants"].to_numpy().astype(np.int64)[rows],
            context=self.config.context,
            instants_per_batch=self.config.instants_per_batch,
            seed=self.config.seed,
            epoch=epoch,
        )

    def _any_weights(self) -> npt.NDArray[np.float64]:
        """Codes that may be asked at random: those that the history shows, by the root of their frequency."""
        table = self.vocabulary.table
        is_shown = ~(table["target_only"] | table["is_static"]).to_numpy()
        weights: npt.NDArray[np.float64] = np.sqrt(table["count"].to_numpy().astype(np.float64)) * is_shown
        return weights

    def _log(self, line: dict[str, Any]) -> None:
        with (self.run / METRICS).open("a") as file:
            file.write(json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in line.items()}) + "\n")

    def _forget_after(self, step: int) -> None:
        """Drop log lines of steps that will be made again."""
        path = self.run / METRICS
        if path.exists():
            lines = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
            with atomic_file(path) as part:
                part.write_text("".join(f"{line}\n" for line in lines))

    def _summary(self, network: Network, state: dict[str, Any], began: float, *, was_finished: bool) -> RunSummary:
        return RunSummary(
            path=str(self.run),
            num_parameters=sum(p.numel() for p in network.parameters()),
            num_subjects=len(self.train_rows),
            steps=state["step"],
            best_step=state["best_step"],
            bits_per_event=state["bits"],
            seconds=time.monotonic() - began,
            was_finished=was_finished,
        )


def summarise(result: Losses) -> dict[str, float]:
    """Per-event figures of a batch for the log."""
    count = max(result.num_events, 1)
    parts = {name: float(getattr(result, name).detach()) / count for name in ("gap", "code", "value")}
    total = sum(parts.values())
    return {
        "nats_per_event": total,
        **{f"nats_{name}": part for name, part in parts.items()},
        "bits_per_event": total / math.log(2),
        "query_nats": float(result.outcomes.detach()) / max(result.num_queries, 1),
    }


def _score(result: TuningLoss, config: PretrainConfig) -> float:
    queries = config.outcome_weight * result.query_nats
    return {
        "likelihood": result.nats_per_event,
        "outcomes": queries,
        "both": result.nats_per_event + queries,
    }[config.select]


def _schedule(step: int, warmup: int, total: int) -> float:
    """Linear warm-up for a tenth of the steps at most, then half a cosine down to a twentieth."""
    warmup = min(warmup, total // 10)
    if step < warmup:
        return (step + 1) / warmup
    share = (step - warmup) / max(total - warmup, 1)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def _evenly(rows: Ints, count: int) -> Ints:
    """At most `count` of the rows, evenly spread, so that every data set and site of a store has its share."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, count).astype(np.int64))] if len(rows) > count else rows


def _fingerprint(store: EventStore) -> str:
    """Of what the store was built from."""
    return hashlib.sha256(json.dumps(store.manifest["inputs"], sort_keys=True).encode()).hexdigest()


def _ingest_files(store: EventStore) -> list[Path]:
    """Accounts of the data sets that the store was built from, as it keeps them."""
    return sorted((store.path / "datasets").glob("*.json"))


def _step_of(line: str) -> float:
    """Step of a line of the log; infinity for one that a killed run wrote in part."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf
