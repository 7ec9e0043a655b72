"""The loss on subjects that the training never sees."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sojourn.model import Network
from sojourn.training.devices import sum_over_processes
from sojourn.training.loss import losses
from sojourn.training.plan import Step
from sojourn.training.sampler import Sampler

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True, slots=True)
class TuningLoss:
    """Negative log-likelihood on held-out subjects."""

    nats_per_event: float
    nats_gap: float
    nats_code: float
    nats_value: float
    bits_per_event: float
    query_nats: float
    """Per query, summed over the outcomes."""
    num_events: int


@torch.no_grad()
def tuning_loss(network: Network, sampler: Sampler, plan: Sequence[Step], fabric: "Fabric") -> TuningLoss:
    """Evaluate a network (in evaluation mode) on all windows of a plan; the same plan gives the same questions.

    The steps of the plan are dealt out to the processes; the result is that of all of them.
    """
    sums = torch.zeros(4, dtype=torch.float64)
    num_events = num_queries = 0
    for number in range(fabric.global_rank, len(plan), fabric.world_size):
        sample = sampler.sample(plan[number], number, is_training=False)
        with fabric.autocast():
            result = losses(network, fabric.to_device(sample))
        sums += torch.stack([result.gap, result.code, result.value, result.outcomes]).double().cpu()
        num_events += sample.counts.events
        num_queries += sample.counts.queries
    *totals, query_nats, events, queries = sum_over_processes(fabric, [*sums.tolist(), num_events, num_queries])
    gap, code, value = (nats / max(events, 1) for nats in totals)
    total = gap + code + value
    return TuningLoss(
        nats_per_event=total,
        nats_gap=gap,
        nats_code=code,
        nats_value=value,
        bits_per_event=total / math.log(2),
        query_nats=query_nats / max(queries, 1),
        num_events=int(events),
    )
