"""A stream of random numbers of its own for each future, so that a future does not depend on what it is drawn beside.

Stream i is SplitMix64 (Steele, Lea, Flood 2014) from a start that is a hash of the seed, the subject, the moment and
the number of the future. The k-th number of a stream is computed from k alone, for all futures at once.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sojourn.events.splits import splitmix64
from sojourn.training.records import Ints

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_UNIT = 2.0**-24


class Streams:
    """Uniform numbers in [0, 1), multiples of 2^-24, of N streams.

    Parameters
    ----------
    seed : of the whole command.
    subject, seconds, number : (N,) what tells the streams apart.
    """

    def __init__(self, seed: int, subject: Ints, seconds: Ints, number: Ints) -> None:
        state = np.full(len(number), np.uint64(seed % 2**64), np.uint64)
        for part in (subject, seconds, number):
            state = splitmix64(state ^ splitmix64(np.ascontiguousarray(part, np.int64).view(np.uint64)))
        self._state: npt.NDArray[np.uint64] = state

    def draw(self, which: Tensor, count: int) -> Tensor:
        """The next `count` numbers of the chosen streams, shape (len(which), count) float32."""
        chosen = which.cpu().numpy()
        state = self._state[chosen]
        # Products of arrays wrap around silently, those of single numbers with a warning.
        step = np.full(1, _GOLDEN) * np.arange(count + 1, dtype=np.uint64)
        self._state[chosen] = state + step[-1:]
        bits = splitmix64(state[:, None] + step[:-1])
        uniform = torch.from_numpy((bits >> np.uint64(40)).astype(np.float32) * np.float32(_UNIT))
        return uniform.to(which.device)

    def keep(self, which: Tensor) -> None:
        """Go on with the chosen streams."""
        self._state = self._state[which.cpu().numpy()]
