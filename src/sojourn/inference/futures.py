"""Sampled futures put to use: risks by counting, and one patient's possible courses as tables."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from scipy import stats

from sojourn.errors import TaskError
from sojourn.inference.histories import Moments, ask
from sojourn.inference.risk import Risk
from sojourn.inference.sampler import FutureSampler, SampledEvents
from sojourn.model import Network
from sojourn.progress import Bar
from sojourn.tasks.outcomes import OUTCOME_PREFIX, derive_outcomes, matching_codes, outcomes
from sojourn.training.records import EventTable, RecordReader

DEFAULT_SAMPLES = 64
_EVER_HOURS = 30 * 24.0
_EPOCH = datetime(2000, 1, 1)
_ORIGIN_US = int((_EPOCH - datetime(1970, 1, 1)).total_seconds()) * 1_000_000


class Sampling(NamedTuple):
    """How futures are sampled."""

    num_samples: int
    context: int
    """Instants that the network sees at once."""
    seed: int


class Drawn(NamedTuple):
    """Futures of one moment."""

    events: SampledEvents
    past: EventTable
    """Everything that the subject's record shows up to the moment."""
    now_s: int
    """The moment, in seconds since the subject's origin."""


def draw(
    network: Network, reader: RecordReader, row: int, now_s: int, *, horizon_hours: float, sampling: Sampling
) -> Drawn:
    """Sample futures of one subject from one moment."""
    (asked,) = ask(reader, Moments(np.array([row]), np.array([now_s])), context=sampling.context)
    past = reader.read(np.array([row])).past(0, now_s)
    sampler = FutureSampler(network, terminal_codes(reader), context=sampling.context, seed=sampling.seed)
    elapsed = float(asked.gap[0])
    horizon_s, count = horizon_hours * 3600, sampling.num_samples
    events = sampler.sample(asked.batch, past, elapsed_s=elapsed, horizon_s=horizon_s, num_samples=count)
    return Drawn(events, past, now_s)


def terminal_codes(reader: RecordReader) -> torch.Tensor:
    """Which codes of the model end a record, shape (V,) bool."""
    return torch.from_numpy(reader.vocabulary.table["terminal"].to_numpy().copy())


def simulated_risk(
    network: Network,
    reader: RecordReader,
    moments: Moments,
    task: dict[str, Any],
    *,
    sampling: Sampling,
    bar: Bar | None = None,
) -> Risk:
    """Share of sampled futures in which an outcome comes within the horizon, with a 90 % Wilson interval.

    Raises
    ------
    TaskError
        If the outcome cannot be seen in simulated events.
    """
    codes = list(task.get("outcomes") or ())
    if not codes:
        msg = f"task must name outcome codes to be counted in futures; {task['name']} has none. Use a built-in task."
        raise TaskError(msg)
    horizon = task.get("horizon_hours") or _EVER_HOURS
    share = np.empty(len(moments.row))
    for i, (row, seconds) in enumerate(zip(moments.row, moments.seconds, strict=True)):
        own = sampling._replace(seed=sampling.seed + i)
        drawn = draw(network, reader, int(row), int(seconds), horizon_hours=horizon, sampling=own)
        share[i] = len(first_times(reader, drawn, codes)) / sampling.num_samples
        if bar is not None:
            bar.advance()
    return wilson(share, sampling.num_samples)


def wilson(share: np.ndarray, count: int, coverage: float = 0.9) -> Risk:
    """Shares of `count` draws with their Wilson intervals (Wilson 1927)."""
    z = float(stats.norm.ppf(0.5 + coverage / 2))
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return Risk(share, centre - reach, centre + reach)


def first_times(reader: RecordReader, drawn: Drawn, codes: Sequence[str]) -> pl.DataFrame:
    """`sample, hours` of the first outcome after the moment, one row per future that has one.

    Raises
    ------
    TaskError
        If an outcome is one that only a source can bring.
    """
    roots = _roots(codes)
    names = reader.vocabulary.table["code"]
    used = set(matching_codes(names.to_list(), roots))
    events = to_frame(drawn.events, names).filter(pl.col("code").is_in(list(used)))
    past = drawn.past
    before = _frame(past.subject, past.seconds, past.code, past.value, names).drop("subject_id")
    before = before.filter(pl.col("code").is_in(list(used)))
    samples = events.select("subject_id").unique()
    whole = pl.concat([samples.join(before, how="cross").select(events.columns), events])
    derived = pl.concat([whole, derive_outcomes(whole)])
    now = _time(drawn.now_s)
    first = derived.filter(pl.col("code").is_in(list(codes)) & (pl.col("time") > now)).group_by("subject_id")
    hours = ((pl.col("time").min() - now).dt.total_seconds() / 3600).alias("hours")
    return first.agg(hours).rename({"subject_id": "sample"}).sort("sample")


def _roots(codes: Sequence[str]) -> list[str]:
    """The codes that outcomes are read from."""
    roots: list[str] = []
    for code in codes:
        if not code.startswith(OUTCOME_PREFIX):
            roots.append(code)
            continue
        outcome = outcomes().get(code.removeprefix(OUTCOME_PREFIX))
        if outcome is None or not outcome.roots():
            msg = f"task must ask for outcomes that events show; {code} is brought by its source. Use method='query'."
            raise TaskError(msg)
        roots += outcome.roots()
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
