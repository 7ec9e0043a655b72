"""The backbone: a causal pre-norm transformer over instants with rotary positions in time and in order.

Half of the heads rotate queries and keys by continuous time, so that attention depends on real delays; the other
half by the order of instants (Su et al. 2021, RoFormer, for the rotation; periods here are log-spaced from
10 minutes to 5 years, resp. from 4 to 100,000 positions).

Shape letters: B rows, L positions, D width, H heads, K width of a head, P positions in the cache.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sojourn.model.config import ModelConfig

_TIME_PERIODS_S = (600.0, 5 * 31557600.0)
_ORDER_PERIODS = (4.0, 100_000.0)


class LayerCache(NamedTuple):
    """Keys and values of the positions seen so far."""

    key: Tensor
    """(B, H, P, K)"""
    value: Tensor
    """(B, H, P, K)"""


class Rotation(NamedTuple):
    """Cosines and sines that turn queries and keys, (B, H, L, K / 2) each."""

    cos: Tensor
    sin: Tensor

    def apply(self, x_BHLK: Tensor) -> Tensor:
        even, odd = x_BHLK.float().chunk(2, dim=-1)
        turned = torch.cat([even * self.cos - odd * self.sin, even * self.sin + odd * self.cos], -1)
        return turned.to(x_BHLK.dtype)


def rotation(config: ModelConfig, time_BL: Tensor, order_BL: Tensor) -> Rotation:
    """Angles of every position; in float64, since a minute must still count after years."""
    width = config.d_model // config.num_heads // 2
    half = config.num_heads // 2

    def turns(position_BL: Tensor, periods: tuple[float, float]) -> Tensor:
        period = torch.logspace(
            math.log10(periods[0]), math.log10(periods[1]), width, dtype=torch.float64, device=time_BL.device
        )
        return (2 * math.pi * torch.frac(position_BL.double()[..., None] / period)).float()

    order = turns(order_BL, _ORDER_PERIODS)
    time = turns(time_BL, _TIME_PERIODS_S) if config.use_continuous_rotary else order
    angle = torch.stack([time] * half + [order] * half, dim=1)
    return Rotation(angle.cos(), angle.sin())


class Block(nn.Module):
    """Attention and feed-forward, each on a normalised copy of the stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.d_model
        self.num_heads, self.dropout = config.num_heads, config.dropout
        self.norm_attention, self.norm_mlp = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        narrow = nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), narrow)
        for last in (self.out, narrow):
            nn.init.normal_(last.weight, std=0.02 / math.sqrt(2 * config.num_layers))

    def forward(
        self, x_BLD: Tensor, turn: Rotation, mask: Tensor | None, cache: LayerCache | None = None
    ) -> tuple[Tensor, LayerCache]:
        B, L, D = x_BLD.shape
        qkv = self.qkv(self.norm_attention(x_BLD)).view(B, L, 3, self.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        query, key = turn.apply(query), turn.apply(key)
        if cache is not None:
            key, value = torch.cat([cache.key, key], 2), torch.cat([cache.value, value], 2)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x_BLD = x_BLD + self._drop(self.out(mixed.transpose(1, 2).reshape(B, L, D)))
        x_BLD = x_BLD + self._drop(self.mlp(self.norm_mlp(x_BLD)))
        return x_BLD, LayerCache(key, value)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class Backbone(nn.Module):
    """Maps inputs of instants to states; the state of a position knows it and the earlier ones of its window."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = nn.RMSNorm(config.d_model)

    def forward(self, x_BLD: Tensor, time_BL: Tensor, order_BL: Tensor, segment_BL: Tensor) -> Tensor:
        """States of all positions at once, shape (B, L, D)."""
        same = segment_BL[:, :, None] == segment_BL[:, None, :]
        return self._run(x_BLD, time_BL, order_BL, (same & _causal(x_BLD))[:, None])[0]

    def prefill(self, x_BLD: Tensor, time_BL: Tensor, order_BL: Tensor) -> tuple[Tensor, list[LayerCache]]:
        """States of rows that hold one window each, without padding, and the cache to go on from."""
        return self._run(x_BLD, time_BL, order_BL, _causal(x_BLD))

    def _run(self, x_BLD: Tensor, time_BL: Tensor, order_BL: Tensor, mask: Tensor) -> tuple[Tensor, list[LayerCache]]:
        turn, caches = rotation(self.config, time_BL, order_BL), []
        for block in self.blocks:
            x_BLD, cache = block(x_BLD, turn, mask)
            caches.append(cache)
        return self.norm(x_BLD), caches

    def step(
        self, x_B1D: Tensor, time_B1: Tensor, order_B1: Tensor, cache: list[LayerCache] | None
    ) -> tuple[Tensor, list[LayerCache]]:
        """State of one more position given the cached ones, shape (B, 1, D), and the longer cache."""
        turn, longer = rotation(self.config, time_B1, order_B1), []
        for i, block in enumerate(self.blocks):
            x_B1D, layer = block(x_B1D, turn, None, cache[i] if cache else None)
            longer.append(layer)
        return self.norm(x_B1D), longer


def _causal(x_BLD: Tensor) -> Tensor:
    """Which positions (columns) each position (row) may look at: itself and the earlier ones."""
    return torch.ones(x_BLD.shape[1], x_BLD.shape[1], dtype=torch.bool, device=x_BLD.device).tril()
