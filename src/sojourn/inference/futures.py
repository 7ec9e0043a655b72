"""Sampled futures put to use: risks from the futures of many moments at once, and one patient's possible courses."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch

from sojourn.errors import TaskError
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.inference.estimates import Estimator, SampledRisk, conditional, wilson
from sojourn.inference.histories import Moments
from sojourn.inference.rules import Rule, rule_of, shown_outcome
from sojourn.inference.sampler import Futures, FutureSampler, SampledEvents
from sojourn.inference.starts import Starts, starts
from sojourn.model import Network
from sojourn.progress import Bar, console
from sojourn.tasks.cohort import stay_ends
from sojourn.tasks.outcomes import Outcome, derive_outcomes, matching_codes, outcomes
from sojourn.tasks.phrases import outcomes_of
from sojourn.training.records import EventTable, RecordReader

DEFAULT_SAMPLES = 64
_EVER_HOURS = 30 * 24.0
_EPOCH = datetime(2000, 1, 1)
_ORIGIN_US = int((_EPOCH - datetime(1970, 1, 1)).total_seconds()) * 1_000_000
# More futures at once gain nothing, and their caches shall fit.
_MAX_FUTURES, _MAX_BYTES = 1024, 1 << 30


class Sampling(NamedTuple):
    """How futures are sampled."""

    num_samples: int
    context: int
    """Instants that the network sees at once."""
    seed: int
    estimator: Estimator = "conditional"


class Drawn(NamedTuple):
    """Futures of one moment."""

    events: SampledEvents
    past: EventTable
    """Everything that the subject's record shows up to the moment."""
    now_s: int
    """The moment, in seconds since the subject's origin."""
    ended: np.ndarray
    """(n,) bool, futures whose record has ended for good."""


def draw(
    network: Network, reader: RecordReader, row: int, now_s: int, *, horizon_hours: float, sampling: Sampling
) -> Drawn:
    """Sample futures of one subject from one moment."""
    at = Moments(np.array([row]), np.array([now_s]))
    parts, ended, past = [], [], None
    for begun, first, futures in _sample(network, reader, at, horizon_hours, sampling):
        parts.append(futures.events._replace(sample=futures.events.sample + first))
        ended.append(futures.ended)
        (past,) = begun.pasts
    assert past is not None
    events = SampledEvents(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    return Drawn(events, past, now_s, np.concatenate(ended))


def _sample(
    network: Network,
    reader: RecordReader,
    at: Moments,
    horizon_hours: float,
    sampling: Sampling,
    forbidden: Rule | None = None,
    stops: Sequence[str] = (),
) -> Iterator[tuple[Starts, int, Futures]]:
    """Futures of many moments in batches: the histories, the number of each one's first future, the futures.

    `stops` are the codes, each standing for those below it, at which futures are broken off.
    """
    is_terminal, is_last = ends_of(reader.vocabulary, stops)
    sampler = FutureSampler(network, is_terminal, is_last, context=sampling.context, seed=sampling.seed)
    together = futures_at_once(network, sampling.context)
    per_part = min(together, sampling.num_samples)
    for begun in starts(reader, at, context=sampling.context, per_batch=max(1, together // sampling.num_samples)):
        for first in range(0, sampling.num_samples, per_part):
            count = min(per_part, sampling.num_samples - first)
            yield (
                begun,
                first,
                sampler.sample(
                    begun, horizon_s=horizon_hours * 3600, num_samples=count, first=first, forbidden=forbidden
                ),
            )


def futures_at_once(network: Network, context: int) -> int:
    """How many futures are drawn together, so that their caches with full windows take at most 1 GiB."""
    config = network.config
    cache = 2 * 4 * config.num_layers * config.d_model * (context + 1)
    return int(min(_MAX_FUTURES, max(1, _MAX_BYTES // (cache + 12 * len(network.events.loc)))))


def ends_of(vocabulary: ModelVocabulary, stops: Sequence[str] = ()) -> tuple[torch.Tensor, torch.Tensor]:
    """Which codes of the model may end a record, and which surely do: deaths, and what is at or below `stops`.

    Shape (V,) bool each.
    """
    table = vocabulary.table
    last = matching_codes(table["code"].to_list(), [*outcomes()["death"].roots(), *stops])
    is_last = table["code"].is_in(last).to_numpy()
    return torch.from_numpy(table["terminal"].to_numpy().copy()), torch.from_numpy(is_last.copy())


def simulated_risk(
    network: Network,
    reader: RecordReader,
    moments: Moments,
    task: dict[str, Any],
    *,
    sampling: Sampling,
    bar: Bar | None = None,
) -> SampledRisk:
    """Probability that an outcome comes within the horizon, from sampled futures of each moment.

    By the estimator "conditional" futures are drawn given that the outcome does not happen, and the chances that were
    taken out on the way make up the risk (`inference/rules.py`); its interval is a Student interval.
    "count" takes the share of futures that have the outcome, with a Wilson interval. Both are unbiased for what the
    network says; the first varies less. An outcome that no single decision brings about (the start of a treatment
    after none, a rise over the first value) is always counted. A task without a horizon is asked over 30 days, one
    until the end of the stay as long as that lasts.

    Raises
    ------
    TaskError
        If the outcome cannot be seen in simulated events.
    """
    codes = list(task.get("outcomes") or ())
    if not codes:
        msg = f"task must name outcome codes to be counted in futures; {task['name']} has none. Use a built-in task."
        raise TaskError(msg)
    horizon = _EVER_HOURS if task.get("horizon_hours") is None else float(task["horizon_hours"])
    known = outcomes_of(task)
    _check_drawn(codes, reader.vocabulary, known)
    rule = rule_of(codes, reader.vocabulary.table["code"].to_list(), network.events, known)
    is_conditional = rule is not None and sampling.estimator == "conditional"
    risk = np.zeros((len(moments.row), sampling.num_samples))
    forbidden = rule if is_conditional else None
    stops = stay_ends(task.get("anchor")) if task.get("until") == "stay_end" else []
    for begun, first, futures in _sample(network, reader, moments, horizon, sampling, forbidden, stops):
        found = 1 - futures.escape if is_conditional else _hits(reader, moments, codes, rule, begun, futures, known)
        found = found.reshape(len(begun.which), -1)
        risk[begun.which, first : first + found.shape[1]] = found
        if bar is not None and first + found.shape[1] == sampling.num_samples:
            bar.advance(len(begun.which))
    return conditional(risk) if is_conditional else wilson(risk.mean(1), sampling.num_samples)


def _check_drawn(codes: Sequence[str], vocabulary: ModelVocabulary, known: Mapping[str, Outcome] | None) -> None:
    """Refuse outcomes whose codes the run does not know and cannot draw; say so where that is true of some codes."""
    shown, roots = vocabulary.table["code"].to_list(), {code: _roots([code], known) for code in codes}
    lacking = [code for code in codes if not matching_codes(shown, roots[code])]
    if len(lacking) == len(codes):
        msg = (
            f"futures of the run cannot hold {', '.join(lacking)}: the run knows no "
            f"{' or '.join(root for code in lacking for root in roots[code])}, which were too rare in its training. "
            "Use method query, or train on more records or with a lower min_count."
        )
        raise TaskError(msg)
    rare = [rare for code in codes for rare in matching_codes(list(vocabulary.folded), roots[code])]
    if lacking or rare:
        console.print(f"too rare in training to be drawn: {', '.join(lacking + rare)}; the risks may be too low")


def _hits(
    reader: RecordReader,
    at: Moments,
    codes: list[str],
    rule: Rule | None,
    begun: Starts,
    futures: Futures,
    known: Mapping[str, Outcome],
) -> np.ndarray:
    """Whether each future has the outcome, shape (N,) float64."""
    hits, events = np.zeros(len(futures.escape)), futures.events
    if rule is not None:
        hits[events.sample[rule.happened(events.code, events.value)]] = 1
        return hits
    copies = len(hits) // len(begun.which)
    owner = events.sample // copies
    for g, past in enumerate(begun.pasts):
        mine = SampledEvents(*(column[owner == g] for column in events))
        drawn = Drawn(mine, past, int(at.seconds[begun.which[g]]), futures.ended[g * copies : (g + 1) * copies])
        hits[first_times(reader, drawn, codes, known)["sample"].to_numpy()] = 1
    return hits


def first_times(
    reader: RecordReader, drawn: Drawn, codes: Sequence[str], known: Mapping[str, Outcome] | None = None
) -> pl.DataFrame:
    """`sample, hours` of the first outcome after the moment, one row per future that has one.

    `known` are the outcome definitions by name, None for the built-in ones.

    Raises
    ------
    TaskError
        If an outcome is one that only a source can bring.
    """
    roots = _roots(codes, known)
    names = reader.vocabulary.table["code"]
    used = set(matching_codes(names.to_list(), roots))
    events = to_frame(drawn.events, names).filter(pl.col("code").is_in(list(used)))
    past = drawn.past
    before = _frame(past.subject, past.seconds, past.code, past.value, names).drop("subject_id")
    before = before.filter(pl.col("code").is_in(list(used)))
    samples = events.select("subject_id").unique()
    whole = pl.concat([samples.join(before, how="cross").select(events.columns), events])
    derived = pl.concat([whole, derive_outcomes(whole, known)])
    now = _time(drawn.now_s)
    first = derived.filter(pl.col("code").is_in(list(codes)) & (pl.col("time") > now)).group_by("subject_id")
    hours = ((pl.col("time").min() - now).dt.total_seconds() / 3600).alias("hours")
    return first.agg(hours).rename({"subject_id": "sample"}).sort("sample")


def _roots(codes: Sequence[str], known: Mapping[str, Outcome] | None) -> list[str]:
    """The codes that outcomes are read from."""
    roots: list[str] = []
    for code in codes:
        outcome = shown_outcome(code, known)
        roots += [code] if outcome is None else outcome.roots()
    return roots


def to_frame(events: SampledEvents, names: pl.Series) -> pl.DataFrame:
    """Sampled events as `subject_id` (the future), `time`, `code`, `numeric_value`."""
    return _frame(events.sample, events.seconds, events.code, events.value, names)


def _frame(
    sample: np.ndarray, seconds: np.ndarray, code: np.ndarray, value: np.ndarray, names: pl.Series
) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "subject_id": pl.Series(sample, dtype=pl.Int64),
            "time": pl.Series(seconds * 1_000_000 + _ORIGIN_US, dtype=pl.Int64).cast(pl.Datetime("us")),
            "code": names.gather(code) if len(code) else pl.Series([], dtype=pl.String),
            "numeric_value": pl.Series(value, dtype=pl.Float32).fill_nan(None),
        }
    )


def _time(seconds: int) -> datetime:
    return _EPOCH + timedelta(seconds=seconds)
