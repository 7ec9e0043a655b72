"""The policy: when the next instant comes and which codes it holds. The only part that may know the site.

    end:   whether the record ends for good after a discharge or a death
    gap:   log g ~ mixture of logistics; some are free, some anchored at the next full hours of the clock, some at
           round numbers of minutes
    code:  softmax over the codes from the last one on (canonical order) and END; the last one is known, and of each
           code when it last came, and with which others

Shape letters: K instants, N decisions (events and one END per instant), V codes, D width, M components.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sojourn.model.chosen import DecisionBias, InstantBias, chosen_log_prob
from sojourn.model.config import ModelConfig
from sojourn.model.linear import Linear, Sequential
from sojourn.model.logistic import LogisticMixture, logistic_mixture
from sojourn.model.panel import Mates, PanelBias
from sojourn.model.recency import PastOfCodes, RecencyBias, known_codes

_HOUR = 3600.0
# Free components start spread from two minutes to a month.
_GAP_START_S, _GAP_END_S = 120.0, 30 * 86400.0
# fmt: off
ROUND_MINUTES = (
    1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60,
    75, 90, 105, 120, 150, 180, 240, 300, 360, 480, 720, 1440,
)
# fmt: on
"""Gaps that charts are full of: in one of open data, a third of all are of 60 minutes, a fifth of 15 or 30."""
_ROUND_SCALE_S = 5.0


class SiteAdapter(nn.Module):
    """Low-rank change of a head's input by the site vector: x + U (V x * (1 + M z) - V x) + B z."""

    def __init__(self, width: int, d_site: int, rank: int) -> None:
        super().__init__()
        self.down = Linear(width, rank, bias=False)
        self.up = Linear(rank, width, bias=False)
        self.scale = Linear(d_site, rank, bias=False)
        self.shift = Linear(d_site, width, bias=False)

    def forward(self, x_KD: Tensor, z_KS: Tensor) -> Tensor:
        changed: Tensor = x_KD + self.up(self.down(x_KD) * self.scale(z_KS)) + self.shift(z_KS)
        return changed


class GapHead(nn.Module):
    """Density of the time to the next instant, as masses on the source's own ticks."""

    round_mean: Tensor
    knows_ends: Tensor
    """(1,) bool; false in runs of earlier versions, which took every discharge for the end and learnt no share."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_free, self.num_clock = config.num_gap_components, config.num_clock_components
        width, count = config.d_decoder, self.num_free + self.num_clock
        self.adapter = SiteAdapter(config.d_model, config.d_site, config.site_rank) if config.use_site else None
        self.hidden = Sequential(Linear(config.d_model, width), nn.GELU())
        self.num_round = len(ROUND_MINUTES) if config.use_round_gaps else 0
        self.out = Linear(width, 3 * count + self.num_round)
        nn.init.normal_(self.out.weight, std=0.01)
        with torch.no_grad():
            self.out.bias.zero_()
            spread = torch.linspace(math.log(_GAP_START_S), math.log(_GAP_END_S), self.num_free)
            self.out.bias[count : count + self.num_free] = spread
            self.out.bias[2 * count + self.num_free : 3 * count] = -4.0
        self.register_buffer("knows_ends", torch.ones(1, dtype=torch.bool))
        self.ends = Linear(config.d_model, 1)
        nn.init.zeros_(self.ends.weight)
        nn.init.zeros_(self.ends.bias)
        if self.num_round:
            seconds = 60.0 * torch.tensor(ROUND_MINUTES)
            self.register_buffer("round_mean", torch.log(seconds))
            # Shared by all instants: how exactly a source keeps to the minute does not change from one to the next.
            self.round_log_scale = nn.Parameter(torch.log(_ROUND_SCALE_S / seconds))

    def forward(self, h_KD: Tensor, z_KS: Tensor, clock_K: Tensor) -> LogisticMixture:
        """Mixture of log(gap in seconds) after states `h` whose instants are at `clock` seconds of the day."""
        hidden = self.hidden(self._adapted(h_KD, z_KS)).float()
        with torch.autocast(h_KD.device.type, enabled=False):
            count = self.num_free + self.num_clock
            logit, mean, raw_scale, round_logit = self.out(hidden).split([count, count, count, self.num_round], -1)
        full_hour = _HOUR - clock_K.remainder(_HOUR)
        hours = full_hour[:, None] + _HOUR * torch.arange(self.num_clock, device=clock_K.device)
        anchored = torch.log(hours) + 0.01 * mean[:, self.num_free :]
        mean = torch.cat([mean[:, : self.num_free], anchored], -1)
        free = logistic_mixture(logit, mean, raw_scale, smallest=1e-3)
        if not self.num_round:
            return free
        return LogisticMixture(
            torch.log_softmax(torch.cat([logit, round_logit], -1), -1),
            torch.cat([free.mean, self.round_mean.expand_as(round_logit)], -1),
            torch.cat([free.scale, self.round_log_scale.exp().expand_as(round_logit)], -1),
        )

    def end_logit(self, h_KD: Tensor, z_KS: Tensor) -> Tensor:
        """Log-odds that nothing is ever recorded after instants that hold a terminal code, shape (K,).

        After a discharge many records go on with the next stay. Without this, "ends here" and "goes on" would have a
        mass of one each.
        """
        adapted = self._adapted(h_KD, z_KS).float()
        with torch.autocast(h_KD.device.type, enabled=False):
            logit: Tensor = self.ends(adapted)[:, 0]
        return logit

    def _adapted(self, h_KD: Tensor, z_KS: Tensor) -> Tensor:
        return h_KD if self.adapter is None else self.adapter(h_KD, z_KS)


def gap_log_mass(density: LogisticMixture, gap_K: Tensor, tick_K: Tensor) -> Tensor:
    """Log-probability that the gap was recorded as `gap`, shape (K,), in nats.

    Instants lie on ticks and differ, so a gap is 1, 2, ... ticks; the mass below half a tick is taken out.
    """
    number = (gap_K / tick_K).round().clamp_min(1.0)
    lower, upper = torch.log((number - 0.5) * tick_K), torch.log((number + 0.5) * tick_K)
    width = torch.log1p(1 / (number - 0.5))
    return density.log_mass(lower, upper, width) - density.log_survival(torch.log(0.5 * tick_K))


def gap_log_survival(density: LogisticMixture, delay_K: Tensor, tick_K: Tensor) -> Tensor:
    """Log-probability that nothing is recorded within `delay` seconds, the last tick included, shape (K,), in nats."""
    return density.log_survival(torch.log(after(delay_K, tick_K))) - density.log_survival(torch.log(0.5 * tick_K))


def after(delay_K: Tensor, tick_K: Tensor) -> Tensor:
    """Seconds from which on a gap is recorded later than `delay`: half a tick after the last tick within it."""
    return (torch.floor(delay_K.clamp_min(0.0) / tick_K) + 0.5) * tick_K


class CodeHead(nn.Module):
    """Logits of the next code of an instant, or END (index V), in canonical order."""

    can_emit: Tensor

    def __init__(self, config: ModelConfig, can_emit_V: Tensor) -> None:
        super().__init__()
        num_codes = len(can_emit_V)
        self.register_buffer("can_emit", torch.cat([can_emit_V.bool(), torch.ones(1, dtype=torch.bool)]))
        self.adapter = SiteAdapter(config.d_decoder, config.d_site, config.site_rank) if config.use_site else None
        self.site_bias = Linear(config.d_site, num_codes + 1, bias=False) if config.use_site else None
        self.follow = Linear(config.d_event, config.d_decoder, bias=False)
        self.project = Linear(config.d_decoder, config.d_event)
        self.end = nn.Parameter(torch.zeros(1, config.d_event))
        self.bias = nn.Parameter(torch.zeros(num_codes + 1))
        self.recency = RecencyBias(num_codes, config.d_event) if config.use_recency else None
        self.panel = PanelBias(num_codes, config.d_decoder) if config.use_panel else None
        if self.site_bias is not None:
            nn.init.zeros_(self.site_bias.weight)

    def forward(
        self,
        u_ND: Tensor,
        z_NS: Tensor,
        embedding_VD: Tensor,
        last_code_N: Tensor,
        recency_NV: Tensor | None = None,
        mates: Mates | None = None,
    ) -> Tensor:
        """Log-probabilities of all codes, shape (N, V + 1); `last_code` is -1 before the first event of an instant.

        `recency` is added to the logits of the codes, and `mates`, what came along the last time, have a bias of their
        own. Codes below the last one are impossible (canonical order), and so is an instant without events.
        """
        return torch.log_softmax(self.logits(u_ND, z_NS, embedding_VD, last_code_N, recency_NV, mates), -1)

    def logits(
        self,
        u_ND: Tensor,
        z_NS: Tensor,
        embedding_VD: Tensor,
        last_code_N: Tensor,
        recency_NV: Tensor | None,
        mates: Mates | None,
    ) -> Tensor:
        """Logits of all codes, shape (N, V + 1) float32: `forward` but for a constant of each decision."""
        u_ND = self._after(u_ND, z_NS, embedding_VD, last_code_N)
        x, weight, bias = self._products(u_ND, z_NS, embedding_VD)
        # Each pass over all codes costs as much as the product: what follows changes the logits in place.
        logit = F.linear(x, weight).float()
        logit += bias
        if recency_NV is not None:
            logit[:, :-1] += recency_NV
        panel = self._panel(u_ND, mates)
        if panel is not None:
            panel.add_to(logit)
        index = torch.arange(logit.shape[-1], device=logit.device)
        logit.masked_fill_(index < last_code_N[:, None], -torch.inf)
        logit[:, -1].masked_fill_(last_code_N < 0, -torch.inf)
        return logit

    def recency_of_all(self, embedding_VD: Tensor, delay_KV: Tensor, interval_KV: Tensor) -> Tensor | None:
        """Bias of every code at instants, shape (K, V), from the seconds since it came and its last interval."""
        if self.recency is None:
            return None
        code = torch.arange(len(embedding_VD), device=delay_KV.device).expand_as(delay_KV)
        known = known_codes(PastOfCodes(code, delay_KV, interval_KV))
        bias: Tensor = self.recency(self.recency.table(embedding_VD), known)
        return bias

    def chosen(
        self,
        u_ND: Tensor,
        z_NS: Tensor,
        embedding_VD: Tensor,
        last_code_N: Tensor,
        target_N: Tensor,
        recency: InstantBias | None = None,
        mates: Mates | None = None,
    ) -> Tensor:
        """Log-probabilities of the targets alone, shape (N,): `forward` gathered, in a fraction of its time."""
        u_ND = self._after(u_ND, z_NS, embedding_VD, last_code_N)
        x, weight, bias = self._products(u_ND, z_NS, embedding_VD)
        return chosen_log_prob(x, weight, bias, last_code_N, target_N, recency, self._panel(u_ND, mates))

    def _products(self, u_ND: Tensor, z_NS: Tensor, embedding_VD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features of decisions, and the weight and the bias of each code and END that make logits of them."""
        x, weight = self.project(u_ND), torch.cat([embedding_VD, self.end])
        if self.site_bias is not None:
            x, weight = torch.cat([x, z_NS.to(x.dtype)], -1), torch.cat([weight, self.site_bias.weight], -1)
        return x, weight, self.bias.masked_fill(~self.can_emit, -torch.inf)

    def _after(self, u_ND: Tensor, z_NS: Tensor, embedding_VD: Tensor, last_code_N: Tensor) -> Tensor:
        """The state of decisions as the head sees it: changed by the site, and told the last code."""
        if self.adapter is not None:
            u_ND = self.adapter(u_ND, z_NS)
        embedding = F.pad(embedding_VD, (0, 0, 0, 1))  # of none, -1, it is zero
        after: Tensor = u_ND + self.follow(F.embedding(last_code_N % len(embedding), embedding))
        return after

    def _panel(self, u_ND: Tensor, mates: Mates | None) -> DecisionBias | None:
        """What mates add to the logits."""
        if self.panel is None or mates is None:
            return None
        return DecisionBias(mates.code, self.panel(u_ND, mates))
