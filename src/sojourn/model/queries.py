"""The query heads: ask for outcomes and values directly, with no need that anyone measures.

    first(C, tau):  hazard lambda_C(t) = sum of lambda_c(t) over c in C, constant on log-spaced bins,
                    P(first event of C within tau) = 1 - exp(-integral of lambda_C from 0 to tau)
    value(c, tau):  density of the value of c, were it measured tau from now

Hazards add over codes, so the risk of a union is never below that of a part; the risk never falls with tau.
Training takes event times by their bin and right-censored ones as they are: the likelihood of grouped survival times
(Prentice and Gloeckler 1978). A hazard that is constant inside a bin can then give what is charted by the clock, all of
whose events come at one moment of the bin, its true chance; the density of exact times could not.

Shape letters: Q queries, C codes asked, J bins, B bootstrap heads, D width.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sojourn.model.config import ModelConfig
from sojourn.model.features import NUM_TIME_FEATURES, delay_features
from sojourn.model.linear import Linear, Sequential
from sojourn.model.logistic import LogisticMixture
from sojourn.model.physiology import ValueHead
from sojourn.model.summary import HistorySummary

_LOG_HAZARD_RANGE = (-25.0, 6.0)
_LEAST_HOURS = 1e-6
_NEXT_TO_NOTHING = 1e-30


class FirstEventHead(nn.Module):
    """Hazards of any code on log-spaced bins, as `num_bootstrap_heads` estimates."""

    width: Tensor
    start: Tensor
    log_base: Tensor

    def __init__(self, config: ModelConfig, log_hazard_VJ: Tensor) -> None:
        super().__init__()
        edges = torch.tensor((0.0, *config.hazard_edges_hours))
        self.register_buffer("start", edges)
        self.register_buffer("width", torch.cat([edges.diff(), torch.tensor([math.inf])]))
        self.register_buffer("log_base", log_hazard_VJ.float())
        self.num_heads, self.num_bins, self.d_event = config.num_bootstrap_heads, len(edges), config.d_event
        hidden = 2 * config.d_decoder
        d_summary = config.d_known - config.d_model
        self.summary = HistorySummary(config.d_event, d_summary, config.dropout) if config.use_summary else None
        self.mlp = Sequential(
            Linear(config.d_known + NUM_TIME_FEATURES, hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
            Linear(hidden, config.d_decoder),
            nn.GELU(),
        )
        self.out = Linear(config.d_decoder, self.num_heads * self.num_bins * self.d_event)
        self.code_bias = Linear(config.d_event, self.num_bins)
        nn.init.normal_(self.out.weight, std=0.02 / math.sqrt(config.d_event))
        nn.init.zeros_(self.out.bias)
        nn.init.zeros_(self.code_bias.weight)
        nn.init.zeros_(self.code_bias.bias)

    def forward(self, hidden_QD: Tensor, embedding_CD: Tensor, code_C: Tensor) -> Tensor:
        """Log-hazards per hour of codes, shape (Q, B, C, J), from what `mlp` made of state, summary and time."""
        # With few codes, the last layer times the codes is much smaller than the last layer times the queries.
        is_few = len(embedding_CD) <= self.d_event
        logit_of = self._codes_first if is_few else self._queries_first
        embedding_CD = embedding_CD.float()
        with torch.autocast(hidden_QD.device.type, enabled=False):
            own_CJ = self.code_bias(embedding_CD) + self.log_base[code_C]
        return torch.clamp(logit_of(hidden_QD, embedding_CD, own_CJ), *_LOG_HAZARD_RANGE)

    def _queries_first(self, hidden_QD: Tensor, embedding_CD: Tensor, own_CJ: Tensor) -> Tensor:
        """Products of each code with the last layer's output, and what is the code's own, shape (Q, B, C, J)."""
        key = self.out(hidden_QD).view(-1, self.num_heads, self.num_bins, self.d_event)
        with torch.autocast(hidden_QD.device.type, enabled=False):
            return torch.einsum("qbjd,cd->qbcj", key.float(), embedding_CD) + own_CJ

    def _codes_first(self, hidden_QD: Tensor, embedding_CD: Tensor, own_CJ: Tensor) -> Tensor:
        """The same products in the other order: the layer as seen by each code, then applied to the queries."""
        num_codes, slots = len(embedding_CD), (self.num_heads, self.num_bins)
        with torch.autocast(hidden_QD.device.type, enabled=False):
            weight = embedding_CD @ self.out.weight.view(math.prod(slots), self.d_event, -1)
            weight = weight.view(*slots, num_codes, -1).transpose(1, 2).flatten(0, 2)
            bias = (self.out.bias.view(*slots, self.d_event) @ embedding_CD.T).transpose(1, 2) + own_CJ
            logit = torch.addmm(bias.flatten(), hidden_QD.float(), weight.T)
        return logit.view(-1, self.num_heads, num_codes, self.num_bins)

    def cumulative(self, log_hazard: Tensor, hours: Tensor) -> Tensor:
        """Integral of the hazard from 0 to `hours`; shapes (..., J) and (...) that broadcast."""
        inside = (hours[..., None] - self.start).clamp_min(0.0)
        return (log_hazard.exp() * torch.minimum(inside, self.width)).sum(-1)

    def from_hour(self, log_hazard: Tensor, hours: Tensor) -> Tensor:
        """Log-hazards of what cannot come before `hours`; shapes (..., J) and (...) that broadcast.

        A bin in which that ends keeps the mass of the part that is left, spread over the whole.
        """
        share = 1 - ((hours[..., None] - self.start) / self.width).clamp(0.0, 1.0)
        return log_hazard + torch.log(share.clamp_min(_NEXT_TO_NOTHING))

    def log_likelihood(self, log_hazard: Tensor, hours: Tensor, is_event: Tensor, known: Tensor) -> Tensor:
        """Log-probability of an event in the bin of `hours`, or of none until then where `is_event` is false, in nats.

        Of the bin counts what was watched, until `known` hours. Both may be infinite, `hours` for "never". Everything
        is followed for twice the last edge at most: what comes later counts as not yet come.
        """
        limit = float(self.start[-1]) * 2
        is_event = is_event & (hours <= limit)
        hours = hours.clamp(_LEAST_HOURS, limit)
        bin_index = (torch.bucketize(hours, self.start) - 1).clamp(0, self.num_bins - 1)
        begin = self.start[bin_index]
        watched = torch.minimum(self.width[bin_index], known.clamp(max=limit) - begin).clamp_min(_LEAST_HOURS)
        in_bin = log_hazard.gather(-1, bin_index[..., None].expand(*log_hazard.shape[:-1], 1))[..., 0].exp() * watched
        log_event = torch.log(-torch.expm1(-in_bin))
        return torch.where(is_event, log_event, 0.0) - self.cumulative(log_hazard, torch.where(is_event, begin, hours))


def nats_range(edges_hours: Sequence[float]) -> tuple[float, float]:
    """Least and greatest negative log-likelihood of one question about one code that a head can give.

    Examples
    --------
    >>> low, high = nats_range([1.0, 24.0])
    >>> low, round(high)
    (0.0, 19403)
    """
    low, high = _LOG_HAZARD_RANGE
    return 0.0, math.exp(high) * 2 * edges_hours[-1] - low - math.log(_LEAST_HOURS)


def union_log_hazard(log_hazard: Tensor, code_dim: int) -> Tensor:
    """Log-hazard of the first event of a set: the sum of its codes' hazards."""
    return torch.logsumexp(log_hazard, dim=code_dim)


class ValueQueryHead(nn.Module):
    """Density of the normalised value of a code, were it measured `delay` seconds from now."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.state = Sequential(Linear(config.d_model, config.d_decoder), nn.GELU())
        self.num_delay = 12
        self.value = ValueHead(config, num_extra=self.num_delay + 1)

    def forward(
        self, h_QD: Tensor, delay_Q: Tensor, code_QD: Tensor, previous_QF: Tensor, z_previous_Q: Tensor
    ) -> LogisticMixture:
        state = self.state(h_QD)
        context = torch.cat([state, delay_features(delay_Q, self.num_delay).to(state.dtype)], -1)
        density: LogisticMixture = self.value(context, code_QD, previous_QF, z_previous_Q)
        return density
