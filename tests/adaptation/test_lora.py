"""Low-rank changes: nothing at the start, the same merged as unmerged, and little to train."""

import pytest
import torch
from torch import nn

from sojourn.adaptation.lora import LowRank, add_low_rank, linear_layers, merge


@pytest.fixture
def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 10), nn.GELU(), nn.Linear(10, 3, bias=False))


X = torch.linspace(-2, 2, 24).view(4, 6)


def test_a_change_starts_as_none(small: nn.Sequential) -> None:
    before = small(X)
    add_low_rank([small], rank=2)
    assert torch.equal(small(X), before)


def test_a_worked_change() -> None:
    """W + alpha / r U V with r = 1, alpha = 8: U = (1, 2), V = (3, 0, 1)."""
    change = LowRank(torch.zeros(2, 3), rank=1)
    with torch.no_grad():
        change.up.copy_(torch.tensor([[1.0], [2.0]]))
        change.down.copy_(torch.tensor([[3.0, 0.0, 1.0]]))
    expected = torch.tensor([[24.0, 0.0, 8.0], [48.0, 0.0, 16.0]]) + 1
    assert torch.equal(change(torch.ones(2, 3)), expected)


def test_a_rank_beyond_the_weight_is_the_whole_weight() -> None:
    assert LowRank(torch.zeros(2, 5), rank=8).up.shape == (2, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merged_is_unmerged(small: nn.Sequential, dtype: torch.dtype) -> None:
    names = set(small.state_dict())
    added = add_low_rank([small], rank=2)
    for parameter in added:
        nn.init.normal_(parameter)
    with torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
        unmerged = small(X)
        merge([small])
        merged = small(X)
    assert torch.equal(merged, unmerged)
    assert set(small.state_dict()) == names
    assert all(type(layer) is nn.Linear for layer in linear_layers(small))


def test_only_the_changes_are_trained(small: nn.Sequential) -> None:
    added = add_low_rank([small], rank=2)
    trained = {id(p) for p in small.parameters() if p.requires_grad}
    assert trained == {id(p) for p in added}
    assert sum(p.numel() for p in added) == 2 * (6 + 10) + 2 * (10 + 3)
    frozen = {name: p.clone() for name, p in small.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.AdamW(added, lr=0.1)
    for _ in range(3):
        small(X).square().sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert all(torch.equal(p, frozen[name]) for name, p in small.named_parameters() if name in frozen)
    assert any(bool(p.abs().sum() > 0) for p in added[1::2])
