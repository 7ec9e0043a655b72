"""Log-probability of the chosen codes under a masked softmax, without ever holding the logits of all decisions.

    log p(target | x) = l_target - log sum over c >= last of exp(l_c),    l = W x + b

The softmax is over the codes from the last one on, so decisions are sorted by it and worked off in chunks, each over
the columns that its decisions can choose, and a chunk stays in the processor's cache. What the backward pass needs of a
chunk is kept in the precision of its products, or made again where it would be too much.

A bias may be added to the logits: one of its instant for all codes, and one of the decision itself for a few.

Shape letters: N decisions, V codes and END, K features, I instants, S codes with a bias of the decision.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sojourn.model.linear import fill_rows

# Elements of the logits at a time: a few MB on a processor; a GPU wants larger products.
_CHUNK = {"cpu": 2**19}
_CHUNK_ELSEWHERE = 2**26
_NARROWEST = 16
"""Widths of chunks are multiples of it."""
_MOST_KEPT = 2**26
"""Elements of the logits up to which the probabilities wait for the backward pass: 128 MB in bfloat16."""


class InstantBias(NamedTuple):
    """What is added to the logits of all codes but END, the same at all decisions of an instant."""

    value: Tensor
    """(I, V - 1) float32."""
    instant: Tensor
    """(N,) int64, instant of each decision."""

    def dense(self) -> Tensor:
        """The same at every decision, shape (N, V - 1)."""
        return self.value[self.instant]


class DecisionBias(NamedTuple):
    """What is added to the logits of some codes at each decision."""

    code: Tensor
    """(N, S) int64, different codes; what is to be ignored is -1."""
    value: Tensor
    """(N, S) float32."""

    def add_to(self, logit_NV: Tensor) -> None:
        """Add it, in place."""
        is_some = self.code >= 0
        logit_NV.scatter_add_(1, torch.where(is_some, self.code, 0), torch.where(is_some, self.value, 0.0))


def chosen_log_prob(
    x_NK: Tensor,
    weight_VK: Tensor,
    bias_V: Tensor,
    last_N: Tensor,
    target_N: Tensor,
    of_instant: InstantBias | None = None,
    of_decision: DecisionBias | None = None,
) -> Tensor:
    """Log-probabilities of the targets, shape (N,) float32; products are made in the precision of autocast.

    Parameters
    ----------
    x_NK : features of each decision.
    weight_VK, bias_V : of the logits; the last row is END. A bias of minus infinity makes a code impossible.
    last_N : int64, code before this one in its instant, below which none can follow; -1 for none, when END cannot.
    target_N : int64, what is chosen.
    of_instant, of_decision : added to the logits.
    """
    device = x_NK.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        x_NK, weight_VK = x_NK.to(dtype), weight_VK.to(dtype)
    added = [*(of_instant or (None, None)), *(of_decision or (None, None))]
    log_p: Tensor = _Chosen.apply(x_NK, weight_VK, bias_V, last_N, target_N, *added)  # type: ignore[no-untyped-call]
    return log_p


class _Chunk(NamedTuple):
    """Decisions that share the columns from `first` on."""

    rows: Tensor
    first: int


def _chunks(last_N: Tensor, num_codes: int) -> list[_Chunk]:
    """Decisions sorted by the last code, in runs of as many logits; a wide run ends where half of its columns would do.

    Widths and sizes are few, so that products have few shapes.
    """
    most = _CHUNK.get(last_N.device.type, _CHUNK_ELSEWHERE)
    order = torch.argsort(last_N)
    own = num_codes - last_N[order].clamp_min(0).cpu().numpy()  # columns that each needs, from the most on
    chunks, start = [], 0
    while start < len(own):
        step = max(2 ** (int(own[start]).bit_length() - 3), _NARROWEST)
        width = min(-(int(own[start]) // -step) * step, num_codes)
        size = max(most // width // _NARROWEST, 1) * _NARROWEST
        narrower = int(np.searchsorted(-own, -(width // 2))) if width > 2 * _NARROWEST else len(own)
        stop = min(start + size, narrower, len(own))
        chunks.append(_Chunk(order[start:stop], num_codes - width))
        start = stop
    return chunks


class _Asked(NamedTuple):
    """The arguments of `chosen_log_prob`."""

    x: Tensor
    weight: Tensor
    bias: Tensor
    last: Tensor
    target: Tensor
    of_instant: Tensor | None
    instant: Tensor | None
    code: Tensor | None
    of_decision: Tensor | None

    def logits(self, chunk: _Chunk) -> Tensor:
        """Logits of a chunk over its columns, float32, minus infinity where a code cannot follow."""
        rows, first = chunk
        own, below = self.x[rows], self.last[rows]
        logit = (fill_rows(own) @ self.weight[first:].T)[: len(own)].float().add_(self.bias[first:])
        if self.of_instant is not None and self.instant is not None:
            logit[:, :-1] += self.of_instant[:, first:].index_select(0, self.instant[rows])
        if self.of_decision is not None:
            column, is_inside = self.columns(chunk)
            logit.scatter_add_(1, column, self.of_decision[rows] * is_inside)
        # Only columns up to the largest of the last codes can be forbidden to some of the sorted rows.
        width = int(below[-1]) - first
        if width > 0:
            index = torch.arange(first, first + width, device=logit.device)
            logit[:, :width].masked_fill_(index < below[:, None], -torch.inf)
        logit[:, -1].masked_fill_(below < 0, -torch.inf)
        return logit

    def columns(self, chunk: _Chunk) -> tuple[Tensor, Tensor]:
        """Where the decisions' own biases go in a chunk, and which do; the others would go to END."""
        assert self.code is not None
        code = self.code[chunk.rows]
        is_inside = code >= chunk.first
        return torch.where(is_inside, code, len(self.weight) - 1).sub_(chunk.first), is_inside

    def slope(self, p: Tensor, chunk: _Chunk) -> Tensor:
        """Gradient of log p(target) with respect to a chunk's logits, from the probabilities, which are used up."""
        place = self.target[chunk.rows, None] - chunk.first
        return p.neg_().scatter_add_(1, place, torch.ones_like(place, dtype=p.dtype)).to(self.x.dtype)


class _Chosen(torch.autograd.Function):
    """Softmax regression with the gradient written out: d log p / d l = [target] - p."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        asked = _Asked(*arguments)
        out = torch.empty(len(asked.x), device=asked.x.device)
        chunks, kept = _chunks(asked.last, len(asked.weight)), []
        num_logits = sum(len(rows) * (len(asked.weight) - first) for rows, first in chunks)
        is_kept = any(ctx.needs_input_grad) and num_logits <= _MOST_KEPT
        for chunk in chunks:
            logit = asked.logits(chunk)
            p = torch.softmax(logit, -1)
            # log of the sum of exponentials, from the likeliest code: its probability does not vanish.
            log_sum = logit.amax(-1) - p.amax(-1).log()
            out[chunk.rows] = logit.gather(1, asked.target[chunk.rows, None] - chunk.first)[:, 0] - log_sum
            if is_kept:
                kept.append(asked.slope(p, chunk))
        ctx.chunks = chunks
        ctx.save_for_backward(*asked, *kept)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        asked, kept = _Asked(*saved[: len(_Asked._fields)]), saved[len(_Asked._fields) :]
        x, weight = asked.x, asked.weight
        dx = torch.empty_like(x)
        dinstant, ddecision = (
            None if y is None else torch.zeros_like(y) for y in (asked.of_instant, asked.of_decision)
        )
        # The gradient of each row goes to the narrow side of the products, with one more column for the bias; relative
        # to the largest, so that a gradient that all rows share is not rounded.
        largest = grad.abs().amax().clamp_min(torch.finfo(grad.dtype).tiny) if len(grad) else grad.new_ones(())
        share = (grad / largest).to(x.dtype)[:, None]
        scaled = torch.cat([x * share, share], 1)
        dboth = torch.zeros(len(weight), scaled.shape[1], device=x.device)
        for i, chunk in enumerate(ctx.chunks):
            rows, first = chunk
            slope = kept[i] if kept else asked.slope(torch.softmax(asked.logits(chunk), -1), chunk)
            if dinstant is not None and asked.instant is not None:
                dinstant[:, first:].index_add_(0, asked.instant[rows], slope[:, :-1] * grad[rows, None])
            if ddecision is not None:
                column, is_inside = asked.columns(chunk)
                ddecision[rows] = slope.gather(1, column).float() * grad[rows, None] * is_inside
            slope = fill_rows(slope)
            dx[rows] = (slope @ weight[first:])[: len(rows)]
            dboth[first:] += slope.T @ fill_rows(scaled[rows])
        dx = (dx.float() * grad[:, None]).to(x.dtype)
        dboth *= largest
        of_weights = dboth[:, :-1].to(weight.dtype), dboth[:, -1]
        return dx, *of_weights, None, None, dinstant, None, None, ddecision
