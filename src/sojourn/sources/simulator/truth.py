"""The truth beside the data: latent states on a grid, and the true risk of each task at each prediction time."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from sojourn.files import atomic_file
from sojourn.progress import progress_bar
from sojourn.sources.simulator.bedside import Bedside, true_values
from sojourn.sources.simulator.branching import LACTATE_LIMIT, OUTCOMES, true_risks
from sojourn.sources.simulator.codes import code_book, unit_of
from sojourn.sources.simulator.config import STEP_HOURS, SimulatorConfig, SiteConfig
from sojourn.sources.simulator.dynamics import death_hazard
from sojourn.sources.simulator.state import FIXED, MOVING, TREATMENTS, Bools, State
from sojourn.sources.simulator.trajectories import (
    BRANCHES,
    STEP_MINUTES,
    Stays,
    num_chunks,
    random_stream,
    simulate_chunk,
)
from sojourn.sources.simulator.writing import FIRST_YEAR, admission_times, chart_chunk, subject_ids

_Maker = Callable[[SimulatorConfig, SiteConfig, int], pl.DataFrame]
_RUNNING = {"vasopressor_start": "vasopressor", "ventilation_start": "ventilated", "rrt_start": "rrt"}


def write_truth(config: SimulatorConfig, sites: Sequence[SiteConfig], out: Path) -> None:
    """Write ``states.parquet`` and ``risks.parquet`` of some sites into the folder `out`, as `config.truth` asks.

    The chosen stays are simulated once more: the same seed gives the same stays.
    """
    truth = config.truth
    if truth.states:
        _write(config, sites, out / "states.parquet", chunk_states, "true states")
    if truth.risks:
        _write(config, sites, out / "risks.parquet", chunk_risks, "true risks")


def chunk_states(config: SimulatorConfig, site: SiteConfig, chunk: int) -> pl.DataFrame:
    """States of the first stays of a chunk every `states_every_hours`.

    Returns
    -------
    DataFrame
        `subject_id`, `time`, `site`, every row of the state but `clock` (f32), the vital signs and laboratory values
        that a perfect measurement would show as ``true_<concept>``, and `death_hazard_per_hour`.
    """
    stays = simulate_chunk(config, site, chunk)
    every = round(config.truth.states_every_hours / STEP_HOURS)
    columns = np.flatnonzero((stays.step % every == 0) & _is_chosen(config, stays, chunk))
    state = State(stays.state.matrix[:, columns])
    values = {name: state[name] for name in (*MOVING, *TREATMENTS, *FIXED) if name != "clock"}
    values |= {f"true_{name}": value.astype(np.float32) for name, value in true_values(state).items()}
    values["death_hazard_per_hour"] = death_hazard(state, Bedside(state)).astype(np.float32)
    return pl.DataFrame({**_keys(config, site, chunk, stays, columns), **values}).sort("subject_id", "time")


def chunk_risks(config: SimulatorConfig, site: SiteConfig, chunk: int) -> pl.DataFrame:
    """True risks of the first stays of a chunk at every prediction time that they reach in the ICU.

    Returns
    -------
    DataFrame
        One row per prediction and task: `subject_id`, `prediction_time`, `site`, `task`, `outcome`,
        `horizon_hours` (null: until the ICU stay ends), `at_risk` (the treatment does not run yet), `true_risk`,
        `standard_error`, `num_replicates`, and `happened`: what came about in the data.
    """
    stays = simulate_chunk(config, site, chunk)
    truth = config.truth
    first, every, last = (round(h / STEP_HOURS) for h in (truth.first_hours, truth.every_hours, truth.last_hours))
    due = (stays.step >= first) & (stays.step <= last) & ((stays.step - first) % every == 0)
    columns = np.flatnonzero(due & _is_chosen(config, stays, chunk))
    state = State(stays.state.matrix[:, columns])
    risks = true_risks(state, config, site, random_stream(config, site, chunk, BRANCHES))
    keys = pl.DataFrame(_keys(config, site, chunk, stays, columns))
    happened = _happened(config, site, chunk, stays, columns)
    parts = []
    for row, (task, outcome) in enumerate(OUTCOMES.items()):
        running = _RUNNING.get(outcome.event)
        parts.append(keys.with_columns(
            task=pl.lit(task),
            outcome=pl.lit(outcome.event),
            horizon_hours=pl.lit(outcome.horizon_hours, pl.Float64),
            at_risk=pl.Series(state[running] == 0 if running else np.ones(len(columns), bool)),
            true_risk=pl.Series(risks.risk[:, row]),
            standard_error=pl.Series(risks.standard_error[:, row]),
            num_replicates=pl.lit(truth.num_replicates, pl.Int32),
            happened=pl.Series(happened[task]),
        ))  # fmt: skip
    return pl.concat(parts).rename({"time": "prediction_time"}).sort("subject_id", "prediction_time", "task")


def _write(config: SimulatorConfig, sites: Sequence[SiteConfig], path: Path, make: _Maker, title: str) -> None:
    """Write one table chunk by chunk."""
    jobs = [
        (site, chunk)
        for site in sites
        for chunk in range(min(num_chunks(config, site), -(-config.truth.max_stays // config.chunk_stays)))
    ]
    with atomic_file(path) as part, progress_bar(title, len(jobs)) as bar:
        writer: pq.ParquetWriter | None = None
        try:
            for site, chunk in jobs:
                table = make(config, site, chunk).to_arrow()
                writer = writer or pq.ParquetWriter(part, table.schema, compression="zstd")
                writer.write_table(table)
                bar.advance()
        finally:
            if writer is not None:
                writer.close()


def _is_chosen(config: SimulatorConfig, stays: Stays, chunk: int) -> Bools:
    chosen: Bools = stays.stay + chunk * config.chunk_stays < config.truth.max_stays
    return chosen


def _keys(
    config: SimulatorConfig, site: SiteConfig, chunk: int, stays: Stays, columns: npt.NDArray[np.int64]
) -> dict[str, pl.Series]:
    """Subject, time and site of some columns of the states."""
    ids = subject_ids(config, site, chunk, len(stays))
    minute = admission_times(stays, ids)[stays.stay[columns]] + stays.step[columns].astype(np.int64) * STEP_MINUTES
    time = FIRST_YEAR.astype("datetime64[us]") + minute * np.timedelta64(60_000_000, "us")
    return {
        "subject_id": pl.Series(ids[stays.stay[columns]]),
        "time": pl.Series(time),
        "site": pl.repeat(site.name, len(columns), eager=True),
    }


def _happened(
    config: SimulatorConfig, site: SiteConfig, chunk: int, stays: Stays, columns: npt.NDArray[np.int64]
) -> dict[str, Bools]:
    """What came about within the horizon of each task, for some columns of the states."""
    stay, minute = stays.stay[columns], stays.step[columns].astype(np.int64) * STEP_MINUTES
    dead = np.where(stays.died | stays.died_on_ward, stays.leave_minute, np.iinfo(np.int64).max)[stay]
    result = {"icu_death": stays.died[stay]}
    times: dict[str, tuple[npt.NDArray[np.integer], npt.NDArray[np.int64]]] = {
        name: _action_times(stays, name) for name in _RUNNING
    }
    times["lactate_gt_4"] = _charted_lactate(config, site, chunk, stays)
    high = np.flatnonzero(stays.state["log_lactate"] > np.log(LACTATE_LIMIT))
    times["latent_lactate_gt_4"] = (stays.stay[high], stays.step[high].astype(np.int64) * STEP_MINUTES)
    for task, outcome in OUTCOMES.items():
        if outcome.horizon_hours is None:
            continue
        end = minute + int(outcome.horizon_hours * 60)
        if outcome.event == "death":
            result[task] = dead <= end
        else:
            result[task] = _any_between(*times[outcome.event], stay, minute, end)
    return result


def _action_times(stays: Stays, name: str) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    column = np.flatnonzero(getattr(stays.actions, name))
    return stays.stay[column], stays.step[column].astype(np.int64) * STEP_MINUTES + stays.action_minute[column]


def _charted_lactate(
    config: SimulatorConfig, site: SiteConfig, chunk: int, stays: Stays
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Stay and minute of charted lactate above the limit, from the very rows that the hospital wrote."""
    place = code_book(site)
    code = place.codes[place.place["lactate"]]
    _, unit = unit_of(site, "lactate")
    rows = chart_chunk(config, site, chunk, stays).filter(
        (pl.col("code") == code) & pl.col("time").is_not_null() & (pl.col("numeric_value") * unit.scale > LACTATE_LIMIT)
    )
    ids = subject_ids(config, site, chunk, len(stays))
    stay = rows["subject_id"].to_numpy() - ids[0]
    since = (rows["time"].to_numpy().astype("datetime64[m]") - FIRST_YEAR).astype(np.int64)
    return stay, since - admission_times(stays, ids)[stay]


def _any_between(
    event_stay: npt.NDArray[np.integer],
    event_minute: npt.NDArray[np.int64],
    stay: npt.NDArray[np.integer],
    after: npt.NDArray[np.int64],
    until: npt.NDArray[np.int64],
) -> Bools:
    """Whether each (stay, after, until] holds an event."""
    span = 1 << 32
    events = np.sort(event_stay.astype(np.int64) * span + event_minute)
    base = stay.astype(np.int64) * span
    found: Bools = np.searchsorted(events, base + until, "right") > np.searchsorted(events, base + after, "right")
    return found
