"""Which codes did a site's patients have? An update tells without any search: one number per code gives them away.

The bias of the code head has one entry per code. Its gradient is the sum over decisions of p(code) - 1[code came], so
that it is negative exactly for codes that came more often than predicted; what the update adds to it has the opposite
sign. The attack ranks codes by it. This is the closed form of what gradient inversion (Zhu et al. 2019,
arXiv 1906.08935) looks for by descent, and it is exact for a batch of one patient.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from sojourn.federated.messages import Tensors

_BIAS = "code_head.bias"


class Inversion(NamedTuple):
    """What an attacker learns of which codes occurred."""

    auroc: float
    """Of ranking the codes by the update."""
    baseline: float
    """Of ranking them by how frequent they are everywhere, which needs no update."""
    precision: float
    """Of as many top-ranked codes as there truly are."""
    num_codes: int
    """Codes that truly occurred."""


def invert_codes(
    update: Tensors,
    occurred: npt.NDArray[np.bool_],
    popularity: npt.NDArray[np.float64],
    can_emit: npt.NDArray[np.bool_],
) -> Inversion:
    """Attack an update.

    Parameters
    ----------
    update : change of the weights that a site sent.
    occurred : (V,) codes that its patients truly had in the steps of the update.
    popularity : (V,) how frequent each code is over all sites: what the attacker knows anyway.
    can_emit : (V,) codes that the code head can name.

    Examples
    --------
    >>> update = {"code_head.bias": np.array([0.2, -0.1, 0.1, 0.0])}
    >>> found = invert_codes(update, np.array([True, False, True]), np.array([1.0, 3.0, 2.0]), np.full(3, True))
    >>> found.auroc, found.baseline, found.precision
    (1.0, 0.0, 1.0)
    """
    score = update[_BIAS][: len(occurred)][can_emit]
    truth, frequency = occurred[can_emit], popularity[can_emit]
    count = int(truth.sum())
    top = np.argsort(-score, kind="stable")[:count]
    return Inversion(
        float(roc_auc_score(truth, score)),
        float(roc_auc_score(truth, frequency)),
        float(truth[top].mean()) if count else float("nan"),
        count,
    )
