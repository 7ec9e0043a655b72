"""What a measurement would show: the distribution of a code's value, were it measured some time from now."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import torch

from sojourn.errors import TaskError
from sojourn.events.store import EventStore
from sojourn.inference.histories import ask, moment_of, states
from sojourn.training.run import Run

QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}


@torch.inference_mode()
def future_value(
    run: Path, store: Path, *, subject: int, at: datetime, code: str, hours: Sequence[float]
) -> pl.DataFrame:
    """Quantiles of the value of a code, were it measured some hours after a moment.

    Asked of the network in one pass; nobody needs to measure, and nothing after `at` is read. The answer is a
    prediction from what was recorded, not the effect of measuring or treating.

    Parameters
    ----------
    subject : its `subject_id`.
    at : the moment.
    code : a code of the run's vocabulary that carries values, such as ``CONCEPT//lactate``.
    hours : how long after the moment, at least 0 each.

    Returns
    -------
    DataFrame
        One row per entry of `hours`: `hours`, `q05`, `q25`, `q50`, `q75`, `q95` in the code's own unit, `unit`.

    Raises
    ------
    TaskError
        If the run does not know the code, it carries no values, an hour is negative, or the subject has no record
        before `at`, or its record has ended by then.
    """
    trained, opened = Run(run), EventStore.open(store)
    index = trained.vocabulary.index.get(code)
    if index is None or not trained.vocabulary.table["has_value"][index]:
        msg = f"code must be one of the run that carries values; got {code}. See `vocabulary.parquet` in {run}."
        raise TaskError(msg)
    if min(hours, default=0.0) < 0:
        msg = f"hours must not be negative; got {min(hours)}."
        raise TaskError(msg)
    asked_at = moment_of(opened, subject, at)
    reader, network = trained.reader(opened), trained.network()
    (asked,) = ask(reader, asked_at, context=trained.config.context)
    since = int(asked_at.seconds[0]) - int(asked.gap[0])
    records = reader.read(asked_at.row)
    place = int(records.history_index.last_before(np.array([0]), np.array([index]), np.array([since + 1]))[0])
    count = len(hours)
    last = float(records.events.value[place]) if place >= 0 else np.nan
    age = float(since - records.events.seconds[place]) if place >= 0 else np.nan
    density = network.future_value_density(
        states(network, asked).expand(count, -1),
        asked.gap + 3600.0 * torch.tensor(list(hours), dtype=torch.float32),
        torch.full((count,), index),
        (torch.full((count,), last), torch.full((count,), age)),
    )
    codes = torch.full((count,), index)
    rows = {name: network.events.denormalise(codes, density.quantile(q)).numpy() for name, q in QUANTILES.items()}
    unit = pl.lit(trained.vocabulary.table["unit"][index], dtype=pl.String).alias("unit")
    return pl.DataFrame({"hours": list(hours), **rows}).with_columns(unit)
