"""Filled-up rows change no result."""

import pytest
import torch

from sojourn.model import Network
from sojourn.model.linear import Linear, Sequential


@pytest.mark.parametrize("shape", [(0, 6), (3, 6), (100, 6), (256, 6), (1001, 6), (7, 411, 6)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_results_and_gradients_are_those_of_torch(shape: tuple[int, ...], has_bias: bool) -> None:
    torch.manual_seed(0)
    layer, plain = Linear(6, 5, bias=has_bias), torch.nn.Linear(6, 5, bias=has_bias)
    assert_same(layer, plain, torch.randn(shape))


@pytest.mark.parametrize("shape", [(0, 6), (3, 6), (1001, 6), (7, 411, 6)])
def test_several_layers_give_what_those_of_torch_give(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)

    def layers() -> list[torch.nn.Module]:
        return [torch.nn.RMSNorm(6), torch.nn.Linear(6, 8), torch.nn.GELU(), torch.nn.Linear(8, 5)]

    assert_same(Sequential(*layers()), torch.nn.Sequential(*layers()), torch.randn(shape))


def test_no_layer_sees_a_new_shape_where_the_batch_is_a_little_larger() -> None:
    """Else oneDNN would make and keep a kernel for each, here of the GELU: steps got slower with every one."""
    seen: list[torch.Size] = []
    layers = Sequential(torch.nn.GELU(), Linear(6, 8), torch.nn.GELU(), Linear(8, 5))
    for layer in layers:
        layer.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].shape))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for rows in (1001, 1002, 1023):
            assert layers(torch.randn(rows, 6)).shape == (rows, 5)
    assert seen == seen[:4] * 3


def test_all_layers_of_the_network_fill_rows_up(network: Network) -> None:
    plain = {name for name, part in network.named_modules() if type(part) in (torch.nn.Linear, torch.nn.Sequential)}
    assert plain == set()


def assert_same(layer: torch.nn.Module, plain: torch.nn.Module, x: torch.Tensor) -> None:
    """Results and gradients under autocast."""
    plain.load_state_dict(layer.state_dict())
    found = []
    for one in (layer, plain):
        own = x.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = one(own)
        (y.float() * torch.linspace(-1, 1, 5)).sum().backward()
        found.append([y.float(), own.grad, *(parameter.grad for parameter in one.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=1e-5)
