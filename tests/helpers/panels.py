"""What came along the last time, by definition."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sojourn.model.panel import NUM_MATES, Mates
from sojourn.model.recency import LONGEST_S


def mates_by_definition(so_far: Sequence[int], delay_V: Tensor, interval_V: Tensor, times_left: float) -> Mates:
    """Mates of one decision after the codes `so_far` of its instant."""
    delay, interval, end = delay_V.tolist(), interval_V.tolist(), len(delay_V)
    if not so_far:
        return Mates(torch.full((1, NUM_MATES + 1), -1), torch.zeros(1, NUM_MATES + 1, dtype=torch.int64))
    last = so_far[-1]
    openers: dict[float, int] = {}
    for code in so_far:
        if delay[code] <= LONGEST_S:
            openers.setdefault(delay[code], code)
    found = [code for code in range(last + 1, end) if delay[code] in openers] + [end] * bool(openers)
    found = found[:NUM_MATES]
    is_other = [code < end and delay[code] != delay[last] for code in found]
    is_twice = [code < end and interval[code] == interval[openers[delay[code]]] for code in found]
    kind = [place + NUM_MATES * (is_other[place] + 2 * is_twice[place]) for place in range(len(found))]
    again = 0 if np.isnan(times_left) else int(np.clip(times_left, -1, 2)) + 2
    none = NUM_MATES - len(found)
    return Mates(
        torch.tensor([[*found, *[-1] * none, last]]), torch.tensor([[*kind, *[0] * none, 4 * NUM_MATES + again]])
    )
