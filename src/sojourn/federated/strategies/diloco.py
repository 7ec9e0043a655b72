"""Nesterov momentum on the mean update."""

import numpy as np

from sojourn.federated.config import DiLoCo
from sojourn.federated.messages import Tensors
from sojourn.federated.strategies.averaging import Averaging


class OuterNesterov(Averaging):
    """DiLoCo: b <- momentum b + d, then w <- w + rate (d + momentum b).

    References
    ----------
    Douillard et al. 2023, arXiv 2311.08105.
    """

    def __init__(self, weights: Tensors, settings: DiLoCo) -> None:
        super().__init__(weights, settings.rate)
        self.momentum = settings.momentum
        self.buffer = {name: np.zeros_like(weight) for name, weight in weights.items()}

    def move(self, mean: Tensors) -> None:
        for name, weight in self.weights.items():
            self.buffer[name] = self.momentum * self.buffer[name] + mean[name]
            weight += self.rate * (mean[name] + self.momentum * self.buffer[name])

    def state(self) -> Tensors:
        return dict(self.buffer)

    def load_state(self, state: Tensors) -> None:
        self.buffer = {name: tensor.copy() for name, tensor in state.items()}
