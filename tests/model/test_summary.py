"""The sum over the codes of a record: what it must not depend on, and what must move it."""

import pytest
import torch
from torch import Tensor

from sojourn.model import Network
from sojourn.model import summary as module
from sojourn.model.config import CodeTable, ModelConfig
from sojourn.model.features import NUM_TIME_FEATURES
from sojourn.model.summary import CodeStatistics, HistorySummary


@pytest.fixture
def summary() -> HistorySummary:
    torch.manual_seed(0)
    return HistorySummary(d_event=8, d_summary=16, dropout=0.2).eval()


@pytest.fixture
def past() -> CodeStatistics:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(9, 7, generator=generator)
    values[3] = torch.nan
    question = torch.tensor([0, 0, 0, 0, 2, 2, 2, 3, 3])
    return CodeStatistics(question, torch.arange(9) % 5, values, torch.ones(9, 2), torch.full((9,), 60.0))


def sums(summary: HistorySummary, past: CodeStatistics) -> Tensor:
    embedding = torch.randn(5, 8, generator=torch.Generator().manual_seed(2))
    out: Tensor = summary(past, past.values, embedding, 4)
    return out


def test_the_order_of_codes_changes_nothing(summary: HistorySummary, past: CodeStatistics) -> None:
    order = torch.tensor([2, 0, 3, 1, 6, 5, 4, 8, 7])
    mixed = CodeStatistics(*(field[order] for field in past))
    torch.testing.assert_close(sums(summary, mixed), sums(summary, past))


def test_a_question_without_a_past_has_the_sum_zero(summary: HistorySummary, past: CodeStatistics) -> None:
    out = sums(summary, past)
    assert (out[1] == 0).all()
    assert torch.isfinite(out).all()


def test_a_value_moves_its_own_question_only(summary: HistorySummary, past: CodeStatistics) -> None:
    values = past.values.clone()
    values[5, 2] += 1.0
    moved = (sums(summary, past._replace(values=values)) - sums(summary, past)).abs().amax(1)
    assert moved[2] > 1e-4
    assert (moved[[0, 1, 3]] == 0).all()


def test_sums_and_their_gradients_are_those_of_the_definition(summary: HistorySummary, past: CodeStatistics) -> None:
    embedding = torch.randn(5, 8, generator=torch.Generator().manual_seed(2), requires_grad=True)
    shift, gate = summary.code(embedding).chunk(2, -1)
    pairs = shift[past.code] + (1 + gate[past.code]) * summary.feature(module._features(past, past.values))
    wanted = summary.norm(torch.zeros(4, 16).index_add(0, past.question, pairs))
    found = summary(past, past.values, embedding, 4)
    torch.testing.assert_close(found, wanted)
    weights = [embedding, *summary.parameters()]
    by_hand = torch.autograd.grad((wanted**3).sum(), weights, retain_graph=True)
    for ours, theirs in zip(torch.autograd.grad((found**3).sum(), weights), by_hand, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_in_parts_or_at_once(summary: HistorySummary, past: CodeStatistics, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sums(summary, past)
    monkeypatch.setattr(module, "_PAIRS_AT_ONCE", 2)
    with torch.no_grad():
        torch.testing.assert_close(sums(summary, past), whole)


def test_codes_are_forgotten_in_training_only(summary: HistorySummary, past: CodeStatistics) -> None:
    torch.testing.assert_close(sums(summary, past), sums(summary, past), rtol=0, atol=0)
    summary.train()
    assert not torch.equal(sums(summary, past), sums(summary, past))


def test_risks_see_the_past_where_it_is_asked_for(past: CodeStatistics) -> None:
    torch.manual_seed(0)
    table = CodeTable(
        torch.zeros(5), torch.ones(5), torch.ones(5), torch.ones(5, dtype=torch.bool), torch.full((5,), 0.5),
        torch.full((5, 19), -5.0),
    )  # fmt: skip
    network = Network(ModelConfig(d_model=16, d_event=8, d_decoder=16, num_heads=2), table, 1).eval()
    h, time, asked = torch.randn(4, 16), torch.randn(4, NUM_TIME_FEATURES), torch.tensor([1, 4])
    before = network.first_log_hazard(h, time, past, asked)
    values = past.values.clone()
    values[8, 0] += 2.0
    after = network.first_log_hazard(h, time, past._replace(values=values), asked)
    moved = (after - before).abs().amax((1, 2, 3))
    assert moved[3] > 1e-6
    torch.testing.assert_close(moved[:3], torch.zeros(3), rtol=0, atol=1e-6)
    before.sum().backward()
    assert network.events.code.weight.grad is not None
