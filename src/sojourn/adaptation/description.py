"""What the words of a code tell: rows of codes that were never trained, from codes that were and are called alike.

With l(c, k) the likeness of the words of an unseen code c and a trained code k (the product of their features,
`sojourn.training.code_words`), a row of c (an embedding, a gate, a bias) is the weighted mean

    r(c) = [ r(u_c) + sum_k w_k r(k) ] / [ 1 + sum_k w_k ],    w_k = n_k / (n_k + 200) exp(s (l(c, k) - l_0))

of the trained rows and of the row of u_c, the `//unknown` of the nearest known level above c, which counts as a code of
likeness l_0 does (kernel regression; Nadaraya 1964, Watson 1964). n_k is the number of training events of k, which says
how far its row is to be trusted. A code that is called like no other is its parent's `//unknown`, as without words.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NUM_FEATURES = 512
SHARPNESS, LEAST_LIKENESS = 20.0, 0.35
"""s and l_0: 0.1 more likeness counts 7 times as much; below 0.3 most matches of medical names are wrong."""
_HALF_TRUSTED = 200
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Alike:
    """How unseen codes are made from trained ones."""

    weight: Floats
    """(N, K), of each of K trained codes in each of N unseen ones; with `alone` they add to one."""
    alone: Floats
    """(N,), weight of the parent's `//unknown`."""
    likeness: Floats
    """(N,), of the trained code that is called most alike, about 0 to 1; 0 where there is none."""

    def rows(self, known: Floats, prior: Floats) -> Floats:
        """Rows (N, D) of the unseen codes from those of the trained codes (K, D) and of the parents (N, D)."""
        return self.alone[:, None] * prior + self.weight @ known


def alike(x_known: Floats, x_new: Floats, count: npt.NDArray[np.int64]) -> Alike:
    """Compare unseen codes with trained ones.

    Parameters
    ----------
    x_known, x_new : (K, F) and (N, F), features of the words of the trained and of the unseen codes.
    count : (K,), training events of each code.
    """
    if not len(x_known) or not len(x_new):
        nothing = np.zeros(len(x_new))
        return Alike(np.zeros((len(x_new), len(x_known))), nothing + 1.0, nothing)
    likeness = x_new @ x_known.T
    weight = count / (count + _HALF_TRUSTED) * np.exp(SHARPNESS * (likeness - LEAST_LIKENESS))
    total = 1.0 + weight.sum(1)
    return Alike(weight / total[:, None], 1.0 / total, likeness.max(1))
