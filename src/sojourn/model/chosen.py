"""Log-probability of the chosen codes under a masked softmax, without ever holding the logits of all decisions.

    log p(target | x) = l_target - log sum over c >= last of exp(l_c),    l = W x + b

The softmax is over the codes from the last one on, so decisions are sorted by it and worked off in chunks, each over
the columns that its decisions can choose: about half of the products, and a chunk stays in the processor's cache. What
the backward pass needs of a chunk is kept in the precision of its products, or made again where it would be too much.

Biases may be added to some logits of a decision (`Biases`): sparse, since only codes that the record has seen have one.

Shape letters: N decisions, V codes and END, K features, I instants (or decisions), S codes with a bias.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sojourn.model.linear import fill_rows

# Elements of the logits at a time: a few MB on a processor; a GPU wants larger products.
_CHUNK = {"cpu": 2**19}
_CHUNK_ELSEWHERE = 2**26
_MOST_KEPT = 2**26
"""Elements of the logits up to which the probabilities wait for the backward pass: 128 MB in bfloat16."""


class Biases(NamedTuple):
    """What is added to the logits of some codes, the same at all decisions of an instant."""

    code: Tensor
    """(I, S) int64, different codes; what is to be ignored is -1."""
    value: Tensor
    """(I, S) float32"""
    instant: Tensor
    """(N,) int64, instant of each decision."""

    def dense(self, num_codes: int) -> Tensor:
        """The same for every code, shape (I, V)."""
        place = torch.where(self.code < 0, num_codes, self.code)
        return self.value.new_zeros(len(self.value), num_codes + 1).scatter_add(1, place, self.value)[:, :num_codes]


def chosen_log_prob(
    x_NK: Tensor, weight_VK: Tensor, bias_V: Tensor, last_N: Tensor, target_N: Tensor, biases: Sequence[Biases] = ()
) -> Tensor:
    """Log-probabilities of the targets, shape (N,) float32; products are made in the precision of autocast.

    Parameters
    ----------
    x_NK : features of each decision.
    weight_VK, bias_V : of the logits; the last row is END. A bias of minus infinity makes a code impossible.
    last_N : int64, code before this one in its instant, below which none can follow; -1 for none, when END cannot.
    target_N : int64, what is chosen.
    biases : added to some of the logits.
    """
    device = x_NK.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        x_NK, weight_VK = x_NK.to(dtype), weight_VK.to(dtype)
    sparse = [tensor for some in biases if some.code.numel() for tensor in some]
    log_p: Tensor = _Chosen.apply(x_NK, weight_VK, bias_V, last_N, target_N, *sparse)  # type: ignore[no-untyped-call]
    return log_p


_NUM_WIDTHS = 16


class _Chunk(NamedTuple):
    """Decisions that share the columns from `first` on."""

    rows: Tensor
    first: int


def _chunks(last_N: Tensor, num_codes: int) -> Iterator[_Chunk]:
    """Decisions sorted by the last code, in runs."""
    size = max(_CHUNK.get(last_N.device.type, _CHUNK_ELSEWHERE) // num_codes, 16)
    order = torch.argsort(last_N)
    step = max(num_codes // _NUM_WIDTHS, 1)  # few widths, so that products have few shapes
    for i, first in enumerate(last_N[order[::size]].clamp_min(0).tolist()):
        yield _Chunk(order[i * size : (i + 1) * size], first // step * step)


def _logits(x: Tensor, weight: Tensor, bias: Tensor, last: Tensor, biases: Sequence[Biases], chunk: _Chunk) -> Tensor:
    """Logits of a chunk over its columns, float32, minus infinity where a code cannot follow."""
    rows, first = chunk
    own, below = x[rows], last[rows]
    logit = (fill_rows(own) @ weight[first:].T)[: len(own)].float().add_(bias[first:])
    for some in biases:
        column, is_inside = _columns(some, chunk, len(weight))
        logit.scatter_add_(1, column, some.value[some.instant[rows]] * is_inside)
    # Only columns up to the largest of the last codes can be forbidden to some of the sorted rows.
    width = int(below[-1]) - first
    if width > 0:
        index = torch.arange(first, first + width, device=x.device)
        logit[:, :width].masked_fill_(index < below[:, None], -torch.inf)
    logit[:, -1].masked_fill_(below < 0, -torch.inf)
    return logit


def _columns(some: Biases, chunk: _Chunk, num_codes: int) -> tuple[Tensor, Tensor]:
    """Where the biases of a chunk go, and which do; the others would go to END."""
    code = some.code[some.instant[chunk.rows]]
    is_inside = code >= chunk.first
    return torch.where(is_inside, code, num_codes - 1).sub_(chunk.first), is_inside


def _slope(p: Tensor, place: Tensor, dtype: torch.dtype) -> Tensor:
    """Gradient of log p(target) with respect to the logits of a chunk, from the probabilities, which are used up."""
    return p.neg_().scatter_add_(1, place, torch.ones_like(place, dtype=p.dtype)).to(dtype)


class _Chosen(torch.autograd.Function):
    """Softmax regression with the gradient written out: d log p / d l = [target] - p."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, last: Tensor, target: Tensor, *sparse: Tensor
    ) -> Tensor:
        out, biases = torch.empty(len(x), device=x.device), _grouped(sparse)
        is_kept = any(ctx.needs_input_grad) and len(x) * len(weight) <= _MOST_KEPT
        kept = []
        for chunk in _chunks(last, len(weight)):
            logit = _logits(x, weight, bias, last, biases, chunk)
            rows, place = chunk.rows, target[chunk.rows, None] - chunk.first
            p = torch.softmax(logit, -1)
            # log of the sum of exponentials, from the likeliest code: its probability does not vanish.
            log_sum = logit.amax(-1) - p.amax(-1).log()
            out[rows] = logit.gather(1, place)[:, 0] - log_sum
            if is_kept:
                kept.append(_slope(p, place, x.dtype))
        ctx.num_sparse = len(sparse)
        ctx.save_for_backward(x, weight, bias, last, target, *sparse, *kept)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, last, target, *others = ctx.saved_tensors
        biases, kept = _grouped(others[: ctx.num_sparse]), others[ctx.num_sparse :]
        dx, dvalues = torch.empty_like(x), [torch.zeros_like(some.value) for some in biases]
        # The gradient of each row goes to the narrow side of the products, with one more column for the bias; relative
        # to the largest, so that a gradient that all rows share is not rounded.
        largest = grad.abs().amax().clamp_min(torch.finfo(grad.dtype).tiny) if len(grad) else grad.new_ones(())
        share = (grad / largest).to(x.dtype)[:, None]
        scaled = torch.cat([x * share, share], 1)
        dboth = torch.zeros(len(weight), scaled.shape[1], device=x.device)
        for i, (rows, first) in enumerate(_chunks(last, len(weight))):
            if kept:
                slope = kept[i]
            else:
                logit = _logits(x, weight, bias, last, biases, _Chunk(rows, first))
                slope = _slope(torch.softmax(logit, -1), target[rows, None] - first, x.dtype)
            for some, dvalue in zip(biases, dvalues, strict=True):
                column, is_inside = _columns(some, _Chunk(rows, first), len(weight))
                own = slope.gather(1, column).float().mul_(grad[rows, None]).mul_(is_inside)
                dvalue.index_add_(0, some.instant[rows], own)
            slope = fill_rows(slope)
            dx[rows] = (slope @ weight[first:])[: len(rows)]
            dboth[first:] += slope.T @ fill_rows(scaled[rows])
        dx = (dx.float() * grad[:, None]).to(x.dtype)
        dboth *= largest
        sparse = [gradient for dvalue in dvalues for gradient in (None, dvalue, None)]
        return dx, dboth[:, :-1].to(weight.dtype), dboth[:, -1], None, None, *sparse


def _grouped(sparse: Sequence[Tensor]) -> list[Biases]:
    return [Biases(*sparse[i : i + 3]) for i in range(0, len(sparse), 3)]
