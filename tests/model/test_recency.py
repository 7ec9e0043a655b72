"""What a code's own past adds to its logit."""

import math

import pytest
import torch

from sojourn.model import Network
from sojourn.model.recency import LONGEST_S, NUM_KNOTS, PastOfCodes, RecencyBias, known_codes

DAY_S, NAN = 86400.0, float("nan")


@pytest.fixture
def recency() -> RecencyBias:
    torch.manual_seed(0)
    made = RecencyBias(5, 3)
    with torch.no_grad():
        made.own.normal_()
        made.shared.weight.normal_()
    return made


@torch.no_grad()
def at(recency: RecencyBias, delay: float, interval: float, code: int = 2) -> float:
    past = PastOfCodes(torch.tensor([[code]]), torch.tensor([[delay]]), torch.tensor([[interval]]))
    bias = recency(recency.table(torch.ones(5, 3)), known_codes(past))
    assert bias.count_nonzero() == bias[0, code].count_nonzero()
    return bias[0, code].item()


def test_a_code_that_never_came_or_long_ago_gets_nothing(recency: RecencyBias) -> None:
    assert at(recency, NAN, NAN) == 0.0
    assert at(recency, 1.1 * LONGEST_S, 60.0) == 0.0
    assert at(recency, 0.9 * LONGEST_S, 60.0) != 0.0


def test_the_knots_are_hit_exactly(recency: RecencyBias) -> None:
    heights = recency.table(torch.ones(5, 3))[2]
    # The first knot is a minute; a code recorded at its own rhythm stands in the middle of the eleven ratios.
    assert at(recency, 60.0, 60.0) == pytest.approx((heights[0] + heights[25]).item(), abs=1e-5)
    assert at(recency, 60.0, NAN) == pytest.approx((heights[0] + heights[NUM_KNOTS - 1]).item(), abs=1e-5)
    assert at(recency, float(LONGEST_S), 1.0) == pytest.approx((heights[19] + heights[30]).item(), abs=1e-4)


def test_between_knots_it_is_linear_in_the_logarithms(recency: RecencyBias) -> None:
    step = math.log(LONGEST_S / 60) / 19
    ends = [at(recency, 60 * math.exp(k * step), NAN) for k in (6.0, 7.0)]
    assert at(recency, 60 * math.exp(6.25 * step), NAN) == pytest.approx(0.75 * ends[0] + 0.25 * ends[1], abs=1e-4)


def test_training_starts_without_it_and_an_unseen_code_has_it_from_its_embedding() -> None:
    fresh = RecencyBias(5, 3)
    assert at(fresh, 3600.0, 3600.0) == 0.0
    with torch.no_grad():
        fresh.shared.weight.normal_()
    assert at(fresh, 3600.0, 3600.0) != 0.0


def test_known_codes_are_those_that_came_within_two_weeks() -> None:
    code = torch.tensor([[1, 4, -1], [0, 2, 3]])
    delay = torch.tensor([[60.0, NAN, NAN], [1.1 * LONGEST_S, 0.0, float(LONGEST_S)]])
    known = known_codes(PastOfCodes(code, delay, delay + 1))
    assert [field.tolist() for field in known[:3]] == [[0, 1, 1], [1, 2, 3], [60.0, 0.0, LONGEST_S]]
    assert known.interval.tolist() == [61.0, 1.0, LONGEST_S + 1.0]
    assert known.num_instants == 2
    empty = torch.empty(3, 0)
    assert known_codes(PastOfCodes(empty.long(), empty, empty)).num_instants == 3


def test_the_dense_and_the_sparse_form_agree(network: Network) -> None:
    embedding, recency = network.events.codes(), network.code_head.recency
    assert recency is not None
    delay, interval = torch.full((1, 12), NAN), torch.full((1, 12), NAN)
    delay[0, [3, 5]], interval[0, 5] = torch.tensor([600.0, DAY_S]), 7200.0
    dense = network.code_head.recency_of_all(embedding, delay, interval)
    assert dense is not None
    for code in range(12):
        past = PastOfCodes(torch.tensor([[code]]), delay[:, code : code + 1], interval[:, code : code + 1])
        one = recency(recency.table(embedding), known_codes(past))[0, code]
        assert one.item() == pytest.approx(dense[0, code].item())
    assert (dense != 0).sum() == 2


def test_the_gradient_is_that_of_the_definition(recency: RecencyBias) -> None:
    table = torch.randn(5, NUM_KNOTS, dtype=torch.float32, requires_grad=True)
    code, draw = torch.arange(5).repeat(8), torch.Generator().manual_seed(0)
    delay = torch.exp(torch.rand(40, generator=draw) * 14)
    interval = torch.where(torch.rand(40, generator=draw) < 0.3, torch.nan, delay.roll(1))
    known = known_codes(PastOfCodes(code[:, None], delay[:, None], interval[:, None]))
    recency(table, known).square().sum().backward()
    assert table.grad is not None
    step, found = 1e-2, torch.zeros_like(table)
    with torch.no_grad():
        for i in range(5):
            for j in range(NUM_KNOTS):
                ends = []
                for sign in (step, -step):
                    moved = table.clone()
                    moved[i, j] += sign
                    ends.append(recency(moved, known).square().double().sum())
                found[i, j] = (ends[0] - ends[1]) / (2 * step)
    torch.testing.assert_close(table.grad, found, rtol=1e-2, atol=1e-2)
