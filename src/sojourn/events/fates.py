"""What becomes of each row of a piece: an event, a static fact, a birth, or why it cannot be stored."""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from sojourn.events import codes as grammar
from sojourn.events.arrange import Ints, first_of_run

MAX_SECONDS = 2**32 - 1
NEVER = np.iinfo(np.int64).max
_MICROS = 1_000_000

EVENT, STATIC, BIRTH, BIRTH_WITHOUT_TIME, LATER_BIRTH, TOO_LATE, TOO_EARLY, END_WITHOUT_TIME, UNSTORED = range(9)
REASONS = {
    BIRTH_WITHOUT_TIME: "birth without a time",
    LATER_BIRTH: "birth at another time than the subject's first",
    TOO_LATE: "more than 136 years after the subject's first event",
    TOO_EARLY: "more than 136 years before the middle one of the subject's events",
    END_WITHOUT_TIME: "death, discharge or outcome without a time",
}


class RawRows(NamedTuple):
    """Usable rows of a piece as arrays of shape [N], in the order of the file; rows that are no event are listed."""

    row: pl.Series
    """Number of the row in the piece."""
    subject: npt.NDArray[np.int32]
    """Ordinal of the subject, those without an event counted."""
    begin: Ints
    """[subjects] first row of each."""
    time: Ints
    """Microseconds since 1970, 0 without a time."""
    source: npt.NDArray[np.uint32]
    """Index of the code as it is in the data."""
    untimed: Ints
    """Rows without a time."""
    births: Ints
    """Rows with the code of a birth."""

    def is_timed(self, rows: Ints) -> npt.NDArray[np.bool_]:
        """Which of some rows have a time."""
        if not len(self.untimed):
            return np.ones(len(rows), np.bool_)
        place = np.searchsorted(self.untimed, rows)
        nearest = self.untimed[np.minimum(place, len(self.untimed) - 1)]
        return np.asarray(nearest != rows)


class Anchors(NamedTuple):
    """Times of each subject, microseconds since 1970; `NEVER`: none."""

    origin: Ints
    birth: Ints


def raw_rows(frame: pl.DataFrame, source: npt.NDArray[np.uint32], names: pl.Series) -> RawRows:
    """The columns of a piece as arrays."""
    begin = np.flatnonzero(first_of_run(frame["subject_id"].to_numpy()))
    time = frame["time"]
    birth = np.flatnonzero((names == grammar.BIRTH).to_numpy())
    return RawRows(
        row=frame["row"],
        subject=np.repeat(np.arange(len(begin), dtype=np.int32), np.diff(begin, append=len(frame))),
        begin=begin,
        time=time.to_physical().fill_null(0).to_numpy(),
        source=source,
        untimed=np.flatnonzero(time.is_null().to_numpy()) if time.null_count() else np.zeros(0, np.int64),
        births=np.flatnonzero(source == birth[0]) if len(birth) else np.zeros(0, np.int64),
    )


def find_anchors(raw: RawRows) -> Anchors:
    """First timed event that is not a birth, and first birth, of each subject.

    Where a record spans more than can be stored, what lies too far before its middle event is not its beginning: one
    date of year 1, which some systems write for none, would push out all that is real.
    """
    birth = np.full(len(raw.begin), NEVER)
    timed_births = raw.births[raw.is_timed(raw.births)]
    np.minimum.at(birth, raw.subject[timed_births], raw.time[timed_births])
    if not len(raw.begin):
        return Anchors(birth, birth)
    times = raw.time.copy()
    times[raw.untimed] = NEVER
    times[raw.births] = NEVER
    origin = np.minimum.reduceat(times, raw.begin)
    last = np.maximum.reduceat(np.where(times == NEVER, -NEVER, times), raw.begin)
    ends = np.append(raw.begin[1:], len(times))
    for k in np.flatnonzero((last - origin) // _MICROS > MAX_SECONDS):
        own = times[raw.begin[k] : ends[k]]
        own = np.sort(own[own != NEVER])
        origin[k] = own[own >= own[(len(own) - 1) // 2] - MAX_SECONDS * _MICROS][0]
    return Anchors(origin, birth)


def judge(
    raw: RawRows, anchors: Anchors, names: pl.Series, targets: Collection[str]
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.uint32]]:
    """The fate of each row (one of `EVENT` to `END_WITHOUT_TIME`), and the seconds of events since their origin."""
    elapsed = raw.time - np.where(anchors.origin == NEVER, 0, anchors.origin)[raw.subject]
    elapsed //= _MICROS
    elapsed[raw.untimed] = 0
    elapsed[raw.births] = 0
    fate = np.zeros(len(raw.time), np.int8)
    fate[elapsed > MAX_SECONDS] = TOO_LATE
    fate[elapsed < 0] = TOO_EARLY
    fate[raw.untimed] = STATIC
    births = raw.births
    fate[births] = BIRTH
    fate[births[raw.time[births] != anchors.birth[raw.subject[births]]]] = LATER_BIRTH
    fate[births[~raw.is_timed(births)]] = BIRTH_WITHOUT_TIME
    code = names.rename("code").to_frame()
    is_end = grammar.is_terminal_expr() | grammar.is_outcome_expr() | pl.col("code").is_in(list(targets))
    static = raw.untimed[fate[raw.untimed] == STATIC]
    fate[static[code.select(is_end).to_series().to_numpy()[raw.source[static]]]] = END_WITHOUT_TIME
    return fate, elapsed.astype(np.uint32)
