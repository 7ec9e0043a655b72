"""The moving average of the weights."""

import torch
from torch import nn

from sojourn.training.average import WeightAverage


def set_to(network: nn.Linear, value: float) -> None:
    with torch.no_grad():
        for weight in network.parameters():
            weight.fill_(value)


def test_a_worked_average() -> None:
    network = nn.Linear(2, 1)
    set_to(network, 0.0)
    average = WeightAverage(network, decay=0.5)
    set_to(network, 1.0)
    average.update(network, 0)  # the past weighs 1/10 at first
    torch.testing.assert_close(average.weights["bias"], torch.tensor([0.9]))
    set_to(network, 2.0)
    average.update(network, 100)  # and `decay` in the long run
    torch.testing.assert_close(average.weights["bias"], torch.tensor([1.45]))


def test_it_is_put_in_and_taken_out_also_after_an_error() -> None:
    network = nn.Linear(2, 1)
    set_to(network, 1.0)
    average = WeightAverage(network, decay=0.0)
    set_to(network, 5.0)
    network.train()
    try:
        with average.applied_to(network):
            assert network.bias.item() == 1.0
            assert not network.training
            raise KeyError
    except KeyError:
        pass
    assert network.bias.item() == 5.0
    assert network.training
