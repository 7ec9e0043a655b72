"""Keys and values that sampled futures attend to: the history once for all, then each future's own instants.

The history's part is kept once per history and is right-aligned, so that every history's last instant stands in the
last column. A future's own part is written in place; when it is full, the newest instant takes the place of the oldest.
Rotary angles are absolute, so nothing is computed again: an instant that has left the window is no longer looked at.

Every position sees the static position and the last `context` instants, itself included, as in training.

Shape letters: G histories, n futures of each, N = G * n futures, H heads, K width of a head, P instants of the longest
history, C places for own positions (place 0 holds the static position), L positions, Q instants seen of the history.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

_FIRST_PLACES = 16


class LayerCache(NamedTuple):
    """Keys and values of one layer."""

    key: Tensor
    """(B, H, positions, K)"""
    value: Tensor
    """(B, H, positions, K)"""


class RollingCache:
    """Cache of all layers for N futures of G histories.

    Parameters
    ----------
    layers : keys and values (G, H, L, K) of histories that start at position 0, as `Backbone.prefill` gives them.
    length_G : positions of each history, at least 1 (the static one); what lies behind is padding.
    copies : futures of each history; future i belongs to history i // copies.
    context : instants that a position sees, itself included.
    """

    def __init__(self, layers: list[LayerCache], length_G: Tensor, *, copies: int, context: int) -> None:
        self.copies, self.context, self.num_steps = copies, context, 0
        width = min(int(length_G.max()) - 1, context)
        column = torch.arange(width, device=length_G.device) - width + length_G[:, None]
        self._is_seen = column >= 1 if bool((length_G <= width).any()) else None
        place = column.clamp_min(0)[:, None, :, None]
        self._history = [_each(layer, lambda x: _gather(x, place)) for layer in layers]
        self._own = [_each(layer, lambda x: x[:, :, :1].repeat_interleave(copies, 0)) for layer in layers]

    @property
    def num_seen(self) -> int:
        """Positions that the last step looked at, the static one and its own included."""
        return 1 + min(self.num_steps, self.context) + self._num_history()

    def advance(self) -> None:
        """Make place for one more instant of every future; to be called once before the layers attend."""
        needed = 1 + min(self.num_steps + 1, self.context)
        if needed > self._own[0].key.shape[2]:
            places = min(max(2 * needed, _FIRST_PLACES), self.context + 1)
            self._own = [_each(layer, lambda x: _longer(x, places)) for layer in self._own]
        self.num_steps += 1

    def attend(self, layer: int, query_NHK: Tensor, key_NHK: Tensor, value_NHK: Tensor) -> Tensor:
        """Write the new instant of every future, and mix the values of all that it sees, shape (N, H, K)."""
        history, own = self._history[layer], self._own[layer]
        N, H, K = query_NHK.shape
        place = 1 + (self.num_steps - 1) % self.context
        own.key[:, :, place], own.value[:, :, place] = key_NHK, value_NHK
        used = 1 + min(self.num_steps, self.context)
        query_NHK = query_NHK * K**-0.5
        score = torch.matmul(query_NHK[:, :, None], own.key[:, :, :used].transpose(2, 3))[:, :, 0]
        if not (Q := self._num_history()):
            weight = torch.softmax(score, -1)
            return torch.matmul(weight[:, :, None], own.value[:, :, :used])[:, :, 0]
        by_history = query_NHK.view(-1, self.copies, H, K).transpose(1, 2)
        shared_GHnQ = torch.matmul(by_history, history.key[:, :, -Q:].transpose(2, 3))
        if self._is_seen is not None:
            shared_GHnQ = shared_GHnQ.masked_fill(~self._is_seen[:, None, None, -Q:], -torch.inf)
        shared = shared_GHnQ.transpose(1, 2).reshape(N, H, Q)
        weight = torch.softmax(torch.cat([shared, score], -1), -1)
        mixed = torch.matmul(weight[:, :, None, Q:], own.value[:, :, :used])[:, :, 0]
        of_history = weight[:, :, :Q].view(-1, self.copies, H, Q).transpose(1, 2)
        return mixed + torch.matmul(of_history, history.value[:, :, -Q:]).transpose(1, 2).reshape(N, H, K)

    def keep(self, history: Tensor, future: Tensor, copies: int) -> None:
        """Go on with some histories and, of each, `copies` futures, given as indices of the present ones."""
        self.copies = copies
        self._history = [_each(layer, lambda x: x.index_select(0, history)) for layer in self._history]
        self._own = [_each(layer, lambda x: x.index_select(0, future)) for layer in self._own]
        self._is_seen = None if self._is_seen is None else self._is_seen[history]

    def _num_history(self) -> int:
        """Instants of the longest history that are still in the window."""
        return min(self._history[0].key.shape[2], max(self.context - self.num_steps, 0))


def _each(layer: LayerCache, change: Callable[[Tensor], Tensor]) -> LayerCache:
    return LayerCache(change(layer.key), change(layer.value))


def _gather(x_GHLK: Tensor, place: Tensor) -> Tensor:
    G, H, _, K = x_GHLK.shape
    return x_GHLK.gather(2, place.expand(G, H, -1, K)).contiguous()


def _longer(x_NHCK: Tensor, places: int) -> Tensor:
    N, H, C, K = x_NHCK.shape
    longer = x_NHCK.new_zeros(N, H, places, K)
    longer[:, :, :C] = x_NHCK
    return longer
