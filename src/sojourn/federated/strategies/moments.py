"""One second moment of the gradients for all sites, so that their steps can cancel.

Each site's AdamW divides by the root of its own mean square. Where two hospitals pull a weight in opposite directions,
the steps of both are of one size then, however strong the pull, and their mean settles at the median hospital instead
of where the mean loss is least: at a hospital that was never seen, whose habits are a mixture to the model, that costs
most. With one moment for all, the mean of the sites' steps is a step on the mean gradient.

References
----------
Chen, Li, Sun 2020, "Toward communication efficient adaptive gradient method" (Local AMSGrad); Wang et al. 2021, arXiv
2106.02305, on the bias of local adaptive methods.
"""

from collections.abc import Mapping

import numpy as np

from sojourn.federated.messages import SQUARES, Tensors
from sojourn.federated.strategies.averaging import Combining, mean_by_row


class SharedMoments:
    """Any strategy, whose sites also send their second moments and go on from the mean of all.

    Parameters
    ----------
    inner : what combines the updates.
    """

    def __init__(self, inner: Combining) -> None:
        self.inner = inner
        self.squares = {SQUARES + name: np.zeros_like(weight) for name, weight in inner.weights.items()}

    @property
    def weights(self) -> Tensors:
        """The shared weights."""
        return self.inner.weights

    @weights.setter
    def weights(self, weights: Tensors) -> None:
        self.inner.weights = weights

    def sent_to(self, site: str, round_: int) -> Tensors:
        """What a site begins the round with; before the first one all moments are zero."""
        return self.inner.sent_to(site, round_) | self.squares

    def update(self, round_: int, deltas: Mapping[str, Tensors], shares: Mapping[str, float]) -> None:
        """Take in the updates and moments of a round."""
        self.inner.update(round_, self._without_squares(deltas, shares), shares)

    def settle(self, deltas: Mapping[str, Tensors], shares: Mapping[str, float]) -> None:
        """Take in the updates and moments of a settling round."""
        self.inner.settle(self._without_squares(deltas, shares), shares)

    def _without_squares(self, deltas: Mapping[str, Tensors], shares: Mapping[str, float]) -> dict[str, Tensors]:
        """Take in the moments; the updates are left."""
        squares, plain = ({site: _of(delta, own=own) for site, delta in deltas.items()} for own in (True, False))
        self.squares = mean_by_row(squares, shares, self.squares)
        return plain

    def state(self) -> Tensors:
        """Everything beside the weights that the next round depends on."""
        return self.inner.state() | self.squares

    def load_state(self, state: Tensors) -> None:
        """Take over what `state` gave."""
        self.inner.load_state(_of(state, own=False))
        self.squares = {name: tensor.copy() for name, tensor in _of(state, own=True).items()}


def _of(tensors: Tensors, *, own: bool) -> Tensors:
    """The moments, or everything else."""
    return {name: tensor for name, tensor in tensors.items() if name.startswith(SQUARES) == own}
