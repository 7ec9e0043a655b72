"""Rows of a MEDS shard to arrays: what is an event, a static fact, a birth, or set aside with a reason."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from sojourn.events.arrange import Events, Ints, first_of_run
from sojourn.events.fates import BIRTH, EVENT, NEVER, REASONS, STATIC, UNSTORED, RawRows, find_anchors, judge, raw_rows
from sojourn.events.words import dictionary_encode

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
    source, names = dictionary_encode(frame["code"])
    raw = raw_rows(frame, source, names)
    ids = frame["subject_id"].gather(raw.begin).to_numpy()
    anchors = find_anchors(raw)
    fate, seconds = judge(raw, anchors, names, targets)
    is_kept = anchors.origin != NEVER
    _account(accounts, raw, ids, fate=fate, is_kept=is_kept)
    every = Events(raw.subject, seconds, source, _values(frame))
    if not is_kept.all():
        ordinal = np.cumsum(is_kept, dtype=np.int32) - np.int32(1)
        every = every._replace(subject=ordinal[raw.subject])
        fate = np.where(is_kept[raw.subject], fate, UNSTORED)
    rows = Rows(
        ids=ids[is_kept],
        site=_first_site(frame["site"], raw.subject, len(ids)).filter(pl.Series(is_kept)),
        origin=anchors.origin[is_kept],
        birth=anchors.birth[is_kept],
        has_birth=(anchors.birth != NEVER)[is_kept],
        names=names,
        events=_take(every, fate == EVENT),
        static=_take(every, fate == STATIC),
    )
    _note(accounts, frame, raw.subject, rows.events)
    return rows, accounts


def _account(
    accounts: Accounts, raw: RawRows, ids: Ints, *, fate: npt.NDArray[np.int8], is_kept: npt.NDArray[np.bool_]
) -> None:
    """Count each row once, and set aside those that cannot be stored."""
    total = np.bincount(fate, minlength=UNSTORED)
    for reason, text in REASONS.items():
        if total[reason]:
            bad = np.flatnonzero(fate == reason)
            accounts.set_aside(raw.row.gather(bad).to_numpy(), ids[raw.subject[bad]], text)
    lost = np.zeros_like(total)
    if not is_kept.all():
        lost = np.bincount(fate[~is_kept[raw.subject]], minlength=UNSTORED)
    accounts.rows["of_subjects_without_time"] += int(lost[: BIRTH + 1].sum())
    for name, kind in (("events", EVENT), ("static", STATIC), ("births", BIRTH)):
        accounts.rows[name] += int(total[kind] - lost[kind])
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
    value = frame["numeric_value"]
    if frame["is_flagged"].any():
        value = frame.select(pl.when(~pl.col("is_flagged")).then("numeric_value")).to_series()
    return value.fill_null(float("nan")).to_numpy()


def _note(accounts: Accounts, frame: pl.DataFrame, subject: npt.NDArray[np.int32], events: Events) -> None:
    """Count what is worth knowing about rows that are kept."""
    if frame["is_flagged"].any():
        hidden = frame.select((pl.col("is_flagged") & pl.col("numeric_value").is_not_nan()).sum()).item()
        accounts.notes["values_hidden"] += int(hidden or 0)
    back = (events.seconds[1:] < events.seconds[:-1]) & (events.subject[1:] == events.subject[:-1])
    accounts.notes["subjects_out_of_order"] += _num_runs(events.subject[1:][back])
    # A change of site inside a subject; null (not told) never counts as one.
    site = frame["site"].drop_nulls()
    who = subject if len(site) == len(frame) else subject[frame["site"].is_not_null().to_numpy()]
    other = (site != site.shift()).fill_null(value=False).to_numpy()
    other[1:] &= who[1:] == who[:-1]
    accounts.notes["subjects_of_several_sites"] += _num_runs(who[other])


def _num_runs(subject: npt.NDArray[np.integer[Any]]) -> int:
    """How many different subjects there are in a list where those of one stand together."""
    return int(np.count_nonzero(first_of_run(subject)))


def _first_site(site: pl.Series, subject: npt.NDArray[np.int32], num_subjects: int) -> pl.Series:
    """The first site that is told for each subject."""
    told = np.flatnonzero(site.is_not_null().to_numpy()) if site.null_count() < len(site) else np.zeros(0, np.int64)
    first = told[first_of_run(subject[told])]
    found = pl.DataFrame({"subject": subject[first], "site": site.gather(first).cast(pl.String)})
    every = pl.DataFrame({"subject": np.arange(num_subjects, dtype=np.int32)})
    return every.join(found, on="subject", how="left", maintain_order="left")["site"]
