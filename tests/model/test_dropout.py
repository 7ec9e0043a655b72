"""Dropout by 16-bit numbers: what it keeps, how often, and that nothing else is changed."""

import pytest
import torch

from sojourn.model.dropout import Dropout


@pytest.mark.parametrize("share", [0.1, 0.15, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_share_is_lost_and_the_mean_is_kept(share: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    found = Dropout(share)(torch.ones(501, 401, dtype=dtype))
    assert found.dtype == dtype
    assert (found == 0).float().mean() == pytest.approx(share, abs=0.004)
    assert found[found != 0].float().unique().tolist() == pytest.approx([1 / (1 - share)], rel=4e-3)


def test_what_is_lost_has_no_gradient_and_each_element_is_drawn_by_itself() -> None:
    torch.manual_seed(0)
    x = torch.randn(300, 200, requires_grad=True)
    found = Dropout(0.3)(x)
    found.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x, found)
    is_lost = (found == 0).float()
    for one, other in ((is_lost[:, 1:], is_lost[:, :-1]), (is_lost[1:], is_lost[:-1])):  # four share one 64-bit draw
        assert torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1].abs() < 0.02


def test_the_seed_decides() -> None:
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(Dropout(0.5)(torch.ones(7, 3)))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("layer", [Dropout(0.3).eval(), Dropout(0.0)])
def test_nothing_is_lost_in_evaluation_or_without_a_share(layer: Dropout) -> None:
    x = torch.randn(5, 4)
    assert torch.equal(layer(x), x)


def test_a_share_of_one_loses_all_and_no_rows_stay_none() -> None:
    assert not Dropout(1.0)(torch.ones(9, 5)).any()
    assert Dropout(0.5)(torch.ones(0, 5)).shape == (0, 5)
