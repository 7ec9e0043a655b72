"""Optimiser steps that hide each patient: gradients of whole patients, clipped one by one, with noise on their sum.

    g = ( sum over drawn patients i of  g_i min(1, C / |g_i|)  +  N(0, (z C)^2) ) / (q N)

The unit is the patient: all windows of a record are one g_i. Patients are drawn independently with probability q
(Poisson), as the accountant assumes.

References
----------
Abadi et al. 2016, arXiv 1607.00133; McMahan et al. 2018, arXiv 1710.06963 (clipping whole users).
"""

import math
import secrets
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sojourn.federated.local import LocalTrainer
from sojourn.federated.privacy.accountant import Spending
from sojourn.training.loss import Counts, losses
from sojourn.training.plan import epoch_steps
from sojourn.training.step import schedule


class PrivateSteps:
    """Makes noisy steps with a site's trainer.

    Parameters
    ----------
    trainer : the site's network, optimiser and records.
    spending : sampling share and noise; its number of steps is not used.
    clip : norm C to which a patient's gradient is cut.
    seed : of draws and noise; None (always, outside of tests) takes an unpredictable one.
    """

    def __init__(self, trainer: LocalTrainer, spending: Spending, *, clip: float, seed: int | None = None) -> None:
        self.trainer, self.sampling, self.noise, self.clip = trainer, spending.sampling, spending.noise, clip
        seed = secrets.randbits(62) if seed is None else seed
        self._draw = np.random.default_rng(seed)
        self._generator = torch.Generator().manual_seed(seed)

    def train(self, num_steps: int, first_number: int, total: int) -> None:
        """Make some steps."""
        trainer, config = self.trainer, self.trainer.config
        trainer.network.train()
        for k in range(num_steps):
            number = first_number + k
            rate = config.learning_rate * schedule(number, config.warmup_steps, total)
            for group in trainer.optimizer.param_groups:
                group["lr"] = rate
            gradient = self.gradient(number)
            for name, parameter in trainer.network.named_parameters():
                parameter.grad = gradient[name]
            trainer.optimizer.step()
        trainer.optimizer.zero_grad(set_to_none=True)
        trainer.num_made += num_steps

    def gradient(self, number: int) -> dict[str, Tensor]:
        """The noisy gradient of a step by parameter, of patients that are drawn for it."""
        rows = self.trainer.rows.train
        drawn = rows[self._draw.random(len(rows)) < self.sampling]
        total = {name: torch.zeros_like(parameter) for name, parameter in self.trainer.network.named_parameters()}
        for gradient in self._gradients(drawn, number):
            clip_to(gradient, self.clip)
            for sum_, part in zip(total.values(), gradient, strict=True):
                sum_ += part
        if self.noise:
            for sum_ in total.values():
                sum_ += torch.randn(sum_.shape, generator=self._generator) * (self.noise * self.clip)
        expected = self.sampling * len(rows)
        return {name: sum_ / expected for name, sum_ in total.items()}

    def _gradients(self, drawn: np.ndarray, number: int) -> Iterator[list[Tensor]]:
        """Gradient of each patient's own mean loss."""
        network = self.trainer.network
        for row in drawn:
            network.zero_grad(set_to_none=True)
            self._backward(int(row), number)
            yield [torch.zeros_like(p) if p.grad is None else p.grad for p in network.parameters()]

    def _backward(self, row: int, number: int) -> None:
        """Add the gradient of one patient's loss: that of a step that holds this patient alone."""
        trainer, config = self.trainer, self.trainer.config
        alone = np.array([row])
        plan = epoch_steps(
            alone,
            trainer.num_instants[alone],
            context=config.context,
            instants_per_batch=config.instants_per_batch,
            seed=config.seed,
            epoch=number,
        )
        samples = [trainer.sampler.sample(step, number, is_training=True) for step in plan]
        counts = Counts.sum(sample.counts for sample in samples)
        for sample in samples:
            with trainer.fabric.autocast():
                loss = losses(trainer.network, sample).total(config, counts)
            loss.backward()  # type: ignore[no-untyped-call]


def clip_to(gradient: list[Tensor], limit: float) -> float:
    """Shorten a gradient in place to at most `limit`; returns the norm that it had.

    One that is not finite becomes zero: weights could be sent that overflow for the patients with one code only, and no
    noise hides a NaN.

    Examples
    --------
    >>> parts = [torch.tensor([3.0]), torch.tensor([4.0])]
    >>> clip_to(parts, 1.0), [round(float(part), 2) for part in parts]
    (5.0, [0.6, 0.8])
    """
    norm = math.hypot(*(float(torch.linalg.vector_norm(part, dtype=torch.float64)) for part in gradient))
    if not math.isfinite(norm):
        for part in gradient:
            part.zero_()
    elif norm > limit:
        for part in gradient:
            part.mul_(limit / norm)
    return norm


def norms_of(trainer: LocalTrainer, rows: np.ndarray) -> list[float]:
    """Gradient norms of some patients, unclipped: for choosing a clipping norm on public or simulated records."""
    steps = PrivateSteps(trainer, Spending(1, 1.0, 0.0), clip=float("inf"), seed=0)
    return [clip_to(gradient, float("inf")) for gradient in steps._gradients(rows, 0)]
