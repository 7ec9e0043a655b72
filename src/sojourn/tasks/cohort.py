"""From events to labels: stays, prediction times, who is at risk, what came of it. Pure tables in and out."""

from typing import NamedTuple

import numpy as np
import polars as pl

from sojourn.tasks.definitions import Task
from sojourn.tasks.outcomes import (
    FOLLOW_UP_END,
    StartOutcome,
    derive_outcomes,
    hours,
    matching_codes,
    outcomes,
    running_until,
)

__all__ = [
    "ADMISSIONS",
    "FOLLOW_UP_START",
    "STAY_ROOTS",
    "Attrition",
    "Records",
    "find_stays",
    "label_events",
    "needed_roots",
    "stay_ends",
    "stays_of",
]

#: Where a source marks it, outcomes of a record are known from this event on.
FOLLOW_UP_START = "OUTCOME//follow_up_start"
ADMISSIONS = {"icu_admission": "ICU_ADMISSION", "hospital_admission": "HOSPITAL_ADMISSION"}
_DISCHARGES = {"icu_admission": "ICU_DISCHARGE", "hospital_admission": "HOSPITAL_DISCHARGE"}
_ENDS = ["MEDS_DEATH", "HOSPITAL_DISCHARGE"]
#: The codes, each standing for those below it, that `stays_of` reads.
STAY_ROOTS = (*ADMISSIONS.values(), *_DISCHARGES.values(), *_ENDS, FOLLOW_UP_START, FOLLOW_UP_END)
_ROW = ["subject_id", "prediction_time"]


class Records(NamedTuple):
    """What labelling needs of some subjects."""

    events: pl.DataFrame
    """`subject_id, time, code, numeric_value`: timed events below `needed_roots(task)`."""
    extents: pl.DataFrame
    """One row per subject: `subject_id`; `start` and `end`, times of the first and last event that is no birth and
    no label; `known_until`, up to when outcomes are known (null: for good, as the record ends with death or a
    discharge)."""


class Attrition(NamedTuple):
    """How many predictions and subjects are left after a step."""

    step: str
    num_rows: int
    num_subjects: int


def needed_roots(task: Task) -> list[str]:
    """The codes, each standing for those below it, that labelling a task reads."""
    treatments = [
        root for outcome in task.definitions() if isinstance(outcome, StartOutcome) for root in outcome.roots()
    ]
    return [
        *task.codes(),
        *(root for outcome in task.own for root in outcome.roots()),
        *STAY_ROOTS,
        *treatments,
    ]


def label_events(records: Records, task: Task) -> tuple[pl.DataFrame, list[Attrition]]:
    """Make the labels of a task.

    Parameters
    ----------
    records
        Whole subjects.
    task
        What to label.

    Returns
    -------
    labels : polars.DataFrame
        `subject_id, prediction_time, boolean_value`, sorted, no null, no prediction twice.
    attrition : list[Attrition]
        Predictions and subjects left after each step, the same steps for any input.
    """
    if task.own:
        derived = derive_outcomes(records.events, {outcome.name: outcome for outcome in task.own})
        records = records._replace(events=pl.concat([records.events, derived]))
    grid = _prediction_times(find_stays(records, task), task)
    steps = [_count("scheduled", grid)]
    if task.gap_hours:
        gap = hours(task.gap_hours)
        grid = grid.filter(pl.col("stay_end").is_null() | (pl.col("stay_end") >= pl.col("prediction_time") + gap))
        steps.append(_count(f"stay lasts {task.gap_hours:g} h more", grid))
    grid = _at_risk(grid, records.events, task)
    steps.append(_count("at risk", grid))
    labelled = _outcome_within(grid, records, task)
    known = labelled.drop_nulls("boolean_value")
    steps.append(_count("outcome known", known))
    return known.select(*_ROW, "boolean_value").sort(_ROW), steps


def stay_ends(anchor: str | None) -> list[str]:
    """The codes, each standing for those below it, that end a stay which began with `anchor`.

    A stay that is a whole record ends with the last discharge, which is not known before: deaths alone end it.
    """
    if anchor not in ADMISSIONS:
        return outcomes()["death"].roots()
    return list(dict.fromkeys([_DISCHARGES[anchor], ADMISSIONS[anchor], *_ENDS]))


def find_stays(records: Records, task: Task) -> pl.DataFrame:
    """The stays that predictions are anchored to, as `stays_of` returns them."""
    return stays_of(records, task.at.anchor)


def stays_of(records: Records, anchor: str) -> pl.DataFrame:
    """The stays that begin with an anchor of `Schedule`.

    Returns
    -------
    polars.DataFrame
        `subject_id, anchor, stay_end` (null: the record does not tell), `has_end` (the source recorded it),
        `known_until`, `follow_up` (last time of the record up to which outcomes are known).
    """
    extents = records.extents.with_columns(follow_up=pl.coalesce("known_until", "end"))
    events = records.events
    ends = _times(events, _ENDS, "end_time")
    if anchor in ADMISSIONS:
        return _admissions(events, anchor, ends).join(extents.drop("start", "end"), on="subject_id", how="left")
    start = pl.col("start")
    if anchor == "follow_up_start":
        for name, root in (("marked", FOLLOW_UP_START), ("admitted", ADMISSIONS["icu_admission"])):
            first = _times(events, [root], name).group_by("subject_id").agg(pl.col(name).min())
            extents = extents.join(first, on="subject_id", how="left")
        start = pl.coalesce("marked", "admitted", "start")
    last_end = ends.group_by("subject_id").agg(stay_end=pl.col("end_time").max())
    stays = extents.join(last_end, on="subject_id", how="left").with_columns(anchor=start)
    return stays.select(
        "subject_id",
        "anchor",
        "stay_end",
        pl.col("stay_end").is_not_null().alias("has_end"),
        "known_until",
        "follow_up",
    )


def _admissions(events: pl.DataFrame, anchor: str, ends: pl.DataFrame) -> pl.DataFrame:
    """Stays from admissions to discharges; one without a discharge lasts to death, leaving hospital or readmission."""
    stays = (
        _times(events, [ADMISSIONS[anchor]], "anchor")
        .unique()
        .sort("subject_id", "anchor")
        .with_columns(next=pl.col("anchor").shift(-1).over("subject_id"))
    )
    discharges = _times(events, [_DISCHARGES[anchor]], "discharge")
    stays = _next(stays, discharges, "anchor", "discharge", strict=True)
    stays = _next(stays, ends, "anchor", "end_time", strict=False)
    # A discharge beyond the next admission belongs to that one.
    own = pl.when(pl.col("next").is_null() | (pl.col("discharge") <= pl.col("next"))).then("discharge")
    stays = stays.with_columns(own=own).with_columns(
        stay_end=pl.coalesce("own", pl.min_horizontal("end_time", "next")),
        has_end=pl.col("own").is_not_null() | pl.col("end_time").is_not_null() | pl.col("next").is_not_null(),
    )
    return stays.select("subject_id", "anchor", "stay_end", "has_end")


def _prediction_times(stays: pl.DataFrame, task: Task) -> pl.DataFrame:
    """One row per prediction: the schedule laid over each stay, cut at its end; the earliest stay wins a tie."""
    at = task.at
    limit = pl.col("stay_end").fill_null(pl.col("follow_up"))
    if at.before == "follow_up_end":
        assert task.horizon_hours is not None
        limit = pl.col("follow_up") - hours(task.horizon_hours)
    stays = stays.drop_nulls("anchor").with_columns(limit=limit)
    if at.offsets_hours is not None:
        grid = stays.join(pl.DataFrame({"offset": [_micros(hour) for hour in at.offsets_hours]}), how="cross")
    else:
        assert at.every_hours is not None
        span = stays.select((pl.col("limit") - pl.col("anchor")).dt.total_microseconds()).to_series().to_numpy()
        if at.max_hours is not None:
            span = np.minimum(span, _micros(at.max_hours))
        first, step = _micros(at.first_hours), _micros(at.every_hours)
        size = np.maximum((span - first) // step + 1, 0)
        nth = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        grid = stays[np.repeat(np.arange(size.size), size)].with_columns(offset=pl.Series(first + step * nth))
    grid = grid.with_columns(prediction_time=pl.col("anchor") + pl.duration(microseconds="offset"))
    time = pl.col("prediction_time")
    in_time = time <= pl.col("limit") if at.before == "follow_up_end" else time < pl.col("limit")
    return grid.filter(in_time).sort(*_ROW, "anchor").unique(_ROW, keep="first", maintain_order=True)


def _at_risk(grid: pl.DataFrame, events: pl.DataFrame, task: Task) -> pl.DataFrame:
    """Leave out who has the outcome already: within `clean_hours`, or as a treatment that runs or just ran."""
    time = pl.col("prediction_time")
    if task.clean_hours is not None:
        grid = _previous(grid, _times(events, task.codes(), "before"), "before")
        is_clean = pl.col("before").is_null()
        if task.clean_hours != float("inf"):
            is_clean |= pl.col("before") <= time - hours(task.clean_hours)
        grid = grid.filter(is_clean).drop("before")
    for outcome in task.definitions():
        if isinstance(outcome, StartOutcome):
            runs = running_until(events, outcome).select("subject_id", pl.col("time").alias("mark"), "until")
            grid = _previous(grid, runs, "mark")
            free = pl.col("until").is_null() | (pl.col("until") <= time - hours(outcome.washout_hours))
            grid = grid.filter(free).drop("mark", "until")
    return grid


def _outcome_within(grid: pl.DataFrame, records: Records, task: Task) -> pl.DataFrame:
    """Add `boolean_value`: whether the outcome comes after the prediction and within its window; null if unknown."""
    time = pl.col("prediction_time")
    grid = _next(grid, _times(records.events, task.codes(), "outcome"), "prediction_time", "outcome", strict=True)
    if task.horizon_hours is not None:
        window_end = time + hours(task.horizon_hours)
        grid = _next(grid, _times(records.events, _ENDS, "left"), "prediction_time", "left", strict=True)
        # Leaving the hospital, or dying, settles what had not come by then.
        is_known = (
            pl.col("known_until").is_null() | (pl.col("known_until") >= window_end) | (pl.col("left") <= window_end)
        )
        happened = (pl.col("outcome") <= window_end).fill_null(value=False)
    elif task.until == "stay_end":
        is_known = pl.col("has_end")
        happened = (pl.col("outcome") <= pl.col("stay_end")).fill_null(value=False)
    else:
        is_known = pl.col("known_until").is_null() | pl.col("has_end")
        happened = pl.col("outcome").is_not_null()
    value = pl.when(happened | is_known.fill_null(value=False)).then(happened)
    return grid.with_columns(boolean_value=value)


def _times(events: pl.DataFrame, roots: list[str], name: str) -> pl.DataFrame:
    """`subject_id` and the sorted times, as column `name`, of the events below `roots`."""
    codes = matching_codes(events["code"].unique().to_list(), roots)
    return (
        events.filter(pl.col("code").is_in(codes))
        .select("subject_id", pl.col("time").alias(name))
        .sort("subject_id", name)
    )


def _next(rows: pl.DataFrame, times: pl.DataFrame, left: str, right: str, *, strict: bool) -> pl.DataFrame:
    """Add the first of `times[right]` after `rows[left]` (or at it, unless `strict`)."""
    return (
        rows.sort(left)
        .join_asof(
            times.sort(right),
            left_on=left,
            right_on=right,
            by="subject_id",
            strategy="forward",
            allow_exact_matches=not strict,
            coalesce=False,
            check_sortedness=False,
        )
        .drop("subject_id_right", strict=False)
    )


def _previous(rows: pl.DataFrame, times: pl.DataFrame, right: str) -> pl.DataFrame:
    """Add the last row of `times` at or before the prediction."""
    return (
        rows.sort("prediction_time")
        .join_asof(
            times.sort(right),
            left_on="prediction_time",
            right_on=right,
            by="subject_id",
            strategy="backward",
            coalesce=False,
            check_sortedness=False,
        )
        .drop("subject_id_right", strict=False)
    )


def _micros(number_of_hours: float) -> int:
    """Hours in microseconds."""
    return round(number_of_hours * 3_600_000_000)


def _count(step: str, rows: pl.DataFrame) -> Attrition:
    return Attrition(step, rows.height, rows["subject_id"].n_unique())
