"""Descent: an interruption changes nothing, whatever the lengths of the epochs."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sojourn.adaptation import descent
from sojourn.adaptation.config import DescentConfig
from sojourn.adaptation.descent import Objective, descend


def fitted(folder: Path) -> Tensor:
    """The weight of a line after four epochs of 3, 5, 3 and 5 steps."""
    torch.manual_seed(0)
    network = nn.Linear(1, 1, bias=False)
    x = torch.linspace(-1, 1, 8)[:, None]

    def loss() -> Tensor:
        return (network(x) - 2 * x).square().mean()

    def steps(epoch: int) -> Sequence[Callable[[], Tensor]]:
        return [loss] * (3 if epoch % 2 else 5)

    objective = Objective(steps, lambda: float(loss().detach()))
    descend(network, objective, DescentConfig(average_decay=0.5), rate=0.05, epochs=4, folder=folder)
    return network.weight.detach()


@pytest.mark.parametrize("num_epochs", [1, 3])
def test_a_resumed_descent_has_the_rates_of_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_epochs: int
) -> None:
    original, saved = descent.save_checkpoint, []

    def stop(*arguments: object) -> None:
        original(*arguments)  # type: ignore[arg-type]
        saved.append(1)
        if len(saved) == num_epochs:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(descent, "save_checkpoint", stop)
        with pytest.raises(KeyboardInterrupt):
            fitted(tmp_path / "cut")
    assert torch.equal(fitted(tmp_path / "cut"), fitted(tmp_path / "whole"))
