"""The backbone: a causal pre-norm transformer over instants with rotary positions in time and in order.

Half of the heads rotate queries and keys by continuous time, so that attention depends on real delays; the other
half by the order of instants (Su et al. 2021, RoFormer, for the rotation; periods here are log-spaced from
10 minutes to 5 years, resp. from 4 to 100,000 positions).

Shape letters: B rows, L positions, D width, H heads, K width of a head, N futures.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sojourn.model.cache import LayerCache, RollingCache
from sojourn.model.config import ModelConfig
from sojourn.model.linear import Linear, Sequential

_TIME_PERIODS_S = (600.0, 5 * 31557600.0)
_ORDER_PERIODS = (4.0, 100_000.0)


class Rotation(NamedTuple):
    """Cosines and sines that turn queries and keys, (B, H, L, K / 2) each."""

    cos: Tensor
    sin: Tensor

    def apply(self, x_BHLK: Tensor) -> Tensor:
        """Turn queries or keys, or both stacked before the first axis."""
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
        self.qkv = Linear(width, 3 * width, bias=False)
        self.out = Linear(width, width, bias=False)
        narrow = Linear(4 * width, width)
        self.mlp = Sequential(Linear(width, 4 * width), nn.GELU(), narrow)
        for last in (self.out, narrow):
            nn.init.normal_(last.weight, std=0.02 / math.sqrt(2 * config.num_layers))

    def forward(self, x_BLD: Tensor, turn: Rotation, mask: Tensor | None) -> tuple[Tensor, LayerCache]:
        B, L, D = x_BLD.shape
        qkv = self.qkv(self.norm_attention(x_BLD)).view(B, L, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        (query, key), value = turn.apply(qkv[:2]), qkv[2]
        mixed = _attend(query, key, value, mask)
        x_BLD = x_BLD + self._drop(self.out(mixed.transpose(1, 2).reshape(B, L, D)))
        x_BLD = x_BLD + self._drop(self.mlp(self.norm_mlp(x_BLD)))
        return x_BLD, LayerCache(key, value)

    def step(self, x_N1D: Tensor, turn: Rotation, cache: RollingCache, layer: int) -> Tensor:
        """The same for one further position of every future, without dropout."""
        N, _, D = x_N1D.shape
        qkv = self.qkv(self.norm_attention(x_N1D)).view(N, 1, 3, self.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        query, key = turn.apply(query), turn.apply(key)
        mixed = cache.attend(layer, query[:, :, 0], key[:, :, 0], value[:, :, 0])
        x_N1D = x_N1D + self.out(mixed.reshape(N, 1, D))
        out: Tensor = x_N1D + self.mlp(self.norm_mlp(x_N1D))
        return out

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
        """States of rows that hold one window each, padded behind, and the keys and values to go on from."""
        return self._run(x_BLD, time_BL, order_BL, _causal(x_BLD))

    def _run(self, x_BLD: Tensor, time_BL: Tensor, order_BL: Tensor, mask: Tensor) -> tuple[Tensor, list[LayerCache]]:
        turn, caches = rotation(self.config, time_BL, order_BL), []
        for block in self.blocks:
            x_BLD, cache = block(x_BLD, turn, mask)
            caches.append(cache)
        return self.norm(x_BLD), caches

    def step(self, x_N1D: Tensor, time_N1: Tensor, order_N1: Tensor, cache: RollingCache) -> Tensor:
        """States of one more position of every future, shape (N, 1, D); the cache takes the position in."""
        turn = rotation(self.config, time_N1, order_N1)
        cache.advance()
        for layer, block in enumerate(self.blocks):
            assert isinstance(block, Block)  # for the type checker: a ModuleList forgets it
            x_N1D = block.step(x_N1D, turn, cache, layer)
        out: Tensor = self.norm(x_N1D)
        return out


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Fused attention; on a processor in float32, where its backward pass takes half the time of bfloat16."""
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(query.float(), key.float(), value.float(), attn_mask=mask)


def _causal(x_BLD: Tensor) -> Tensor:
    """Which positions (columns) each position (row) may look at: itself and the earlier ones."""
    return torch.ones(x_BLD.shape[1], x_BLD.shape[1], dtype=torch.bool, device=x_BLD.device).tril()
