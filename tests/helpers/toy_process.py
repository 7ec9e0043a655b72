"""A process whose risks are known exactly, written as a MEDS data set, and small runs trained on it.

Every hour a patient dies with probability DEATH[sick], leaves with probability LEAVE, is lost with probability LOST
(nothing is recorded any more, outcomes are known for two further hours), or stays and gets a heart rate, which tells
the sick from the others, and perhaps a lactate: how often is the habit of the site.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sojourn.events.meds import write_table
from sojourn.pipeline import build
from sojourn.tasks.files import write_labels

START = datetime(2150, 3, 1, 8)
DEATH = (0.01, 0.06)
LEAVE, LOST = 0.05, 0.004
HEART_RATE, LACTATE = "VITAL//hr//bpm", "LAB//lactate//mmol/L"
LACTATE_SHARE = {"north": 0.5, "south": 0.15, "west": 0.3}
LOCAL_CODE = "LAB//only-in-west//u"
MAX_HOURS = 200

SETTINGS: dict[str, Any] = {
    "context": 32,
    "instants_per_batch": 512,
    "warmup_steps": 20,
    "average_decay": 0.9,
    "num_outcome_queries": 256,
    "num_any_codes": 4,
    "num_any_queries": 64,
    "num_value_queries": 64,
    "min_count": 5,
    "evaluate_every": 10,
    "tuning_subjects": 40,
    "precision": "32-true",
    "model": {"d_model": 32, "d_event": 16, "d_decoder": 32, "num_layers": 1, "num_heads": 2, "dropout": 0.0},
}
"""Settings of `pretrain` for runs of seconds."""

Row = tuple[int, datetime | None, str, float | None, str]


def is_sick(subject_id: int) -> bool:
    """Whether the hidden state of a toy patient is the bad one."""
    return subject_id % 5 < 2


def true_risk(sick: bool, hours: int) -> float:
    """P(death within so many hours) of a patient who is there now; 0.05 % of it is hidden by losses."""
    return _share_within(DEATH[sick], sick, hours)


def true_chance_to_leave(sick: bool, hours: int) -> float:
    """P(leaving alive within so many hours) of a patient who is there now."""
    return _share_within(LEAVE, sick, hours)


def _share_within(an_hour: float, sick: bool, hours: int) -> float:
    ends = DEATH[sick] + LEAVE + LOST
    return an_hour / ends * (1 - (1 - ends) ** hours)


def toy_record(subject_id: int, site: str, seed: int) -> list[Row]:
    """Rows of one patient in order of time."""
    rng = np.random.default_rng([seed, subject_id])
    sick = is_sick(subject_id)
    rows: list[Row] = [(subject_id, None, f"GENDER//{'FM'[int(rng.integers(2))]}", None, site)]

    def note(hour: int, code: str, value: float | None = None) -> None:
        rows.append((subject_id, START + timedelta(days=subject_id % 7, hours=hour), code, value, site))

    note(0, "HOSPITAL_ADMISSION//EMERGENCY")
    note(0, "ICU_ADMISSION//MICU")
    for hour in range(MAX_HOURS):
        fate = rng.random() if hour else 1.0
        if fate < DEATH[sick]:
            note(hour, "HOSPITAL_DISCHARGE//DIED")
            note(hour, "MEDS_DEATH")
            break
        if fate < DEATH[sick] + LEAVE:
            note(hour, "HOSPITAL_DISCHARGE//ALIVE")
            break
        if fate < DEATH[sick] + LEAVE + LOST:
            note(hour + 1, "OUTCOME//follow_up_end")
            break
        if rng.random() < LACTATE_SHARE[site]:
            note(hour, LACTATE, float(np.round(rng.normal(3.5 if sick else 1.5, 0.4), 1)))
        if site == "west":
            note(hour, LOCAL_CODE, float(np.round(rng.normal(10, 2))))
        note(hour, HEART_RATE, float(np.round(rng.normal(115 if sick else 80, 6))))
    return rows


def write_toy_meds(folder: Path, *, num_subjects: int, seed: int = 0, rows: list[Row] | None = None) -> Path:
    """Write toy patients at three sites (or the given rows) as a MEDS data set in two shards."""
    if rows is None:
        sites = list(LACTATE_SHARE)
        rows = [row for i in range(num_subjects) for row in toy_record(i + 1, sites[i % 3], seed)]
    schema = {"subject_id": pl.Int64, "time": pl.Datetime("us"), "code": pl.String, "numeric_value": pl.Float32}
    table = pl.DataFrame(rows, schema=schema | {"site": pl.String}, orient="row")
    table = table.sort("subject_id", "time", "code", nulls_last=False)
    for shard in (0, 1):
        (folder / "data").mkdir(parents=True, exist_ok=True)
        write_table(table.filter(pl.col("subject_id") % 2 == shard), folder / "data" / f"{shard}.parquet")
    (folder / "metadata").mkdir(exist_ok=True)
    codes = {"code": [HEART_RATE, LACTATE], "concept": ["heart_rate", "lactate"], "unit": ["bpm", "mmol/L"]}
    write_table(pl.DataFrame(codes), folder / "metadata" / "codes.parquet")
    return folder


def build_toy_store(folder: Path, *, num_subjects: int, seed: int = 0, rows: list[Row] | None = None) -> Path:
    """A store of toy patients, beside the MEDS data set that it is made from."""
    meds = write_toy_meds(folder / "meds", num_subjects=num_subjects, seed=seed, rows=rows)
    build(folder / "store", [meds])
    return folder / "store"


def write_toy_labels(
    path: Path, table: pl.DataFrame, *, outcome: str = "death", horizon_hours: float | None = 12
) -> Path:
    """A label file (subject_id, prediction_time; every label false where there is none) that asks for an outcome."""
    task = {"name": f"toy-{outcome}", "description": "", "outcomes": [f"OUTCOME//{outcome}"]}
    if "boolean_value" not in table.columns:
        table = table.with_columns(boolean_value=pl.lit(value=False))
    write_labels(path, table, task | {"horizon_hours": horizon_hours})
    return path
