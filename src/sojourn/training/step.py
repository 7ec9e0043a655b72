"""One optimiser step, on one process or several."""

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from sojourn.errors import RunError
from sojourn.model import Network
from sojourn.training.config import PretrainConfig
from sojourn.training.cut import is_cut
from sojourn.training.devices import sum_over_processes
from sojourn.training.loss import Counts, Losses, Sample, losses

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Uncast:
    """Carries a sample into a wrapped module as it is: Fabric would round its float64 times to the lower precision."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample


class TrainStep(nn.Module):
    """The network behind its loss, so that precision and devices wrap both."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.is_cut = False
        """Whether its weights are cut over processes, which then must all have a gradient of each."""

    def forward(self, held: Uncast) -> Losses:
        found = losses(self.network, held.sample)
        if not self.is_cut:
            return found
        # A share may hold no values to ask, so that the head for them would have no gradient here. Those that are cut
        # still are of blocks, which every share goes through.
        here = [p.sum() for p in self.network.parameters() if not is_cut(p)]
        return found._replace(outcomes=found.outcomes + 0.0 * torch.stack(here).sum())


class StepResult(NamedTuple):
    """What a step came to; of this process's shares until `over_processes`."""

    sums: list[float]
    """The fields of `Losses`, in nats."""
    counts: Counts
    """Of the whole step, over all processes."""
    seconds: float

    def over_processes(self, fabric: "Fabric") -> "StepResult":
        """The result of the whole step."""
        return self._replace(sums=sum_over_processes(fabric, self.sums))

    def line(self) -> dict[str, float]:
        """Per-event figures for the log."""
        count = max(self.counts.events, 1)
        parts = {name: self.sums[Losses._fields.index(name)] / count for name in ("gap", "code", "value")}
        total = sum(parts.values())
        return {
            "nats_per_event": total,
            **{f"nats_{name}": part for name, part in parts.items()},
            "bits_per_event": total / math.log(2),
            "query_nats": self.sums[Losses._fields.index("outcomes")] / max(self.counts.queries, 1),
            "events_per_second": self.counts.events / self.seconds,
            "seconds": self.seconds,
        }


class Stepper:
    """Makes optimiser steps from samples.

    Parameters
    ----------
    module : `TrainStep` of what is trained, set up by Fabric.
    optimizer : over the network's parameters, made after that.
    fabric : devices, processes and precision.
    config : the run's settings.
    total : number of steps of the run, which sets the learning rate of each.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        fabric: "Fabric",
        *,
        config: PretrainConfig,
        total: int,
    ) -> None:
        self.fabric, self.config, self.total = fabric, config, total
        self.module: Any = module
        self.optimizer: Any = fabric.setup_optimizers(optimizer)

    def step(
        self,
        samples: list[Sample],
        number: int,
        first_share: int = 0,
        *,
        adjust: Callable[[], None] | None = None,
    ) -> StepResult:
        """One step on this process's samples, the first of which is share `first_share` of the step.

        `adjust` may change the gradients before they are clipped, as some federated strategies do.

        Raises
        ------
        RunError
            If the loss is not finite.
        """
        config, began = self.config, time.monotonic()
        own = Counts.sum(sample.counts for sample in samples)
        counts = Counts(*(int(n) for n in sum_over_processes(self.fabric, list(own))))
        rate = config.learning_rate * schedule(number, config.warmup_steps, self.total)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.module.train()
        self.optimizer.zero_grad(set_to_none=True)
        sums = [0.0] * len(Losses._fields)
        for i, sample in enumerate(samples):
            # Each share draws its own dropout, the same whichever process it falls to.
            torch.manual_seed(config.seed * 1_000_003 + number + ((first_share + i) << 40))
            with self.fabric.no_backward_sync(self.module, enabled=i + 1 < len(samples)):
                result = self._backward(sample, counts, number)
            sums = [a + b for a, b in zip(sums, torch.stack(result).detach().tolist(), strict=True)]
        if adjust is not None:
            adjust()
        self.fabric.clip_gradients(self.module, self.optimizer, max_norm=config.gradient_clip)
        self.optimizer.step()
        return StepResult(sums, counts, time.monotonic() - began)

    def _backward(self, sample: Sample, counts: Counts, number: int) -> Losses:
        """Add the gradient of one share of the step."""
        result: Losses = self.module(Uncast(self.fabric.to_device(sample)))
        if not sample.is_counted:
            result = Losses(*(0.0 * part for part in result))
        loss = result.total(self.config, counts)
        if not torch.isfinite(loss):
            msg = f"the loss must stay finite; it is {loss.item()} at step {number}. Lower learning_rate."
            raise RunError(msg)
        # Gradients are averaged over the processes; the loss of the step is the sum of theirs.
        self.fabric.backward(loss * self.fabric.world_size)
        return result


def schedule(step: int, warmup: int, total: int) -> float:
    """Linear warm-up for a tenth of the steps at most, then half a cosine down to a twentieth."""
    warmup = min(warmup, total // 10)
    if step < warmup:
        return (step + 1) / warmup
    share = (step - warmup) / max(total - warmup, 1)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
