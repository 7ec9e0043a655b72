"""Suspected infection: antibiotics and cultures that belong together."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from sojourn.concepts.derived import prescribed
from sojourn.concepts.derived.axis import APART, HOUR, Ints, distinct
from sojourn.concepts.derived.record import Record, gather, read_record
from sojourn.concepts.derived.stays import ROOTS, Stays
from sojourn.concepts.derived.steps import following
from sojourn.errors import ConfigError

CODE = "DERIVED//suspected_infection"
ANTIBIOTICS = ("CONCEPT//antibiotic//start",)
STOPS = ("CONCEPT//antibiotic//end",)
CULTURES = ("CULTURE_TAKEN", "CONCEPT//culture")
SCREENING = r"(?i)screen|viral load|serolog|immunolog"
"""Specimens that everybody gives on admission, or that look for no acute infection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InfectionSettings:
    """When antibiotics and cultures mean that somebody suspected an infection."""

    rule: Literal["both_where_cultured", "both", "antibiotic"] = "both_where_cultured"
    """`both`: antibiotics and a culture; `antibiotic`: continuous antibiotics alone, as YAIB has it for sources without
    cultures; `both_where_cultured`: `antibiotic` for subjects without any culture in their record, else `both`."""
    antibiotic_first_hours: float = 24
    """A culture counts up to so long after the antibiotic."""
    culture_first_hours: float = 72
    """An antibiotic counts up to so long after the culture."""
    continuous_hours: float = 72
    """An antibiotic counts as treatment if for so long after it ..."""
    max_gap_hours: float = 24
    """... no gap between antibiotics is longer than this."""
    until_discharge: bool = True
    """Antibiotics need only go on to the end of the stay in the unit, where many sources stop to record them; if false,
    only death ends the need, as in YAIB."""
    ignored_cultures: str | None = SCREENING
    """Codes of cultures that this pattern finds do not count."""
    ignored_antibiotics: str | None = None
    """Codes of antibiotics that this pattern finds do not count."""

    def __post_init__(self) -> None:
        hours = (self.antibiotic_first_hours, self.culture_first_hours, self.continuous_hours, self.max_gap_hours)
        if min(hours) < 0 or max(hours) > APART / HOUR or self.rule not in _RULES:
            msg = f"rule must be one of {', '.join(_RULES)} and hours between 0 and {APART // HOUR}; got {self}."
            raise ConfigError(msg)


_RULES = ("both_where_cultured", "both", "antibiotic")
RECORDED = InfectionSettings(until_discharge=False, ignored_cultures=None, ignored_antibiotics="//noted$")
"""As the YAIB cohorts have it: they read orders and infusions, and not what the care team notes of a treatment."""


def roots() -> tuple[str, ...]:
    """The codes that `suspected_infection` reads."""
    return (*ANTIBIOTICS, *STOPS, *CULTURES, *ROOTS, *prescribed.ENDS)


def suspected_infection(events: pl.DataFrame, settings: InfectionSettings | None = None) -> pl.DataFrame:
    """Where an antibiotic and a culture have come together, without knowing how long the antibiotics will go on.

    Parameters
    ----------
    events : subject_id i64, time, code (after the mapping to concepts), numeric_value; whole subjects, in any order.

    Returns
    -------
    polars.DataFrame
        The same columns. `DERIVED//suspected_infection` at the later of the two, once per pair of the first antibiotic
        and culture that meet; its value says how many hours ago the earlier one was.

    Notes
    -----
    The onset that Sepsis-3 takes needs to know that the antibiotics went on for three days. It is a part of the outcome
    `OUTCOME//sepsis3` and no input.

    References
    ----------
    Seymour CW, et al. Assessment of clinical criteria for sepsis. JAMA 2016;315:762-774.

    Examples
    --------
    >>> from datetime import datetime
    >>> codes = ["CULTURE_TAKEN//BLOOD CULTURE", "CONCEPT//antibiotic//start"]
    >>> events = pl.DataFrame({"subject_id": 1, "time": [datetime(2020, 1, 1, 3), datetime(2020, 1, 1, 8)],
    ...                        "code": codes, "numeric_value": [None, None]})
    >>> suspected_infection(events).select(pl.col("time").dt.hour(), "numeric_value").rows()
    [(8, 5.0)]
    """
    return gather(infection_events(read_record(events, roots()), settings or InfectionSettings()))


def infection_events(record: Record, settings: InfectionSettings) -> list[pl.DataFrame]:
    """`suspected_infection` of rows that are sorted already."""
    antibiotics = distinct(record.rows(*ANTIBIOTICS).place)
    cultures = distinct(record.rows(*CULTURES, ignore=settings.ignored_cultures).place)
    by_antibiotic = _back_to(cultures, antibiotics, settings.culture_first_hours)
    by_culture = _back_to(antibiotics, cultures, settings.antibiotic_first_hours)
    place = np.concatenate([antibiotics[by_antibiotic >= 0], cultures[by_culture >= 0]])
    earlier = np.concatenate([by_antibiotic[by_antibiotic >= 0], by_culture[by_culture >= 0]])
    # Of the places that have the same earlier partner, the first tells that the two have come together.
    order = np.lexsort((place, earlier))
    _, first = np.unique(earlier[order], return_index=True)
    place, earlier = place[order][first], earlier[order][first]
    return [record.axis.events(place, CODE, (place - earlier) / HOUR)]


def _back_to(marks: Ints, places: Ints, within_hours: float) -> Ints:
    """The first mark in the hours before each place (or at it), -1 for none."""
    index = np.searchsorted(marks, places - round(within_hours * HOUR))
    first = np.append(marks, np.iinfo(np.int64).max)[index]
    return np.where(first <= places, first, -1)


def infection_onsets(record: Record, stays: Stays, settings: InfectionSettings) -> Ints:
    """Onsets of suspected infection (the earlier of antibiotic and culture), in order.

    Only antibiotics that go on count, which takes knowledge of the next days: for outcomes.
    """
    antibiotics = _continuous(record, stays, settings)
    cultures = distinct(record.rows(*CULTURES, ignore=settings.ignored_cultures).place)
    if settings.rule == "antibiotic":
        return antibiotics
    culture_after = following(cultures, antibiotics - 1) - antibiotics <= settings.antibiotic_first_hours * HOUR
    treated_after = following(antibiotics, cultures - 1) - cultures <= settings.culture_first_hours * HOUR
    onsets = [antibiotics[culture_after], cultures[treated_after]]
    if settings.rule == "both_where_cultured":
        cultured = distinct(record.axis.subjects(distinct(record.rows(*CULTURES).place)))
        onsets.append(antibiotics[~np.isin(record.axis.subjects(antibiotics), cultured)])
    return distinct(np.concatenate(onsets))


def _continuous(record: Record, stays: Stays, settings: InfectionSettings) -> Ints:
    """Antibiotics after which none was missing for longer than a gap, until the treatment's time or the end."""
    places = distinct(record.rows(*ANTIBIOTICS, ignore=settings.ignored_antibiotics).place)
    if not len(places):
        return places
    death = distinct(record.rows("MEDS_DEATH").place)
    needed, gap = round(settings.continuous_hours * HOUR), round(settings.max_gap_hours * HOUR)
    # A drug was running up to its stop; an order runs in between as well.
    marks = distinct(np.concatenate([places, record.rows(*STOPS).place]))
    begin, end = prescribed.running(record, ANTIBIOTICS[0], STOPS[0], unstopped=needed)
    begin, end = np.concatenate([marks, begin]), np.concatenate([marks, end])
    order = np.argsort(begin, kind="stable")
    begin, so_far = begin[order], np.maximum.accumulate(end[order])
    is_last = np.append(begin[1:] - so_far[:-1] > gap, True)
    # The end of the chain of antibiotics in which each stands.
    chain = (np.cumsum(is_last) - is_last)[np.searchsorted(begin, places)]
    last = so_far[np.flatnonzero(is_last)[chain]]
    ends = np.union1d(death, stays.end) if settings.until_discharge else death
    treated: Ints = places[last >= np.minimum(places + needed, following(ends, places - 1)) - gap]
    return treated
