"""Events in the one order that the store allows: subject, second, code, value."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

_BLOCK = 1 << 14
"""Rows that are sorted at once: their keys stay in the cache, and few bits number their instants."""
_MOST_CODE_BITS = 64 - 32 - _BLOCK.bit_length()
"""A key holds the instant's number in its block, the code, and the 32 bits of the value."""
_SIGN = np.uint32(0x80000000)


class Events(NamedTuple):
    """Timed events of many subjects; all arrays have shape [N]."""

    subject: npt.NDArray[np.integer[Any]]
    """Ordinal of the subject in the piece, non-decreasing once sorted."""
    seconds: npt.NDArray[np.integer[Any]]
    """Whole seconds since the subject's origin, below 2**32."""
    code: npt.NDArray[np.uint32]
    """Local code; its order is the order of the names."""
    value: npt.NDArray[np.float32]
    """NaN: none."""

    def take(self, index: npt.NDArray[Any]) -> "Events":
        """The events that a mask or an index array selects."""
        return Events(*(array[index] for array in self))

    def moments(self) -> Ints:
        """[N] one number for subject and second, in their order."""
        moment = self.subject.astype(np.int64)
        moment <<= 32
        moment |= self.seconds
        return moment


def ordered_bits(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint32]:
    """Bits whose order as unsigned integers is the order of the floats; NaN of positive sign is last.

    Examples
    --------
    >>> bits = ordered_bits(np.array([-2, -1, 0, 3, np.nan], np.float32))
    >>> bool((bits[1:] > bits[:-1]).all()), from_ordered_bits(bits).tolist()
    (True, [-2.0, -1.0, 0.0, 3.0, nan])
    """
    bits = values.view(np.uint32)
    # The sign bit flips, and with it all other bits of a negative number.
    flip = (bits.view(np.int32) >> np.int32(31)).view(np.uint32)
    flip |= _SIGN
    flip ^= bits
    return flip


def from_ordered_bits(bits: npt.NDArray[np.uint32]) -> npt.NDArray[np.float32]:
    """The floats that `ordered_bits` was given."""
    flip = (~bits.view(np.int32) >> np.int32(31)).view(np.uint32)
    flip |= _SIGN
    flip ^= bits
    return flip.view(np.float32)


def sort_moments(events: Events) -> Events:
    """Sort by (subject, second) alone; events that are in order already, as MEDS wants them, only cost a look."""
    moment = events.moments()
    if (moment[1:] < moment[:-1]).any():
        return events.take(np.argsort(moment, kind="stable"))
    return events


def sort_events(events: Events) -> Events:
    """Sort by (subject, second, code, value), no value last; input that is almost in order is cheap.

    Examples
    --------
    >>> events = Events(np.array([0, 0]), np.array([5, 5]), np.array([2, 1], np.uint32), np.array([1, 2], np.float32))
    >>> sort_events(events).code.tolist()
    [1, 2]
    """
    events = sort_moments(events)
    is_first = first_of_run(events.subject, events.seconds)
    code_bits = np.uint64(max(int(events.code.max(initial=0)).bit_length(), 1))
    if code_bits > _MOST_CODE_BITS:
        return events.take(np.lexsort((events.value, events.code, np.cumsum(is_first))))
    code, value = events.code.copy(), events.value.copy()
    value[np.isnan(value)] = np.nan  # a NaN of negative sign would sort first
    for begin, end in _blocks(is_first):
        if end - begin > 1:
            _sort_block(is_first[begin:end], code[begin:end], value[begin:end], code_bits)
    return events._replace(code=code, value=value)


def _blocks(is_first: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Runs of whole instants, of about `_BLOCK` rows each."""
    begin, size = 0, len(is_first)
    while begin < size:
        end = min(begin + _BLOCK, size)
        # An instant that reaches over the end belongs to this block.
        while end < size and not is_first[end]:
            ahead = is_first[end : end + _BLOCK]
            end += int(np.argmax(ahead)) if ahead.any() else len(ahead)
        yield begin, end
        begin = end


def _sort_block(
    is_first: npt.NDArray[np.bool_],
    code: npt.NDArray[np.uint32],
    value: npt.NDArray[np.float32],
    code_bits: np.uint64,
) -> None:
    """Sort code and value inside each instant, in place; subject and second do not move."""
    key = np.cumsum(is_first, dtype=np.uint64)
    key <<= code_bits
    key |= code
    key <<= np.uint64(32)
    key |= ordered_bits(value)
    if (key[1:] < key[:-1]).any():
        # Timsort: the instants are in order already, so its runs hardly need merging.
        key.sort(kind="stable")
        value[:] = from_ordered_bits(key.astype(np.uint32))
        key >>= np.uint64(32)
        code[:] = key & ((np.uint64(1) << code_bits) - np.uint64(1))


def insert_events(events: Events, more: Events) -> Events:
    """Put a few events into those sorted by (subject, second), behind those of the same instant.

    Examples
    --------
    >>> one = Events(np.array([0, 0]), np.array([0, 5]), np.array([2, 1], np.uint32), np.array([1, 2], np.float32))
    >>> insert_events(one, one).seconds.tolist()
    [0, 0, 5, 5]
    """
    if not len(more.code):
        return events
    more = sort_moments(more)
    place = np.searchsorted(events.moments(), more.moments(), side="right")
    pairs: Any = zip(events, more, strict=True)
    return Events(*(np.insert(old, place, new) for old, new in pairs))


def first_of_run(*columns: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Mask of the rows where any column differs from the row before (the first row always does)."""
    size = len(columns[0])
    mask = np.zeros(size, np.bool_)
    mask[:1] = True
    for column in columns:
        mask[1:] |= column[1:] != column[:-1]
    return mask
