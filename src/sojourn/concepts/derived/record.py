"""The rows of a table of events that derivations look at, sorted on one axis."""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from sojourn.concepts.derived.axis import Axis, Ints, to_seconds
from sojourn.concepts.tables import concept_table

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

COLUMNS: dict[str, pl.DataType] = {
    "subject_id": pl.Int64(),
    "time": pl.Datetime("us"),
    "code": pl.String(),
    "numeric_value": pl.Float32(),
}
"""Columns of the events that derivations read and write."""


class Points(NamedTuple):
    """Rows in order of their place; both arrays have shape [N]."""

    place: Ints
    value: Floats
    """NaN for none."""

    def keep(self, mask: Mask) -> "Points":
        """The rows of a mask."""
        return Points(self.place[mask], self.value[mask])


class Record(NamedTuple):
    """Rows sorted by place, code and value."""

    axis: Axis
    place: Ints
    """[N]"""
    code: npt.NDArray[np.uint32]
    """[N] index into `names`."""
    value: Floats
    """[N] NaN for none."""
    names: list[str]
    """The codes that occur, by name."""
    last: Ints
    """[subjects] place of the subject's last row of any code."""

    def rows(self, *roots: str, ignore: str | None = None) -> Points:
        """Rows of codes at or below `roots`, but of none that the pattern `ignore` finds."""
        kept = at_or_below(self.names, roots)
        if ignore is not None:
            kept = [name for name in kept if not re.search(ignore, name)]
        if not kept:
            return Points(self.place[:0], self.value[:0])
        is_kept = np.isin(np.array(self.names, dtype=object), kept)[self.code]
        return Points(self.place[is_kept], self.value[is_kept])

    def values(self, concept: str, *, exact: bool = False) -> Points:
        """Plausible values of a shared concept, in its unit; its limits stand in ``concepts.csv``.

        With `exact`, those of codes below the concept (values in another unit) are left out.
        """
        code = f"CONCEPT//{concept}"
        found = self.rows(code, ignore=f"^{re.escape(code)}//" if exact else None)
        lower, upper = limits(concept)
        return found.keep((found.value >= lower) & (found.value <= upper))

    def is_told(self, places: Ints) -> Mask:
        """Whether a place is not after the subject's last row: beyond it nobody knows even that time passed."""
        return places <= self.last[self.axis.subjects(places)] if len(places) else np.zeros(0, np.bool_)


def at_or_below(codes: Iterable[str], roots: Sequence[str]) -> list[str]:
    """Those of `codes` that are one of `roots` or lie below one.

    Examples
    --------
    >>> at_or_below(["ICU_ADMISSION//MICU", "ICU_ADMISSIONS"], ["ICU_ADMISSION"])
    ['ICU_ADMISSION//MICU']
    """
    exact, below = set(roots), tuple(f"{root}//" for root in roots)
    return [code for code in codes if code in exact or code.startswith(below)]


@cache
def _limits() -> dict[str, tuple[float, float]]:
    """Concept -> its plausible range, infinite where the table has none."""
    rows = concept_table().select("name", pl.col("min").fill_null(-np.inf), pl.col("max").fill_null(np.inf)).rows()
    return {name: (lower, upper) for name, lower, upper in rows}


def limits(concept: str) -> tuple[float, float]:
    """The plausible range of a concept; infinite for one that the table does not have."""
    return _limits().get(concept, (-np.inf, np.inf))


def read_record(events: pl.DataFrame, roots: Sequence[str], *, until: Literal["any", "read"] = "any") -> Record:
    """Sort the rows of codes at or below `roots`.

    Parameters
    ----------
    events : subject_id i64, time datetime[us] (null: static, ignored), code, numeric_value; in any order.
    until : a subject's record ends with its last row of `any` code, or of those that are `read`.
    """
    names = events["code"].drop_nulls().unique().to_list()
    timed = events.lazy().select(*COLUMNS).filter(pl.col("time").is_not_null())
    rows = timed.filter(pl.col("code").is_in(at_or_below(names, roots))).collect()
    timed = rows.lazy() if until == "read" else timed
    used = sorted(rows["code"].unique().to_list())
    code = rows["code"].cast(pl.Enum(used)).to_physical().to_numpy().astype(np.uint32)
    value = rows["numeric_value"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    ids, seconds = rows["subject_id"].cast(pl.Int64).to_numpy(), to_seconds(rows["time"])
    axis = Axis.of(ids, seconds)
    place = axis.places(ids, seconds)
    order = np.lexsort((value, code, place))
    ends = timed.group_by(pl.col("subject_id").cast(pl.Int64)).agg(pl.col("time").max()).collect()
    ends = pl.DataFrame({"subject_id": axis.ids}).join(ends, on="subject_id", how="left", maintain_order="left")
    last = axis.places(axis.ids, to_seconds(ends["time"]))
    return Record(axis, place[order], code[order], value[order], used, last)


def empty_events() -> pl.DataFrame:
    """No events, with the right columns."""
    return pl.DataFrame(schema=COLUMNS)


def gather(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """One table of events, sorted by subject, time, code and value, each event once."""
    return pl.concat([empty_events(), *parts]).unique().sort(*COLUMNS)
