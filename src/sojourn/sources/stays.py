"""Hospital and ICU stays: how they end, and which moves between wards make one stay in intensive care."""

import polars as pl

DISCHARGE_TOLERANCE = pl.duration(hours=36)
"""A stay that ended by death may be recorded as ended at midnight before the day of the death."""
ICU_TOLERANCE = pl.duration(hours=1)
"""A death up to this long after the recorded end of an ICU stay still happened there; moves between two units that lie
no further apart are one stay."""
_DEAD = r"(?i)\b(?:died|dead|deceased|death|expired|exp)\b"


def says_died(text: pl.Expr) -> pl.Expr:
    """Whether a discharge destination says that the patient died; null where there is none.

    Examples
    --------
    >>> pl.select(says_died(pl.Series(["Expired", "DIED", "exp", "Home", "Hospice", None]))).to_series().to_list()
    [True, True, True, False, False, None]
    """
    return text.cast(pl.String).str.contains(_DEAD)


def with_ends(stays: pl.DataFrame) -> pl.DataFrame:
    """Say how hospital stays end.

    A stay ended by death if its record says so; where it says nothing, if the subject died in it. It then ends at the
    time of death, else at its recorded end. Of a death known only to the day, the recorded end of a stay on that day is
    the time, unless that is midnight.

    Parameters
    ----------
    stays : `_start`, `_stop` (recorded end) and `_dead` (when the subject died; the end of the day where only that is
        known; all datetime), `_dead_is_day` bool, and `_says_died` bool, null where nothing is said.

    Returns
    -------
    The same with `_died` bool, `_end` datetime (null while the stay goes on), and `_death`: when the subject died in
    this stay.
    """
    stop, dead = pl.col("_stop"), pl.col("_dead")
    is_end = pl.col("_dead_is_day") & (dead.dt.date() == stop.dt.date()) & (stop != stop.dt.truncate("1d"))
    time = pl.when(is_end).then(stop).otherwise(dead)
    within = time.is_between(pl.col("_start"), stop).fill_null(value=False)
    near = time.is_between(pl.col("_start"), stop + DISCHARGE_TOLERANCE).fill_null(value=False)
    return (
        stays.with_columns(_died=pl.col("_says_died").fill_null(within))
        .with_columns(_death=pl.when(pl.col("_died")).then(pl.when(near).then(time).otherwise(stop)))
        .with_columns(_end=pl.coalesce("_death", "_stop"))
    )


def icu_runs(places: pl.DataFrame) -> pl.DataFrame:
    """Join consecutive places in intensive care to ICU stays.

    Parameters
    ----------
    places : `row` u64, `_stay` (hospital stay), `_start` and `_stop` datetime, `_is_icu` bool; one row per place.

    Returns
    -------
    DataFrame with `row` of the first place of each ICU stay, and `_icu_start` and `_icu_stop` of the whole stay; the
    latter is null while the stay goes on.
    """
    known = places.filter(pl.col("_is_icu"), pl.col("_stay").is_not_null(), pl.col("_start").is_not_null())
    ordered = known.sort("_stay", "_start", "row").with_columns(_before=pl.col("_stop").cum_max().shift().over("_stay"))
    is_new = pl.col("_before").is_null() | (pl.col("_start") > pl.col("_before") + ICU_TOLERANCE)
    runs = ordered.with_columns(_run=is_new.cum_sum().over("_stay"))
    return runs.group_by("_stay", "_run", maintain_order=True).agg(
        pl.col("row").first(),
        _icu_start=pl.col("_start").first(),
        _icu_stop=pl.when(pl.col("_stop").null_count() == 0).then(pl.col("_stop").max()),
    ).select("row", "_icu_start", "_icu_stop")  # fmt: skip
