"""Daisy-chaining: models walk from site to site, and are averaged now and then."""

from collections.abc import Mapping

import numpy as np

from sojourn.federated.config import Daisy
from sojourn.federated.messages import Tensors
from sojourn.federated.strategies.averaging import Averaging, mean_by_row, mean_of


class DaisyChain(Averaging):
    """FedDC: every site trains a model of its own; after each round the models change places, and every so many
    rounds all of them become their mean. A model thus sees many small sites before it is averaged.

    References
    ----------
    Kamp, Fischer, Vreeken 2023, arXiv 2110.03469, algorithm 1.
    """

    def __init__(self, weights: Tensors, settings: Daisy, *, sites: tuple[str, ...], seed: int) -> None:
        super().__init__(weights)
        self.settings, self.sites, self.seed = settings, sites, seed
        self.models: dict[str, Tensors] = {}

    def sent_to(self, site: str, round_: int) -> Tensors:
        return self.models.get(site, self.weights)

    def update(self, round_: int, deltas: Mapping[str, Tensors], shares: Mapping[str, float]) -> None:
        sent = {site: self.sent_to(site, round_) for site in deltas}
        trained = {site: {name: weight + deltas[site][name] for name, weight in sent[site].items()} for site in deltas}
        began, change = mean_of(sent, shares, self.weights), mean_by_row(deltas, shares, self.weights)
        self.weights = {name: weight + change[name] for name, weight in began.items()}
        if (round_ + 1) % self.settings.mean_every == 0:
            self.models = {}
            return
        at = sorted(trained)
        order = np.random.default_rng([self.seed, round_]).permutation(len(at))
        # The model of a site that did not answer stays where it was.
        self.models = self.models | {site: trained[at[k]] for site, k in zip(at, order, strict=True)}

    def state(self) -> Tensors:
        return {f"{site}\n{name}": tensor for site, model in self.models.items() for name, tensor in model.items()}

    def load_state(self, state: Tensors) -> None:
        self.models = {}
        for full, tensor in state.items():
            site, name = full.split("\n", 1)
            self.models.setdefault(site, {})[name] = tensor.copy()
