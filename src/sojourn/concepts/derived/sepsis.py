"""Sepsis-3: suspected infection with a rise of SOFA, as an outcome."""

from dataclasses import dataclass, field

import numpy as np

from sojourn.concepts.derived.axis import HOUR, Ints, distinct
from sojourn.concepts.derived.infection import RECORDED as RECORDED_INFECTION
from sojourn.concepts.derived.infection import InfectionSettings, infection_onsets
from sojourn.concepts.derived.record import Mask, Record
from sojourn.concepts.derived.sofa import Sofa, full_hours, score
from sojourn.concepts.derived.sofa_settings import SofaSettings
from sojourn.concepts.derived.stays import Stays
from sojourn.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class SepsisSettings:
    """Suspected infection, the window around it, and the rise of SOFA in it."""

    infection: InfectionSettings = field(default_factory=InfectionSettings)
    sofa: SofaSettings = field(default_factory=SofaSettings)
    before_hours: float = 48
    after_hours: float = 24
    rise: int = 2

    def __post_init__(self) -> None:
        if min(self.before_hours, self.after_hours) < 0 or not 1 <= self.rise <= 24:
            msg = f"before_hours and after_hours must not be negative, rise from 1 to 24; got {self}."
            raise ConfigError(msg)


RECORDED = SepsisSettings(infection=RECORDED_INFECTION, sofa=SofaSettings(fio2_fallback="room_air_always"))
"""As the YAIB cohorts have it, as far as that goes."""

_NONE = -(10**6)


def sepsis_onset(record: Record, settings: SepsisSettings | None = None, *, found: Sofa | None = None) -> Ints:
    """Onset of Sepsis-3 in each stay that has one: the first rise of SOFA around its first suspected infection.

    Notes
    -----
    Looked at are the `before_hours` before to the `after_hours` after the first suspicion, as far as they lie in the
    stay. Two things keep the onset from depending on when somebody first measured: a component that is observed for the
    first time is taken to have been so since admission, and one that nobody observed for a day keeps its last points.
    Where the window reaches back to admission the score before is taken as 0 (Singer et al.: a baseline that is not
    known), so a patient who comes with two points or more has the onset at admission. Else the rise is that over the
    lowest score in the window so far.

    References
    ----------
    Singer M, et al. The third international consensus definitions for sepsis and septic shock (Sepsis-3). JAMA
    2016;315:801-810. Seymour CW, et al. JAMA 2016;315:762-774.
    """
    settings = settings or SepsisSettings()
    found = score(record, settings.sofa) if found is None else found
    stays, first = _suspected(record, found.stays, settings)
    lower = np.maximum(first - round(settings.before_hours * HOUR), stays.begin)
    upper = np.minimum(first + round(settings.after_hours * HOUR), stays.end)
    changes = (organ.place for organ in found.organs.values())
    stay, places = _pairs(stays, distinct(np.concatenate([stays.begin, lower, *changes])))
    total = sum((_held(organ.at(places), stay) for organ in found.organs.values()), np.zeros(len(places), np.int64))
    is_inside = (places >= lower[stay]) & (places <= upper[stay])
    stay, places, total = stay[is_inside], places[is_inside], total[is_inside]
    baseline = _running_min(total, stay)
    baseline[(lower <= stays.begin)[stay]] = 0
    return _first(places, stay, total - baseline >= settings.rise)


def recorded_onset(record: Record, settings: SepsisSettings = RECORDED, *, found: Sofa | None = None) -> Ints:
    """Onset of Sepsis-3 by the rule of YAIB and ricu, on the hourly grid.

    The score of an hour is the worst of the 24 hours that end with it, with 0 for what is not observed; its rise is
    that over the lowest hour of the window so far. So the first measurements of a stay are rises as well.

    References
    ----------
    Bennett N, et al. ricu: R's interface to intensive care data. GigaScience 2023;12:giad041 (`sep3`).
    """
    found = score(record, settings.sofa) if found is None else found
    stays, first = _suspected(record, found.stays, settings)
    hours = full_hours(stays)
    stay = np.repeat(np.arange(len(stays.begin)), (stays.end - stays.begin) // HOUR + 1)
    suspected = (first - stays.begin) // HOUR
    hour = (hours - stays.begin[stay]) // HOUR
    is_inside = (hour >= suspected[stay] - settings.before_hours) & (hour <= suspected[stay] + settings.after_hours)
    stay, hours = stay[is_inside], hours[is_inside]
    total = np.maximum(found.at(np.minimum(hours + HOUR - 1, stays.end[stay])), 0).sum(axis=0)
    return _first(hours, stay, total - _running_min(total, stay) >= settings.rise)


def _suspected(record: Record, stays: Stays, settings: SepsisSettings) -> tuple[Stays, Ints]:
    """The stays with a suspected infection, and the first of each."""
    onsets = infection_onsets(record, stays, settings.infection)
    index = np.searchsorted(onsets, stays.since)
    first = np.append(onsets, np.iinfo(np.int64).max)[index]
    has_any = first <= stays.end
    return Stays(*(side[has_any] for side in stays)), first[has_any]


def _pairs(stays: Stays, places: Ints) -> tuple[Ints, Ints]:
    """Of sorted places, those in each stay, with the stay's index."""
    begin, end = np.searchsorted(places, stays.begin), np.searchsorted(places, stays.end, side="right")
    counts = end - begin
    index = np.repeat(begin - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    return np.repeat(np.arange(len(counts)), counts), places[index]


def _held(level: Ints, stay: Ints) -> Ints:
    """Points of a component with unobserved stretches filled: the last before, else the first after, else 0."""
    if not len(level):
        return level
    index = np.arange(len(level))
    is_seen = level >= 0
    starts = np.append(True, stay[1:] != stay[:-1])
    begin = np.maximum.accumulate(np.where(starts, index, 0))
    before = np.maximum.accumulate(np.where(is_seen, index, -1))
    after = np.minimum.accumulate(np.where(is_seen, index, len(index))[::-1])[::-1]
    chosen = np.where(before >= begin, before, after)
    inside = np.minimum(chosen, len(level) - 1)
    is_own = (chosen < len(level)) & (stay[inside] == stay)
    return np.where(is_own, level[inside], 0)


def _running_min(total: Ints, stay: Ints) -> Ints:
    """The lowest so far in each stay; stays are in order."""
    return np.minimum.accumulate(total - 100 * stay) + 100 * stay if len(total) else total


def _first(places: Ints, stay: Ints, is_met: Mask) -> Ints:
    """The first place of each stay where a condition is met."""
    _, index = np.unique(stay[is_met], return_index=True)
    return distinct(places[is_met][index])
