"""Risks by asking: P(first event of a set within a horizon), for any number of moments in one pass each."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy import special
from torch import Tensor

from sojourn.inference.histories import Asked, Moments, ask, states
from sojourn.model import Network
from sojourn.model.features import time_features
from sojourn.model.queries import union_log_hazard
from sojourn.progress import Bar
from sojourn.training.records import RecordReader

Probabilities = npt.NDArray[np.float64]


class Risk(NamedTuple):
    """Risks of N moments."""

    probability: Probabilities
    """(N,) mean over the bootstrap heads."""
    lower: Probabilities
    """(N,) end of a 90 % interval."""
    upper: Probabilities
    """(N,)"""


class Question(NamedTuple):
    """First event of any of some codes within a horizon."""

    codes: Sequence[int]
    """Indices in the model's vocabulary."""
    horizon_hours: float
    """Infinity: ever, as long as the record goes on."""


def query_risk(
    network: Network,
    reader: RecordReader,
    moments: Moments,
    question: Question,
    *,
    context: int,
    change: Callable[[Asked], Asked] | None = None,
    bar: Bar | None = None,
) -> Risk:
    """Answer one question at many moments, with an interval from the spread of the network's hazard heads.

    The parameters are those of `risk_by_head`.
    """
    return interval(risk_by_head(network, reader, moments, question, context=context, change=change, bar=bar))


def risk_by_head(
    network: Network,
    reader: RecordReader,
    moments: Moments,
    question: Question,
    *,
    context: int,
    change: Callable[[Asked], Asked] | None = None,
    bar: Bar | None = None,
) -> Probabilities:
    """Answers of each hazard head to one question at many moments, shape (N, heads).

    Parameters
    ----------
    network : in evaluation mode.
    reader : of the store that holds the moments' subjects.
    moments : when to ask about whom.
    question : which codes, within which horizon.
    context : instants that the network sees at once.
    change : a control that alters what the network sees.
    bar : advanced by the number of answered moments.
    """
    out = np.full((len(moments.row), network.config.num_bootstrap_heads), np.nan)
    for asked in ask(reader, moments, context=context, with_past=network.config.use_summary):
        if change is not None:
            asked = change(asked)
        out[asked.which] = _heads(network, asked, question)
        if bar is not None:
            bar.advance(len(asked.which))
    return out


@torch.inference_mode()
def _heads(network: Network, asked: Asked, question: Question) -> npt.NDArray[np.float64]:
    """Risk by each bootstrap head, shape (n, heads)."""
    log_hazard = hazards(network, asked, question.codes)
    horizon = min(question.horizon_hours, 2 * float(network.first_head.start[-1]))
    hours = torch.full(log_hazard.shape[:2], horizon, device=log_hazard.device)
    return (-torch.expm1(-network.first_head.cumulative(log_hazard, hours))).double().cpu().numpy()


def hazards(network: Network, asked: Asked, codes: Sequence[int]) -> Tensor:
    """Log-hazards of the first event of a set of codes, shape (n, heads, bins); none while a code cannot come yet."""
    asked = asked.to(network.device)
    h = states(network, asked)
    time = time_features(asked.gap, asked.time, asked.clock, asked.age)
    log_hazard = network.first_log_hazard(h, time, asked.past, torch.tensor(list(codes), device=network.device))
    if asked.waits is not None:
        hours = torch.from_numpy(asked.waits.of(codes)).to(log_hazard.device)
        log_hazard = network.first_head.from_hour(log_hazard, hours[:, None])
    return union_log_hazard(log_hazard, 2)


def interval(by_head: Probabilities, coverage: float = 0.9) -> Risk:
    """Mean over heads, with a Student interval of their logits: how far another sample of subjects might move it.

    Heads of several networks may stand side by side (a deep ensemble; Lakshminarayanan et al. 2017): their spread then
    holds that of the networks' states too.
    """
    count = by_head.shape[1]
    mean = by_head.mean(1)
    if count < 2:
        return Risk(mean, mean, mean)
    logit = special.logit(np.clip(by_head, 1e-12, 1 - 1e-12))
    centre, spread = special.logit(np.clip(mean, 1e-12, 1 - 1e-12)), logit.std(1, ddof=1)
    reach = special.stdtrit(count - 1, 0.5 + coverage / 2) * spread
    return Risk(mean, special.expit(centre - reach), special.expit(centre + reach))
