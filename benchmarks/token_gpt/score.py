"""Bits that stories cost under a GPT, in the same parts as our own likelihood in bins."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from sojourn.inference.binned import PARTS
from token_gpt.language import CODE, TIME, VALUE, Language, Story

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

_WINDOWS_AT_ONCE = 8


class _Window(NamedTuple):
    token: np.ndarray
    first: int
    """Place in the window of the first token that is scored; all after it are."""


def windows(story: Story, context: int) -> Iterator[_Window]:
    """Windows that overlap by half: a scored token has seen all before it, or at least half of what a window holds."""
    size = len(story.prefix)
    half = (context - size) // 2
    for begin in range(0, max(len(story.token) - half, 1), half):
        first = story.num_given if begin == 0 else max(half, story.num_given - begin)
        end = min(begin + 2 * half, len(story.token))
        if begin + first < end:
            head = np.append(story.prefix[:-1], story.age[begin])
            yield _Window(np.append(head, story.token[begin:end]), size + first)


@torch.inference_mode()
def bits(
    model: "GPT2LMHeadModel", language: Language, stories: Sequence[Story], can_emit: torch.Tensor | None = None
) -> np.ndarray:
    """Bits of each story in `PARTS`, shape (S, 4); with `can_emit`, impossible tokens are taken out first.

    The parts are exact: P(token) = P(no value token) P(interval token or not | no value) P(token | kind).
    """
    model.eval()
    context = model.config.n_positions
    sums = np.zeros((len(stories), len(PARTS)))
    jobs = [(s, window) for s, story in enumerate(stories) for window in windows(story, context)]
    jobs.sort(key=lambda job: len(job[1].token))
    for begin in range(0, len(jobs), _WINDOWS_AT_ONCE):
        chosen = jobs[begin : begin + _WINDOWS_AT_ONCE]
        longest = max(len(window.token) for _, window in chosen)
        rows = torch.zeros(len(chosen), longest, dtype=torch.int64)
        for row, (_, window) in enumerate(chosen):
            rows[row, : len(window.token)] = torch.from_numpy(window.token)
        logits = model(rows[:, :-1]).logits
        for row, (s, window) in enumerate(chosen):
            asked = slice(window.first - 1, len(window.token) - 1)
            token = rows[row]
            possible = None if can_emit is None else _possible(language, token, asked, can_emit)
            sums[s] += _parts(logits[row, asked].float(), token[1:][asked], language, possible)
    return sums / np.log(2)


def _possible(language: Language, token: torch.Tensor, asked: slice, can_emit: torch.Tensor) -> torch.Tensor:
    is_code = token < language.first_value
    place = torch.cummax(torch.where(is_code, torch.arange(len(token)), 0), 0).values
    return language.is_possible(token[asked], token[place][asked], can_emit)


def _parts(logits: torch.Tensor, target: torch.Tensor, language: Language, possible: torch.Tensor | None) -> np.ndarray:
    """Nats of tokens split into `PARTS`."""
    if possible is not None:
        logits = logits.masked_fill(~possible, -torch.inf)
    log_p, kind = torch.log_softmax(logits.double(), -1), language.kinds()

    def mass(chosen: torch.Tensor) -> torch.Tensor:
        return torch.logsumexp(log_p[:, chosen], -1)

    own, of = log_p.gather(1, target[:, None])[:, 0], kind[target]
    no_value, time, other = mass(kind != VALUE), mass(kind == TIME), mass((kind != VALUE) & (kind != TIME))
    value = torch.where(of == VALUE, own, no_value).sum()
    is_time, is_code = of == TIME, of == CODE
    end = (time - no_value)[is_time].sum() + (other - no_value)[is_code].sum()
    return -torch.stack([end, (own - time)[is_time].sum(), (own - other)[is_code].sum(), value]).numpy()
