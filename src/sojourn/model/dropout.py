"""Dropout by random numbers of 16 bits: those that torch draws on a processor take longer than a small product."""

import torch
from torch import Tensor, nn

_VALUES = 2**16


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` with the share rounded to a multiple of 1/65,536, and scaled for what it was rounded to."""

    def forward(self, x: Tensor) -> Tensor:
        num_lost = round(self.p * _VALUES)
        if not (self.training and 0 < num_lost < _VALUES) or x.device.type != "cpu":
            return super().forward(x)
        # Four numbers at a time, from -32,768 to 32,767.
        drawn = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        is_kept = (drawn[: x.numel()] >= num_lost - _VALUES // 2).view(x.shape)
        return x * (is_kept * (_VALUES / (_VALUES - num_lost))).to(x.dtype)
