"""The usual hand-made features of a record at a prediction time, for the baselines. Nothing later is ever seen."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sojourn.events.ranges import value_statistics
from sojourn.events.store import EventStore
from sojourn.tasks.cohort import ADMISSIONS
from sojourn.tasks.outcomes import matching_codes

__all__ = ["FeatureSource", "FeatureTable", "hand_features"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Kind = Literal["value", "event", "static"]
Number = TypeVar("Number", np.int64, np.float32)

_DAY_S = 86_400
_YEAR_S = 365.25 * _DAY_S
# Seconds of a subject fit 32 bits; two more keep a day's window of one subject off the events of the one before.
_SPAN = np.int64(1) << 34
_CONTEXT = ("age_years", "hours_since_start", "hours_since_admission", "hour_of_day")
_EVENT_FEATURES = ("count", "count_24h", "hours_since")
_VALUE_FEATURES = ("last", "mean", "min", "max", "mean_24h", "min_24h", "max_24h")


class FeatureSource(NamedTuple):
    """A code and what is made of it."""

    code: str
    """Code of the store."""
    kind: Kind
    """`value`: statistics of the values and counts; `event`: counts alone; `static`: one fact per subject."""

    def names(self) -> list[str]:
        """Names of its features."""
        if self.kind == "static":
            return [self.code]
        features = _EVENT_FEATURES if self.kind == "event" else (*_EVENT_FEATURES, *_VALUE_FEATURES)
        return [f"{self.code} {feature}" for feature in features]


class FeatureTable(NamedTuple):
    """Features of labels."""

    matrix: Floats
    """Shape [num_labels, num_features]; NaN: never measured, or unknown to this store."""
    names: tuple[str, ...]
    """`<code> <feature>` such as `CONCEPT//lactate last`, `<code>` of static facts, and the context's names."""
    sources: tuple[FeatureSource, ...]
    """What the features are made of: give it to `hand_features` to get the same columns from another store."""


class _Events(NamedTuple):
    """Events in the order of subject and time."""

    key: Ints
    """subject * _SPAN + seconds, shape [N]; the subject is its place among those asked for."""
    value: Floats
    """Shape [N]."""


class _Moments(NamedTuple):
    """Prediction times in the numbering of `_Events`, in the order of the labels."""

    key: Ints
    """subject * _SPAN + seconds, shape [L]."""
    begin: Ints
    """Key of second 0 of the same subject, shape [L]."""


def hand_features(
    store: EventStore,
    labels: pl.DataFrame,
    *,
    sources: Sequence[FeatureSource] | None = None,
    max_codes: int = 100,
) -> FeatureTable:
    """Compute features of each label from the events up to and at its prediction time.

    For a code with values: last, mean, min, max of the whole history; mean, min, max of the last 24 h. For every code:
    count, count of the last 24 h, hours since the last one. Static facts; age, hours since the record's start and
    since the last admission (to hospital or ICU), hour of the day.

    Parameters
    ----------
    store
        Event store with the subjects of the labels.
    labels
        `subject_id` i64 and `prediction_time` datetime, L rows in any order.
    sources
        What another table was made of, to get the same columns; None: the `max_codes` codes that most subjects of
        the store have. Target-only and terminal codes are never used.
    max_codes
        Number of codes when `sources` is None.

    Returns
    -------
    FeatureTable
        Row i belongs to label i.

    Raises
    ------
    StoreError
        If a subject is not in the store.

    Notes
    -----
    Memory is 4 bytes per label and feature, and about 40 bytes per event of the subjects.
    """
    chosen = _frequent(store, max_codes) if sources is None else tuple(sources)
    index = dict(store.vocabulary.filter(~pl.col("target_only")).select("code", "index").iter_rows())
    found = store.find(labels["subject_id"].to_numpy())
    rows, place = np.unique(found, return_inverse=True)
    moments = _moments(store, rows[place], place, labels)
    names = [*_CONTEXT, *(name for source in chosen for name in source.names())]
    matrix = np.full((len(labels), len(names)), np.nan, dtype=np.float32)

    admissions = [index[code] for code in matching_codes(list(index), list(ADMISSIONS.values()))]
    timed = [index[source.code] for source in chosen if source.kind != "static" and source.code in index]
    events, order, starts = _gather(store, rows, {*timed, *admissions})
    admitted = np.sort(np.concatenate([events.key[order[starts[i] : starts[i + 1]]] for i in admissions] or [_NO_KEYS]))
    matrix[:, : len(_CONTEXT)] = _context(store, rows[place], labels, moments, admitted)
    column = len(_CONTEXT)
    for source in chosen:
        width = len(source.names())
        part = matrix[:, column : column + width]
        column += width
        if source.code not in index:
            # A count of what a hospital never records is unknown, not zero.
            continue
        number = index[source.code]
        if source.kind == "static":
            part[:, 0] = _static(store, rows, number)[place]
            continue
        mine = order[starts[number] : starts[number + 1]]
        _fill(part, _Events(events.key[mine], events.value[mine]), moments)
    return FeatureTable(matrix, tuple(names), chosen)


_NO_KEYS = np.zeros(0, dtype=np.int64)


def _frequent(store: EventStore, max_codes: int) -> tuple[FeatureSource, ...]:
    """The codes that most subjects have, and what can be made of each."""
    table = store.vocabulary.filter(~pl.col("target_only") & ~pl.col("terminal") & (pl.col("num_subjects") > 0))
    table = table.sort(["num_subjects", "code"], descending=[True, False]).head(max_codes)
    kind = (
        pl.when("is_static")
        .then(pl.lit("static"))
        .when(pl.col("num_values") > 0)
        .then(pl.lit("value"))
        .otherwise(pl.lit("event"))
    )
    return tuple(FeatureSource(code, kind) for code, kind in table.select("code", kind.alias("kind")).iter_rows())


def _moments(store: EventStore, rows: Ints, place: Ints, labels: pl.DataFrame) -> _Moments:
    """Prediction times as keys; one before the record's start sees nothing."""
    origin = store.subjects["origin"].cast(pl.Datetime("us")).to_physical().to_numpy()[rows]
    time = labels["prediction_time"].cast(pl.Datetime("us")).to_physical().to_numpy()
    seconds = np.clip((time - origin) // 1_000_000, -1, _SPAN // 2)
    begin = place * _SPAN
    return _Moments(begin + seconds, begin)


def _gather(store: EventStore, rows: Ints, wanted: set[int]) -> tuple[_Events, Ints, Ints]:
    """Events of the wanted codes of some subjects; the order that groups them by code, and where each code starts."""
    is_wanted = np.zeros(len(store.vocabulary), dtype=bool)
    is_wanted[list(wanted)] = True
    size = store.subjects["num_events"].to_numpy()[rows]
    codes, keys, values, done = [np.zeros(0, dtype=np.int64)], [_NO_KEYS], [np.zeros(0, dtype=np.float32)], 0
    owner_of = np.repeat(np.arange(rows.size), size)
    for block in store.blocks(rows) if rows.size else ():
        kept = np.flatnonzero(is_wanted[block.code])
        owner = owner_of[done + kept]
        keys.append(owner * _SPAN + block.seconds[kept])
        codes.append(block.code[kept].astype(np.int64))
        values.append(block.value[kept])
        done += block.code.size
    code = np.concatenate(codes)
    order = np.argsort(code, kind="stable")
    starts = np.searchsorted(code[order], np.arange(is_wanted.size + 1))
    return _Events(np.concatenate(keys), np.concatenate(values)), order, starts


def _context(store: EventStore, rows: Ints, labels: pl.DataFrame, moments: _Moments, admitted: Ints) -> Floats:
    """Age, hours since the start and since the last admission, hour of the day; shape [L, 4]."""
    subjects = store.subjects.select((pl.col("birth") - pl.col("origin")).dt.total_milliseconds() / 1000)
    birth_s = subjects.to_series().fill_null(float("nan")).to_numpy()[rows]
    seconds = moments.key - moments.begin
    time = labels["prediction_time"].dt
    hour = time.hour().cast(pl.Float32) + time.minute().cast(pl.Float32) / 60
    return np.column_stack(
        [(seconds - birth_s) / _YEAR_S, seconds / 3600, _hours_since(admitted, moments), hour.to_numpy()]
    ).astype(np.float32)


def _static(store: EventStore, rows: Ints, number: int) -> Floats:
    """Value of a static fact by subject, 1 for a fact without value, NaN without the fact; shape [len(rows)]."""
    owner_of = np.repeat(np.arange(rows.size), store.subjects["num_static"].to_numpy()[rows])
    facts, done = np.full(rows.size, np.nan, dtype=np.float32), 0
    for block in store.blocks(rows) if rows.size else ():
        here = np.flatnonzero(block.static_code == number)
        facts[owner_of[done + here]] = np.where(np.isnan(block.static_value[here]), 1, block.static_value[here])
        done += block.static_code.size
    return facts


def _fill(part: Floats, events: _Events, moments: _Moments) -> None:
    """Write the features of one code into its columns, shape [L, 3] or [L, 10]."""
    after = np.searchsorted(events.key, moments.key, side="right")
    first = np.searchsorted(events.key, moments.begin, side="left")
    recent = np.maximum(np.searchsorted(events.key, moments.key - _DAY_S, side="right"), first)
    part[:, 0], part[:, 1] = after - first, after - recent
    part[:, 2] = _hours_since(events.key, moments)
    if part.shape[1] == len(_EVENT_FEATURES):
        return
    part[:, len(_EVENT_FEATURES) :] = value_statistics(events.value, first, recent, after)


def _hours_since(keys: Ints, moments: _Moments) -> Floats:
    """Hours from the last event of the same subject to each moment, NaN without one; shape [L]."""
    after = np.searchsorted(keys, moments.key, side="right")
    last = _at(keys, after - 1)
    return np.where((after > 0) & (last >= moments.begin), (moments.key - last) / 3600, np.nan).astype(np.float32)


def _at(values: NDArray[Number], place: Ints) -> NDArray[Number]:
    """`values[place]`, anything where there is no such place."""
    return values[np.clip(place, 0, values.size - 1)] if values.size else np.zeros(place.size, dtype=values.dtype)
