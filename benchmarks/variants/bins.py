"""Values as a categorical over bins of the normalised scale, in place of a mixture of logistics.

Inside a bin the mass is uniform, beyond the outermost edges it falls exponentially at a rate that the head gives. Edges
are where a normal variable, brought to the z scale, has its quantiles: `scale` is the interquartile range / 1.349, so
every inner bin holds about as much of a typical code.

Shape letters: N densities, E events, J bins, C = J + 2 bins with the two tails, D width.
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sojourn.model import Network
from sojourn.model.config import ModelConfig
from sojourn.model.physiology import ValueHead

NUM_BINS = 20
_TAIL = 0.005
_SMALLEST_WIDTH, _SMALLEST_RATE = 1e-6, 0.05


class BinDensity(NamedTuple):
    """N piecewise uniform densities with exponential tails."""

    log_weight: Tensor
    """(N, C) float32, log-mass of the lower tail, of each bin, of the upper tail."""
    rate: Tensor
    """(N, 2) float32 > 0, how fast the tails fall."""
    edges: Tensor
    """(J + 1,) float32."""

    def log_mass(self, lower_N: Tensor, upper_N: Tensor) -> Tensor:
        """Log-probability of (lower, upper], shape (N,); as with logistics, no cell is narrower than a rounding."""
        upper_N = torch.maximum(upper_N, lower_N + _SMALLEST_WIDTH * (1 + lower_N.abs()))
        start, end = self.edges[:-1], self.edges[1:]
        overlap = (torch.minimum(upper_N[:, None], end) - torch.maximum(lower_N[:, None], start)) / (end - start)
        inner = torch.where(overlap > 0, torch.log(overlap.clamp_min(1e-12)), -torch.inf)
        first, last = self.edges[0], self.edges[-1]
        below = _tail((first - upper_N).clamp_min(0), (first - lower_N).clamp_min(0), self.rate[:, 0])
        above = _tail((lower_N - last).clamp_min(0), (upper_N - last).clamp_min(0), self.rate[:, 1])
        share = torch.cat([below[:, None], inner, above[:, None]], -1)
        return torch.logsumexp(self.log_weight + share, -1)


def _tail(near_N: Tensor, far_N: Tensor, rate_N: Tensor) -> Tensor:
    """Log-share of an exponential tail between two distances from where it starts."""
    width = rate_N * (far_N - near_N).clamp_min(1e-7)
    return torch.where(far_N > near_N, -rate_N * near_N + torch.log(-torch.expm1(-width)), -torch.inf)


class BinHead(ValueHead):
    """The value head with bins; it also knows in which bin the code's previous value lay, and learns where to go."""

    edges: Tensor

    def __init__(self, config: ModelConfig, num_extra: int = 0) -> None:
        super().__init__(config, num_extra)
        share = torch.linspace(_TAIL, 1 - _TAIL, NUM_BINS + 1, dtype=torch.float64)
        self.register_buffer("edges", torch.asinh(torch.special.ndtri(share)).float(), persistent=False)
        self.out = nn.Linear(config.d_decoder, NUM_BINS + 4)
        self.after = nn.Embedding(NUM_BINS + 3, NUM_BINS + 2)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self.after.weight)
        with torch.no_grad():
            self.out.bias.zero_()
            self.out.bias[[0, NUM_BINS + 1]] = math.log(NUM_BINS * _TAIL)
            self.out.bias[-2:] = 2.0

    def forward(  # type: ignore[override]
        self, u_ED: Tensor, code_ED: Tensor, previous_features_EF: Tensor, z_previous_E: Tensor
    ) -> BinDensity:
        hidden = self.context(u_ED) + self.code(code_ED) + self.previous(previous_features_EF)
        hidden = self.mlp(hidden).float()
        with torch.autocast(u_ED.device.type, enabled=False):
            logit, raw_rate = self.out(hidden).split([NUM_BINS + 2, 2], -1)
        place = torch.bucketize(torch.nan_to_num(z_previous_E), self.edges)
        place = torch.where(torch.isnan(z_previous_E), NUM_BINS + 2, place)
        log_weight = torch.log_softmax(logit + self.after(place), -1)
        return BinDensity(log_weight, F.softplus(raw_rate) + _SMALLEST_RATE, self.edges)


class BinValues(Network):
    """The network with bins for the values of the record and for those that are asked."""

    def __init__(self, config: ModelConfig, *args: Any, **settings: Any) -> None:
        super().__init__(config, *args, **settings)
        self.value_head = BinHead(config)
        self.value_query.value = BinHead(config, num_extra=self.value_query.num_delay + 1)
