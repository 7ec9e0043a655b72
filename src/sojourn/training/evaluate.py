"""The loss on subjects that the training never sees."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sojourn.model import Network
from sojourn.training.loss import losses
from sojourn.training.plan import Step
from sojourn.training.sampler import Sampler


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
def tuning_loss(network: Network, sampler: Sampler, plan: Sequence[Step]) -> TuningLoss:
    """Evaluate a network (in evaluation mode) on all windows of a plan; the same plan gives the same questions."""
    sums = torch.zeros(4, dtype=torch.float64)
    num_events = num_queries = 0
    for number, step in enumerate(plan):
        sample = sampler.sample(step, number, is_training=False)
        with torch.autocast("cpu", torch.bfloat16, enabled=sampler.config.precision != "32-true"):
            result = losses(network, sample)
        sums += torch.stack([result.gap, result.code, result.value, result.outcomes]).double().cpu()
        num_events += result.num_events
        num_queries += result.num_queries
    gap, code, value = (float(x) / max(num_events, 1) for x in sums[:3])
    total = gap + code + value
    return TuningLoss(
        nats_per_event=total,
        nats_gap=gap,
        nats_code=code,
        nats_value=value,
        bits_per_event=total / math.log(2),
        query_nats=float(sums[3]) / max(num_queries, 1),
        num_events=num_events,
    )
