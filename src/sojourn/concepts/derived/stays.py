"""Stays in intensive care: when they began and ended, and since when the record belongs to them."""

from typing import NamedTuple

import numpy as np

from sojourn.concepts.derived.axis import APART, Ints, distinct
from sojourn.concepts.derived.record import Record
from sojourn.concepts.derived.steps import Spans, following

ROOTS = ("ICU_ADMISSION", "ICU_DISCHARGE", "HOSPITAL_ADMISSION", "MEDS_DEATH")


class Stays(NamedTuple):
    """One entry per stay, in order; all arrays have shape [stays]."""

    begin: Ints
    end: Ints
    """Discharge, death, the next admission, or the subject's last row: nothing after it belongs to the stay."""
    since: Ints
    """Rows from here on belong to the stay: the hospital admission or the end of the stay before."""

    def spans(self) -> Spans:
        """The stays as spans that hold their last second."""
        return Spans.of(self.begin, self.end + 1)

    def first_in_each(self, places: Ints) -> Ints:
        """Of sorted places, the first in `[since, end]` of each stay that has one; in order of the stays."""
        if not len(places):
            return places
        index = np.searchsorted(places, self.since)
        first = places[np.minimum(index, len(places) - 1)]
        return first[(index < len(places)) & (first >= self.since) & (first <= self.end)]


def find_stays(record: Record) -> Stays:
    """The stays of all subjects; a subject without ``ICU_ADMISSION`` has none."""
    begin = distinct(record.rows("ICU_ADMISSION").place)
    left = distinct(record.rows("ICU_DISCHARGE", "MEDS_DEATH").place)
    last = record.last[record.axis.subjects(begin)]
    end = np.minimum(np.minimum(following(left, begin), following(begin, begin)), last)
    # The start of the hospital stay, the end of the last ICU stay, the first row: whichever is latest.
    first = record.axis.place[record.axis.subjects(begin)]
    admitted = distinct(record.rows("HOSPITAL_ADMISSION").place)
    before = np.append(-APART, admitted)[np.searchsorted(admitted, begin, side="right")]
    previous_end = np.append(-APART, end[:-1])[: len(end)]
    return Stays(begin, end, np.maximum(np.maximum(first, before), previous_end))
