"""Bins of values and of time: worked numbers, numeric integration, and masses that sum to one."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from inference.conftest import Toy
from sojourn.errors import ConfigError
from sojourn.inference.bins import INTERVAL_EDGES_S, Bins, fit_bins, gap_bin_log_mass
from sojourn.model.logistic import LogisticMixture
from sojourn.model.policy import gap_log_mass

INF = math.inf
DAY = 86400.0


@pytest.fixture
def bins() -> Bins:
    return Bins(torch.tensor([[INF, INF], [10.5, 20.5], [3.05, INF]]))


@pytest.fixture
def mixture() -> LogisticMixture:
    """Of the logarithm of a gap: a narrow hour and a broad two days."""
    return LogisticMixture(
        torch.tensor([[0.7, 0.3]]).log(), torch.tensor([[3600.0, 2 * DAY]]).log(), torch.tensor([[0.05, 1.5]])
    )


def repeat(mixture: LogisticMixture, count: int) -> LogisticMixture:
    return LogisticMixture(*(field.expand(count, -1) for field in mixture))


def test_values_fall_into_the_bins_that_the_edges_say(bins: Bins) -> None:
    code, value = torch.tensor([0, 1, 1, 1, 2, 2]), torch.tensor([5.0, 10.0, 11.0, 99.0, 3.0, 3.1])
    assert bins.value_bin(code, value).tolist() == [0, 0, 1, 2, 0, 1]
    assert bins.num_value_bins.tolist() == [1, 3, 2]
    lower, upper = bins.value_bin_ends(code, bins.value_bin(code, value))
    assert lower.tolist() == pytest.approx([-INF, -INF, 10.5, 20.5, -INF, 3.05])
    assert upper.tolist() == pytest.approx([INF, 10.5, 20.5, INF, 3.05, INF])


@pytest.mark.parametrize(
    ("gap_s", "number", "first_s", "past_s"),
    [
        (60, 0, 0, 300),
        (299, 0, 0, 300),
        (300, 1, 300, 900),
        (3600, 3, 2700, 4500),
        (DAY, 11, DAY, 2 * DAY),
        (179 * DAY, 18, 60 * DAY, 180 * DAY),
        (180 * DAY, 19, 180 * DAY, 360 * DAY),
        (800 * DAY, 22, 720 * DAY, 900 * DAY),
    ],
)
def test_gaps_fall_into_the_intervals_of_the_language(gap_s: float, number: int, first_s: float, past_s: float) -> None:
    bins = Bins(torch.empty(0, 0))
    found = bins.gap_bin(torch.tensor([gap_s], dtype=torch.float32))
    assert found.item() == number
    assert [end.item() for end in bins.gap_bin_ends(found)] == [first_s, past_s]


@pytest.mark.parametrize("tick_s", [1.0, 60.0])
def test_mass_of_an_interval_is_the_sum_of_its_ticks(mixture: LogisticMixture, tick_s: float) -> None:
    first, past = 2700.0, 4500.0
    gaps = torch.arange(first, past, tick_s)
    by_tick = gap_log_mass(repeat(mixture, len(gaps)), gaps, torch.full_like(gaps, tick_s)).double().exp().sum()
    ends = torch.tensor([first]), torch.tensor([past])
    assert gap_bin_log_mass(mixture, ends, torch.tensor([tick_s])).exp().item() == pytest.approx(
        by_tick.item(), rel=1e-4
    )


def test_mass_of_an_interval_is_the_integral_of_its_density(mixture: LogisticMixture) -> None:
    """With a fine tick nothing but the density itself is left."""
    first, past = 5 * 3600.0, 8 * 3600.0
    x = torch.linspace(math.log(first), math.log(past), 200_001, dtype=torch.float64)
    standard = (x[:, None] - mixture.mean.double()) / mixture.scale.double()
    each = torch.sigmoid(standard) * torch.sigmoid(-standard) / mixture.scale.double()
    integral = torch.trapezoid((each * mixture.log_weight.double().exp()).sum(-1), x)
    found = gap_bin_log_mass(mixture, (torch.tensor([first]), torch.tensor([past])), torch.tensor([0.01]))
    assert found.exp().item() == pytest.approx(integral.item(), rel=1e-4)


@pytest.mark.parametrize("tick_s", [1.0, 60.0, 3600.0])
def test_masses_of_all_intervals_sum_to_one(mixture: LogisticMixture, tick_s: float) -> None:
    number = torch.arange(len(INTERVAL_EDGES_S) + 2000)
    ends = Bins(torch.empty(0, 0)).gap_bin_ends(number)
    mass = gap_bin_log_mass(repeat(mixture, len(number)), ends, torch.full((len(number),), tick_s)).double().exp()
    assert mass.sum().item() == pytest.approx(1.0, abs=1e-4)


def test_an_interval_without_a_tick_has_no_mass(mixture: LogisticMixture) -> None:
    ends = torch.tensor([300.0]), torch.tensor([900.0])
    assert gap_bin_log_mass(mixture, ends, torch.tensor([3600.0])).item() == -INF


def test_deciles_hold_equal_shares_of_the_training_values(toy: Toy) -> None:
    rows = toy.store.rows(split="train")
    bins = fit_bins(toy.reader, rows, toy.network.events.tick)
    records = toy.reader.read(rows)
    for name in ("CONCEPT//heart_rate", "CONCEPT//lactate"):
        code = toy.code(name)
        value = records.events.value[(records.events.code == code) & ~np.isnan(records.events.value)]
        edges = bins.value_edges[code][torch.isfinite(bins.value_edges[code])]
        assert len(edges) == 9
        found = bins.value_bin(torch.full((len(value),), code), torch.from_numpy(value))
        share = np.bincount(found.numpy(), minlength=10) / len(value)
        assert share.max() < 0.1 + np.unique(value, return_counts=True)[1].max() / len(value)
        tick = float(toy.network.events.tick[code])
        assert distance_to_grid(edges.double(), tick).min().item() > 0.4 * tick


def distance_to_grid(x: Tensor, tick: float) -> Tensor:
    return (x - (x / tick).round() * tick).abs()


def test_fitting_bins_asks_for_rows_and_for_two_bins(toy: Toy) -> None:
    with pytest.raises(ConfigError, match="at least 2 bins"):
        fit_bins(toy.reader, np.arange(3), toy.network.events.tick, num_bins=1)
    with pytest.raises(ConfigError, match="0 rows"):
        fit_bins(toy.reader, np.arange(0), toy.network.events.tick)
