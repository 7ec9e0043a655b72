"""Hand-made ICU stays for the tests of tasks over stays."""

from collections.abc import Sequence

import polars as pl

from helpers.task_records import Row, at, table
from sojourn.tasks.cohort import Records
from sojourn.tasks.stay_definitions import StayTask, stay_tasks
from sojourn.tasks.stay_facts import stay_facts

HEART = "CONCEPT//heart_rate"


def stay(subject: int, los: float, *, every: int = 1, fate: str = "ALIVE") -> list[Row]:
    """A stay with a heart rate half an hour into every so many hours."""
    rows: list[Row] = [(subject, 0, "ICU_ADMISSION//MICU"), (subject, los, f"ICU_DISCHARGE//{fate}")]
    return rows + [(subject, hour + 0.5, HEART, 80.0) for hour in range(0, int(los), every)]


def records(rows: Sequence[Row]) -> Records:
    events = table(rows)
    extents = events.group_by("subject_id").agg(start=pl.col("time").min(), end=pl.col("time").max())
    return Records(events, extents.with_columns(known_until=pl.lit(None, pl.Datetime("us"))).sort("subject_id"))


def people(
    rows: Sequence[Row], *, sites: dict[int, str] | None = None, ages: dict[int, float] | None = None
) -> pl.DataFrame:
    """Facts of the subjects: site `a` and 50 years at hour 0 unless told."""
    subjects = sorted({row[0] for row in rows})
    return pl.DataFrame(
        {
            "subject_id": subjects,
            "site": [(sites or {}).get(subject, "a") for subject in subjects],
            "birth": [at(-(ages or {}).get(subject, 50.0) * 365.25 * 24) for subject in subjects],
        },
        schema={"subject_id": pl.Int64, "site": pl.String, "birth": pl.Datetime("us")},
    )


def facts(rows: Sequence[Row], task: str = "yaib-los", **of_people: dict[int, str] | dict[int, float]) -> pl.DataFrame:
    """Facts about the stays of some rows."""
    return stay_facts(records(rows), people(rows, **of_people), the(task))  # type: ignore[arg-type]


def the(task: str) -> StayTask:
    return stay_tasks()[task]
