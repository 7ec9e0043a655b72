"""Bits of every held-out subject under a run, and what two runs differ by on the same subjects."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

import sojourn as sj
from sojourn.files import atomic_file
from sojourn.training.batches import collate, pack
from sojourn.training.plan import cut, epoch_steps
from sojourn.training.records import Ints
from sojourn.training.run import Run

PARTS = ("gap", "code", "value")
_NUM_BOOTSTRAP = 2000

Numbers = npt.NDArray[np.float64]


@torch.inference_mode()
def score(run: Path, store: Path, rows: Ints, out: Path) -> None:
    """Write a table with a line per subject: row of the store, bits of gaps, codes and values, scored events.

    Windows cover every instant once, with the context that the run was trained with.
    """
    trained = Run(run)
    network, reader, config = trained.network(), trained.reader(sj.EventStore.open(store)), trained.config
    num_instants = reader.store.subjects["num_instants"].to_numpy().astype(np.int64)[rows]
    sums, place = np.zeros((len(rows), 4)), np.zeros(len(reader.store), dtype=np.int64)
    place[rows] = np.arange(len(rows))
    plan = epoch_steps(
        rows, num_instants, context=config.context, instants_per_batch=config.instants_per_batch, seed=0, epoch=0
    )
    for step in plan:
        records = reader.read(step.rows)
        windows = cut(records, step, config.context)
        batch = collate(records, windows, pack(windows))
        log_p = network.log_prob(batch)
        segment = batch.segment.flatten()
        is_used = segment >= 0
        subject = place[step.rows][segment[is_used].numpy()]
        of_event = place[step.rows][segment[batch.event_position].numpy()]
        is_scored = batch.is_predicted.flatten()[batch.event_position]
        terms = (
            (subject, -log_p.gap.flatten()[is_used] / math.log(2)),
            (of_event, -log_p.code / math.log(2)),
            (of_event, -log_p.value / math.log(2)),
            (of_event, is_scored),
        )
        for column, (owner, term) in enumerate(terms):
            sums[:, column] += np.bincount(owner, term.double().numpy(), minlength=len(rows))
    columns = dict(zip((*PARTS, "events"), sums.T, strict=True))
    with atomic_file(out) as part:
        pl.DataFrame({"row": rows, **columns}).write_parquet(part)


def summary(scores: Sequence[Path], base: Sequence[Path]) -> dict[str, Any]:
    """Bits per event over the seeds, and the paired difference to the base model, each with its parts.

    Parameters
    ----------
    scores, base : tables of `score`, of the same seeds in the same order.
    """
    ours, theirs = ([pl.read_parquet(path) for path in paths] for paths in (scores, base))
    for a, b in zip(ours, theirs, strict=True):
        if not a["row"].equals(b["row"]) or not a["events"].equals(b["events"]):
            raise SystemExit("both models must be scored on the same events of the same subjects; they are not")
    events = ours[0]["events"].to_numpy()
    bits, base_bits = (np.stack([_parts(table) for table in tables]) for tables in (ours, theirs))
    return {
        "num_subjects": len(events),
        "num_events": int(events.sum()),
        "bits": _figures(bits, events),
        "difference": _figures(bits - base_bits, events),
    }


def _parts(table: pl.DataFrame) -> Numbers:
    """(4, S) bits: of all parts together, then of each."""
    parts = table.select(PARTS).to_numpy().T
    return np.concatenate([parts.sum(0, keepdims=True), parts])


def _figures(bits: Numbers, events: Numbers) -> dict[str, Any]:
    """From (seeds, 4, S) bits: per event, mean over the seeds, with a 95 % bootstrap interval over the subjects."""
    count = len(events)
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), _NUM_BOOTSTRAP)
    figures = {}
    for i, name in enumerate(("total", *PARTS)):
        of_seeds = bits[:, i].sum(1) / events.sum()
        drawn = (draws @ bits[:, i].mean(0)) / np.maximum(draws @ events, 1)
        lower, upper = np.quantile(drawn, [0.025, 0.975])
        figures[name] = {
            "value": round(float(of_seeds.mean()), 4),
            "lower": round(float(lower), 4),
            "upper": round(float(upper), 4),
            "seeds": [round(float(x), 4) for x in of_seeds],
        }
    return figures
