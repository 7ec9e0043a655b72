"""Control variates: each site corrects its gradients by how much it is known to drift."""

from collections.abc import Mapping

import numpy as np

from sojourn.federated.config import Scaffold
from sojourn.federated.messages import CONTROL, Tensors
from sojourn.federated.strategies.averaging import Averaging, mean_of


class ControlVariates(Averaging):
    """SCAFFOLD: sites add c - c_i to their gradients, c being the mean of all c_i.

    A site's c_i is the mean of its uncorrected gradients over its last round (option I of the paper, taken along the
    way), which is a gradient whatever optimiser the site uses; option II holds for plain gradient descent alone.

    References
    ----------
    Karimireddy et al. 2020, arXiv 1910.06378, algorithm 1.
    """

    def __init__(self, weights: Tensors, settings: Scaffold, *, num_sites: int) -> None:
        super().__init__(weights, settings.rate)
        self.num_sites = num_sites
        self.control = {name: np.zeros_like(weight) for name, weight in weights.items()}

    def sent_to(self, site: str, round_: int) -> Tensors:
        return self.weights | {CONTROL + name: control for name, control in self.control.items()}

    def update(self, round_: int, deltas: Mapping[str, Tensors], shares: Mapping[str, float]) -> None:
        super().update(round_, deltas, shares)
        changes = {
            site: {n.removeprefix(CONTROL): t for n, t in delta.items() if n.startswith(CONTROL)}
            for site, delta in deltas.items()
        }
        equal = dict.fromkeys(changes, 1 / len(changes))
        mean = mean_of(changes, equal, self.control)
        for name, control in self.control.items():
            control += len(changes) / self.num_sites * mean[name]

    def state(self) -> Tensors:
        return dict(self.control)

    def load_state(self, state: Tensors) -> None:
        self.control = {name: tensor.copy() for name, tensor in state.items()}
