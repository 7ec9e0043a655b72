"""One patient's possible courses: sampled futures as a table, and a summary to draw."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from sojourn.errors import TaskError
from sojourn.events.store import EventStore
from sojourn.files import atomic_folder, write_json
from sojourn.inference.futures import Drawn, Sampling, draw, first_times, to_frame
from sojourn.inference.histories import Moments, ask, moment_of
from sojourn.inference.risk import hazards
from sojourn.model import Network
from sojourn.progress import console
from sojourn.tasks.outcomes import outcomes
from sojourn.tasks.own_outcomes import kept_outcomes
from sojourn.training.records import RecordReader
from sojourn.training.run import Run

_QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
_MAX_CODES, _HISTORY_HOURS, _NUM_GRID = 6, 48.0, 25


@dataclass(frozen=True, slots=True)
class SimulationReport:
    """What a simulation did."""

    path: str
    num_samples: int
    num_events: int
    horizon_hours: float
    events_per_hour: float
    """Mean over the futures."""
    share_ended: float
    """Share of futures in which the record ended for good, with a death or a discharge."""


def simulate(
    run: Path,
    store: Path,
    *,
    subject: int,
    at: datetime,
    horizon_hours: float,
    num_samples: int = 256,
    out: Path,
    seed: int = 0,
) -> SimulationReport:
    """Sample futures of one subject and write them, with a summary for pictures.

    The answer is a prediction from what was recorded. It is not what would happen under another treatment.

    Parameters
    ----------
    subject : its `subject_id`.
    at : the moment; nothing later is read.
    out : folder to write: ``futures.parquet`` (sample, time, code, numeric_value) and ``timeline.json``.

    Raises
    ------
    TaskError
        If the subject has no record before `at`, or its record has ended by then.
    StoreError
        If the subject is not in the store.
    """
    trained, opened = Run(run), EventStore.open(store)
    asked = moment_of(opened, subject, at)
    row, now = int(asked.row[0]), int(asked.seconds[0])
    reader, network = trained.reader(opened), trained.network()
    sampling = Sampling(num_samples, trained.config.context, seed)
    with console.status(f"sampling {num_samples} futures"):
        drawn = draw(network, reader, row, now, horizon_hours=horizon_hours, sampling=sampling)
    frame = to_frame(drawn.events, trained.vocabulary.table["code"])
    origin = opened.subjects["origin"].to_numpy()[row].astype("datetime64[us]")
    microseconds = pl.Series(drawn.events.seconds) * 1_000_000 + int(origin.astype(np.int64))
    frame = frame.rename({"subject_id": "sample"}).with_columns(time=microseconds.cast(pl.Datetime("us")))
    site = opened.subjects["site"][row]
    timeline = summarise(trained, reader, network, drawn, Moments(asked.row, asked.seconds), horizon_hours, num_samples)
    with atomic_folder(out) as part:
        frame.write_parquet(part / "futures.parquet")
        write_json(part / "timeline.json", {"subject": "chosen subject", "site": site} | timeline)
    return SimulationReport(
        path=str(out),
        num_samples=num_samples,
        num_events=len(frame),
        horizon_hours=horizon_hours,
        events_per_hour=len(frame) / num_samples / horizon_hours,
        share_ended=float(drawn.ended.mean()),
    )


def summarise(
    run: Run, reader: RecordReader, network: Network, drawn: Drawn, at: Moments, horizon_hours: float, num_samples: int
) -> dict[str, Any]:
    """Observed values, quantiles of the futures, and risks by both ways: what ``timeline.json`` holds."""
    table = run.vocabulary.table
    code, value = drawn.past.code, drawn.past.value
    hours = (drawn.past.seconds - drawn.now_s) / 3600
    recent = (hours >= -_HISTORY_HOURS) & ~np.isnan(value)
    counts = np.bincount(code[recent], minlength=len(table))
    chosen = np.argsort(-counts, kind="stable")[:_MAX_CODES]
    chosen = chosen[counts[chosen] > 0]

    def name(c: int) -> dict[str, Any]:
        return {"code": table["code"][c], "description": table["description"][c], "unit": table["unit"][c]}

    observed = [
        name(c) | {"hours": hours[recent & (code == c)].tolist(), "values": value[recent & (code == c)].tolist()}
        for c in chosen.tolist()
    ]
    return {
        "prediction_hours": drawn.now_s / 3600,
        "horizon_hours": horizon_hours,
        "num_samples": num_samples,
        "observed": observed,
        "futures": [name(c) | _fan(drawn, c, horizon_hours) for c in chosen.tolist()],
        "risks": _risks(run, reader, network, drawn, at, horizon_hours, num_samples),
    }


def _fan(drawn: Drawn, code: int, horizon_hours: float) -> dict[str, Any]:
    """Quantiles over the futures of a code's last value, in steps over the horizon; ended futures drop out."""
    events = drawn.events
    step = horizon_hours / (_NUM_GRID - 1)
    index = np.ceil((events.seconds - drawn.now_s) / 3600 / step).astype(int).clip(1)
    number, sample = np.unique(events.sample, return_inverse=True)
    last = np.full((_NUM_GRID, sample.max(initial=-1) + 1), np.nan)
    mine = (events.code == code) & ~np.isnan(events.value) & (index < _NUM_GRID)
    last[index[mine], sample[mine]] = events.value[mine]  # in the order of time: of several the last one stays
    end = np.zeros(last.shape[1], dtype=int)
    np.maximum.at(end, sample, index)
    end = np.where(drawn.ended[number], end, _NUM_GRID)
    rows = []
    for k in range(1, _NUM_GRID):
        last[k] = np.where(np.isnan(last[k]), last[k - 1], last[k])
        inside = last[k, ~np.isnan(last[k]) & (k <= end)]
        if len(inside) >= 10:  # fewer give no quantile worth drawing
            rows.append((k * step, *(float(np.quantile(inside, q)) for q in _QUANTILES.values())))
    columns = list(zip(*rows, strict=True)) if rows else [()] * (1 + len(_QUANTILES))
    return dict(zip(("hours", *_QUANTILES), map(list, columns), strict=True))


@torch.inference_mode()
def _risks(
    run: Run, reader: RecordReader, network: Network, drawn: Drawn, at: Moments, horizon_hours: float, num_samples: int
) -> list[dict[str, Any]]:
    """Incidence of every outcome over the horizon, asked and counted."""
    grid = np.linspace(0.0, horizon_hours, _NUM_GRID)
    (asked,) = ask(reader, at, context=run.config.context, with_past=network.config.use_summary)
    known = outcomes() | kept_outcomes(reader.store.path)
    risks = []
    for outcome in run.outcomes:
        log_hazard = hazards(network, asked, [run.vocabulary.index[outcome]])
        hours = torch.tensor(grid, dtype=torch.float32)
        cumulative = network.first_head.cumulative(log_hazard[0][:, None, :], hours[None, :])
        incidence = (-torch.expm1(-cumulative)).mean(0).tolist()
        try:
            first = first_times(reader, drawn, [outcome], known)["hours"].to_numpy()
            sampled = [float((first <= h).sum() / num_samples) for h in grid]
        except TaskError:  # an outcome that only its source can bring is asked, not counted
            sampled = []
        description = run.vocabulary.table["description"][run.vocabulary.index[outcome]]
        risks.append(
            {
                "outcome": outcome.removeprefix("OUTCOME//"),
                "description": description,
                "hours": grid.tolist(),
                "incidence": incidence,
                "sampled": sampled,
            }
        )
    return risks
