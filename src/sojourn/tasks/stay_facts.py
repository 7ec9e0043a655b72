"""One row for each ICU stay with all that its exclusions and labels need. Pure tables in and out."""

from collections.abc import Sequence

import polars as pl

from sojourn.tasks.cohort import ADMISSIONS, STAY_ROOTS, Records, stays_of
from sojourn.tasks.grid_variables import concept_variables, yaib_variables
from sojourn.tasks.outcomes import matching_codes
from sojourn.tasks.stay_definitions import MAX_HOURS, StayTask

__all__ = ["roots_of", "stay_facts"]

_HOUR_US = 3_600_000_000
_YEAR_US = 365.25 * 86_400e6
_STAY = ["subject_id", "anchor"]
_DIED = "ICU_DISCHARGE//DIED"
_CREATININE = "CONCEPT//creatinine"
_SCHEMA = {
    "subject_id": pl.Int64,
    "anchor": pl.Datetime("us"),
    "stay_end": pl.Datetime("us"),
    "site": pl.String,
    "age_years": pl.Float64,
    "los_hours": pl.Float64,
    "last_hour": pl.Int32,
    "num_hours": pl.Int32,
    "longest_gap": pl.Int32,
    "death_hours": pl.Float64,
    "onset_hours": pl.Float64,
    "baseline_creatinine": pl.Float64,
    "value": pl.Float64,
    "is_observed": pl.Boolean,
}


def roots_of(task: StayTask) -> list[str]:
    """The codes, each standing for those below it, that the facts of a task are made of."""
    outcome = [task.code] if task.code else []
    measured = [code for variable in yaib_variables().values() for code in variable.codes()]
    return [*STAY_ROOTS, *measured, *outcome, *task.observe, _CREATININE]


def stay_facts(records: Records, people: pl.DataFrame, task: StayTask) -> pl.DataFrame:
    """Describe each ICU stay of some subjects.

    A stay sees its subject's events from the last hospital discharge on, or from the record's start, up to its end: the
    emergency department, which many sources have before the hospital admission, is part of it. Hours count from ICU
    admission, and hour h is the time from h to just before h + 1.

    Parameters
    ----------
    records
        Whole subjects, with the events below `roots_of(task)`.
    people
        `subject_id, site, birth` of these subjects.
    task
        Its rule decides which values are possible, what counts as measured and as onset; see `yaib.yaml`.

    Returns
    -------
    polars.DataFrame
        One row per stay, sorted by `subject_id, anchor`: `stay_end` (null: unknown); `site`; `age_years`; `los_hours`;
        `last_hour`, the last one of the grid (at most 168); `num_hours` in which something was measured; `longest_gap`,
        hours in a row of the grid in which nothing was; `death_hours`, of death in the ICU; `onset_hours`, of the
        first outcome; `baseline_creatinine` in mg/dL; `value`, the label of a value task; `is_observed`. Null:
        unknown, or it did not happen.
    """
    stays = _stays(records).join(people.select("subject_id", "site", "birth"), on="subject_id", how="left")
    age_us = (pl.col("anchor") - pl.col("birth")).dt.total_microseconds()
    los = (pl.col("stay_end") - pl.col("anchor")).dt.total_microseconds() / _HOUR_US
    stays = stays.with_columns(age_years=age_us / _YEAR_US, los_hours=los).with_columns(
        last_hour=pl.min_horizontal(pl.col("los_hours").floor(), pl.lit(float(MAX_HOURS))).cast(pl.Int32)
    )
    seen = _within_limits(_events_of(stays, records.events), task)
    parts = [
        _measured(stays, seen, task),
        _deaths(stays, records.events, task),
        _onset(seen, task),
        _baseline(seen),
        _value(seen, task),
        _observed(seen, task),
    ]
    for part in parts:
        stays = stays.join(part, on=_STAY, how="left", maintain_order="left")
    nothing = {
        "num_hours": pl.col("num_hours").fill_null(0),
        "longest_gap": pl.coalesce("longest_gap", pl.col("last_hour") + 1),
        "is_observed": pl.col("is_observed").fill_null(value=False),
    }
    return stays.with_columns(**nothing).select(_SCHEMA.keys()).cast(_SCHEMA)  # type: ignore[arg-type]


def _stays(records: Records) -> pl.DataFrame:
    """`subject_id, anchor, stay_end, since`, sorted; `since` is the last hospital discharge, or the record's start."""
    stays = stays_of(records, "icu_admission").sort(_STAY).select(*_STAY, "stay_end")
    stays = _ends_before_starts(stays, records.events)
    gone = _times(records.events, ["HOSPITAL_DISCHARGE"], "since")
    stays = stays.sort("anchor").join_asof(
        gone, left_on="anchor", right_on="since", by="subject_id", check_sortedness=False, coalesce=False
    )
    starts = records.extents.select("subject_id", "start")
    stays = stays.join(starts, on="subject_id", how="left").with_columns(since=pl.coalesce("since", "start"))
    return stays.select(*_STAY, "stay_end", "since").sort(_STAY)


def _ends_before_starts(stays: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """Give a stay without a discharge of its own one before it that is no other stay's: an error of charting."""
    left = _times(events, ["ICU_DISCHARGE"], "left")
    stays = stays.with_columns(
        next=pl.col("anchor").shift(-1).over("subject_id"), before=pl.col("stay_end").shift(1).over("subject_id")
    ).sort("anchor")
    for name, strategy in (("later", "forward"), ("earlier", "backward")):
        stays = stays.join_asof(
            left.rename({"left": name}),
            left_on="anchor",
            right_on=name,
            by="subject_id",
            strategy=strategy,  # type: ignore[arg-type]
            allow_exact_matches=name == "earlier",
            check_sortedness=False,
            coalesce=False,
        )
    has_own = pl.col("later") <= pl.coalesce("next", "later")
    is_free = pl.col("before").is_null() | (pl.col("earlier") > pl.col("before"))
    is_wrong = ~has_own.fill_null(value=False) & pl.col("earlier").is_not_null() & is_free
    return stays.with_columns(stay_end=pl.when(is_wrong).then("earlier").otherwise("stay_end")).sort(_STAY)


def _events_of(stays: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """What each stay sees: `subject_id, anchor, last_hour, code, numeric_value, hours` since ICU admission."""
    seen = events.join(stays.select(*_STAY, "since", "los_hours", "last_hour"), on="subject_id", how="inner")
    hours = (pl.col("time") - pl.col("anchor")).dt.total_microseconds() / _HOUR_US
    seen = seen.with_columns(hours=hours).filter(pl.col("time") >= pl.col("since"))
    # As in YAIB, the hour in which a stay ends is a whole one.
    seen = seen.filter(pl.col("hours").floor() <= pl.col("los_hours").floor())
    return seen.select(*_STAY, "last_hour", "code", "numeric_value", "hours")


def _within_limits(seen: pl.DataFrame, task: StayTask) -> pl.DataFrame:
    """The same events without impossible values: as YAIB defines it by the limits of ricu, otherwise by our own."""
    variables = yaib_variables() if task.is_recorded else concept_variables()
    limits = pl.DataFrame(
        [(code, variable.low, variable.high) for variable in variables.values() for code in variable.codes()],
        # Values are f32: a limit of 0.1 must not take out a value of 0.1.
        schema={"code": pl.String, "low": pl.Float32, "high": pl.Float32},
        orient="row",
    ).unique("code")
    value = pl.col("numeric_value")
    is_outside = (value < pl.col("low")).fill_null(value=False) | (value > pl.col("high")).fill_null(value=False)
    joined = seen.join(limits, on="code", how="left", maintain_order="left")
    return joined.with_columns(numeric_value=pl.when(~is_outside).then(value)).drop("low", "high")


def _measured(stays: pl.DataFrame, seen: pl.DataFrame, task: StayTask) -> pl.DataFrame:
    """`num_hours` and `longest_gap`; as YAIB defines them, hours before the ICU count as well."""
    codes = [code for variable in yaib_variables().values() for code in variable.codes()]
    found = seen.drop_nulls("numeric_value").filter(pl.col("code").is_in(codes))
    hours = found.select(*_STAY, "last_hour", hour=pl.col("hours").floor().cast(pl.Int32)).unique()
    in_grid = pl.col("hour").is_between(0, pl.col("last_hour"))
    counted = hours if task.is_recorded else hours.filter(in_grid)
    number = counted.group_by(_STAY).agg(num_hours=pl.len())
    gaps = hours.filter(in_grid).sort(*_STAY, "hour").group_by(_STAY, maintain_order=True)
    longest = gaps.agg(
        longest_gap=pl.max_horizontal(
            pl.col("hour").first(),
            pl.col("hour").diff().max().fill_null(1) - 1,
            pl.col("last_hour").first() - pl.col("hour").last(),
        )
    )
    return stays.select(_STAY).join(number, on=_STAY, how="left").join(longest, on=_STAY, how="left")


def _deaths(stays: pl.DataFrame, events: pl.DataFrame, task: StayTask) -> pl.DataFrame:
    """`death_hours`: of the death that ended the stay; as YAIB defines it, of one in any ICU of the admission."""
    died = _times(events, [_DIED], "died")
    after = stays.join(died, on="subject_id", how="inner").filter(pl.col("died") >= pl.col("anchor"))
    if task.is_recorded:
        admitted = _times(events, [ADMISSIONS["hospital_admission"]], "next")
        after = after.sort("anchor").join_asof(
            admitted,
            left_on="anchor",
            right_on="next",
            by="subject_id",
            strategy="forward",
            allow_exact_matches=False,
            check_sortedness=False,
            coalesce=False,
        )
        after = after.filter(pl.col("next").is_null() | (pl.col("died") < pl.col("next")))
    else:
        after = after.filter(pl.col("died") == pl.col("stay_end"))
    hours = (pl.col("died") - pl.col("anchor")).dt.total_microseconds() / _HOUR_US
    return after.group_by(_STAY).agg(death_hours=hours.min())


def _onset(seen: pl.DataFrame, task: StayTask) -> pl.DataFrame:
    """`onset_hours` of the first outcome that the stay sees."""
    if task.target != "onset":
        return seen.select(*_STAY, onset_hours=pl.lit(None, pl.Float64)).clear()
    return seen.filter(pl.col("code") == task.code).group_by(_STAY).agg(onset_hours=pl.col("hours").min())


def _baseline(seen: pl.DataFrame) -> pl.DataFrame:
    """`baseline_creatinine`: the lowest up to the first hour of the ICU that has one, hours as medians."""
    by_hour = _hourly(seen, _CREATININE)
    first = by_hour.filter(pl.col("hour") >= 0).group_by(_STAY).agg(first=pl.col("hour").min())
    before = by_hour.join(first, on=_STAY, how="left").filter(
        (pl.col("hour") <= pl.col("first")) | (pl.col("hour") < 0)
    )
    return before.group_by(_STAY).agg(baseline_creatinine=pl.col("median").min())


def _value(seen: pl.DataFrame, task: StayTask) -> pl.DataFrame:
    """`value`: median from 24 h to 48 h; as YAIB defines it, of the medians of the hours 25 to 48."""
    if task.concept is None:
        return seen.select(*_STAY, value=pl.lit(None, pl.Float64)).clear()
    code = f"CONCEPT//{task.concept}"
    if task.is_recorded:
        later = _hourly(seen, code).filter((pl.col("hour") > 24) & (pl.col("hour") <= 48))
        return later.group_by(_STAY).agg(value=pl.col("median").median())
    exact = seen.filter((pl.col("code") == code) & (pl.col("hours") > 24) & (pl.col("hours") <= 48))
    return exact.group_by(_STAY).agg(value=pl.col("numeric_value").cast(pl.Float64).median()).drop_nulls()


def _hourly(seen: pl.DataFrame, code: str) -> pl.DataFrame:
    """`subject_id, anchor, hour, median` of the values of a code."""
    values = seen.filter(pl.col("code") == code).drop_nulls("numeric_value")
    hour = pl.col("hours").floor().alias("hour")
    return values.group_by(*_STAY, hour).agg(median=pl.col("numeric_value").cast(pl.Float64).median())


def _observed(seen: pl.DataFrame, task: StayTask) -> pl.DataFrame:
    """`is_observed`: whether there is any event of what the task must see."""
    codes = matching_codes(seen["code"].unique().to_list(), task.observe)
    return seen.filter(pl.col("code").is_in(codes)).select(_STAY).unique().with_columns(is_observed=pl.lit(value=True))


def _times(events: pl.DataFrame, roots: Sequence[str], name: str) -> pl.DataFrame:
    """`subject_id` and the times of the events below `roots`, sorted by time."""
    codes = matching_codes(events["code"].unique().to_list(), roots)
    return events.filter(pl.col("code").is_in(codes)).select("subject_id", pl.col("time").alias(name)).sort(name)
