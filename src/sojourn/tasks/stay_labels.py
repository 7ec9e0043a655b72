"""From facts about stays to labels: one row for each prediction."""

import numpy as np
import polars as pl

from sojourn.tasks.stay_definitions import MAX_HOURS, StayTask

__all__ = ["compare_rules", "label_stays"]

_ROW = ["subject_id", "prediction_time"]


def label_stays(stays: pl.DataFrame, task: StayTask) -> pl.DataFrame:
    """Label the stays that a task keeps.

    As YAIB defines onset tasks, the label is true from `horizon_hours` before the hour of onset to as long after it,
    where the rows end; by the corrected rule there is no row at or after onset, and the label says whether it comes in
    the next `horizon_hours`.

    Parameters
    ----------
    stays
        Rows of `sojourn.tasks.stay_facts.stay_facts` that no exclusion took out.
    task
        What is labelled.

    Returns
    -------
    polars.DataFrame
        `subject_id, prediction_time` and `boolean_value` or `float_value` (f32; mg/dL or hours), sorted.
    """
    rows = _rows(stays, task)
    micros = (pl.col("hour") * 3_600_000_000).round().cast(pl.Int64)
    labelled = rows.with_columns(prediction_time=pl.col("anchor") + pl.duration(microseconds=micros))
    labelled = labelled.with_columns(_label(task).alias(task.label_column)).select(*_ROW, task.label_column)
    # A readmission within the hour: the earlier stay wins.
    return labelled.unique(_ROW, keep="first", maintain_order=True).sort(_ROW)


def _rows(stays: pl.DataFrame, task: StayTask) -> pl.DataFrame:
    """A row for each prediction, with its `hour` of the stay."""
    if task.at_hours is not None:
        return stays.with_columns(hour=pl.lit(task.at_hours))
    size = np.maximum(stays["last_hour"].fill_null(-1).to_numpy().astype(np.int64) + 1, 0)
    hour_of = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
    rows = stays[np.repeat(np.arange(size.size), size)].with_columns(hour=pl.Series(hour_of, dtype=pl.Float64))
    if task.target != "onset":
        return rows
    onset, hour = pl.col("onset_hours"), pl.col("hour")
    if task.is_recorded:
        return rows.filter(onset.is_null() | (hour <= onset.floor() + task.horizon_hours))
    return rows.filter(onset.is_null() | (hour < onset))


def _label(task: StayTask) -> pl.Expr:
    """The label of a row."""
    hour, onset, los = pl.col("hour"), pl.col("onset_hours"), pl.col("los_hours")
    if task.target == "death":
        return pl.col("death_hours").is_not_null()
    if task.target == "value":
        return pl.col("value").cast(pl.Float32)
    if task.target == "remaining":
        left = (los.floor() if task.is_recorded else los) - hour
        return pl.min_horizontal(left, pl.lit(float(MAX_HOURS))).cast(pl.Float32)
    if task.is_recorded:
        near = (hour - onset.floor()).abs() <= task.horizon_hours
        # Beyond the last hour of the grid YAIB sees no onset.
        return (near & (onset.floor() <= pl.col("last_hour"))).fill_null(value=False)
    return (onset - hour <= task.horizon_hours).fill_null(value=False)


def compare_rules(labels: pl.DataFrame, others: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """Put the other rule's label beside each label, and count how they differ.

    Parameters
    ----------
    labels, others
        Labels of one task by two rules, as `label_stays` returns them.

    Returns
    -------
    beside : polars.DataFrame
        The labels; yes/no ones with `categorical_value`, the other rule's label as ``true`` or ``false``, ``none``
        where it has no such row. (The MEDS label schema knows no further columns, and no null in this one.)
    counts : dict[str, int]
        `rows_in_both`, `rows_that_differ` among them, `rows_of_this_only`, `rows_of_other_only`, and
        `subjects_that_differ`: those with a differing label in a row of both, or a row of one only.
    """
    column = labels.columns[-1]
    both = labels.join(others.rename({column: "_other"}), on=_ROW, how="full", coalesce=True, maintain_order="left")
    has_this, has_other = pl.col(column).is_not_null(), pl.col("_other").is_not_null()
    marked = both.with_columns(differs=(has_this & has_other & (pl.col(column) != pl.col("_other"))))
    any_change = pl.col("differs") | (has_this != has_other)
    counts = {
        "rows_in_both": marked.filter(has_this & has_other).height,
        "rows_that_differ": int(marked["differs"].sum()),
        "rows_of_this_only": marked.filter(has_this & ~has_other).height,
        "rows_of_other_only": marked.filter(has_other & ~has_this).height,
        "subjects_that_differ": marked.filter(any_change)["subject_id"].n_unique(),
    }
    if column == "boolean_value":
        said = pl.col("_other").cast(pl.String).fill_null("none")
        beside = marked.filter(has_this).with_columns(categorical_value=said)
        return beside.select(*_ROW, column, "categorical_value").sort(_ROW), counts
    return labels, counts
