"""Where the hazards start from: in how many of the bins that were watched an event came, without any covariate."""

from collections.abc import Sequence

import numpy as np
import torch

from sojourn.training.plan import Step
from sojourn.training.sampler import Sampler

_NUM_BATCHES = 32
_LOWEST = -20.0
_LEAST_SHARE = 1e-6
"""Of the events of a code, in one bin."""
_LEAST_HOURS = 1e-9


def base_log_hazards(sampler: Sampler, plan: Sequence[Step], edges_hours: Sequence[float]) -> torch.Tensor:
    """Log-hazards per hour of every code on every bin, as grouped event times have them, shape (V, J) float32.

    From random instants of the first training batches, shrunk by half an event towards the rate of the bins around.
    """
    return log_hazards(*count_hazards(sampler, plan, edges_hours), edges_hours)


def count_hazards(
    sampler: Sampler, plan: Sequence[Step], edges_hours: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Occurrences, and hours of the bins begun without one, by code, shape (V, J) float64 each; those of sites add."""
    start = np.array([0.0, *edges_hours])
    end = np.array([*edges_hours, 2 * edges_hours[-1]])
    events = np.zeros((sampler.reader.num_codes, len(start)))
    exposure = np.zeros_like(events)
    for number, step in enumerate(plan[:_NUM_BATCHES]):
        moments, targets = sampler.ask_all(step, number)
        # How many are asked while they wait for the next instant is our choice, and no rate of the process.
        is_at_once = moments.gap.numpy() == 0
        hours, is_event = targets.hours.numpy().astype(np.float64)[is_at_once], targets.is_event.numpy()[is_at_once]
        hours = np.where(targets.is_at_risk.numpy()[is_at_once], hours, 0.0)  # nothing is watched of who cannot have it
        known = moments.known.numpy().astype(np.float64)[is_at_once, None]
        for j, (lower, upper) in enumerate(zip(start, end, strict=True)):
            exposure[:, j] += np.where(hours > lower, np.clip(known - lower, 0.0, upper - lower), 0.0).sum(0)
            events[:, j] += (is_event & (hours > lower) & (hours <= upper)).sum(0)
    return events, exposure


def log_hazards(events: np.ndarray, exposure: np.ndarray, edges_hours: Sequence[float]) -> torch.Tensor:
    """Log-hazards per hour from what `count_hazards` counted, shape (V, J) float32."""
    width = np.diff([0.0, *edges_hours, 2 * edges_hours[-1]])
    rate = (events + 0.5) / (exposure + 0.5 / _nearby_rate(events, exposure))
    # A chance of one would be an infinite hazard: as if half a bin more had gone by without an event.
    chance = np.minimum(rate * width, 1 - 0.5 / (exposure / width + 1))
    return torch.from_numpy(np.log(-np.log1p(-chance) / width).clip(_LOWEST)).float()


def _nearby_rate(events: np.ndarray, exposure: np.ndarray) -> np.ndarray:
    """Events per hour in each bin and its two neighbours, shape (V, J).

    Where none was seen around, the bin's part of half an event that comes when those of other codes do. The rate over
    all bins would not do: it is the rate of the many hours after the patients have left.
    """
    seen, hours = (np.pad(x, ((0, 0), (1, 1))) for x in (events, exposure))
    seen, hours = (x[:, :-2] + x[:, 1:-1] + x[:, 2:] for x in (seen, hours))
    total = events.sum(1, keepdims=True)
    share = (events / np.maximum(total, 1.0)).sum(0) / max(np.count_nonzero(total), 1)
    unseen = 0.5 * share.clip(_LEAST_SHARE) / np.maximum(exposure, _LEAST_HOURS)
    rate: np.ndarray = np.where(seen > 0, seen / np.maximum(hours, _LEAST_HOURS), unseen)
    return rate
