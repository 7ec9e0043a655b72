"""The whole network, and the exact likelihood of a record under it.

    log p(record) = sum over instants k of   log p(gap_k | h_{k-1}, z)
                                           + log P(goes on | h_{k-1}, z)  if k - 1 holds a discharge or a death
                  + sum over its events j of log p(code_j | h_{k-1}, gap_k, earlier events of k, z)
                                           + log p(value_j | h_{k-1}, gap_k, earlier events of k, code_j)
                  + log p(END | ..., z)  + log P(nothing recorded after the last instant while it was watched, or ever)

h is the backbone's state, z the site vector: policy (gap, code) knows z, physiology (value) does not.

Shape letters: B rows, L positions, K = B * L instants, E events, N decisions, D width, V codes, S site width.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sojourn.model.backbone import Backbone
from sojourn.model.batch import Batch
from sojourn.model.cache import RollingCache
from sojourn.model.chosen import InstantBias
from sojourn.model.config import CodeTable, ModelConfig
from sojourn.model.embedding import NUM_RECENT, Earlier, EventEmbedding, earlier_events, sum_by_instant
from sojourn.model.features import NUM_TIME_FEATURES, time_features
from sojourn.model.linear import Linear, Sequential
from sojourn.model.logistic import LogisticMixture
from sojourn.model.panel import Mates, mates_of
from sojourn.model.physiology import ValueHead
from sojourn.model.policy import CodeHead, GapHead, gap_log_mass, gap_log_survival
from sojourn.model.queries import FirstEventHead, ValueQueryHead
from sojourn.model.recency import known_codes, past_of_codes
from sojourn.model.summary import CodeStatistics


class EventLogProb(NamedTuple):
    """Log-probabilities in nats; zero where a part is not scored."""

    gap: Tensor
    """(B, L) of the gap before each instant, with the survival after the last one, or its being the last for good."""
    code: Tensor
    """(E,) of each event's code; END is counted with the last event of its instant."""
    value: Tensor
    """(E,) of each event's value: that there is one (or none), and the mass of the recorded cell."""

    def total(self) -> Tensor:
        """Sum over the batch, a scalar."""
        return self.gap.sum() + self.code.sum() + self.value.sum()


class InstantContext(NamedTuple):
    """What the decoding of an instant starts from."""

    u: Tensor
    """(K, D) state of the previous position joined with the time features of the instant."""
    z_site: Tensor
    """(K, S) site vector."""


class Network(nn.Module):
    """A foundation model of event streams: policy and physiology apart, queries beside them."""

    def __init__(self, config: ModelConfig, codes: CodeTable, num_sites: int) -> None:
        super().__init__()
        self.config = config
        d_model, d_event, d_decoder = config.d_model, config.d_event, config.d_decoder
        assert (0 if codes.words is None else codes.words.shape[1]) == config.num_word_features
        self.events = EventEmbedding(codes, d_event, config.identity_dropout)
        self.instant = Sequential(nn.RMSNorm(d_event), Linear(d_event, 2 * d_model), nn.GELU())
        self.instant_out = Linear(2 * d_model, d_model)
        self.instant_skip = Linear(d_event, d_model)
        self.time = Linear(NUM_TIME_FEATURES, d_model)
        self.start = nn.Parameter(torch.zeros(d_model))
        self.backbone = Backbone(config)
        self.site = nn.Embedding(num_sites + 1, config.d_site)
        nn.init.normal_(self.site.weight, std=0.3)
        self.decode_state = Linear(d_model, d_decoder)
        self.decode_time = Linear(NUM_TIME_FEATURES, d_decoder)
        self.decode_events = Linear(d_event, d_decoder)
        self.decode_recent = Linear(NUM_RECENT * d_event, d_decoder, bias=False)
        nn.init.zeros_(self.decode_recent.weight)  # the sum alone, to start with
        self.decode = Sequential(nn.RMSNorm(d_decoder), Linear(d_decoder, 2 * d_decoder), nn.GELU())
        self.decode_out = Linear(2 * d_decoder, d_decoder)
        self.gap_head = GapHead(config)
        self.code_head = CodeHead(config, codes.can_emit)
        self.value_head = ValueHead(config)
        self.first_head = FirstEventHead(config, codes.log_hazard)
        self.value_query = ValueQueryHead(config)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.start.device

    # -- history to states ------------------------------------------------------------------------------------------

    def phi(self, batch: Batch) -> Tensor:
        """Embedding of every event, shape (E, D)."""
        phi: Tensor = self.events(batch.code, batch.value, batch.previous_value, batch.previous_delay)
        return phi

    def inputs(self, batch: Batch, phi_ED: Tensor) -> Tensor:
        """Inputs of the backbone, shape (B, L, D)."""
        B, L = batch.time.shape
        total = sum_by_instant(phi_ED.float(), batch.event_position, B * L).view(B, L, -1)
        x = self.instant_out(self.instant(total)) + self.instant_skip(total)
        x = x + self.time(time_features(batch.gap, batch.time, batch.clock, batch.age))
        x = x + self.start * (batch.order == 0)[..., None]
        return F.dropout(x.float(), self.config.dropout, self.training)

    def states(self, batch: Batch) -> Tensor:
        """State of every position, shape (B, L, D): knows this instant and the earlier ones of its window."""
        return self.states_of(batch, self.phi(batch))

    def states_of(self, batch: Batch, phi_ED: Tensor) -> Tensor:
        """`states` from embeddings that were computed already."""
        h: Tensor = self.backbone(self.inputs(batch, phi_ED), batch.time, batch.order, batch.segment)
        return h

    def step(self, batch: Batch, phi_ED: Tensor, cache: RollingCache) -> Tensor:
        """State of one further position per row (L = 1) from its events' embeddings, shape (B, 1, D)."""
        return self.backbone.step(self.inputs(batch, phi_ED), batch.time, batch.order, cache)

    # -- decoding an instant ----------------------------------------------------------------------------------------

    def context(self, h_KD: Tensor, site_K: Tensor, time_KF: Tensor) -> InstantContext:
        """Start of the decoding, from the *previous* position's state and the time features of the instant."""
        return InstantContext(self.decode_state(h_KD) + self.decode_time(time_KF), self.site(site_K))

    def decision(self, u_ND: Tensor, earlier: Earlier) -> Tensor:
        """States of decisions inside instants, from their contexts and the earlier events."""
        u = (u_ND + self.decode_events(earlier.total) + self.decode_recent(earlier.recent)).float()
        out: Tensor = u + self.decode_out(self.decode(u))
        return out

    def value_density(self, u_ED: Tensor, code_E: Tensor, previous_E: Tensor, delay_E: Tensor) -> LogisticMixture:
        """Density of the normalised values of events with known codes."""
        z_previous = self.events.normalise(code_E, previous_E)
        features = self.events.previous_features(z_previous, delay_E)
        density: LogisticMixture = self.value_head(u_ED, self.events.seen(code_E), features, z_previous)
        return density

    # -- likelihood -------------------------------------------------------------------------------------------------

    def log_prob(self, batch: Batch) -> EventLogProb:
        """Exact log-likelihood of the predicted positions of a batch, in nats."""
        phi = self.phi(batch)
        return self.log_prob_from(batch, phi, self.states_of(batch, phi))

    def log_prob_from(self, batch: Batch, phi_ED: Tensor, h_BLD: Tensor) -> EventLogProb:
        """`log_prob` from embeddings and states that were computed already."""
        before = torch.cat([torch.zeros_like(h_BLD[:, :1]), h_BLD[:, :-1]], 1)
        gap = self._gap_log_prob(batch, before, h_BLD)
        code, value = self._event_log_prob(batch, phi_ED, before)
        return EventLogProb(gap, code, value)

    def _gap_log_prob(self, batch: Batch, before_BLD: Tensor, h_BLD: Tensor) -> Tensor:
        out = self._goes_on_log_prob(batch, before_BLD)
        is_scored = batch.is_gap_predicted
        if is_scored.any():
            clock = (batch.clock - batch.gap)[is_scored].remainder(86400.0)
            density = self.gap_head(before_BLD[is_scored], self.site(batch.site[is_scored]), clock)
            mass = gap_log_mass(density, batch.gap[is_scored], batch.tick[is_scored])
            out = out + torch.zeros_like(out).masked_scatter(is_scored, mass)
        is_last = (batch.survival > 0) & batch.survival.isfinite()
        if is_last.any():
            density = self.gap_head(h_BLD[is_last], self.site(batch.site[is_last]), batch.clock[is_last])
            tail = gap_log_survival(density, batch.survival[is_last], batch.tick[is_last])
            out = out + torch.zeros_like(out).masked_scatter(is_last, tail)
        ends = batch.survival.isinf() & self.gap_head.knows_ends
        if ends.any():
            final = F.logsigmoid(self.gap_head.end_logit(h_BLD[ends], self.site(batch.site[ends])))
            out = out + torch.zeros_like(out).masked_scatter(ends, final)
        return out

    def _goes_on_log_prob(self, batch: Batch, before_BLD: Tensor) -> Tensor:
        """Log-probability that the record did not end with the discharge or death before each scored gap, (B, L)."""
        out = torch.zeros_like(batch.gap)
        might = batch.is_gap_predicted & F.pad(batch.may_end[:, :-1], (1, 0)) & self.gap_head.knows_ends
        if might.any():
            logit = self.gap_head.end_logit(before_BLD[might], self.site(batch.site[might]))
            out = out.masked_scatter(might, F.logsigmoid(-logit))
        return out

    def _event_log_prob(self, batch: Batch, phi_ED: Tensor, before_BLD: Tensor) -> tuple[Tensor, Tensor]:
        num_events = len(batch.code)
        is_scored = batch.is_predicted.flatten()[batch.event_position]
        code_out = torch.zeros(num_events, device=phi_ED.device)
        value_out = torch.zeros_like(code_out)
        if not is_scored.any():
            return code_out, value_out
        position = batch.event_position[is_scored]
        rank, code, phi = batch.event_rank[is_scored], batch.code[is_scored], phi_ED[is_scored].float()
        instants, inverse, count = torch.unique_consecutive(position, return_inverse=True, return_counts=True)
        time = time_features(*(x.flatten()[instants] for x in (batch.gap, batch.time, batch.clock, batch.age)))
        context = self.context(before_BLD.flatten(0, 1)[instants], batch.site.flatten()[instants], time)
        last = torch.cumsum(count, 0) - 1
        u = self.decision(torch.cat([context.u[inverse], context.u]), earlier_events(phi, rank, last))
        shifted = torch.cat([code.new_full((1,), -1), code[:-1]])
        last_code = torch.cat([torch.where(rank == 0, -1, shifted), code[last]])
        target = torch.cat([code, torch.full_like(instants, len(self.code_head.bias) - 1)])
        z_site = torch.cat([context.z_site[inverse], context.z_site])
        embedding = self.events.codes()
        of = torch.cat([inverse, torch.arange(len(instants), device=instants.device)])
        recency, mates = self.past_in(batch, is_scored, embedding, last_code, (instants, last, of))
        chosen = self.code_head.chosen(u, z_site, embedding, last_code, target, recency, mates)
        per_event = chosen[: len(code)].index_add(0, last, chosen[len(code) :])
        return (
            code_out.masked_scatter(is_scored, per_event),
            value_out.masked_scatter(is_scored, self._value_log_prob(batch, u[: len(code)], is_scored)),
        )

    def past_in(
        self,
        batch: Batch,
        is_scored: Tensor,
        embedding_VD: Tensor,
        last_code_N: Tensor,
        where: tuple[Tensor, Tensor, Tensor],
    ) -> tuple[InstantBias | None, Mates | None]:
        """What the past of the codes adds to the decisions of a batch: when each came, and what came along.

        `where` holds the flattened position of each instant, its last scored event, and the instant of each decision.
        """
        head, (position_K, last_K, instant_N) = self.code_head, where
        if head.recency is None and head.panel is None:
            return None, None
        known, recency, mates = known_codes(past_of_codes(batch, position_K)), None, None
        if head.recency is not None:
            recency = InstantBias(head.recency(head.recency.table(embedding_VD), known), instant_N)
        if head.panel is not None:
            mates = mates_of(batch, known, is_scored, last_code_N, last_K, instant_N, len(head.bias) - 1)
        return recency, mates

    def _value_log_prob(self, batch: Batch, u_ED: Tensor, is_scored: Tensor) -> Tensor:
        code, value = batch.code[is_scored], batch.value[is_scored]
        has_value = ~torch.isnan(value)
        share = self.events.value_share[code]
        out = torch.log(torch.where(has_value, share, 1 - share))
        if has_value.any():
            previous, delay = batch.previous_value[is_scored][has_value], batch.previous_delay[is_scored][has_value]
            density = self.value_density(u_ED[has_value], code[has_value], previous, delay)
            lower, upper = self.events.cell(code[has_value], value[has_value])
            out = out + torch.zeros_like(out).masked_scatter(has_value, density.log_mass(lower, upper))
        return out

    # -- queries ----------------------------------------------------------------------------------------------------

    def first_log_hazard(self, h_QD: Tensor, time_QF: Tensor, past: CodeStatistics | None, code_C: Tensor) -> Tensor:
        """Log-hazards per hour of codes after queries, shape (Q, bootstrap heads, C, bins).

        `past` is what the record of each query holds of every code up to the moment of asking; a network without
        `use_summary` does not look at it.
        """
        return self.log_hazard(self.question(h_QD, time_QF, past), code_C)

    def question(self, h_QD: Tensor, time_QF: Tensor, past: CodeStatistics | None) -> Tensor:
        """What the hazards of any code after queries are read from, shape (Q, `config.d_decoder`)."""
        known_QD = torch.cat([self.known(h_QD, past), time_QF.to(h_QD.dtype)], -1)
        question: Tensor = self.first_head.mlp(known_QD)
        return question

    def log_hazard(self, question_QD: Tensor, code_C: Tensor) -> Tensor:
        """`first_log_hazard` of what `question` gave."""
        hazard: Tensor = self.first_head(question_QD, self.events.some_codes(code_C), code_C)
        return hazard

    def known(self, h_QD: Tensor, past: CodeStatistics | None) -> Tensor:
        """What is known at questions: the state, and beside it what the past comes to, shape (Q, `config.d_known`)."""
        if self.first_head.summary is None:
            return h_QD
        assert past is not None, "a network with a summary is asked with the statistics of the past"
        z = self.events.normalise(past.code[:, None], past.values)
        summary = self.first_head.summary(past, z, self.events.codes(), len(h_QD))
        return torch.cat([h_QD, summary.to(h_QD.dtype)], -1)

    def future_value_density(
        self, h_QD: Tensor, delay_Q: Tensor, code_Q: Tensor, previous: tuple[Tensor, Tensor]
    ) -> LogisticMixture:
        """Density of normalised values of codes, were they measured `delay` seconds after the queries.

        `previous` holds the codes' last values (own unit) and their ages in seconds at the query, (Q,) each.
        """
        z_previous = self.events.normalise(code_Q, previous[0])
        features = self.events.previous_features(z_previous, previous[1])
        density: LogisticMixture = self.value_query(h_QD, delay_Q, self.events.seen(code_Q), features, z_previous)
        return density
