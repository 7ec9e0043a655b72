"""Filled-up rows change no result."""

import pytest
import torch

from sojourn.model.linear import Linear


@pytest.mark.parametrize("shape", [(0, 6), (3, 6), (100, 6), (256, 6), (1001, 6), (7, 411, 6)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_results_and_gradients_are_those_of_torch(shape: tuple[int, ...], has_bias: bool) -> None:
    torch.manual_seed(0)
    layer, plain = Linear(6, 5, bias=has_bias), torch.nn.Linear(6, 5, bias=has_bias)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(shape)
    found = []
    for one in (layer, plain):
        own = x.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = one(own)
        (y.float() * torch.linspace(-1, 1, 5)).sum().backward()
        found.append([y.float(), own.grad, *(parameter.grad for parameter in one.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=1e-5)
