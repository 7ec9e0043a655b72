"""What makes a variant's bits comparable: its probabilities sum to one, and its past does not know its future."""

import numpy as np
import torch
from torch import Tensor

from sojourn.model import Batch, Network
from sojourn.training.batches import Windows, collate, pack
from sojourn.training.records import RecordReader
from variants.decoding import Decisions, OtherDecoder, scored

_NUM_INSTANTS, _NUM_CODES, _NUM_ROWS, _MAX_CELLS, _TOLERANCE = 4, 8, 256, 200_000, 2e-3
_FAR = 1e4


def first_instants(reader: RecordReader, row: int) -> Batch:
    """The first instants of one subject."""
    records = reader.read(np.array([row]))
    end = min(_NUM_INSTANTS, len(records.instant_time))
    windows = Windows(np.zeros(1, np.int64), np.zeros(1, np.int64), np.full(1, end))
    return collate(records, windows, pack(windows), with_survival=False)


@torch.inference_mode()
def check(network: Network, batch: Batch) -> None:
    """Assert it for a network in evaluation mode, on one row that holds one window.

    Raises
    ------
    AssertionError
        If a sum is not one, or a later instant changes an earlier probability.
    """
    _check_values(network, batch)
    _check_past(network, batch)
    if isinstance(network, OtherDecoder):
        _check_codes(network, batch)


def _check_values(network: Network, batch: Batch) -> None:
    """Over all cells of a code, and what lies beyond the outermost ones."""
    events, has_value = network.events, ~torch.isnan(batch.value)
    for code in batch.code[has_value].unique().tolist()[:_NUM_CODES]:
        reach = min(50 * float(events.scale[code] / events.tick[code]), _MAX_CELLS / 2)
        middle = (events.loc[code] / events.tick[code]).round()
        value = (middle + torch.arange(-int(reach), int(reach) + 1)) * events.tick[code]
        lower, upper = events.cell(torch.full_like(value, code, dtype=torch.int64), value)
        one = torch.tensor([code]), torch.tensor([float(events.loc[code])]), torch.tensor([3600.0])
        u = torch.randn(1, network.config.d_decoder, generator=torch.Generator().manual_seed(code))
        density = network.value_density(u, *one)
        ends = torch.tensor([-_FAR]), lower[:1], upper[-1:], torch.tensor([_FAR])
        outside = sum(float(density.log_mass(a, b).exp()) for a, b in (ends[:2], ends[2:]))
        assert bool((upper > lower).all()), f"cells of code {code} must have a width on the normalised scale"
        _is_one(float(density.log_mass(lower, upper).double().exp().sum()) + outside, f"cells of code {code}")


def _check_past(network: Network, batch: Batch) -> None:
    """Other codes and values in the last instant change nothing before it."""
    last = batch.event_position == batch.event_position.max()
    value = torch.where(last, batch.value + 5 * network.events.scale[batch.code], batch.value)
    before, after = (network.log_prob(b) for b in (batch, batch._replace(value=value)))
    for name in ("code", "value"):
        moved = (getattr(before, name) - getattr(after, name))[~last].abs().max()
        assert moved < _TOLERANCE, f"{name}: the future must not change the past; got {moved:.2g} nats"


def _check_codes(network: OtherDecoder, batch: Batch) -> None:
    """Over all codes that can follow, each put in the event's place, and END where there was an event before."""
    found, num_codes = scored(batch), len(network.code_head.bias) - 1
    ends = [n for n in found.last.tolist() if found.rank[n] > 0]
    for n in [*ends[-2:], int((found.rank == 0).nonzero()[-1, 0])]:
        event = int(found.is_scored.nonzero()[n, 0])
        # What follows in the instant is left out: it could not follow all of the codes that are put there.
        is_later = (batch.event_position == batch.event_position[event]) & (batch.event_rank > batch.event_rank[event])
        shown = _with_events(batch, ~is_later)
        least = int(found.code[n - 1]) if found.rank[n] > 0 else 0
        possible = network.code_head.can_emit[:-1].nonzero()[:, 0]
        total = 0.0
        for codes in possible[possible >= least].split(_NUM_ROWS):
            others = _repeat(shown, len(codes))
            code = others.code.view(len(codes), -1).clone()
            code[:, event] = codes
            log_p = _decisions(network, others._replace(code=code.flatten())).code.view(len(codes), -1)
            total += float(log_p[:, n].double().exp().sum())
        if found.rank[n] > 0:
            shorter = _with_events(shown, torch.arange(len(shown.code)) != event)
            total += float(_decisions(network, shorter).end[found.inverse[n]].double().exp())
        _is_one(total, f"codes and END at event {event} of {num_codes} codes")


def _with_events(batch: Batch, is_kept: Tensor) -> Batch:
    return batch._replace(**{name: x[is_kept] for name, x in batch._asdict().items() if x.ndim == 1})


def _decisions(network: OtherDecoder, batch: Batch) -> Decisions:
    phi = network.phi(batch)
    return network.decisions(batch, phi, network.states_before(batch, network.states_of(batch, phi)))


def _repeat(batch: Batch, count: int) -> Batch:
    """One row, `count` times."""
    num_positions, num_events = batch.time.shape[1], len(batch.code)
    rows = {name: x.repeat(count, 1) for name, x in batch._asdict().items() if x.ndim == 2}
    events = {name: x.repeat(count) for name, x in batch._asdict().items() if x.ndim == 1}
    row = torch.arange(count)
    rows["segment"] = torch.where(rows["segment"] >= 0, row[:, None], -1)
    events["event_position"] += row.repeat_interleave(num_events) * num_positions
    return Batch(**rows, **events)


def _is_one(total: float, what: str) -> None:
    assert abs(total - 1) < _TOLERANCE, f"{what} must have probabilities that sum to one; got {total:.5f}"
