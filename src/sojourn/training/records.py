"""Subjects of a store as flat arrays in the network's terms: model codes, instants, previous values.

Everything is computed for many subjects at once with sorts and searches, never in a loop over events.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sojourn.events.records import Subject
from sojourn.events.splits import splitmix64
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

_DAY_S, _YEAR_S = 86400, 31557600.0


class EventTable(NamedTuple):
    """E events in the order subject, time, code, value."""

    subject: Ints
    """(E,) place of the subject among those read."""
    seconds: Ints
    """(E,) since the subject's origin."""
    code: Ints
    """(E,) index in the model's vocabulary."""
    value: Floats
    """(E,) in the code's own unit; NaN for none."""

    def take(self, index: Ints | Bools) -> "EventTable":
        """The chosen events."""
        return EventTable(self.subject[index], self.seconds[index], self.code[index], self.value[index])


class TimeIndex:
    """Finds events of a (subject, code) by time: binary search in one sorted array of integers."""

    def __init__(self, events: EventTable, num_codes: int) -> None:
        self._num_codes = num_codes
        key = self._key(events.subject, events.code, events.seconds)
        self.order = np.argsort(key, kind="stable")
        self._sorted = key[self.order]

    def _key(self, subject: Ints, code: Ints, seconds: Ints) -> Ints:
        return ((subject * self._num_codes + code) << 32) + seconds

    def first_times(self) -> tuple[Ints, Ints]:
        """Subject and seconds of the first event of every code that a subject has, in the order of subjects."""
        pair = self._sorted >> 32
        first = self._sorted[np.diff(pair, prepend=-1) != 0]
        return (first >> 32) // self._num_codes, first & (2**32 - 1)

    def last_before(self, subject: Ints, code: Ints, seconds: Ints) -> Ints:
        """Index of the last event of the code strictly before `seconds`; -1 for none."""
        return self._find(subject, code, seconds, np.searchsorted(self._sorted, self._key(subject, code, seconds)) - 1)

    def first_after(self, subject: Ints, code: Ints, seconds: Ints) -> Ints:
        """Index of the first event of the code strictly after `seconds`; -1 for none."""
        place = np.searchsorted(self._sorted, self._key(subject, code, seconds), side="right")
        return self._find(subject, code, seconds, place)

    def _find(self, subject: Ints, code: Ints, seconds: Ints, place: Ints) -> Ints:
        if not len(self._sorted):
            return np.full(place.shape, -1)
        inside = np.clip(place, 0, len(self._sorted) - 1)
        is_same = (self._sorted[inside] >> 32) == (self._key(subject, code, seconds) >> 32)
        return np.where(is_same & (place == inside), self.order[inside], -1)


class Records(NamedTuple):
    """Several subjects, ready to be cut into windows."""

    rows: Ints
    """(S,) rows of the subjects in the store."""
    site: Ints
    """(S,) site index of the run; 0 unknown."""
    tick: Floats
    """(S,) seconds between two times that the source can tell apart."""
    clock: Ints
    """(S,) seconds since midnight at the subject's origin."""
    birth: npt.NDArray[np.float64]
    """(S,) seconds from the origin to birth; NaN unknown."""
    follow_up: npt.NDArray[np.float64]
    """(S,) seconds up to which outcomes are known; inf after a terminal event."""
    static: EventTable
    """Static events (seconds = 0)."""
    events: EventTable
    """What the history shows: no target-only codes."""
    hidden: EventTable
    """What thinning hid."""
    all_events: EventTable
    """Everything that happened, target-only codes too: what queries ask for."""
    history_index: TimeIndex
    outcome_index: TimeIndex
    previous_value: Floats
    """(E,) last value of the same code at an earlier instant; NaN for none."""
    previous_delay: Floats
    """(E,) seconds since the same code was last recorded; NaN for never."""
    previous_interval: Floats
    """(E,) seconds between that record and the one before it; NaN for none."""
    times_left: Floats
    """(E,) how many more times the code came at that instant than so far at this one; NaN for never."""
    instant: Ints
    """(E,) instant of each event, counted over all subjects."""
    rank: Ints
    """(E,) place of the event in its instant."""
    instant_subject: Ints
    """(K,)"""
    instant_time: Ints
    """(K,) seconds since the subject's origin."""
    may_end: Bools
    """(K,) whether the instant holds a terminal code: death or discharge."""
    event_start: Ints
    """(K + 1,) where the events of each instant start."""
    subject_start: Ints
    """(S + 1,) where the instants of each subject start."""
    is_thinned: Bools
    """(S,) whether events of the subject were hidden at random."""

    def past(self, subject: int, seconds: int) -> EventTable:
        """What the history of one subject shows up to a moment, the moment included."""
        return self.events.take((self.events.subject == subject) & (self.events.seconds <= seconds))


class RecordReader:
    """Reads subjects of one store in the terms of one model vocabulary.

    Parameters
    ----------
    store : the open store.
    vocabulary : the model's vocabulary; codes that it does not know become ``//unknown`` of their parent.
    sites : names of the sites that the run knows; the i-th has index i + 1, all others 0.
    read_as : (V,) the code as which events of each are read, -1 to leave them out; by default itself.
    """

    def __init__(
        self, store: EventStore, vocabulary: ModelVocabulary, sites: Sequence[str], read_as: Ints | None = None
    ) -> None:
        self.store, self.vocabulary = store, vocabulary
        self.translation = vocabulary.translate(store)
        self._code = np.asarray(self.translation.index, dtype=np.int64)
        self.num_codes = len(vocabulary)
        self._is_target_only = vocabulary.table["target_only"].to_numpy()
        self._is_terminal = vocabulary.table["terminal"].to_numpy()
        self._is_store_target = store.vocabulary["target_only"].to_numpy()
        site_index = {name: i + 1 for i, name in enumerate(sites)}
        self._site = np.array([site_index.get(name, 0) for name in store.subjects["site"]], dtype=np.int64)
        nearest = vocabulary.table["unknown"].to_numpy().astype(np.int64)
        names = [code.split("//")[0] + "//unknown" for code in vocabulary.table["code"]]
        furthest = np.array([vocabulary.index.get(name, 0) for name in names], dtype=np.int64)
        self._unknown = np.stack([nearest, furthest])
        self._tick = store.subjects["time_tick_s"].to_numpy().astype(np.float32)
        # What training knew as a static fact, and this store records at a time, is an unknown code of its level here.
        is_static = vocabulary.table["is_static"].to_numpy()
        self._timed_code = np.where(is_static[self._code], nearest[self._code], self._code)
        if read_as is not None:
            self._timed_code = read_as[self._timed_code]
        self._leaves_out = bool((self._timed_code < 0).any())

    def read(
        self,
        rows: Ints,
        *,
        rng: np.random.Generator | None = None,
        thin_share: float = 0.0,
        unknown_share: float = 0.0,
    ) -> Records:
        """Read subjects.

        Parameters
        ----------
        rows : rows of the subjects in the store.
        rng : source of what is changed at random; without it nothing is.
        thin_share : share of the subjects whose events are hidden at random rates per code.
        unknown_share : share of (subject, code) pairs whose code becomes the `//unknown` of its parent.
        """
        subjects = [self.subject(int(row)) for row in rows]
        count = [len(s.code) for s in subjects]
        store_code = _concatenate([s.code for s in subjects], np.int64)
        events = EventTable(
            np.repeat(np.arange(len(rows)), count),
            _concatenate([s.seconds for s in subjects], np.int64),
            self._timed_code[store_code],
            _concatenate([s.value for s in subjects], np.float32),
        )
        if self._leaves_out:
            is_read = events.code >= 0
            events, store_code = events.take(is_read), store_code[is_read]
        everything = events
        if rng is not None and unknown_share > 0:
            events = events._replace(code=self._forget(events, rng, unknown_share))
            # A code that is forgotten in the history comes all the same, and so does the unknown one in its place.
            everything = _together(everything, events.take(events.code != everything.code))
        is_target = self._is_store_target[store_code] | self._is_target_only[events.code]
        is_thinned, is_hidden = _thin(events, len(rows), self.num_codes, rng, thin_share)
        shown = _canonical(events.take(~is_target & ~is_hidden), self.num_codes)
        static_code = _concatenate([s.static_code for s in subjects], np.int64)
        static_subject = np.repeat(np.arange(len(rows)), [len(s.static_code) for s in subjects])
        static = EventTable(
            static_subject,
            np.zeros(len(static_code), np.int64),
            self._code[static_code],
            _concatenate([s.static_value for s in subjects], np.float32),
        )
        origin = np.array([s.origin for s in subjects], dtype="datetime64[s]").astype(np.int64)
        return _assemble(
            rows=np.asarray(rows, dtype=np.int64),
            site=np.where(is_thinned, 0, self._site[rows]),
            tick=self._tick[rows],
            clock=origin % _DAY_S,
            birth=np.array([s.birth_s for s in subjects], dtype=np.float64),
            follow_up=np.array([s.follow_up_s for s in subjects], dtype=np.float64),
            static=_canonical(static, self.num_codes),
            events=shown,
            hidden=events.take(~is_target & is_hidden & ~np.isnan(events.value)),
            all_events=everything,
            is_thinned=is_thinned,
            num_codes=self.num_codes,
            is_terminal=self._is_terminal,
        )

    def subject(self, row: int) -> Subject:
        """What the store holds of one subject, or as much of it as may be used."""
        return self.store.subject(row)

    def _forget(self, events: EventTable, rng: np.random.Generator, share: float) -> Ints:
        """Codes with a random share of the (subject, code) pairs replaced by the `//unknown` of a level above.

        A new hospital's code may share all levels but the last with a known one, or only the first.
        """
        drawn = _drawn(events.subject * self.num_codes + events.code, rng)
        is_forgotten = (drawn < share) & ~self._is_target_only[events.code]
        return np.where(is_forgotten, self._unknown[(drawn < share / 2).astype(int), events.code], events.code)


def age_years(records: Records, subject: Ints, seconds: npt.NDArray[np.float64]) -> Floats:
    """Age at times of subjects, in years; NaN unknown."""
    return ((seconds - records.birth[subject]) / _YEAR_S).astype(np.float32)


def _concatenate(parts: list[Any], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    return np.concatenate(parts).astype(dtype) if parts else np.empty(0, dtype)


def _canonical(events: EventTable, num_codes: int) -> EventTable:
    """Sort by subject, time, code, value (no value last): the one order in which an instant is decoded."""
    key = ((events.subject << 32) + events.seconds) * num_codes + events.code
    order = np.argsort(key, kind="stable")  # fast where most is in order, as a store's events are
    key = key[order]
    is_as_before = np.zeros(len(key) + 1, dtype=bool)
    is_as_before[1:-1] = key[1:] == key[:-1]
    tied = np.flatnonzero(is_as_before[1:] | is_as_before[:-1])
    order[tied] = order[tied][np.lexsort((events.value[order[tied]], key[tied]))]
    return events.take(order)


def _drawn(key: Ints, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A number from 0 to 1 for each key, the same for equal ones: by hashing, which takes a tenth of sorting them."""
    salted = key.astype(np.uint64) ^ rng.integers(2**63, dtype=np.uint64)
    uniform: npt.NDArray[np.float64] = (splitmix64(salted) >> np.uint64(11)).astype(np.float64) / 2**53
    return uniform


def _thin(
    events: EventTable, num_subjects: int, num_codes: int, rng: np.random.Generator | None, share: float
) -> tuple[Bools, Bools]:
    """Choose subjects, then for each of them and each code a rate at which its events are hidden."""
    is_thinned = np.zeros(num_subjects, dtype=bool)
    if rng is None or share <= 0:
        return is_thinned, np.zeros(len(events.code), dtype=bool)
    is_thinned = rng.random(num_subjects) < share
    # Half of the codes are shown whole, the others at rates of their own.
    hide_rate = np.maximum(2 * _drawn(events.subject * num_codes + events.code, rng) - 1, 0.0)
    is_hidden = (rng.random(len(events.code)) < hide_rate) & is_thinned[events.subject]
    return is_thinned, is_hidden & ~np.isnan(events.value)


def _together(one: EventTable, other: EventTable) -> EventTable:
    return EventTable(*(np.concatenate([a, b]) for a, b in zip(one, other, strict=True)))  # type: ignore[type-var]


def _assemble(
    *,
    num_codes: int,
    is_terminal: Bools,
    events: EventTable,
    all_events: EventTable,
    rows: Ints,
    **parts: object,
) -> Records:
    """Index the events: instants, ranks, and the previous record of each code."""
    history_index, outcome_index = TimeIndex(events, num_codes), TimeIndex(all_events, num_codes)
    previous = history_index.last_before(events.subject, events.code, events.seconds)
    has_previous = previous >= 0
    delay = np.where(has_previous, events.seconds - events.seconds[previous], np.nan) if len(previous) else previous
    value = np.where(has_previous, events.value[previous], np.nan) if len(previous) else previous
    interval = np.where(has_previous, delay[previous], np.nan) if len(previous) else previous
    place = _place_among_equals(events)
    left = np.where(has_previous, place[previous] - place, np.nan) if len(previous) else previous
    is_new = np.ones(len(events.code), dtype=bool)
    is_new[1:] = (np.diff(events.subject) != 0) | (np.diff(events.seconds) != 0)
    start = np.flatnonzero(is_new)
    instant = np.cumsum(is_new) - 1
    instant_subject = events.subject[start]
    may_end = np.zeros(len(start), dtype=bool)
    may_end[instant[is_terminal[events.code]]] = True
    return Records(
        rows=rows,
        events=events,
        all_events=all_events,
        history_index=history_index,
        outcome_index=outcome_index,
        previous_value=value.astype(np.float32),
        previous_delay=delay.astype(np.float32),
        previous_interval=interval.astype(np.float32),
        times_left=left.astype(np.float32),
        instant=instant,
        rank=np.arange(len(instant)) - start[instant] if len(start) else instant,
        instant_subject=instant_subject,
        instant_time=events.seconds[start],
        may_end=may_end,
        event_start=np.append(start, len(instant)),
        subject_start=np.searchsorted(instant_subject, np.arange(len(rows) + 1)),
        **parts,  # type: ignore[arg-type]
    )


def _place_among_equals(events: EventTable) -> Ints:
    """Place of each event among those of its code in its instant; events lie in canonical order."""
    is_new = np.ones(len(events.code), dtype=bool)
    is_new[1:] = (np.diff(events.subject) != 0) | (np.diff(events.seconds) != 0) | (np.diff(events.code) != 0)
    start = np.flatnonzero(is_new)
    return np.arange(len(is_new)) - start[np.cumsum(is_new) - 1] if len(start) else start
