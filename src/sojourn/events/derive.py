"""Target-only events that follow from a subject's other events, such as "lactate above 4"."""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from sojourn.errors import DataError
from sojourn.events import codes as grammar
from sojourn.events.arrange import Events, Ints
from sojourn.events.fates import MAX_SECONDS
from sojourn.events.words import dictionary_encode

Derive = Callable[[pl.DataFrame], pl.DataFrame]
"""Timed events (subject_id i64, time datetime[us], code str, numeric_value f32, sorted by subject and time, codes
and values after the mapping to concepts) to target-only ones (subject_id, time, code OUTCOME//...). The order of
events of one second is not given."""

Reads = Callable[[Sequence[str]], Collection[str]]
"""Of the codes that occur (after the mapping to concepts), those that a `Derive` looks at."""

_MICROS = 1_000_000


class Derived(NamedTuple):
    """Derived events, and the local vocabulary with their codes in it."""

    events: Events
    """In the new numbering, in the order of `derive`."""
    names: pl.Series
    """The new local vocabulary, by name."""
    place: npt.NDArray[np.uint32]
    """New number of each old local code."""

    def renumber(self, events: Events) -> Events:
        """Events of the old numbering in the new one."""
        return events._replace(code=self.place[events.code])

    def is_target(self, before: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Which codes of the new numbering are target-only."""
        target = np.ones(len(self.names), np.bool_)
        target[self.place] = before
        return target


def derive_events(
    derive: Derive,
    events: Events,
    *,
    names: pl.Series,
    ids: Ints,
    origin: Ints,
    reads: Reads | None = None,
    into: pl.Series | None = None,
) -> Derived:
    """Call `derive` on events sorted by subject and second, and encode what it returns.

    Parameters
    ----------
    events : Events
    reads : callable, optional
        Which of the codes it is given `derive` looks at; events of others are not shown to it.
    names : pl.Series of str
        Local vocabulary.
    into : pl.Series of str, optional
        Local vocabulary that the derived codes are added to, if it is not `names`.
    ids, origin : array of int64, shape [subjects]
        Subject ids; origins in microseconds since 1970.

    Raises
    ------
    DataError
        If it returns other columns, codes outside OUTCOME//, unknown subjects, or times outside the record.
    """
    if reads is not None:
        is_read = names.is_in(list(reads(names.to_list()))).to_numpy()
        events = events.take(np.flatnonzero(is_read[events.code]))
    time = origin[events.subject] + events.seconds.astype(np.int64) * _MICROS
    told = pl.DataFrame(
        {
            "subject_id": ids[events.subject],
            "time": pl.Series(time).cast(pl.Datetime("us")),
            "code": names.gather(events.code),
            "numeric_value": pl.Series(events.value).fill_nan(None),
        }
    )
    found = derive(told)
    _check(found)
    codes, new = dictionary_encode(found["code"])
    before = names if into is None else into
    merged = pl.concat([before, new.rename(before.name)]).unique().sort()
    who = found.select("subject_id").join(
        pl.DataFrame({"subject_id": ids, "ordinal": np.arange(len(ids))}),
        on="subject_id",
        how="left",
        maintain_order="left",
    )["ordinal"]
    if who.null_count():
        msg = f"derive must return subjects that it was given; got {who.null_count()} rows of others."
        raise DataError(msg)
    subject = who.to_numpy().astype(np.int32)
    seconds = (found["time"].cast(pl.Datetime("us")).to_physical().to_numpy() - origin[subject]) // _MICROS
    outside = int(((seconds < 0) | (seconds > MAX_SECONDS)).sum())
    if outside:
        msg = f"derive must return times from the subject's first event on; {outside} rows are before it or too late."
        raise DataError(msg)
    place = merged.search_sorted(before).to_numpy().astype(np.uint32)
    local = merged.search_sorted(new).to_numpy().astype(np.uint32)[codes]
    value = np.full(len(found), np.nan, np.float32)
    return Derived(Events(subject, seconds.astype(np.uint32), local, value), merged, place)


def _check(found: pl.DataFrame) -> None:
    """The contract of `derive` that needs no other table."""
    if not {"subject_id", "time", "code"} <= set(found.columns):
        msg = f"derive must return the columns subject_id, time, code; got {found.columns}."
        raise DataError(msg)
    bad = found.select((~grammar.is_outcome_expr().fill_null(value=False)).sum()).item()
    nulls = found.select(pl.col("subject_id", "time").is_null()).sum().sum_horizontal().sum()
    if bad or nulls:
        msg = f"derive must return codes OUTCOME//... with subject and time; {bad} rows have others, {nulls} nulls."
        raise DataError(msg)
