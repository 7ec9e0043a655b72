"""Rows of a MEDS shard to arrays: what is an event, a static fact, a birth, or set aside with a reason."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from sojourn.events import codes as grammar
from sojourn.events.arrange import Events, Ints, first_of_run

MAX_SECONDS = 2**32 - 1
_MICROS = 1_000_000
_NEVER = np.iinfo(np.int64).max

PIECE_SCHEMA: dict[str, pl.DataType] = {
    "row": pl.Int64(),
    "subject_id": pl.Int64(),
    "time": pl.Datetime("us"),
    "code": pl.String(),
    "numeric_value": pl.Float32(),
    "site": pl.String(),
    "is_flagged": pl.Boolean(),
}
"""Rows of whole subjects, those of a subject together. `row` comes back with those that are set aside; a flagged
value is implausible and is not shown to a model (the event stays); a null site is one that the data set does not
tell."""

QUARANTINE_SCHEMA = {"row": pl.Int64(), "subject_id": pl.Int64(), "reason": pl.String()}


@dataclass(slots=True)
class Accounts:
    """What became of the rows of a piece."""

    rows: Counter[str] = field(default_factory=Counter)
    """Rows by fate: the names are in `records.ACCOUNTS`."""
    notes: Counter[str] = field(default_factory=Counter)
    """The names are in `records.NOTES`."""
    subjects_without_time: int = 0
    """Subjects that are not stored because none of their rows has a time."""
    quarantine: list[pl.DataFrame] = field(default_factory=list)
    """Tables of `QUARANTINE_SCHEMA`."""

    def set_aside(self, rows: Ints, subject_ids: Ints | pl.Series, reason: str) -> None:
        """Quarantine rows."""
        if len(rows):
            self.rows["quarantined"] += len(rows)
            table = pl.DataFrame({"row": rows, "subject_id": subject_ids, "reason": [reason] * len(rows)})
            self.quarantine.append(table.cast(QUARANTINE_SCHEMA))  # type: ignore[arg-type]


@dataclass(slots=True)
class Rows:
    """The rows of a piece that are stored; subjects are those with a timed event, in the order of the file."""

    ids: Ints
    """[subjects] their ids."""
    site: pl.Series
    """[subjects] their first site, null: not told."""
    origin: Ints
    """[subjects] time of the first timed event, microseconds since 1970."""
    birth: Ints
    """[subjects] time of birth, microseconds since 1970, where `has_birth`."""
    has_birth: npt.NDArray[np.bool_]
    """[subjects]"""
    names: pl.Series
    """Source codes, by name."""
    events: Events
    """Timed events, codes are indices into `names`, values are raw."""
    static: Events
    """Static facts, with seconds 0."""


def dictionary_encode(column: pl.Series) -> tuple[npt.NDArray[np.uint32], pl.Series]:
    """Indices into the sorted distinct strings of a column without nulls, and these strings.

    Examples
    --------
    >>> index, names = dictionary_encode(pl.Series(["b", "a", "b"]))
    >>> index.tolist(), names.to_list()
    ([1, 0, 1], ['a', 'b'])
    """
    categorical = column.cast(pl.Categorical)
    physical = categorical.to_physical().to_numpy()
    seen_at = np.full(int(physical.max(initial=0)) + 1, -1)
    seen_at[physical] = np.arange(len(physical))
    used = np.flatnonzero(seen_at >= 0)
    names = column.gather(seen_at[used])
    order = names.arg_sort().to_numpy()
    place = np.zeros(len(seen_at), np.uint32)
    place[used[order]] = np.arange(len(used), dtype=np.uint32)
    return place[physical], names.gather(order)


class _Raw(NamedTuple):
    """Usable rows of a piece as arrays of shape [N], in the order of the file."""

    row: Ints
    subject: Ints
    time: Ints
    has_time: npt.NDArray[np.bool_]
    source: npt.NDArray[np.uint32]
    is_birth: npt.NDArray[np.bool_]


class _Anchors(NamedTuple):
    """Times of each subject, microseconds since 1970; `_NEVER`: none."""

    origin: Ints
    birth: Ints


def read_rows(frame: pl.DataFrame, *, targets: Collection[str] = ()) -> tuple[Rows, Accounts]:
    """Sort out the rows of whole subjects.

    Parameters
    ----------
    frame : pl.DataFrame
        Columns of `PIECE_SCHEMA`.
    targets : collection of str
        Target-only codes; without a time they would tell a label from the start and are set aside.

    Returns
    -------
    Rows, Accounts
        Every row is in exactly one count of `Accounts.rows`.
    """
    accounts = Accounts()
    frame = _drop_unusable(frame, accounts)
    ids = frame["subject_id"].to_numpy()
    starts = first_of_run(ids)
    ids = ids[starts]
    source, names = dictionary_encode(frame["code"])
    raw = _Raw(
        row=frame["row"].to_numpy(),
        subject=np.cumsum(starts) - 1,
        time=frame["time"].to_physical().fill_null(0).to_numpy(),
        has_time=frame["time"].is_not_null().to_numpy(),
        source=source,
        is_birth=(names == grammar.BIRTH).to_numpy()[source],
    )
    anchors = _anchors(raw, len(ids))
    fate, seconds = _judge(raw, anchors, names, targets)
    is_kept = anchors.origin != _NEVER
    _account(accounts, raw, ids, fate=fate, is_kept=is_kept)
    _note(accounts, frame, raw)
    every = Events((np.cumsum(is_kept) - 1)[raw.subject], seconds, source, _values(frame))
    stays = is_kept[raw.subject]
    rows = Rows(
        ids=ids[is_kept],
        site=_first_site(frame["site"], raw.subject, len(ids)).filter(pl.Series(is_kept)),
        origin=anchors.origin[is_kept],
        birth=anchors.birth[is_kept],
        has_birth=(anchors.birth != _NEVER)[is_kept],
        names=names,
        events=_take(every, (fate == _EVENT) & stays),
        static=_take(every, (fate == _STATIC) & stays),
    )
    return rows, accounts


_EVENT, _STATIC, _BIRTH, _BIRTH_WITHOUT_TIME, _LATER_BIRTH, _TOO_LATE, _END_WITHOUT_TIME = range(7)
_REASONS = {
    _BIRTH_WITHOUT_TIME: "birth without a time",
    _LATER_BIRTH: "birth at another time than the subject's first",
    _TOO_LATE: "more than 136 years after the subject's first event",
    _END_WITHOUT_TIME: "death, discharge or outcome without a time",
}


def _anchors(raw: _Raw, num_subjects: int) -> _Anchors:
    """First timed event that is not a birth, and first birth, of each subject."""
    times = []
    for mask in (raw.has_time & ~raw.is_birth, raw.has_time & raw.is_birth):
        first = np.full(num_subjects, _NEVER)
        np.minimum.at(first, raw.subject[mask], raw.time[mask])
        times.append(first)
    return _Anchors(*times)


def _judge(
    raw: _Raw, anchors: _Anchors, names: pl.Series, targets: Collection[str]
) -> tuple[npt.NDArray[np.int8], Ints]:
    """The fate of each row, and its seconds since its subject's origin."""
    seconds = np.where(raw.has_time, (raw.time - anchors.origin[raw.subject]) // _MICROS, 0)
    fate = np.where(raw.has_time, np.int8(_EVENT), np.int8(_STATIC))
    fate[seconds > MAX_SECONDS] = _TOO_LATE
    fate[raw.is_birth] = _BIRTH
    fate[raw.is_birth & ~raw.has_time] = _BIRTH_WITHOUT_TIME
    fate[raw.is_birth & raw.has_time & (raw.time != anchors.birth[raw.subject])] = _LATER_BIRTH
    code = names.rename("code").to_frame()
    is_end = grammar.is_terminal_expr() | grammar.is_outcome_expr() | pl.col("code").is_in(list(targets))
    fate[(fate == _STATIC) & code.select(is_end).to_series().to_numpy()[raw.source]] = _END_WITHOUT_TIME
    return fate, seconds


def _account(
    accounts: Accounts, raw: _Raw, ids: Ints, *, fate: npt.NDArray[np.int8], is_kept: npt.NDArray[np.bool_]
) -> None:
    """Count each row once, and set aside those that cannot be stored."""
    for reason, text in _REASONS.items():
        bad = np.flatnonzero(fate == reason)
        accounts.set_aside(raw.row[bad], ids[raw.subject[bad]], text)
    stays = is_kept[raw.subject]
    accounts.rows["of_subjects_without_time"] += int(np.count_nonzero(~stays & (fate <= _BIRTH)))
    for name, kind in (("events", _EVENT), ("static", _STATIC), ("births", _BIRTH)):
        accounts.rows[name] += int(np.count_nonzero(stays & (fate == kind)))
    accounts.subjects_without_time = int(np.count_nonzero(~is_kept))


def _take(events: Events, mask: npt.NDArray[np.bool_]) -> Events:
    """The rows of a mask; all of them cost nothing."""
    return events if mask.all() else events.take(mask)


def _drop_unusable(frame: pl.DataFrame, accounts: Accounts) -> pl.DataFrame:
    """Quarantine rows that cannot be an event: no subject, no code, an infinite value."""
    reasons = {
        "no subject_id": pl.col("subject_id").is_null(),
        "no code": pl.col("code").is_null(),
        "infinite value": pl.col("numeric_value").is_infinite().fill_null(value=False),
    }
    for text, test in reasons.items():
        bad = frame.select(test).to_series()
        if bad.any():
            rows = frame.filter(bad)
            accounts.set_aside(rows["row"].to_numpy(), rows["subject_id"], text)
            frame = frame.filter(~bad)
    return frame


def _values(frame: pl.DataFrame) -> npt.NDArray[np.float32]:
    """Raw values, NaN where there is none or where it is flagged as implausible."""
    shown = pl.when(~pl.col("is_flagged")).then(pl.col("numeric_value")).fill_null(float("nan"))
    return frame.select(shown).to_series().to_numpy()


def _note(accounts: Accounts, frame: pl.DataFrame, raw: _Raw) -> None:
    """Count what is worth knowing about rows that are kept."""
    hidden = frame.select((pl.col("is_flagged") & pl.col("numeric_value").is_not_nan()).sum()).item()
    accounts.notes["values_hidden"] += int(hidden or 0)
    is_timed = raw.has_time & ~raw.is_birth
    who, when = raw.subject[is_timed], raw.time[is_timed]
    back = (when[1:] < when[:-1]) & (who[1:] == who[:-1])
    accounts.notes["subjects_out_of_order"] += len(np.unique(who[1:][back]))
    # A change of site inside a subject; null (not told) never counts as one.
    site = frame["site"].drop_nulls()
    who = raw.subject if len(site) == len(frame) else raw.subject[frame["site"].is_not_null().to_numpy()]
    other = (site != site.shift()).fill_null(value=False).to_numpy()
    other[1:] &= who[1:] == who[:-1]
    accounts.notes["subjects_of_several_sites"] += len(np.unique(who[other]))


def _first_site(site: pl.Series, subject: Ints, num_subjects: int) -> pl.Series:
    """The first site that is told for each subject."""
    told = np.flatnonzero(site.is_not_null().to_numpy())
    first = told[first_of_run(subject[told])]
    index: npt.NDArray[Any] = np.zeros(num_subjects, np.int64)
    index[subject[first]] = first
    known = np.zeros(num_subjects, np.bool_)
    known[subject[first]] = True
    if not len(site):
        return site
    return site.gather(index).set(pl.Series(~known), None)
