"""The network's likelihood: exact, causal, and blind to packing, padding and the order of simultaneous events."""

import math

import pytest
import torch

from helpers.model_records import NAN, Event, Record, make_batch, random_record
from helpers.panels import mates_by_definition
from sojourn.model import Batch, CodeTable, ModelConfig, Network
from sojourn.model.embedding import Earlier
from sojourn.model.features import time_features


def position_of(batch: Batch, segment: int, order: int) -> tuple[int, int]:
    place = ((batch.segment == segment) & (batch.order == order)).nonzero()[0]
    return int(place[0]), int(place[1])


@torch.no_grad()
def test_future_does_not_change_past(network: Network) -> None:
    record, other = random_record(1), random_record(2)
    changed = Record(
        record.minutes[:5] + [m + 9999 for m in other.minutes[5:]], record.events[:5] + other.events[5:], record.static
    )
    a, b = make_batch([[record]]), make_batch([[changed]])
    assert torch.equal(network.states(a)[:, :6], network.states(b)[:, :6])
    assert not torch.allclose(network.states(a)[:, 6:], network.states(b)[:, 6:])


@torch.no_grad()
def test_a_record_ends_with_a_discharge_or_goes_on(network: Network) -> None:
    """The two have one mass together: the chance to end is that of the state, and the gap is that of who goes on."""
    record = random_record(1, 6)
    batch = make_batch([[record]])
    may_end = torch.zeros_like(batch.may_end)
    may_end[0, 3] = True
    before = network.log_prob(batch).gap[0]
    goes_on = network.log_prob(batch._replace(may_end=may_end)).gap[0]
    survival = torch.zeros_like(batch.survival)
    survival[0, 3] = math.inf
    ends = network.log_prob(batch._replace(may_end=may_end, survival=survival)).gap[0]
    logit = network.gap_head.end_logit(network.states(batch)[:, 3], network.site(batch.site[:, 3]))[0]
    assert float((goes_on - before)[4]) == pytest.approx(float(torch.nn.functional.logsigmoid(-logit)), abs=1e-5)
    final = ends[3] - goes_on[3]
    assert float(final.exp() + (goes_on - before)[4].exp()) == pytest.approx(1.0, abs=1e-5)
    unchanged = [k for k in range(len(before)) if k != 4]
    assert torch.equal(goes_on[unchanged], before[unchanged])


@torch.no_grad()
def test_packing_and_padding_change_nothing(network: Network) -> None:
    records = [random_record(seed, 5 + seed) for seed in range(4)]
    alone = [network.log_prob(make_batch([[r]], survival_s=600.0)) for r in records]
    packed = network.log_prob(
        make_batch([[records[0], records[1]], [records[2], records[3]]], survival_s=600.0, padding=3)
    )
    for part in ("gap", "code", "value"):
        assert sum(getattr(p, part).sum() for p in alone) == pytest.approx(float(getattr(packed, part).sum()), rel=1e-4)


@torch.no_grad()
def test_order_of_simultaneous_events_changes_nothing_in_the_state(network: Network) -> None:
    batch = make_batch([[random_record(3)]])
    generator = torch.Generator().manual_seed(0)
    shuffled = torch.randperm(len(batch.code), generator=generator)
    shuffled = shuffled[torch.argsort(batch.event_position[shuffled], stable=True)]
    mixed = batch._replace(
        **{
            name: getattr(batch, name)[shuffled]
            for name in (
                "event_position",
                "code",
                "value",
                "previous_value",
                "previous_delay",
                "previous_interval",
                "times_left",
            )
        }
    )
    torch.testing.assert_close(network.states(mixed), network.states(batch), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_log_prob_equals_a_decoding_one_event_at_a_time(network: Network) -> None:
    batch = make_batch([[random_record(5, 6)]])
    expected = network.log_prob(batch)
    h, phi = network.states(batch), network.phi(batch)
    total = 0.0
    for k in range(2, 7):
        events = (batch.event_position == k).nonzero()[:, 0]
        time = time_features(batch.gap[:, k], batch.time[:, k], batch.clock[:, k], batch.age[:, k])
        context = network.context(h[:, k - 1], batch.site[:, k], time)
        clocks = batch.seen_delay[k : k + 1], batch.seen_interval[k : k + 1]
        recency = network.code_head.recency_of_all(network.events.code.weight, *clocks)
        earlier, last = Earlier.none(1, phi), torch.tensor([-1])
        so_far: list[int] = []
        times_left = NAN
        for e in events:
            u = network.decision(context.u, earlier)
            found = mates_by_definition(so_far, batch.seen_delay[k], batch.seen_interval[k], times_left)
            log_p = network.code_head(u, context.z_site, network.events.code.weight, last, recency, found)
            total += float(log_p[0, batch.code[e]])
            earlier, last = earlier.then(phi[e : e + 1]), batch.code[e : e + 1]
            so_far, times_left = [*so_far, int(batch.code[e])], float(batch.times_left[e])
        u = network.decision(context.u, earlier)
        found = mates_by_definition(so_far, batch.seen_delay[k], batch.seen_interval[k], times_left)
        total += float(network.code_head(u, context.z_site, network.events.code.weight, last, recency, found)[0, -1])
    scored = batch.event_position >= 2
    assert total == pytest.approx(float(expected.code[scored].sum()), abs=1e-4)


@torch.no_grad()
def test_probabilities_of_one_instant_sum_to_one(network: Network) -> None:
    batch = make_batch([[random_record(6)]])
    h = network.states(batch)
    time = time_features(batch.gap[:, 3], batch.time[:, 3], batch.clock[:, 3], batch.age[:, 3])
    context = network.context(h[:, 2], batch.site[:, 3], time)
    u = network.decision(context.u, Earlier.none(1, torch.zeros(16)))
    first = network.code_head(u, context.z_site, network.events.code.weight, torch.tensor([-1])).exp()
    assert float(first.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(first[0, -1]) == 0.0  # an instant holds at least one event
    assert float(first[0, [9, 10, 11]].sum()) == 0.0  # target-only and static codes never occur in it
    later = network.code_head(u, context.z_site, network.events.code.weight, torch.tensor([5])).exp()
    assert float(later[0, :5].sum()) == 0.0  # canonical order
    density = network.value_density(u, torch.tensor([4]), torch.tensor([52.0]), torch.tensor([600.0]))
    # The tails of a logistic are heavy on the arcsinh scale: cells far away still hold mass.
    ends = network.events.normalise(torch.tensor([4, 4]), torch.tensor([-1e5 - 0.5, 1e5 + 0.5]))
    cells = torch.arange(-3000.0, 3001.0)
    code = torch.full((len(cells),), 4)
    lower, upper = network.events.cell(code, cells)
    rows = type(density)(*(x.expand(len(cells), -1) for x in density))
    inside = density.cdf(upper[-1:]) - density.cdf(lower[:1])
    assert float(rows.log_mass(lower, upper).exp().sum()) == pytest.approx(float(inside), abs=1e-4)
    assert float(density.cdf(ends[1:]) - density.cdf(ends[:1])) == pytest.approx(1.0, abs=2e-2)


@torch.no_grad()
def test_physiology_does_not_know_the_site_and_policy_does(network: Network) -> None:
    records = [[random_record(7)]]
    here, there = network.log_prob(make_batch(records, site=1)), network.log_prob(make_batch(records, site=2))
    assert torch.equal(here.value, there.value)
    assert not torch.allclose(here.code, there.code)
    assert not torch.allclose(here.gap, there.gap)


@torch.no_grad()
def test_a_batch_without_events_or_queries_is_fine(network: Network) -> None:
    batch = make_batch([[Record([], [], [Event(10, 1.0)])]])
    assert float(network.log_prob(batch).total()) == 0.0


@torch.no_grad()
def test_an_instant_with_300_events_is_scored(network: Network) -> None:
    record = Record([1, 2], [[Event(1, 50.0)], [Event(3, float(v)) for v in range(300)]], [])
    log_p = network.log_prob(make_batch([[record]]))
    assert torch.isfinite(log_p.code).all()
    assert log_p.value.count_nonzero() == 301


@torch.no_grad()
def test_survival_lowers_the_likelihood_more_the_longer_it_lasts(network: Network) -> None:
    records = [[random_record(8)]]
    tails = [float(network.log_prob(make_batch(records, survival_s=s)).gap.sum()) for s in (0.0, 3600.0, 86400.0)]
    assert tails[0] > tails[1] > tails[2]


def test_network_overfits_few_records(codes: CodeTable) -> None:
    torch.manual_seed(0)
    config = ModelConfig(d_model=32, d_event=16, d_decoder=32, num_layers=2, num_heads=2, dropout=0.0)
    network = Network(config, codes, num_sites=1)
    records = [random_record(seed, 5)._replace(static=[Event(10, 30.0 * seed)]) for seed in range(4)]
    batch = make_batch([[record] for record in records])
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, total_iters=250)
    for _ in range(250):
        loss = -network.log_prob(batch).total() / batch.num_events
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    log_p = network.log_prob(batch)
    nats = [-float(part.detach().sum()) / batch.num_events for part in log_p]
    # Untrained it is about (1.3, 2.3, 2.7); the codes follow from the static event exactly.
    assert nats[1] < 0.05
    assert sum(nats) < 1.0


def test_gradients_are_finite_where_values_and_previous_values_are_missing(network: Network) -> None:
    record = Record([1, 5], [[Event(7, NAN)], [Event(8, NAN)]], [])
    loss = -network.log_prob(make_batch([[record]])).total()
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    assert math.isfinite(loss.item())


def test_a_record_of_one_instant_has_seen_nothing(network: Network) -> None:
    batch = make_batch([[random_record(5, 1)]])
    found = network.log_prob(batch)
    assert torch.isfinite(found.code).all()
    assert float(found.code.detach().sum()) < 0
