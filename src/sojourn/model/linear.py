"""Layers for packed batches, whose number of rows is another one at every step.

A processor's library (oneDNN) makes a kernel for every new shape of a product or a GELU in bfloat16, which takes longer
than a small product itself, and keeps it: hundreds of MB of small pieces, between which new tensors find their place
ever more slowly. Rows are therefore filled up with zeros to numbers that come again.
"""

import os
from collections.abc import Callable

import torch
from torch import Tensor, nn

# Read by oneDNN at its first product. A network has some 60 products forwards and backwards, each with some 20 shapes.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "4096")

_FEWEST = 32
"""Rows below which nothing is filled up: such products are of events that come one by one, whose shapes repeat."""


class Linear(nn.Linear):
    """`torch.nn.Linear`, the same weights and results, with rows filled up inside where that is faster."""

    def forward(self, x: Tensor) -> Tensor:
        return _filled(super().forward, x)


class Sequential(nn.Sequential):
    """`torch.nn.Sequential` of layers that work on each row alone, with rows filled up once for all of them."""

    def forward(self, x: Tensor) -> Tensor:
        return _filled(super().forward, x)


def _filled(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    if not torch.is_autocast_enabled(x.device.type) or not x.numel():
        return layer(x)
    rows = x.reshape(-1, x.shape[-1])
    filled = fill_rows(rows)
    out = layer(filled)
    missing = len(filled) - len(rows)
    # Cutting nothing off is not free: backwards it would copy the gradient. Backwards, a slice fills all rows with
    # zeros first, a split the missing ones alone.
    return (torch.split(out, [len(rows), missing])[0] if missing else out).view(*x.shape[:-1], -1)


def fill_rows(x_NK: Tensor) -> Tensor:
    """Add rows of zeros up to a multiple of 256, of 1/16 of the next power of two below where that is more, or of 64
    where there are fewer than 256.

    Examples
    --------
    >>> [len(fill_rows(torch.ones(n, 2))) for n in (8, 100, 1000, 5000, 20_000)]
    [8, 128, 1024, 5120, 20480]
    """
    if len(x_NK) < _FEWEST or x_NK.device.type != "cpu":
        return x_NK
    step = 64 if len(x_NK) < 256 else max(1 << (len(x_NK).bit_length() - 5), 256)
    missing = -len(x_NK) % step
    return torch.cat([x_NK, x_NK.new_zeros(missing, x_NK.shape[1])]) if missing else x_NK
