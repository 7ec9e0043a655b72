"""The rolling cache: the same states as one parallel pass, before and after the oldest instants have left."""

import pytest
import torch
from torch import Tensor

from helpers.model_records import NAN, Record, make_batch, random_record
from helpers.panels import mates_by_definition
from sojourn.model import Batch, Network
from sojourn.model.backbone import rotation
from sojourn.model.cache import RollingCache
from sojourn.model.embedding import Earlier
from sojourn.model.features import time_features

NUM_INSTANTS = 12


def one_position(batch: Batch, k: Tensor) -> Batch:
    """Position k[b] of every row b as a batch of its own."""
    B, L = batch.time.shape
    row = torch.arange(B)
    flat_k = row * L + k
    mine = torch.isin(batch.event_position, flat_k)
    grid = {name: getattr(batch, name)[row, k][:, None] for name in Batch._fields[:12]}
    flat = {name: getattr(batch, name)[mine] for name in Batch._fields[12:20]}
    return Batch(**grid, **(flat | {"event_position": torch.div(flat["event_position"], L, rounding_mode="floor")}))


def parallel(network: Network, batch: Batch, context: int) -> Tensor:
    """States where every position sees the static one and the last `context` instants, by a band mask."""
    index = torch.arange(batch.time.shape[1])
    delay = index[:, None] - index
    mask = (delay >= 0) & ((delay < context) | (index == 0))
    x = network.inputs(batch, network.phi(batch))
    turn = rotation(network.config, batch.time, batch.order)
    for block in network.backbone.blocks:
        x, _ = block(x, turn, mask)
    states: Tensor = network.backbone.norm(x)
    return states


def cut(batch: Batch, length: int) -> Batch:
    """The first positions of all rows."""
    L = batch.time.shape[1]
    inside = batch.event_position % L < length
    grid = {name: getattr(batch, name)[:, :length] for name in Batch._fields[:12]}
    flat = {name: getattr(batch, name)[inside] for name in Batch._fields[12:20]}
    row = torch.div(flat["event_position"], L, rounding_mode="floor")
    return Batch(**grid, **(flat | {"event_position": row * length + flat["event_position"] % L}))


def started(network: Network, batch: Batch, length: Tensor, *, copies: int, context: int) -> RollingCache:
    """The cache after the first `length` positions of each row; what comes later is there as padding."""
    history = cut(batch, int(length.max()))
    x = network.inputs(history, network.phi(history))
    _, layers = network.backbone.prefill(x, history.time, history.order)
    return RollingCache(layers, length, copies=copies, context=context)


@pytest.fixture
def records() -> list[Record]:
    return [random_record(seed, NUM_INSTANTS) for seed in range(3)]


@torch.no_grad()
@pytest.mark.parametrize("context", [1, 2, 4, 7, 12, 100])
@pytest.mark.parametrize("lengths", [(1, 1, 1), (2, 5, 3), (6, 6, 6), (7, 1, 4)])
def test_stepwise_states_equal_the_parallel_ones(
    network: Network, records: list[Record], lengths: tuple[int, ...], context: int
) -> None:
    batch, length, copies = make_batch([[r] for r in records]), torch.tensor(lengths), 2
    expected = parallel(network, batch, context)
    # A history in the cache knows of no more than a window either: compute its keys under the same band.
    cache = banded(network, batch, length, copies, context)
    for step in range(NUM_INSTANTS + 1 - max(lengths)):
        k = length + step
        one = one_position(batch, k)
        doubled = doubled_rows(one, copies)
        h = network.step(doubled, network.phi(doubled), cache)[:, 0]
        wanted = expected[torch.arange(3), k].repeat_interleave(copies, 0)
        torch.testing.assert_close(h, wanted, atol=1e-4, rtol=1e-4)
        assert cache.num_seen == 1 + min(context, step + max(lengths))


def banded(network: Network, batch: Batch, length: Tensor, copies: int, context: int) -> RollingCache:
    """`started`, but the history's own keys see at most `context` instants."""
    history = cut(batch, int(length.max()))
    index = torch.arange(history.time.shape[1])
    delay = index[:, None] - index
    mask = (delay >= 0) & ((delay < context) | (index == 0))
    x, layers = network.inputs(history, network.phi(history)), []
    turn = rotation(network.config, history.time, history.order)
    for block in network.backbone.blocks:
        x, layer = block(x, turn, mask)
        layers.append(layer)
    return RollingCache(layers, length, copies=copies, context=context)


def doubled_rows(batch: Batch, copies: int) -> Batch:
    """Every row `copies` times, with its events."""
    B = len(batch.time)
    grid = {name: getattr(batch, name).repeat_interleave(copies, 0) for name in Batch._fields[:12]}
    event = [torch.nonzero(batch.event_position == b)[:, 0] for b in range(B) for _ in range(copies)]
    position = torch.cat([torch.full_like(e, i) for i, e in enumerate(event)])
    flat = {name: getattr(batch, name)[torch.cat(event)] for name in Batch._fields[13:20]}
    return Batch(**grid, event_position=position, **flat)


@torch.no_grad()
def test_stepwise_likelihood_equals_the_parallel_one(network: Network, records: list[Record]) -> None:
    """Gap, codes, END and values, scored from the cached states one event at a time."""
    batch = make_batch([records[:1]])
    expected = network.log_prob(batch)
    cache = started(network, batch, torch.tensor([1]), copies=1, context=100)
    h = network.states(cut(batch, 1))[:, 0]
    phi, codes, values = network.phi(batch), 0.0, 0.0
    for k in range(1, NUM_INSTANTS + 1):
        events = (batch.event_position == k).nonzero()[:, 0]
        time = time_features(batch.gap[:, k], batch.time[:, k], batch.clock[:, k], batch.age[:, k])
        context = network.context(h, batch.site[:, k], time)
        earlier, last = Earlier.none(1, phi), torch.tensor([-1])
        clocks = batch.seen_delay[k : k + 1], batch.seen_interval[k : k + 1]
        recency = network.code_head.recency_of_all(network.events.code.weight, *clocks)
        so_far: list[int] = []
        times_left = NAN
        for e in [*events.tolist(), None]:
            u = network.decision(context.u, earlier)
            found = mates_by_definition(so_far, batch.seen_delay[k], batch.seen_interval[k], times_left)
            log_p = network.code_head(u, context.z_site, network.events.code.weight, last, recency, found)
            codes += float(log_p[0, -1 if e is None else batch.code[e]])
            if e is None:
                break
            values += float(value_log_prob(network, batch, u, e))
            earlier, last = earlier.then(phi[e : e + 1]), batch.code[e : e + 1]
            so_far, times_left = [*so_far, int(batch.code[e])], float(batch.times_left[e])
        one = one_position(batch, torch.tensor([k]))
        h = network.step(one, network.phi(one), cache)[:, 0]
    assert codes == pytest.approx(float(expected.code.sum()), abs=1e-4)
    assert values == pytest.approx(float(expected.value.sum()), abs=1e-4)


def value_log_prob(network: Network, batch: Batch, u: Tensor, e: int) -> Tensor:
    code, value = batch.code[e : e + 1], batch.value[e : e + 1]
    share = network.events.value_share[code]
    if value.isnan():
        return torch.log(1 - share)
    density = network.value_density(u, code, batch.previous_value[e : e + 1], batch.previous_delay[e : e + 1])
    return torch.log(share) + density.log_mass(*network.events.cell(code, value))


@torch.no_grad()
def test_futures_that_are_taken_out_leave_the_others_as_they_are(network: Network, records: list[Record]) -> None:
    batch, length, copies, context = make_batch([[r] for r in records]), torch.tensor([3, 5, 2]), 4, 6
    whole, fewer = (started(network, batch, length, copies=copies, context=context) for _ in range(2))
    history, future = torch.tensor([0, 2]), torch.tensor([1, 3, 8, 9])
    for step in range(8):
        one = one_position(batch, length + step)
        doubled = doubled_rows(one, copies)
        h = network.step(doubled, network.phi(doubled), whole)
        if step == 3:
            fewer.keep(history, future, 2)
        if step >= 3:
            kept = doubled_rows(one_position(rows_of(batch, history), length[history] + step), 2)
            torch.testing.assert_close(network.step(kept, network.phi(kept), fewer), h[future], atol=1e-5, rtol=1e-5)
        else:
            network.step(doubled, network.phi(doubled), fewer)


def rows_of(batch: Batch, row: Tensor) -> Batch:
    """Some rows of a batch with one record each."""
    L = batch.time.shape[1]
    owner = torch.div(batch.event_position, L, rounding_mode="floor")
    event = [torch.nonzero(owner == r)[:, 0] for r in row.tolist()]
    position = torch.cat([batch.event_position[e] % L + i * L for i, e in enumerate(event)])
    grid = {name: getattr(batch, name)[row] for name in Batch._fields[:12]}
    return Batch(
        **grid, event_position=position, **{n: getattr(batch, n)[torch.cat(event)] for n in Batch._fields[13:20]}
    )


@torch.no_grad()
def test_one_history_is_kept_once_whatever_the_number_of_its_futures(network: Network, records: list[Record]) -> None:
    batch = make_batch([records[:1]])
    cache = started(network, batch, torch.tensor([9]), copies=50, context=6)
    assert {layer.key.shape[0] for layer in cache._history} == {1}
    assert {layer.key.shape[2] for layer in cache._history} == {6}
    assert {layer.key.shape[2] for layer in cache._own} == {1}


@torch.no_grad()
def test_places_are_added_as_they_are_needed_and_never_beyond_the_context(
    network: Network, records: list[Record]
) -> None:
    batch, context = make_batch([records[:1]]), 24
    cache = started(network, batch, torch.tensor([2]), copies=1, context=context)
    one = one_position(batch, torch.tensor([3]))
    sizes = []
    for _ in range(60):
        network.step(one, network.phi(one), cache)
        sizes.append(cache._own[0].key.shape[2])
        assert cache.num_seen <= 1 + context
    assert sizes[0] == 16
    assert max(sizes) == sizes[-1] == 1 + context
