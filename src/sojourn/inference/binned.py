"""The likelihood of a record told in bins: a probability for exactly what a model of quantile tokens predicts.

A stream of tokens tells a record as codes in canonical order, each followed by the quantile bin of its value, and an
interval token between two instants; no token says that an instant is over. So after an event our network gives

    P(interval token b)  =  P(END) P(gap in b)
    P(code token c)      =  P(c)                                  at the same instant
    P(code token c)      >= P(END) P(gap = g) P(c | g)            at an instant g seconds later, below the first edge
    P(value token q)     =  P(there is a value) P(value in q)

The third line is a lower bound, since only one of the ways to reach c is counted: instants so close that the language
has no token between them (`Bins.has_short_token` gives it one) are scored to our disadvantage. Every forecast is made
from the record as it was before, in full resolution, as a model of tokens makes its own from the tokens before. The
first instant is given, and nothing is said of the time after the last one.

Shape letters: B rows, L positions, K instants, E events, N decisions, S subjects.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sojourn.inference.bins import Bins, gap_bin_log_mass
from sojourn.model import Batch, Network
from sojourn.model.embedding import earlier_events
from sojourn.model.features import time_features
from sojourn.model.policy import gap_log_mass
from sojourn.training.batches import Layout, Windows, collate, pack, positions
from sojourn.training.records import Ints, RecordReader, Records

PARTS = ("end", "time", "code", "value")
"""Whether the instant is over; which interval; which code, if it is not over; whether there is a value, and its bin."""


class BinnedTerms(NamedTuple):
    """Log-probabilities in nats of the positions and events of a batch; zero where the batch predicts nothing."""

    end: Tensor
    """(B, L) that the instant is over after its last event."""
    gap: Tensor
    """(B, L) of the interval before the instant; of the exact gap where the interval has no token."""
    gap_exact: Tensor
    """(B, L) of the gap as it was recorded."""
    go: Tensor
    """(E,) that the instant is not over before the event; zero for its first event."""
    code: Tensor
    """(E,) of the event's code, given that there is one."""
    value: Tensor
    """(E,) that there is a value, and of its bin; or that there is none."""
    value_exact: Tensor
    """(E,) the same of the value as it was recorded."""


class BinnedBits(NamedTuple):
    """Bits of S subjects; the columns are those of `PARTS`."""

    bits: npt.NDArray[np.float64]
    """(S, 4) of the record told in bins."""
    exact: npt.NDArray[np.float64]
    """(S, 4) of the same events and gaps as they were recorded: ticks of time and of value."""
    num_events: npt.NDArray[np.int64]
    """(S,) events after the first instant."""
    num_instants: npt.NDArray[np.int64]
    """(S,) instants after the first one."""

    def per_event(self) -> dict[str, float]:
        """Bits per event over all subjects: `total` and each of `PARTS`."""
        parts = self.bits.sum(0) / max(int(self.num_events.sum()), 1)
        return {"total": float(parts.sum()), **dict(zip(PARTS, map(float, parts), strict=True))}


@torch.inference_mode()
def binned_bits(
    network: Network, reader: RecordReader, rows: Ints, bins: Bins, *, context: int, instants_per_batch: int = 1024
) -> BinnedBits:
    """Bits that the records of some subjects cost when they are told in bins.

    A record longer than `context` is read in windows that overlap by half, so that every forecast has seen at least
    half of the context. Events of the first instant are given, those after it are scored.

    Parameters
    ----------
    network : in evaluation mode, as `Run.network` gives it.
    reader : reads the store in the terms of the network's run.
    rows : subjects to score.
    bins : bins in the terms of the same vocabulary, as `fit_bins` makes them.
    context : instants that the network sees at once, at least 4.
    instants_per_batch : positions scored at once.
    """
    sums = {name: np.zeros((len(rows), len(PARTS))) for name in ("bits", "exact")}
    num_events, num_instants = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    for place, row in enumerate(rows):
        records = reader.read(np.array([row]))
        for batch, is_scored in _batches(records, context, instants_per_batch):
            of_event = is_scored.flatten()[batch.event_position]
            is_followed = torch.cat([is_scored.flatten()[1:], torch.zeros(1, dtype=torch.bool)]).view_as(is_scored)
            terms = token_log_prob(network, batch, bins)
            end, go = terms.end[is_followed].double().sum(), terms.go[of_event].double().sum()
            code = terms.code[of_event].double().sum()
            for name, gap, value in (
                ("bits", terms.gap, terms.value),
                ("exact", terms.gap_exact, terms.value_exact),
            ):
                parts = torch.stack([end + go, gap[is_scored].double().sum(), code, value[of_event].double().sum()])
                sums[name][place] -= parts.cpu().numpy() / np.log(2)
            num_events[place] += int(of_event.sum())
            num_instants[place] += int(is_scored.sum())
    return BinnedBits(sums["bits"], sums["exact"], num_events, num_instants)


def _batches(records: Records, context: int, instants_per_batch: int) -> Iterator[tuple[Batch, Tensor]]:
    """Windows of one subject, and which of their positions (B, L) are scored: each instant but the first once."""
    count, half = len(records.instant_time), max(context // 2, 1)
    num_windows = max(int(np.ceil((count - half) / half)), 1)
    starts = half * np.arange(num_windows)
    whole = Windows(np.zeros(num_windows, np.int64), starts, np.minimum(starts + 2 * half, count))
    per_batch = max(instants_per_batch // (2 * half + 1), 1)
    for begin in range(0, num_windows, per_batch):
        windows = Windows(*(field[begin : begin + per_batch] for field in whole))
        layout = pack(windows)
        yield collate(records, windows, layout, with_survival=False), _scored(windows, layout, half)


def _scored(windows: Windows, layout: Layout, half: int) -> Tensor:
    where = positions(windows, layout)
    first = np.where(windows.start == 0, 1, windows.start + half)[where.window]
    is_scored = torch.zeros(layout.num_rows * layout.row_length, dtype=torch.bool)
    is_scored[torch.from_numpy(where.flat[where.instant >= first])] = True
    return is_scored.view(layout.num_rows, layout.row_length)


def token_log_prob(network: Network, batch: Batch, bins: Bins) -> BinnedTerms:
    """Log-probabilities of what tokens say of a batch, decision by decision."""
    phi = network.phi(batch)
    h = network.states_of(batch, phi)
    before = torch.cat([torch.zeros_like(h[:, :1]), h[:, :-1]], 1)
    gap, gap_exact = _gaps(network, batch, before, bins)
    end = torch.zeros_like(batch.gap).flatten()
    go, code_out, value, value_exact = (torch.zeros(len(batch.code), device=phi.device) for _ in range(4))
    is_predicted = batch.is_predicted.flatten()[batch.event_position]
    if is_predicted.any():
        position, rank = batch.event_position[is_predicted], batch.event_rank[is_predicted]
        code, phi = batch.code[is_predicted], phi[is_predicted].float()
        instants, inverse, count = torch.unique_consecutive(position, return_inverse=True, return_counts=True)
        time = time_features(*(x.flatten()[instants] for x in (batch.gap, batch.time, batch.clock, batch.age)))
        context = network.context(before.flatten(0, 1)[instants], batch.site.flatten()[instants], time)
        last = torch.cumsum(count, 0) - 1
        u = network.decision(torch.cat([context.u[inverse], context.u]), earlier_events(phi, rank, last))
        previous = torch.where(rank == 0, -1, torch.cat([code.new_full((1,), -1), code[:-1]]))
        z_site = torch.cat([context.z_site[inverse], context.z_site])
        embedding, of = network.events.codes(), torch.cat([inverse, torch.arange(len(instants))])
        last_code = torch.cat([previous, code[last]])
        recency, mates = network.past_in(batch, is_predicted, embedding, last_code, (instants, last, of))
        log_p = network.code_head(u, z_site, embedding, last_code, recency and recency.dense(), mates)
        not_over = _log_complement(log_p[: len(code), -1])
        end[instants] = log_p[len(code) :, -1]
        go[is_predicted] = not_over
        code_out[is_predicted] = log_p[: len(code)].gather(1, code[:, None])[:, 0] - not_over
        value[is_predicted], value_exact[is_predicted] = _values(network, batch, u[: len(code)], is_predicted, bins)
    return BinnedTerms(end.view_as(batch.gap), gap, gap_exact, go, code_out, value, value_exact)


def _gaps(network: Network, batch: Batch, before: Tensor, bins: Bins) -> tuple[Tensor, Tensor]:
    """Log-probabilities (B, L) of each gap's interval, and of the gap as recorded."""
    binned, exact = torch.zeros_like(batch.gap), torch.zeros_like(batch.gap)
    chosen = batch.is_gap_predicted
    if chosen.any():
        gap, tick = batch.gap[chosen], batch.tick[chosen]
        clock = (batch.clock[chosen] - gap).remainder(86400.0)
        density = network.gap_head(before[chosen], network.site(batch.site[chosen]), clock)
        number, recorded = bins.gap_bin(gap), gap_log_mass(density, gap, tick)
        is_silent = (number == 0) & (not bins.has_short_token)
        exact[chosen] = recorded
        binned[chosen] = torch.where(is_silent, recorded, gap_bin_log_mass(density, bins.gap_bin_ends(number), tick))
    return binned, exact


def _values(network: Network, batch: Batch, u_ED: Tensor, is_predicted: Tensor, bins: Bins) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the values of the predicted events, as bins and as recorded."""
    code, value = batch.code[is_predicted], batch.value[is_predicted]
    has_value = ~torch.isnan(value)
    share = network.events.value_share[code]
    presence = torch.log(torch.where(has_value, share, 1 - share))
    binned, exact = presence, presence.clone()
    if has_value.any():
        code, value = code[has_value], value[has_value]
        previous = (x[is_predicted][has_value] for x in (batch.previous_value, batch.previous_delay))
        density = network.value_density(u_ED[has_value], code, *previous)
        ends = bins.value_bin_ends(code, bins.value_bin(code, value))
        lower, upper = (network.events.normalise(code, end) for end in ends)
        binned = binned.clone()
        binned[has_value] += density.log_mass(lower, upper)
        exact[has_value] += density.log_mass(*network.events.cell(code, value))
    return binned, exact


def _log_complement(log_p: Tensor) -> Tensor:
    """log(1 - p), exact at both ends; 0 where p is 0."""
    small = torch.log1p(-torch.exp(log_p.clamp_max(-0.7)))
    large = torch.log(-torch.expm1(log_p.clamp(-0.7, -1e-7)))
    return torch.where(log_p < -0.7, small, large)
