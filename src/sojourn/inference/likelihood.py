"""Bits per event of records that were not trained on, beside a simple baseline and a network with random weights."""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sojourn.errors import ConfigError
from sojourn.events.store import MANIFEST, EventStore
from sojourn.files import check_target, write_json
from sojourn.inference.simple import SimpleModel, Terms
from sojourn.model import Batch, Network
from sojourn.progress import progress_bar
from sojourn.training.batches import collate, pack
from sojourn.training.plan import cut, epoch_steps
from sojourn.training.records import Ints, RecordReader
from sojourn.training.run import LINEAGE, SETTINGS, Run
from sojourn.training.selection import evenly

_MAX_FITTED = 2000
_NUM_BOOTSTRAP = 1000


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Bits per event of one model on some subjects, with 95 % intervals over subjects."""

    model: str
    bits_per_event: float
    lower: float
    upper: float
    bits_gap: float
    bits_code: float
    bits_value: float
    num_events: int
    num_subjects: int


def likelihood(
    run: Path, store: Path, out: Path | None = None, *, split: str | None = "held_out", seed: int = 0
) -> list[Likelihood]:
    """Bits per event of a run, of the run's network with random weights, and of unigram codes with previous values.

    All three are exact likelihoods of the same recorded events at the same resolution: codes and values of all
    instants, and the gaps between them. That nothing is recorded from the last instant to the end of follow-up is not
    counted. Windows are those of an epoch of training, without any change at random.

    Parameters
    ----------
    run : a run made by `pretrain`.
    store : event store; the baseline is fitted to those of its training subjects that are not scored.
    out : JSON file to write, such as ``RUN/artifacts/likelihood.json``.
    split : subjects that are scored; None for all. Subjects of the run's sites whose split it was trained on are
        never scored, nor those of a site that it was adapted to in any split that `adapt` reads.
    seed : of the random weights and the bootstrap.

    Raises
    ------
    ConfigError
        If no subject is in the split, or none of the training subjects is left for the baseline. Also if `out` cannot
        be written or is read.
    """
    if out is not None:
        check_target(out, inputs=[run / SETTINGS, store / MANIFEST])
    trained, opened = Run(run), EventStore.open(store)
    rows = unseen_rows(trained, opened, split)
    if not len(rows):
        msg = f"split must have subjects that were not trained on; {split} has none in {store}. Choose another split."
        raise ConfigError(msg)
    reader = trained.reader(opened)
    fitted = _fitted_rows(trained, opened, rows)
    network = trained.network()
    simple = SimpleModel(network.events)
    for _, batch in _batches(trained, reader, fitted, "fitting the baseline"):
        simple.count(batch)
    models: dict[str, Callable[[Batch], Terms]] = {
        "sojourn": lambda batch: _terms(network, batch),
        "random weights": lambda batch, other=trained.network(random_weights_seed=seed): _terms(other, batch),  # type: ignore[misc]
        "unigram codes, previous values": simple.finish().terms,
    }
    sums = {name: np.zeros((len(rows), 3)) for name in models}
    counts = np.zeros(len(rows))
    for owner, batch in _batches(trained, reader, rows, "scoring"):
        place = torch.from_numpy(owner)
        for name, model in models.items():
            _add(sums[name], batch, place, model(batch))
        scored = batch.is_predicted.flatten()[batch.event_position]
        subject = place[batch.segment.flatten()[batch.event_position]][scored]
        counts += np.bincount(subject.numpy(), minlength=len(rows))
    found = [_summary(name, sums[name] / math.log(2), counts, seed) for name in models]
    if out is not None:
        write_json(out, [asdict(line) for line in found])
    return found


def unseen_rows(run: Run, store: EventStore, split: str | None) -> Ints:
    """Subjects of a split without those of the run's sites in a split that the run, or an `adapt` to the site, read."""
    rows = store.rows(split=split)
    site, part = store.subjects["site"], store.subjects["split"]
    adapted = [step["site"] for step in run.settings.get(LINEAGE, ()) if step.get("kind") == "adapt"]
    was_trained = site.is_in(run.sites) & part.is_in(run.config.train_splits)
    was_trained |= site.is_in(adapted) & part.is_in(run.config.read_splits)
    unseen: Ints = rows[~was_trained.to_numpy()[rows]]
    return unseen


def _fitted_rows(run: Run, store: EventStore, scored: Ints) -> Ints:
    """Training subjects that the baseline is fitted to, none of whom is scored."""
    rows = np.setdiff1d(store.rows(split="train", exclude_sites=run.config.held_out_sites or None), scored)
    if not len(rows):
        msg = (
            f"store must hold training subjects that are not scored, to fit the baseline to; {store.path} has none. "
            "Choose another split."
        )
        raise ConfigError(msg)
    return evenly(rows, _MAX_FITTED)


def _batches(run: Run, reader: RecordReader, rows: Ints, title: str) -> Iterator[tuple[Ints, Batch]]:
    """Windows that cover all instants of some subjects, and for each window the place of its subject in `rows`."""
    config = run.config
    num_instants = reader.store.subjects["num_instants"].to_numpy().astype(np.int64)[rows]
    steps = epoch_steps(
        rows, num_instants, context=config.context, instants_per_batch=config.instants_per_batch, seed=0, epoch=0
    )
    place = np.zeros(len(reader.store), dtype=np.int64)
    place[rows] = np.arange(len(rows))
    with progress_bar(title, len(steps)) as bar:
        for step in steps:
            records = reader.read(step.rows)
            windows = cut(records, step, config.context)
            # The baseline says nothing of the time after the last instant, so nobody does.
            yield place[step.rows], collate(records, windows, pack(windows), with_survival=False)
            bar.advance()


@torch.inference_mode()
def _terms(network: Network, batch: Batch) -> Terms:
    log_p = network.log_prob(batch)
    return Terms(log_p.gap.flatten(), log_p.code, log_p.value)


def _add(sums: np.ndarray, batch: Batch, owner: Tensor, terms: Terms) -> None:
    """Add negative log-probabilities (nats) to the subjects that they belong to."""
    segment = batch.segment.flatten()
    is_used = segment >= 0
    gap = np.bincount(owner[segment[is_used]].numpy(), terms.gap[is_used].double().numpy(), minlength=len(sums))
    subject = owner[segment[batch.event_position]].numpy()
    sums[:, 0] -= gap
    sums[:, 1] -= np.bincount(subject, terms.code.double().numpy(), minlength=len(sums))
    sums[:, 2] -= np.bincount(subject, terms.value.double().numpy(), minlength=len(sums))


def _summary(name: str, bits: np.ndarray, counts: np.ndarray, seed: int) -> Likelihood:
    draws = np.random.default_rng(seed).multinomial(len(bits), np.full(len(bits), 1 / len(bits)), _NUM_BOOTSTRAP)
    ratio = (draws @ bits.sum(1)) / np.maximum(draws @ counts, 1)
    lower, upper = np.quantile(ratio, [0.025, 0.975])
    total = counts.sum()
    parts = dict(zip(("bits_gap", "bits_code", "bits_value"), (float(x) for x in bits.sum(0) / total), strict=True))
    figures: dict[str, Any] = {"lower": float(lower), "upper": float(upper), **parts}
    return Likelihood(
        model=name,
        bits_per_event=float(bits.sum() / total),
        num_events=int(total),
        num_subjects=len(bits),
        **figures,
    )
