"""Observed over expected at random moments of some subjects' records: by it a hospital's habits are told.

With o_s and e_s what was observed and expected of a subject s, over all of its moments, and O and E their sums:

    R = O / E,    var log R = sum over s of (o_s / O - e_s / E)²

(delta method, subjects independent).

Shape letters: Q moments, B heads, C codes, J bins, S subjects.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sojourn.model import Network
from sojourn.training.at_risk import Start
from sojourn.training.batches import collate, pack
from sojourn.training.plan import cut, epoch_steps
from sojourn.training.records import Floats, Ints, RecordReader
from sojourn.training.targets import FirstTargets, Moments, draw_moments, first_targets

HORIZON_HOURS = 24.0
MIN_SUBJECTS = 10
"""Subjects with anything observed below which nothing is said."""
_QUERIES, _INSTANTS = 512, 2048


@dataclass(frozen=True, slots=True)
class Ratio:
    """What was seen, over what was expected of an unknown hospital."""

    ratio: float
    variance: float
    """Of the ratio's logarithm."""
    num_subjects: int
    """Subjects of whom anything was seen."""


class Asked(NamedTuple):
    """Some of the moments, and what the network says of codes there."""

    subject: Ints
    """(Q,) place of the subject among those asked about."""
    moments: Moments
    targets: FirstTargets
    log_hazard: Tensor
    """(Q, B, C, J)"""


@torch.inference_mode()
def random_moments(
    network: Network, reader: RecordReader, rows: Ints, code_C: Ints, known: Sequence[Start] = (), *, context: int
) -> Iterator[Asked]:
    """Random moments of some subjects (S rows of the store), always the same, and the hazards of codes there.

    `known` are the outcomes that are starts, for who is at risk of them. The network is in evaluation mode and sees
    `context` instants at once.
    """
    place = np.zeros(len(reader.store), dtype=np.int64)
    place[rows] = np.arange(len(rows))
    num_instants = reader.store.subjects["num_instants"].to_numpy().astype(np.int64)[rows]
    plan = epoch_steps(rows, num_instants, context=context, instants_per_batch=_INSTANTS, seed=0, epoch=0)
    for number, step in enumerate(plan if len(code_C) else ()):
        records = reader.read(step.rows)
        windows = cut(records, step, context)
        layout = pack(windows)
        moments = draw_moments(
            records,
            windows,
            layout,
            rng=np.random.default_rng([0, number]),
            num_heads=network.config.num_bootstrap_heads,
            max_queries=_QUERIES,
            with_past=True,
        )
        targets = first_targets(records, moments, code_C, known)
        h = network.states(collate(records, windows, layout)).flatten(0, 1)
        asked_at = h[moments.position], moments.time_features(), moments.past
        log_hazard = network.first_log_hazard(*asked_at, targets.code)
        yield Asked(place[step.rows[moments.subject.numpy()]], moments, targets, log_hazard)


def cumulative(network: Network, log_hazard: Tensor, hours: Tensor) -> Floats:
    """Mean over the heads of the cumulative hazards up to `hours`, (Q,) or (Q, C); shape (Q, C)."""
    until = hours[:, None] if hours.dim() > 1 else hours[:, None, None]
    found: Floats = network.first_head.cumulative(log_hazard, until.expand(log_hazard.shape[:-1])).mean(1).numpy()
    return found


def ratio(observed_S: Floats, expected_S: Floats) -> Ratio:
    """Observed over expected of all subjects together."""
    observed, expected = observed_S.sum(), expected_S.sum()
    num_seen = int((observed_S > 0).sum())
    if not num_seen:
        return Ratio(0.0, math.inf, 0)
    spread = observed_S / observed - expected_S / expected
    return Ratio(float(observed / expected), float((spread**2).sum()), num_seen)
