"""Events in the one order that the store allows: subject, second, code, value."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


class Events(NamedTuple):
    """Timed events of many subjects; all arrays have shape [N]."""

    subject: Ints
    """Ordinal of the subject in the piece, non-decreasing once sorted."""
    seconds: Ints
    """Whole seconds since the subject's origin."""
    code: npt.NDArray[np.uint32]
    """Local code; its order is the order of the names."""
    value: npt.NDArray[np.float32]
    """NaN: none."""

    def take(self, index: npt.NDArray[Any]) -> "Events":
        """The events that a mask or an index array selects."""
        return Events(*(array[index] for array in self))

    def join(self, other: "Events") -> "Events":
        """These events, then the others."""
        pairs: Any = zip(self, other, strict=True)
        return Events(*(np.concatenate(pair) for pair in pairs))


def sort_events(events: Events) -> Events:
    """Sort by (subject, second, code, value), no value last; input that is almost in order is cheap.

    Examples
    --------
    >>> events = Events(np.array([0, 0]), np.array([5, 5]), np.array([2, 1], np.uint32), np.array([1, 2], np.float32))
    >>> sort_events(events).code.tolist()
    [1, 2]
    """
    moment = events.subject << 32 | events.seconds
    if (moment[1:] < moment[:-1]).any():
        order = np.argsort(moment, kind="stable")
        events, moment = events.take(order), moment[order]
    bits = max(int(events.code.max(initial=0)).bit_length(), 1)
    key = np.cumsum(np.diff(moment, prepend=moment[:1]) != 0) << bits | events.code
    if (key[1:] < key[:-1]).any():
        order = np.argsort(key, kind="stable")
        events, key = events.take(order), key[order]
    return _sort_ties(events, key)


def _sort_ties(events: Events, key: Ints) -> Events:
    """Order by value the few events that share subject, second and code."""
    tie = key[1:] == key[:-1]
    # NaN sorts last: a pair is in order if the second has no value or is not less.
    if not (tie & ~np.isnan(events.value[1:]) & ~(events.value[:-1] <= events.value[1:])).any():
        return events
    place = np.flatnonzero(np.concatenate([[False], tie]) | np.concatenate([tie, [False]]))
    order = place[np.lexsort((events.value[place], key[place]))]
    value = events.value.copy()
    value[place] = events.value[order]
    return events._replace(value=value)


def first_of_run(*columns: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Mask of the rows where any column differs from the row before (the first row always does)."""
    size = len(columns[0])
    mask = np.zeros(size, np.bool_)
    mask[:1] = True
    for column in columns:
        mask[1:] |= column[1:] != column[:-1]
    return mask
