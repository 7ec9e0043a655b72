"""Small MEDS data sets, made row by row or from a seed, for the tests of this room."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sojourn.events import meds

START = datetime(2150, 3, 1, 8)
ROW_SCHEMA = {
    "subject_id": pl.Int64,
    "time": pl.Datetime("us"),
    "code": pl.String,
    "numeric_value": pl.Float32,
    "site": pl.String,
    "flag": pl.String,
}


def hours(count: float) -> datetime:
    """A time `count` hours after the first event."""
    return START + timedelta(hours=count)


def write_meds(
    folder: Path,
    shards: Sequence[Sequence[tuple[Any, ...]] | pl.DataFrame],
    *,
    codes: dict[str, list[Any]] | None = None,
    splits: dict[int, str] | None = None,
) -> Path:
    """Write rows (subject_id, time, code, numeric_value[, site[, flag]]) as a MEDS data set, in the order given."""
    (folder / "data").mkdir(parents=True)
    (folder / "metadata").mkdir()
    for index, rows in enumerate(shards):
        if not isinstance(rows, pl.DataFrame):
            filled = [(*row, *(None,) * (6 - len(row))) for row in rows]
            rows = pl.DataFrame(filled, schema=ROW_SCHEMA, orient="row")
        meds.write_table(rows, folder / "data" / f"{index}.parquet")
    if codes is not None:
        meds.write_table(pl.DataFrame(codes), folder / "metadata" / "codes.parquet")
    if splits is not None:
        table = {"subject_id": list(splits), "split": list(splits.values())}
        meds.write_table(pl.DataFrame(table), folder / "metadata" / "subject_splits.parquet")
    return folder


TWO_STAYS = [
    [
        (1, None, "GENDER//F", None, "north"),
        (1, datetime(2090, 3, 1, 8), "MEDS_BIRTH", None, "north"),
        (1, hours(0), "HOSPITAL_ADMISSION//EMERGENCY", None, "north"),
        (1, hours(0), "LAB//creatinine//umol/L", 88.4, "north"),
        (1, hours(0), "LAB//lactate//mmol/L", 2.5, "north"),
        (1, hours(1), "VITAL//hr//bpm", 90.0, "north"),
        (1, hours(1), "VITAL//hr//bpm", 80.0, "north"),
        (1, hours(2.5), "LAB//lactate//mmol/L", 999.0, "north", "above_limit"),
        (1, hours(3), "HOSPITAL_DISCHARGE//ALIVE", None, "north"),
        (1, hours(9), "OUTCOME//follow_up_end", None, "north"),
    ],
    [
        (2, None, "GENDER//M", None, "south"),
        (2, None, "WEIGHT//kg", 70.5, "south"),
        (2, hours(10), "LAB//lactate//mmol/L", 4.25, "south"),
        (2, hours(12), "VITAL//hr//bpm", 100.0, "south"),
        (2, hours(18), "OUTCOME//follow_up_end", None, "south"),
        (3, None, "GENDER//M", None, "south"),
    ],
]
CODES: dict[str, list[Any]] = {
    "code": ["LAB//creatinine//umol/L", "LAB//lactate//mmol/L", "GENDER//F", "OUTCOME//follow_up_end"],
    "description": ["Creatinine", "Lactate", "Female", "Follow-up ends"],
    "parent_codes": [["LAB//creatinine"], ["LAB//lactate"], ["GENDER"], ["OUTCOME"]],
    "unit": ["umol/L", "mmol/L", None, None],
    "concept": ["creatinine", "lactate", None, None],
    "scale": [1 / 88.4, 1.0, 1.0, 1.0],
    "offset": [0.0, 0.0, 0.0, 0.0],
    "target_only": [False, False, False, True],
}


def random_rows(seed: int, num_subjects: int, *, first_id: int = 0, rows_each: int = 60) -> pl.DataFrame:
    """A sorted shard of subjects with vitals, labs, static facts and a discharge for half of them."""
    generator = np.random.default_rng(seed)
    size = num_subjects * rows_each
    subject = np.repeat(np.arange(first_id, first_id + num_subjects), rows_each)
    place = np.tile(np.arange(rows_each), num_subjects)
    minutes = generator.integers(0, 3000, size)
    kind = generator.integers(0, 12, size)
    code = pl.Series([f"LAB//{k}//u" for k in range(12)]).gather(kind)
    value = np.round(generator.normal(50 + 10 * kind, 8, size), 1).astype(np.float32)
    is_last = (place == rows_each - 1) & (subject % 2 == 0)
    table = pl.DataFrame({"subject_id": subject, "code": code, "numeric_value": value}).with_columns(
        time=pl.lit(START) + pl.duration(minutes=pl.Series(np.where(is_last, 4000, minutes))),
        site=pl.Series(["north", "south"]).gather(subject % 2),
    )
    table = table.with_columns(
        pl.when(pl.Series(is_last)).then(pl.lit("MEDS_DEATH")).otherwise("code").alias("code"),
        pl.when(pl.Series(place == 0)).then(None).otherwise("time").alias("time"),
    )
    return table.select("subject_id", pl.col("time").cast(pl.Datetime("us")), "code", "numeric_value", "site").sort(
        "subject_id", "time", "code", nulls_last=False
    )


@pytest.fixture
def make_meds() -> Callable[..., Path]:
    """The function `write_meds`."""
    return write_meds


@pytest.fixture
def make_rows() -> Callable[..., pl.DataFrame]:
    """The function `random_rows`."""
    return random_rows


@pytest.fixture
def at_hour() -> Callable[[float], datetime]:
    """The function `hours`."""
    return hours


@pytest.fixture
def two_stays(tmp_path: Path) -> Path:
    """Two stored subjects at two sites, and one without any timed event."""
    splits = {1: "train", 2: "held_out", 3: "train"}
    return write_meds(tmp_path / "stays", TWO_STAYS, codes=CODES, splits=splits)


@pytest.fixture
def many_shards(tmp_path: Path) -> Path:
    """A data set of 6 shards with 20 subjects each, without metadata."""
    shards = [random_rows(seed, 20, first_id=100 * seed) for seed in range(6)]
    return write_meds(tmp_path / "many", shards)
