"""Mixtures of logistic distributions: densities whose mass on an interval is exact and cheap.

With sigma the logistic function, F(x) = sigma((x - mu) / s), so that for a < b

    F(b) - F(a) = sigma(b') sigma(-a') (1 - exp(a' - b')),    a' = (a - mu) / s,  b' = (b - mu) / s,

which never subtracts two nearly equal numbers.

Shape letters: N distributions, M components.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_SMALLEST_WIDTH = 1e-6
"""What float32 tells of the difference of two numbers near one."""
_LEAST = 1e-7


class LogisticMixture(NamedTuple):
    """N mixtures of M logistic distributions on the real line."""

    log_weight: Tensor
    """(N, M) float32, logarithms of the weights; each row sums to one in the linear domain."""
    mean: Tensor
    """(N, M) float32."""
    scale: Tensor
    """(N, M) float32 > 0."""

    def log_mass(self, lower_N: Tensor, upper_N: Tensor, width_N: Tensor | None = None) -> Tensor:
        """Log-probability of (lower, upper], shape (N,); `lower` must be below `upper`.

        Narrow intervals need `width`, which is upper - lower without the rounding of both.
        """
        a = (lower_N[:, None] - self.mean) / self.scale
        b = (upper_N[:, None] - self.mean) / self.scale
        width = (b - a).clamp_min(_SMALLEST_WIDTH) if width_N is None else width_N[:, None] / self.scale
        log_mass = F.logsigmoid(b) + F.logsigmoid(-a) + torch.log(-torch.expm1(-width))
        return torch.logsumexp(self.log_weight + log_mass, dim=-1)

    def log_survival(self, x_N: Tensor) -> Tensor:
        """Log-probability of more than x, shape (N,)."""
        return torch.logsumexp(self.log_weight + F.logsigmoid((self.mean - x_N[:, None]) / self.scale), dim=-1)

    def cdf(self, x_N: Tensor) -> Tensor:
        """Probability of x or less, shape (N,)."""
        return (self.log_weight.exp() * torch.sigmoid((x_N[:, None] - self.mean) / self.scale)).sum(-1)

    def sample(self, generator: torch.Generator, lower_N: Tensor | None = None) -> Tensor:
        """Draw one number from each mixture, shape (N,); with `lower`, given that it is larger than `lower`."""
        return self.draw(torch.rand(len(self.mean), 2, generator=generator), lower_N)

    def draw(self, uniform_N2: Tensor, lower_N: Tensor | None = None) -> Tensor:
        """`sample` from given uniform numbers in [0, 1): the first chooses the component, the second the place."""
        log_above_NM = torch.zeros_like(self.mean)
        if lower_N is not None:
            log_above_NM = F.logsigmoid((self.mean - lower_N[:, None]) / self.scale)
        component = _choose(torch.softmax(self.log_weight + log_above_NM, -1), uniform_N2[:, :1])
        log_above, mean, scale = (x.gather(1, component)[:, 0] for x in (log_above_NM, self.mean, self.scale))
        # By the logarithm of the chance of more: far in the tail the chance of less is one in float32.
        log_more = (log_above + torch.log1p(-uniform_N2[:, 1])).clamp(-1 / _LEAST, -_LEAST)
        x = mean + scale * (torch.log(-torch.expm1(log_more)) - log_more)
        return x if lower_N is None else torch.maximum(x, lower_N)

    def draw_outside(self, uniform_N2: Tensor, lower_N: Tensor, upper_N: Tensor) -> Tensor:
        """`draw` given that the number does not lie in (lower, upper]; infinite limits on one side exclude nothing."""
        below = torch.sigmoid((lower_N[:, None] - self.mean) / self.scale)
        above = torch.sigmoid((self.mean - upper_N[:, None]) / self.scale)
        component = _choose(self.log_weight.exp() * (below + above), uniform_N2[:, :1])
        below, above, mean, scale = (x.gather(1, component)[:, 0] for x in (below, above, self.mean, self.scale))
        place = uniform_N2[:, 1] * (below + above)
        share = torch.where(place < below, place, place + 1 - below - above).clamp(1e-7, 1 - 1e-7)
        return mean + scale * torch.logit(share)

    def quantile(self, share: float, *, num_steps: int = 60) -> Tensor:
        """The `share` quantile of each mixture by bisection, shape (N,)."""
        lower = (self.mean - 40 * self.scale).min(-1).values
        upper = (self.mean + 40 * self.scale).max(-1).values
        for _ in range(num_steps):
            middle = (lower + upper) / 2
            is_above = self.cdf(middle) > share
            upper, lower = torch.where(is_above, middle, upper), torch.where(is_above, lower, middle)
        return (lower + upper) / 2


def logistic_mixture(logit_NM: Tensor, mean_NM: Tensor, raw_scale_NM: Tensor, *, smallest: float) -> LogisticMixture:
    """Mixture from a head's unconstrained outputs; every scale is larger than `smallest`."""
    return LogisticMixture(torch.log_softmax(logit_NM, -1), mean_NM, F.softplus(raw_scale_NM) + smallest)


def _choose(weight_NM: Tensor, uniform_N1: Tensor) -> Tensor:
    """Index of a component, (N, 1), with a chance in proportion to its weight."""
    total = weight_NM.cumsum(-1)
    index = torch.searchsorted(total, uniform_N1 * total[:, -1:], right=True)
    return index.clamp_max(weight_NM.shape[1] - 1)
