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

    The c_i are kept here, and each site is sent its c - c_i. Were they kept at the sites, which would tell their
    changes, one answer that came too late or was refused would part c from the mean of the c_i for good.

    References
    ----------
    Karimireddy et al. 2020, arXiv 1910.06378, algorithm 1.
    """

    def __init__(self, weights: Tensors, settings: Scaffold, *, num_sites: int) -> None:
        super().__init__(weights, settings.rate)
        self.num_sites = num_sites
        self.own: dict[str, Tensors] = {}
        """Each site's c_i, of its last answer that was used; zero for one that has given none."""
        self.mean = {name: np.zeros_like(weight) for name, weight in weights.items()}

    def sent_to(self, site: str, round_: int) -> Tensors:
        own = self.own.get(site)
        return self.weights | {CONTROL + n: c if own is None else c - own[n] for n, c in self.mean.items()}

    def update(self, round_: int, deltas: Mapping[str, Tensors], shares: Mapping[str, float]) -> None:
        super().update(round_, deltas, shares)
        for site, delta in deltas.items():
            self.own[site] = {n.removeprefix(CONTROL): t for n, t in delta.items() if n.startswith(CONTROL)}
        self._average()

    def _average(self) -> None:
        self.mean = mean_of(self.own, dict.fromkeys(self.own, 1 / self.num_sites), self.mean)

    def state(self) -> Tensors:
        return {f"{site}\n{name}": control for site, own in self.own.items() for name, control in own.items()}

    def load_state(self, state: Tensors) -> None:
        self.own = {}
        for full, tensor in state.items():
            site, name = full.split("\n", 1)
            self.own.setdefault(site, {})[name] = tensor.copy()
        self._average()
