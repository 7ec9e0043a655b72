"""Values that hold for a while: what was last seen, what covers an instant, the worst of a trailing window."""

from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from sojourn.concepts.derived.axis import APART, Ints, distinct
from sojourn.concepts.derived.record import Floats, Mask, Points


class Spans(NamedTuple):
    """Half-open spans `begin <= place < end` of the axis, in order of their begin; all arrays have shape [N]."""

    begin: Ints
    end: Ints
    value: Floats

    @classmethod
    def of(cls, begin: Ints, end: Ints, value: Floats | None = None) -> "Spans":
        """Put spans in order; empty ones are left out."""
        numbers = np.zeros(len(begin)) if value is None else value
        kept = np.flatnonzero(end > begin)
        order = kept[np.lexsort((numbers[kept], end[kept], begin[kept]))]
        return cls(begin[order], end[order], numbers[order])

    def covers(self, places: Ints) -> Mask:
        """Whether any span holds each place."""
        if not len(self.begin):
            return np.zeros(len(places), np.bool_)
        before = np.searchsorted(self.begin, places, side="right") - 1
        return (before >= 0) & (np.maximum.accumulate(self.end)[np.maximum(before, 0)] > places)

    def join(self, other: "Spans") -> "Spans":
        """The spans of both."""
        return Spans.of(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))


class Steps(NamedTuple):
    """A function of place that changes at `place` and holds until the next; -1 means that nothing is observed."""

    place: Ints
    level: Ints

    def at(self, places: Ints) -> Ints:
        """Level at each place; -1 before the first change of the subject."""
        before = np.searchsorted(self.place, places, side="right") - 1
        # Every span of a subject ends before the next subject's record, so -1 carries over from one to the other.
        return (
            np.where(before >= 0, self.level[np.maximum(before, 0)], -1)
            if len(self.place)
            else np.full(len(places), -1, np.int64)
        )


def latest(points: Points, places: Ints, max_age: int = APART) -> Floats:
    """The last value at or before each place that is at most `max_age` seconds old; NaN for none."""
    if not len(points.place):
        return np.full(len(places), np.nan)
    before = np.searchsorted(points.place, places, side="right") - 1
    index = np.maximum(before, 0)
    is_fresh = (before >= 0) & (places - points.place[index] <= min(max_age, APART))
    return np.where(is_fresh, points.value[index], np.nan)


def following(marks: Ints, places: Ints) -> Ints:
    """The first mark after each place; far behind every record where there is none."""
    far = np.iinfo(np.int64).max // 2
    return np.append(marks, far)[np.searchsorted(marks, places, side="right")]


def worst(spans: Spans, num_levels: int = 5) -> Steps:
    """The highest level among the spans that hold a place, as a function of place.

    Parameters
    ----------
    spans : `value` is a level 0, 1, ...; spans of one subject end before the next subject's begin.

    Notes
    -----
    Of the spans of at least one level that began so far, one is open if the latest of their ends is still to come. So
    a running maximum for each level gives the function without looking at pairs of spans.
    """
    places = distinct(np.concatenate([spans.begin, spans.end]))
    level = np.full(len(places), -1, np.int64)
    for lowest in range(num_levels):
        is_high = spans.value >= lowest
        level[Spans(spans.begin[is_high], spans.end[is_high], spans.value[is_high]).covers(places)] = lowest
    is_new = np.append(True, level[1:] != level[:-1])[: len(level)]
    return Steps(places[is_new], level[is_new])


def rolling_min(points: Points, window: int, *, closed: Literal["both", "right"] = "both") -> Floats:
    """The smallest value in `[place - window, place]` (`right`: without its begin) at each point."""
    table = pl.DataFrame({"place": points.place, "value": points.value})
    # `i` is the unit of an integer index.
    found = table.select(pl.col("value").rolling_min_by("place", window_size=f"{window}i", closed=closed))
    return found.to_series().to_numpy()
