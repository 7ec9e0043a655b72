"""The weighted mean of updates, from which the other strategies differ in one method each."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from sojourn.federated.messages import Tensors


class Combining(Protocol):
    """What makes the next shared weights from the sites' updates."""

    weights: Tensors

    def sent_to(self, site: str, round_: int) -> Tensors:
        """What a site begins the round with."""
        ...

    def update(self, round_: int, deltas: Mapping[str, Tensors], shares: Mapping[str, float]) -> None:
        """Take in the updates of a round."""
        ...

    def settle(self, deltas: Mapping[str, Tensors], shares: Mapping[str, float]) -> None:
        """Take in the updates of a settling round: their plain mean."""
        ...

    def state(self) -> Tensors:
        """Everything beside the weights that the next round depends on."""
        ...

    def load_state(self, state: Tensors) -> None:
        """Take over what `state` gave."""
        ...


class Averaging:
    """FedAvg and FedProx: the shared weights move by the mean update times a rate.

    Parameters
    ----------
    weights : what the first round starts from; not changed.
    rate : share of the mean update that is made.

    References
    ----------
    McMahan et al. 2017, arXiv 1602.05629; Li et al. 2020, arXiv 1812.06127 (its proximal term acts at the sites).
    """

    def __init__(self, weights: Tensors, rate: float = 1.0) -> None:
        self.weights: Tensors = {name: weight.copy() for name, weight in weights.items()}
        self.rate = rate

    def sent_to(self, site: str, round_: int) -> Tensors:
        """What a site begins the round with."""
        return self.weights

    def update(self, round_: int, deltas: Mapping[str, Tensors], shares: Mapping[str, float]) -> None:
        """Take in the updates of a round.

        Parameters
        ----------
        round_ : its number.
        deltas : change of every weight at each site that answered.
        shares : weight of each of them in the mean; they sum to one.
        """
        self.move(mean_by_row(deltas, shares, self.weights))

    def settle(self, deltas: Mapping[str, Tensors], shares: Mapping[str, float]) -> None:
        """Take in the updates of a settling round: their plain mean, whatever the strategy makes of others."""
        for name, change in mean_by_row(deltas, shares, self.weights).items():
            self.weights[name] += change

    def move(self, mean: Tensors) -> None:
        """Make the step that the mean update suggests."""
        for name, weight in self.weights.items():
            weight += self.rate * mean[name]

    def state(self) -> Tensors:
        """Everything beside the weights that the next round depends on."""
        return {}

    def load_state(self, state: Tensors) -> None:
        """Take over what `state` gave."""


def mean_of(deltas: Mapping[str, Tensors], shares: Mapping[str, float], like: Tensors) -> Tensors:
    """Weighted mean of updates, in float64 inside, so that the order of the sites does not matter.

    Examples
    --------
    >>> deltas = {"a": {"w": np.ones(1, np.float32)}, "b": {"w": np.full(1, 5.0, np.float32)}}
    >>> mean_of(deltas, {"a": 0.75, "b": 0.25}, deltas["a"])["w"].tolist()
    [2.0]
    """
    mean = {}
    for name, weight in like.items():
        total = np.zeros(weight.shape, np.float64)
        for site in sorted(deltas):
            total += shares[site] * deltas[site][name]
        mean[name] = total.astype(weight.dtype)
    return mean


def mean_by_row(deltas: Mapping[str, Tensors], shares: Mapping[str, float], like: Tensors) -> Tensors:
    """Weighted mean of updates, each row over those sites alone that moved it.

    Rows belong to codes and sites. A hospital that never saw a code says nothing about its row; counting that as a zero
    would slow down what the others have learnt of it, most of all what only a small hospital knows.

    Examples
    --------
    >>> deltas = {"a": {"w": np.array([1.0, 0.0])}, "b": {"w": np.array([5.0, 8.0])}}
    >>> mean_by_row(deltas, {"a": 0.75, "b": 0.25}, deltas["a"])["w"].tolist()
    [2.0, 8.0]
    """
    mean = mean_of(deltas, shares, like)
    for name, tensor in mean.items():
        if not tensor.ndim:
            continue
        told = np.zeros(len(tensor))
        for site in sorted(deltas):
            told += shares[site] * deltas[site][name].reshape(len(tensor), -1).any(1)
        is_partly = (told > 0) & (told < 1 - 1e-9)
        by_row = told[is_partly].reshape(-1, *[1] * (tensor.ndim - 1))
        tensor[is_partly] = (tensor[is_partly] / by_row).astype(tensor.dtype)
    return mean
