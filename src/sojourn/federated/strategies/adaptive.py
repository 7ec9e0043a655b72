"""Adam and Yogi on the mean update."""

import numpy as np

from sojourn.federated.config import FedAdam, FedYogi
from sojourn.federated.messages import Tensors
from sojourn.federated.strategies.averaging import Averaging


class Adaptive(Averaging):
    """FedAdam and FedYogi: the mean update is a gradient for an adaptive optimiser.

        m <- b1 m + (1 - b1) d
        v <- b2 v + (1 - b2) d^2                       (Adam)
        v <- v - (1 - b2) d^2 sign(v - d^2)            (Yogi)
        w <- w + rate m / (sqrt(v) + tau)

    References
    ----------
    Reddi et al. 2021, arXiv 2003.00295, algorithm 2; no bias correction, as there.
    """

    def __init__(self, weights: Tensors, settings: FedAdam) -> None:
        super().__init__(weights, settings.rate)
        self.settings = settings
        self.first = {name: np.zeros_like(weight) for name, weight in weights.items()}
        self.second = {name: np.full_like(weight, settings.tau**2) for name, weight in weights.items()}

    def move(self, mean: Tensors) -> None:
        b1, b2 = self.settings.beta_1, self.settings.beta_2
        is_yogi = isinstance(self.settings, FedYogi)
        for name, weight in self.weights.items():
            d, v = mean[name], self.second[name]
            m = self.first[name] = b1 * self.first[name] + (1 - b1) * d
            v = v - (1 - b2) * d**2 * np.sign(v - d**2) if is_yogi else b2 * v + (1 - b2) * d**2
            self.second[name] = v.astype(weight.dtype)
            weight += self.rate * m / (np.sqrt(v) + self.settings.tau)

    def state(self) -> Tensors:
        return {f"{part}.{name}": t for part in ("first", "second") for name, t in getattr(self, part).items()}

    def load_state(self, state: Tensors) -> None:
        for full, tensor in state.items():
            part, name = full.split(".", 1)
            getattr(self, part)[name] = tensor.copy()
