"""Gaps on the source's ticks: a proper distribution at every resolution, and hourly charting costs nothing extra."""

import math

import pytest
import torch

from sojourn.model import ModelConfig
from sojourn.model.logistic import LogisticMixture
from sojourn.model.policy import ROUND_MINUTES, GapHead, gap_log_mass, gap_log_survival


@pytest.fixture
def head() -> GapHead:
    torch.manual_seed(0)
    return GapHead(ModelConfig(d_model=16, d_decoder=16, num_heads=2))


@torch.no_grad()
@pytest.mark.parametrize(("tick", "count"), [(60.0, 200_000), (3600.0, 20_000)])
def test_gap_masses_and_survival_sum_to_one(head: GapHead, tick: float, count: int) -> None:
    density = head(torch.randn(1, 16), torch.randn(1, 16), torch.tensor([300.0]))
    rows = type(density)(*(x.expand(count, -1) for x in density))
    gaps = tick * torch.arange(1, count + 1)
    ticks = torch.full((count,), tick)
    mass = gap_log_mass(rows, gaps, ticks).exp().sum()
    rest = gap_log_survival(density, (count + 0.5) * ticks[:1], ticks[:1]).exp()
    assert float(mass + rest) == pytest.approx(1.0, abs=1e-3)


@torch.no_grad()
@pytest.mark.parametrize(("delay", "count"), [(0.0, 0), (3000.0, 0), (3600.0, 1), (9000.0, 2), (86400.0, 24)])
def test_silence_rules_out_the_ticks_within_it_and_no_other(head: GapHead, delay: float, count: int) -> None:
    density = head(torch.randn(1, 16), torch.randn(1, 16), torch.tensor([300.0]))
    tick = torch.tensor([3600.0])
    rows = type(density)(*(x.expand(count, -1) for x in density))
    masses = gap_log_mass(rows, 3600.0 * torch.arange(1, count + 1), tick.expand(count)).exp()
    rest = gap_log_survival(density, torch.tensor([delay]), tick).exp()
    assert float(rest) == pytest.approx(1 - float(masses.sum()), abs=1e-5)


@torch.no_grad()
def test_clock_components_sit_on_the_next_full_hours(head: GapHead) -> None:
    density = head(torch.zeros(1, 16), torch.zeros(1, 16), torch.tensor([10 * 3600.0 + 900.0]))
    at = density.mean[0, head.num_free : head.num_free + head.num_clock].exp()
    torch.testing.assert_close(at, 2700.0 + 3600.0 * torch.arange(head.num_clock), rtol=0.05, atol=0)


def test_hourly_charting_at_full_hours_costs_little_on_minute_ticks() -> None:
    torch.manual_seed(0)
    head = GapHead(ModelConfig(d_model=16, d_decoder=16, num_heads=2))
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    clock = torch.arange(0.0, 3600.0, 60.0)
    gap, tick = 3600.0 - clock, torch.full((60,), 60.0)
    h, z = torch.zeros(60, 16), torch.zeros(60, 16)
    for _ in range(300):
        loss = -gap_log_mass(head(h, z, clock), gap, tick).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # The next instant is always at the next full hour; without the clock it could be any of 60 minutes: 4.1 nats.
    assert loss.item() < 1.0


def test_round_gaps_are_learnt_at_once_whatever_the_clock_says() -> None:
    """Charts that count from the admission keep to no full hour: 60 minutes pass, or 15, or 5."""
    gap = torch.tensor([3600.0] * 6 + [900.0] * 3 + [300.0]).repeat(20)
    generator = torch.Generator().manual_seed(0)
    clock, tick = torch.rand(200, generator=generator) * 86400, torch.full((200,), 60.0)
    h, z = torch.zeros(200, 16), torch.zeros(200, 16)
    losses = {}
    for is_used in (True, False):
        torch.manual_seed(0)
        head = GapHead(ModelConfig(d_model=16, d_decoder=16, num_heads=2, use_round_gaps=is_used))
        assert len(head(h[:1], z[:1], clock[:1]).mean[0]) == 12 + is_used * len(ROUND_MINUTES)
        optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
        for _ in range(150):
            loss = -gap_log_mass(head(h, z, clock), gap, tick).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses[is_used] = loss.item()
    assert losses[True] < 0.95  # the entropy is 0.898
    assert losses[False] > losses[True]


@torch.no_grad()
@pytest.mark.parametrize("mean_s", [3 * 86400.0, 90 * 86400.0])
def test_long_gaps_at_fine_ticks_have_no_more_than_their_mass(mean_s: float) -> None:
    """Seconds of a month are closer to each other, as logarithms, than what float32 tells apart."""
    middle = torch.tensor([math.log(mean_s)])
    density = LogisticMixture(torch.zeros(1, 1), middle[:, None], torch.full((1, 1), 0.004))
    gaps = torch.arange(int(0.9 * mean_s), int(1.1 * mean_s), dtype=torch.float64)
    total = 0.0
    for part in gaps.split(500_000):
        rows = LogisticMixture(*(x.expand(len(part), 1) for x in density))
        total += float(gap_log_mass(rows, part.float(), torch.ones(len(part))).exp().double().sum())
    assert total == pytest.approx(1.0, abs=1e-2)
