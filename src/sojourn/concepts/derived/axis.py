"""Times of many subjects on one axis: windows of all of them are found with one binary search."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

Ints = npt.NDArray[np.int64]

HOUR = 3600
DAY = 24 * HOUR
APART = 400 * DAY
"""The records of two subjects are at least so far apart on the axis, so no window reaches from one into another."""


class Axis(NamedTuple):
    """Where each subject's record lies. Places on the axis are seconds (i64)."""

    ids: Ints
    """[subjects] in order."""
    origin: Ints
    """[subjects] seconds since 1970 of the subject's first row."""
    place: Ints
    """[subjects] that row's place on the axis."""

    @classmethod
    def of(cls, ids: Ints, seconds: Ints) -> "Axis":
        """Lay out the records of rows of subjects `ids` at `seconds` since 1970 (both shape [N], in any order)."""
        spans = (
            pl.DataFrame({"id": ids, "seconds": seconds})
            .group_by("id")
            .agg(first=pl.col("seconds").min(), last=pl.col("seconds").max())
            .sort("id")
        )
        first, last = spans["first"].to_numpy(), spans["last"].to_numpy()
        lengths = last - first + 2 * APART
        place = np.cumsum(lengths) - lengths + APART
        return cls(spans["id"].to_numpy(), first, place)

    def places(self, ids: Ints, seconds: Ints) -> Ints:
        """Places of rows of known subjects."""
        subject = np.searchsorted(self.ids, ids)
        return self.place[subject] + (seconds - self.origin[subject])

    def subjects(self, places: Ints) -> Ints:
        """Ordinal of the subject whose record a place lies in, or near."""
        return np.maximum(np.searchsorted(self.place - APART, places, side="right") - 1, 0)

    def events(self, places: Ints, code: str, value: npt.NDArray[np.floating] | None = None) -> pl.DataFrame:
        """Events `subject_id, time, code, numeric_value` (f32, NaN becomes null) at places."""
        subject = self.subjects(places)
        seconds = self.origin[subject] + (places - self.place[subject])
        number = np.full(len(places), np.nan, np.float32) if value is None else value.astype(np.float32)
        return pl.DataFrame(
            {
                "subject_id": self.ids[subject],
                "time": pl.Series(seconds * 1_000_000, dtype=pl.Int64).cast(pl.Datetime("us")),
                "code": pl.Series([code], dtype=pl.String).new_from_index(0, len(places)),
                "numeric_value": pl.Series(number, dtype=pl.Float32).fill_nan(None),
            }
        )


def distinct(places: Ints) -> Ints:
    """The different places, in order; faster than `numpy.unique` on what is nearly sorted."""
    ordered = np.sort(places)
    different: Ints = ordered[np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]]
    return different


def to_seconds(time: pl.Series) -> Ints:
    """Whole seconds since 1970, rounded up: what is derived from a row never stands before it."""
    micros = time.cast(pl.Datetime("us")).to_physical().to_numpy()
    seconds: Ints = -(-micros // 1_000_000)
    return seconds
