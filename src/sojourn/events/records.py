"""What the rooms hand over: one subject's record, and what a build did."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

CodeArray = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]


class Subject(NamedTuple):
    """The record of one subject, or a window of it; N timed events, S static ones.

    Times count from `origin`, the first timed event that is not a birth. Events are in time order; those of one
    instant are ordered by (code, value). The arrays are read-only views of the memory-mapped store.
    """

    subject_id: int
    """Identifier in the data set that it came from."""
    site: str
    """Where the subject was seen (the first site, if there are several)."""
    origin: np.datetime64
    """Time of second 0, datetime64[us]."""
    birth_s: float
    """Seconds from origin to birth, usually negative; NaN: unknown."""
    follow_up_s: float
    """Outcomes are known until this many seconds; inf if the record ends with a terminal event."""
    static_code: CodeArray
    """[S] store code of the facts without a time."""
    static_value: npt.NDArray[np.float32]
    """[S] their values, NaN: none."""
    code: CodeArray
    """[N] store code: row of the store's vocabulary."""
    value: npt.NDArray[np.float32]
    """[N] value in the unit of the vocabulary; NaN: none."""
    seconds: npt.NDArray[np.uint32]
    """[N] whole seconds since origin, non-decreasing."""


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What `build_store` did; every row of the data sets is in exactly one of the counts."""

    store: str
    """Where the store is."""
    datasets: tuple[str, ...]
    """Names of the data sets in it."""
    num_subjects: int
    """Subjects in the store."""
    num_events: int
    """Timed events in the store, derived ones included."""
    num_static: int
    """Static facts in the store."""
    num_codes: int
    """Rows of the vocabulary."""
    num_shards: int
    """Shard folders."""
    rows: dict[str, int]
    """Rows read, by what became of them: see `ACCOUNTS`."""
    quarantined: dict[str, int]
    """Rows set aside, by reason."""
    notes: dict[str, int]
    """Things worth knowing that lose no row (see `NOTES`)."""
    subjects_without_time: int
    """Subjects without any timed event: counted, not stored."""
    bytes_per_event: float
    """Size of the event arrays on disk per timed event."""
    already_built: bool = False
    """The store was there already, made from the same input."""


ACCOUNTS = ("events", "static", "births", "quarantined", "of_subjects_without_time")
"""Every row read is in exactly one of these."""

NOTES = (
    "derived_events",
    "values_hidden",
    "values_implausible",
    "values_unit_changed",
    "values_unit_refused",
    "subjects_out_of_order",
    "subjects_of_several_sites",
    "splits_assigned",
)
"""Derived target-only events; values flagged implausible by their source, and values outside the limits of their
concept, neither of which is shown; values converted from another unit than the code's, and values left under their
local code because their unit could not be told (see `sojourn.events.units`); subjects whose rows were not in time order
(they are sorted); subjects with more than one site (the first counts); subjects without a split in the data set's own
table (a hash of the id decides)."""
