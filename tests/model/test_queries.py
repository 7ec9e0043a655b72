"""Hazards: risks rise with the horizon, unions never fall below their parts, censoring is learnt from rightly."""

import math

import pytest
import torch
from torch import Tensor

from sojourn.model import ModelConfig
from sojourn.model.features import NUM_TIME_FEATURES
from sojourn.model.queries import FirstEventHead, union_log_hazard


@pytest.fixture
def head() -> FirstEventHead:
    torch.manual_seed(0)
    edges = (1.0, 2.0, 4.0)
    config = ModelConfig(d_model=16, d_decoder=16, d_event=8, num_heads=2, hazard_edges_hours=edges, use_summary=False)
    return FirstEventHead(config, torch.full((5, 4), -2.0)).eval()


def test_cumulative_hazard_of_a_worked_example(head: FirstEventHead) -> None:
    log_hazard = torch.log(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    # 1 h at 0.1, 1 h at 0.2, 2 h at 0.3, 3 h at 0.4
    assert float(head.cumulative(log_hazard, torch.tensor(7.0))) == pytest.approx(0.1 + 0.2 + 0.6 + 1.2)
    assert float(head.cumulative(log_hazard, torch.tensor(1.5))) == pytest.approx(0.1 + 0.1)


@pytest.mark.parametrize(("wait", "until"), [(0.0, 7.0), (1.0, 4.0), (1.5, 2.0), (3.0, 9.0), (4.0, 5.0)])
def test_what_cannot_come_yet_has_the_hazard_of_the_hours_that_are_left(
    head: FirstEventHead, wait: float, until: float
) -> None:
    log_hazard = torch.log(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    later = head.from_hour(log_hazard, torch.tensor(wait))
    before, whole = (float(head.cumulative(log_hazard, torch.tensor(hours))) for hours in (wait, until))
    assert float(head.cumulative(later, torch.tensor(until))) == pytest.approx(whole - before, rel=1e-5)


def test_log_likelihood_of_a_worked_example(head: FirstEventHead) -> None:
    log_hazard = torch.log(torch.tensor([[0.1, 0.2, 0.3, 0.4]]))
    log_hazard, hours = log_hazard.expand(4, -1), torch.tensor([3.0, 3.0, 3.0, 6.0])
    known = torch.tensor([math.inf, 3.0, 3.5, math.inf])
    got = head.log_likelihood(log_hazard, hours, torch.tensor([True, False, True, True]), known)
    # In the bin from 2 to 4 h; none until 3 h; in that bin, watched for 1.5 h; in the last one, that ends at 8 h.
    expected = [math.log(1 - math.exp(-0.6)) - 0.3, -0.6, math.log(1 - math.exp(-0.45)) - 0.3]
    assert got.tolist() == pytest.approx([*expected, math.log(1 - math.exp(-1.6)) - 0.9], abs=1e-6)


def test_risk_rises_with_the_horizon_and_with_the_set(head: FirstEventHead) -> None:
    log_hazard = torch.randn(3, 5, 4)
    hours = torch.linspace(0.0, 100.0, 200)
    risk = -torch.expm1(-head.cumulative(log_hazard[..., None, :], hours))
    assert (risk.diff(dim=-1) >= 0).all()
    assert risk.min() == 0
    union = -torch.expm1(-head.cumulative(union_log_hazard(log_hazard, 1)[:, None], hours))
    assert (union >= risk.max(1).values - 1e-6).all()


def test_hazards_are_recovered_from_censored_times(head: FirstEventHead) -> None:
    generator = torch.Generator().manual_seed(0)
    time = torch.empty(20000).exponential_(0.25, generator=generator)
    censored = torch.empty(20000).exponential_(0.2, generator=generator)
    hours, is_event = torch.minimum(time, censored), time <= censored
    torch.testing.assert_close(fitted(head, hours, is_event, censored), torch.full((4,), 0.25), atol=0.02, rtol=0)


def test_what_is_charted_by_the_clock_is_learnt_with_its_chance(head: FirstEventHead) -> None:
    """A rate that comes at every full hour with a chance of 0.7: the density of exact times would say 1 - exp(-0.7)."""
    generator = torch.Generator().manual_seed(0)
    hours = torch.empty(20000).geometric_(0.7, generator=generator)
    hazard = fitted(head, hours, hours < 8, torch.full_like(hours, math.inf)).log()
    risk = -torch.expm1(-head.cumulative(hazard, torch.tensor([1.0, 2.0, 4.0])))
    torch.testing.assert_close(risk, 1 - torch.tensor([0.3, 0.3**2, 0.3**4]), atol=0.01, rtol=0)


def fitted(head: FirstEventHead, hours: Tensor, is_event: Tensor, known: Tensor) -> Tensor:
    """Hazards of greatest likelihood on the four bins."""
    log_hazard = torch.zeros(4, requires_grad=True)
    optimizer = torch.optim.Adam([log_hazard], lr=0.05)
    for _ in range(200):
        loss = -head.log_likelihood(log_hazard.expand(len(hours), -1), hours, is_event, known).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return log_hazard.detach().exp()


def test_outcome_that_never_comes_is_learnt_as_no_risk(head: FirstEventHead) -> None:
    log_hazard = torch.randn(2, 4)
    got = head.log_likelihood(log_hazard, torch.tensor([math.inf, 8.0]), torch.zeros(2) > 0, torch.tensor(8.0))
    assert torch.isfinite(got).all()
    assert got[0] == pytest.approx(float(-head.cumulative(log_hazard[0], torch.tensor(8.0))))


def test_any_code_can_be_asked(head: FirstEventHead) -> None:
    hidden = head.mlp(torch.randn(7, 16 + NUM_TIME_FEATURES))
    out = head(hidden, torch.randn(3, 8), torch.tensor([0, 2, 4]))
    assert out.shape == (7, 4, 3, 4)


@torch.no_grad()
def test_few_codes_and_many_get_the_same_hazards(head: FirstEventHead) -> None:
    torch.nn.init.normal_(head.out.weight)
    torch.nn.init.normal_(head.out.bias)
    hidden, embedding = head.mlp(torch.randn(6, 16 + NUM_TIME_FEATURES)), torch.randn(9, 8)
    code = torch.arange(9) % 5
    many = head(hidden, embedding, code)  # more codes than d_event = 8: the other order of the products
    few = torch.cat([head(hidden, embedding[:4], code[:4]), head(hidden, embedding[4:], code[4:])], 2)
    assert many.shape == (6, 4, 9, 4)
    torch.testing.assert_close(many, few, rtol=1e-4, atol=1e-4)
