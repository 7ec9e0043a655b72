"""Controls that tell what a risk is made of."""

import torch
from torch import Tensor

from sojourn.inference.histories import Asked


def shuffle_values(asked: Asked, *, seed: int) -> Asked:
    """Exchange the values of the same code between the events of a batch, and their statistics between the moments.

    What was measured and when stays; what it showed is lost. A model that keeps its accuracy under this control has
    learnt the habits of measuring.
    """
    generator = torch.Generator().manual_seed(seed)
    batch, past = asked.batch, asked.past
    from_event = _other_of_same_code(batch.code, generator)
    shuffled = batch._replace(value=batch.value[from_event], previous_value=batch.previous_value[from_event])
    if past is not None:
        past = past._replace(values=past.values[_other_of_same_code(past.code, generator)])
    return asked._replace(batch=shuffled, past=past)


def _other_of_same_code(code: Tensor, generator: torch.Generator) -> Tensor:
    """A random permutation that leaves every code where it is."""
    order = torch.argsort(code, stable=True)
    mixed = torch.randperm(len(code), generator=generator)
    found = torch.empty_like(order)
    found[order] = mixed[torch.argsort(code[mixed], stable=True)]
    return found
