"""Controls that tell what a risk is made of."""

import torch

from sojourn.model import Batch


def shuffle_values(batch: Batch, *, seed: int) -> Batch:
    """Exchange the values of the same code between the events of a batch.

    What was measured and when stays; what it showed is lost. A model that keeps its accuracy under this control has
    learnt the habits of measuring.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.argsort(batch.code, stable=True)
    mixed = torch.randperm(len(batch.code), generator=generator)
    mixed = mixed[torch.argsort(batch.code[mixed], stable=True)]
    value, previous = batch.value.clone(), batch.previous_value.clone()
    value[order], previous[order] = batch.value[mixed], batch.previous_value[mixed]
    return batch._replace(value=value, previous_value=previous)
