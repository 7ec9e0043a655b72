"""Urine: from volumes charted now and then to a rate, and to means over windows that are wholly covered."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from sojourn.concepts.derived.axis import HOUR, Ints
from sojourn.concepts.derived.record import Floats, Record, gather, limits, read_record
from sojourn.concepts.derived.stays import ROOTS, find_stays
from sojourn.concepts.derived.steps import latest
from sojourn.errors import ConfigError

CODE = "DERIVED//urine_rate"
URINE = ("CONCEPT//urine_output", "CONCEPT//urine_irrigant_out", "CONCEPT//urine_irrigant_in")


@dataclass(frozen=True, slots=True, kw_only=True)
class UrineSettings:
    """How a charted volume is spread over time."""

    max_gap_hours: float = 12
    """A volume is spread over so long at most. What lies further back is not covered: nobody knows whether nothing
    was passed or nothing charted. Spreading over less than the whole gap can hide a low rate but never invent one."""
    first_minutes: float = 30
    """A first volume charted sooner after admission than this was mostly passed before; it is left out."""
    shortest_minutes: float = 10
    """Two chartings closer than this say nothing of a rate; the volume of the second still counts in means."""

    def __post_init__(self) -> None:
        if self.max_gap_hours <= 0 or min(self.first_minutes, self.shortest_minutes) < 0:
            msg = f"max_gap_hours must be positive and the minutes not negative; got {self}."
            raise ConfigError(msg)


class Collections(NamedTuple):
    """What was charted, in order; a volume is what was passed in `(begin, end]`. All arrays have shape [N]."""

    begin: Ints
    end: Ints
    """Place of the charting."""
    volume: Floats
    """mL"""
    weight: Floats
    """kg, the last known at `end`; NaN for none."""

    def rates(self) -> Floats:
        """mL/kg/h; NaN without a weight."""
        rate: Floats = self.volume / ((self.end - self.begin) / HOUR) / self.weight
        return rate

    def holding(self, places: Ints) -> Ints:
        """Index of the collection in which each place lies (or of the next)."""
        return np.searchsorted(self.end, places, side="left")

    def volume_until(self, places: Ints) -> Floats:
        """mL passed from the begin of the axis until each place, in covered time."""
        return _cumulative(self, self.volume, places)

    def covered_until(self, places: Ints) -> Floats:
        """Covered seconds from the begin of the axis until each place; exact."""
        return _cumulative(self, (self.end - self.begin).astype(np.float64), places)


def _cumulative(found: Collections, amount: Floats, places: Ints) -> Floats:
    """A sum over collections that grows evenly inside each."""
    if not len(amount):
        return np.zeros(len(places))
    total = np.cumsum(amount)
    corners = np.column_stack([found.begin, found.end]).ravel()
    heights = np.column_stack([total - amount, total]).ravel()
    # Of corners at one place (an end that is the next begin) one is enough.
    kept = np.append(True, corners[1:] > corners[:-1])
    heights_there: Floats = np.interp(places, corners[kept], heights[kept])
    return heights_there


def find_collections(record: Record, settings: UrineSettings) -> Collections:
    """Collections of all subjects: each reaches back to the charting before, in a stay at most to its admission.

    Volumes at one time are added up. Irrigant and urine drained together (`urine_irrigant_out`) count as well, and the
    irrigant that was put into the bladder since the charting before (`urine_irrigant_in`) is taken off.
    A charting without a plausible volume ends a collection whose volume nobody knows: it is left out, as is the first
    volume outside a stay, which reaches back to nothing known.
    """
    end, volume = _volumes(record)
    if not len(end):
        return Collections(end, end, volume, volume)
    subject = record.axis.subjects(end)
    has_before = np.append(False, subject[1:] == subject[:-1])
    before = np.append(0, end[:-1])
    begin = np.where(has_before, before, end)
    first = 0 * end
    stays = find_stays(record)
    if len(stays.begin):
        stay = np.maximum(np.searchsorted(stays.begin, end, side="left") - 1, 0)
        admitted = stays.begin[stay]
        is_first = (admitted < end) & (end <= stays.end[stay]) & (~has_before | (before < admitted))
        begin = np.where(is_first, admitted, begin)
        first = np.where(is_first, round(settings.first_minutes * 60), 0)
    begin = np.maximum(begin, end - round(settings.max_gap_hours * HOUR))
    kept = (end - begin > first) & np.isfinite(volume)
    weight = latest(record.values("weight"), end)
    return Collections(begin[kept], end[kept], volume[kept], weight[kept])


def _volumes(record: Record) -> tuple[Ints, Floats]:
    """Places of chartings and the net volume of each, NaN where one of its volumes is not plausible."""
    charted = record.rows(*URINE[:2])
    end, index = np.unique(charted.place, return_inverse=True)
    lower, upper = limits("urine_output")
    is_plausible = (charted.value >= lower) & (charted.value <= upper)
    volume = np.bincount(index, np.where(is_plausible, charted.value, np.nan), minlength=len(end))
    put_in = record.values("urine_irrigant_in")
    total_in = np.append(0.0, np.cumsum(put_in.value))
    until_now = total_in[np.searchsorted(put_in.place, end, side="right")]
    # Of a subject's first charting, what others were given before its record is no irrigant of its own.
    subject = record.axis.subjects(end)
    until_before = total_in[np.searchsorted(put_in.place, record.axis.place[subject])]
    has_before = np.flatnonzero(subject[1:] == subject[:-1])
    until_before[has_before + 1] = until_now[has_before]
    return end, np.maximum(volume - (until_now - until_before), 0.0)


def roots() -> tuple[str, ...]:
    """The codes that `urine_rate` reads."""
    return (*URINE, "CONCEPT//weight", *ROOTS)


def urine_rate(events: pl.DataFrame, settings: UrineSettings | None = None) -> pl.DataFrame:
    """The urine rate of each collection, when its volume was charted.

    Parameters
    ----------
    events : subject_id i64, time, code (after the mapping to concepts), numeric_value; whole subjects, in any order.

    Returns
    -------
    polars.DataFrame
        The same columns. `DERIVED//urine_rate` in mL/kg/h at each charting with a known weight: the volume over the
        time since the charting before (in a unit: since admission), but over `max_gap_hours` at most.

    Examples
    --------
    >>> from datetime import datetime
    >>> codes = ["CONCEPT//weight", "CONCEPT//urine_output", "CONCEPT//urine_output"]
    >>> events = pl.DataFrame({"subject_id": 1, "time": [datetime(2020, 1, 1, hour) for hour in (0, 2, 4)],
    ...                        "code": codes, "numeric_value": [80.0, 90.0, 120.0]})
    >>> urine_rate(events)["numeric_value"].to_list()
    [0.75]
    """
    return gather(urine_events(read_record(events, roots()), settings or UrineSettings()))


def urine_events(record: Record, settings: UrineSettings) -> list[pl.DataFrame]:
    """`urine_rate` of rows that are sorted already."""
    found = find_collections(record, settings)
    rates = found.rates()
    is_known = np.isfinite(rates) & (found.end - found.begin >= settings.shortest_minutes * 60)
    return [record.axis.events(found.end[is_known], CODE, rates[is_known])]
