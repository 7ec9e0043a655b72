"""An exponential moving average of the weights: what is evaluated and kept."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from sojourn.training.cut import cut_like


class WeightAverage:
    """Average of a network's weights over the steps, with a shorter memory at the start.

    Parameters
    ----------
    network : the network whose weights are averaged.
    decay : weight of the past in the long run; 0 keeps the latest weights.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: weight.detach().clone() for name, weight in network.named_parameters()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after `step` steps."""
        keep = min(self.decay, (1 + step) / (10 + step))
        now = [weight.detach() for weight in network.parameters()]
        blend = get_ema_multi_avg_fn(keep)  # type: ignore[no-untyped-call]
        blend(list(self.weights.values()), now, 0)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take over an average that was saved.

        Raises
        ------
        RuntimeError
            If it is of another network.
        """
        if weights.keys() != self.weights.keys():
            msg = "weights must be those of the averaged network; their names differ."
            raise RuntimeError(msg)
        for name, weight in weights.items():
            self.weights[name].copy_(cut_like(weight, self.weights[name]))

    @contextmanager
    def applied_to(self, network: nn.Module) -> Iterator[None]:
        """The network holds the average, in evaluation mode, while the block runs."""
        before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
        network.load_state_dict(self.weights, strict=False)
        network.eval()
        try:
            yield
        finally:
            network.load_state_dict(before, strict=False)
            network.train()
