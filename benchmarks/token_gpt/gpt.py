"""Trains the GPT-2 of `transformers` on stories for a given CPU time."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from token_gpt.language import Story

NUM_LAYERS, NUM_HEADS = 4, 4
_IGNORED = -100
_WARMUP, _LOWEST = 0.05, 0.05


class Settings(NamedTuple):
    """How one GPT is trained."""

    learning_rate: float
    context: int = 512
    windows_per_step: int = 4
    num_parameters: int = 3_400_000
    dropout: float = 0.0
    weight_decay: float = 0.1
    seed: int = 0


class Trained(NamedTuple):
    """A trained GPT, its weights being the best of those that were looked at."""

    model: GPT2LMHeadModel
    curve: list[dict[str, float]]
    """Share of the time, steps, tokens, training and tuning loss."""
    cpu_s: float
    wall_s: float


def make(num_tokens: int, settings: Settings) -> GPT2LMHeadModel:
    """A GPT-2 of 4 layers whose width gives about the wanted number of weights."""
    sizes = {w: 12 * NUM_LAYERS * w * w + (num_tokens + settings.context) * w for w in range(64, 1025, 16)}
    width = min(sizes, key=lambda w: abs(sizes[w] - settings.num_parameters))
    torch.manual_seed(settings.seed)
    config = GPT2Config(
        vocab_size=num_tokens,
        n_positions=settings.context,
        n_embd=width,
        n_layer=NUM_LAYERS,
        n_head=NUM_HEADS,
        resid_pdrop=settings.dropout,
        embd_pdrop=settings.dropout,
        attn_pdrop=settings.dropout,
        bos_token_id=None,
        eos_token_id=None,
        use_cache=False,
    )
    return GPT2LMHeadModel(config)


def batches(tell: Callable[[int], Sequence[Story]], settings: Settings) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless windows of the packed stories of an epoch in random order, and what each position must predict.

    A window starts with the prefix of the subject that it starts in, with the age there, and may run over into the
    next subject's story. Prefixes are never to be predicted.
    """
    for epoch in range(1_000_000):
        rng = np.random.default_rng([settings.seed, epoch])
        stories = tell(epoch)
        order = rng.permutation(len(stories))
        token = np.concatenate([part for i in order for part in (stories[i].prefix, stories[i].token)])
        age = np.concatenate([x for i in order for x in (0 * stories[i].prefix, stories[i].age)])  # 0: in a prefix
        owner = np.repeat(order, [len(stories[i].prefix) + len(stories[i].token) for i in order])
        longest = max(len(story.prefix) for story in stories)
        room = settings.context + 1 - longest
        starts = np.arange(int(rng.integers(room)) - room + 1, len(token) - 1, room).clip(min=0)
        starts = rng.permutation(np.unique(starts))
        rows = []
        for start in starts:
            prefix = stories[owner[start]].prefix if age[start] else np.empty(0, np.int64)
            head = np.append(prefix[:-1], age[start]) if len(prefix) else prefix
            body = slice(start, start + settings.context + 1 - len(head))
            is_asked = np.append(np.zeros(len(head), bool), age[body] > 0)
            rows.append(_row(np.append(head, token[body]), is_asked, settings.context + 1))
            if len(rows) == settings.windows_per_step:
                yield torch.stack([r[0] for r in rows]), torch.stack([r[1] for r in rows])
                rows = []


def _row(token: np.ndarray, is_asked: np.ndarray, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    row, target = np.zeros(length, np.int64), np.full(length, _IGNORED)
    row[: len(token)] = token
    target[: len(token)] = np.where(is_asked, token, _IGNORED)
    return torch.from_numpy(row[:-1]), torch.from_numpy(target[1:])


def train(
    tell: Callable[[int], Sequence[Story]],
    num_tokens: int,
    settings: Settings,
    *,
    cpu_s: float,
    tuning_bits: Callable[[GPT2LMHeadModel], float],
    num_looks: int = 4,
) -> Trained:
    """Train for `cpu_s` seconds of this process's CPU time, looks at the tuning subjects not counted.

    AdamW, a linear warm-up and half a cosine over the time; the weights of the best look are kept.

    Parameters
    ----------
    tell : stories of the training subjects in an epoch.
    num_tokens : size of the language.
    tuning_bits : bits per event of the tuning subjects.
    num_looks : looks at the tuning subjects, evenly spread over the time, the last one at its end.
    """
    model = make(num_tokens, settings)
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    plain = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98))
    curve: list[dict[str, float]] = []
    best, weights = math.inf, model.state_dict()
    used, wall, steps, tokens, losses = 0.0, 0.0, 0, 0, [math.nan]
    stream = batches(tell, settings)
    while len(curve) < num_looks:
        began, began_wall = time.process_time(), time.perf_counter()
        rate = settings.learning_rate * _schedule(used / cpu_s)
        inputs, targets = next(stream)
        losses.append(_step(model, optimizer, inputs, targets, rate))
        steps, tokens = steps + 1, tokens + int((targets != _IGNORED).sum())
        used, wall = used + time.process_time() - began, wall + time.perf_counter() - began_wall
        if used >= cpu_s * (len(curve) + 1) / num_looks:
            bits = tuning_bits(model)
            loss = float(np.nanmean(losses[-50:]))
            curve.append({"share": used / cpu_s, "steps": steps, "tokens": tokens, "nats": loss, "tuning_bits": bits})
            if bits < best:
                best, weights = bits, {k: v.detach().clone() for k, v in model.state_dict().items()}
    model.load_state_dict(weights)
    return Trained(model.eval(), curve, used, wall)


def _step(model: nn.Module, optimizer: Any, inputs: torch.Tensor, targets: torch.Tensor, rate: float) -> float:
    for group in optimizer.param_groups:
        group["lr"] = rate
    model.train()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(inputs).logits
    loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=_IGNORED)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def _schedule(share: float) -> float:
    if share < _WARMUP:
        return max(share / _WARMUP, 0.01)
    return _LOWEST + (1 - _LOWEST) * 0.5 * (1 + math.cos(math.pi * min((share - _WARMUP) / (1 - _WARMUP), 1.0)))
