"""Who is left out of a task over ICU stays, step by step, and how many are left after each."""

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

__all__ = ["EXCLUSIONS", "Exclusion", "FlowStep", "exclude", "flow_by_site"]


class Exclusion(NamedTuple):
    """One reason to leave a stay out."""

    words: str
    """The reason in words, for the flow table."""
    excluded: pl.Expr
    """Over the columns of `stay_facts`; null does not exclude."""


class FlowStep(NamedTuple):
    """What an exclusion left."""

    step: str
    """The reason in words."""
    num_excluded: int
    """Stays that it took out."""
    num_stays: int
    """Stays that are left."""
    num_subjects: int
    """Subjects that are left."""


def _onset_hour() -> pl.Expr:
    """The hour of the stay in which the outcome first came."""
    return pl.col("onset_hours").floor()


#: Every exclusion by the name that the tasks call it.
EXCLUSIONS = {
    "no_end": Exclusion("the end of the stay is not recorded", pl.col("los_hours").is_null()),
    "end_before_start": Exclusion("the stay ends before it begins", pl.col("los_hours") < 0),
    "los_6h": Exclusion("the stay is shorter than 6 h", pl.col("los_hours") < 6),
    "four_hours": Exclusion("something was measured in fewer than 4 hours", pl.col("num_hours") < 4),
    "gap_12h": Exclusion("nothing was measured for more than 12 h", pl.col("longest_gap") > 12),
    "adult": Exclusion("age under 18", pl.col("age_years") < 18),
    "death_30h": Exclusion("death within 30 h", pl.col("death_hours").floor() < 30),
    "los_30h": Exclusion("the stay is shorter than 30 h", pl.col("los_hours") < 30),
    "los_48h": Exclusion("the stay is shorter than 48 h", pl.col("los_hours") < 48),
    "value_missing": Exclusion("no creatinine from 24 to 48 h", pl.col("value").is_null()),
    # A site that is not known is one site.
    "site_without_cases": Exclusion(
        "nobody at the hospital has the outcome", ~pl.col("onset_hours").is_not_null().any().over("site")
    ),
    "site_unobserved": Exclusion(
        "the hospital does not record what shows the outcome", ~pl.col("is_observed").any().over("site")
    ),
    "stay_unobserved": Exclusion("nothing that shows the outcome was measured", ~pl.col("is_observed")),
    "onset_6h": Exclusion("onset within the first 6 h", _onset_hour() < 6),
    "baseline_creatinine_4": Exclusion("baseline creatinine above 4 mg/dL", pl.col("baseline_creatinine") > 4),
}


def exclude(stays: pl.DataFrame, names: Sequence[str]) -> tuple[pl.DataFrame, list[FlowStep]]:
    """Leave out stays, one reason after the other.

    Parameters
    ----------
    stays
        All stays, one row each, as `sojourn.tasks.stay_facts.stay_facts` returns them. What is true of a site is asked
        of all of its stays, whoever was left out before.
    names
        Keys of `EXCLUSIONS`, in order.

    Returns
    -------
    kept : polars.DataFrame
        The stays that no reason took out.
    flow : list[FlowStep]
        All stays, and what each reason left.
    """
    marked = stays.with_columns(EXCLUSIONS[name].excluded.fill_null(value=False).alias(f"_{name}") for name in names)
    flow = [FlowStep("all ICU stays", 0, marked.height, marked["subject_id"].n_unique())]
    for name in names:
        before = marked.height
        marked = marked.filter(~pl.col(f"_{name}"))
        left = marked.height, marked["subject_id"].n_unique()
        flow.append(FlowStep(EXCLUSIONS[name].words, before - marked.height, *left))
    return marked.select(stays.columns), flow


def flow_by_site(stays: pl.DataFrame, names: Sequence[str], subjects: pl.Series | None = None) -> dict[str, list[int]]:
    """Stays that are left at each site: all, then after each step; sites in the order of their names.

    With `subjects`, theirs alone are counted; what is true of a site is asked of all of its stays.
    """
    marks = [EXCLUSIONS[name].excluded.fill_null(value=False).alias(name) for name in names]
    marked = stays.with_columns(marks).with_columns(pl.col("site").fill_null("unknown"))
    marked = marked if subjects is None else marked.filter(pl.col("subject_id").is_in(subjects.implode()))
    steps = [(~pl.any_horizontal(names[: k + 1])).sum().alias(f"after {k}") for k in range(len(names))]
    left = [pl.len().alias("all"), *steps]
    rows = marked.group_by("site").agg(left).sort("site")
    return {site: list(counts) for site, *counts in rows.iter_rows()}
