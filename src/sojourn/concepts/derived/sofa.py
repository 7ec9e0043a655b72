"""The SOFA score: worst of the trailing 24 h, with what nobody observed kept apart from what was normal."""

from typing import NamedTuple

import numpy as np
import polars as pl

from sojourn.concepts.derived.axis import HOUR, Ints, distinct
from sojourn.concepts.derived.record import Mask, Record, gather, read_record
from sojourn.concepts.derived.sofa_organs import ORGANS
from sojourn.concepts.derived.sofa_settings import SofaSettings
from sojourn.concepts.derived.stays import ROOTS, Stays, find_stays
from sojourn.concepts.derived.steps import Steps, worst
from sojourn.concepts.derived.urine import URINE
from sojourn.concepts.derived.ventilation import INVASIVE, NONINVASIVE

CODE = "DERIVED//sofa"
OBSERVED = "DERIVED//sofa_observed"

_VALUES = ("po2", "fio2", "platelets", "bilirubin_total", "map", "creatinine", "weight")
_COMA = ("gcs_total", "gcs_eye", "gcs_motor", "gcs_verbal")
_DRUGS = ("dobutamine", "dopamine", "epinephrine", "norepinephrine")


class Sofa(NamedTuple):
    """The components of all subjects as functions of place, and the stays in which they are told."""

    organs: dict[str, Steps]
    """Component -> points 0 to 4, -1 where nobody observed it in the last 24 h."""
    stays: Stays

    def at(self, places: Ints) -> Ints:
        """Points of each component at each place, -1 for unobserved; shape [components, places]."""
        return np.stack([organ.at(places) for organ in self.organs.values()])


def roots(settings: SofaSettings | None = None) -> tuple[str, ...]:
    """The codes that `sofa` reads."""
    settings = settings or SofaSettings()
    names = (*_VALUES, *_COMA, *(("spo2",) if settings.use_spo2 else ()))
    drugs = (f"CONCEPT//{drug}//{mark}" for drug in _DRUGS for mark in ("start", "end"))
    machines = (*INVASIVE.roots(), *NONINVASIVE.roots(), *(settings.rrt.roots() if settings.rrt_is_four else ()))
    return (*(f"CONCEPT//{name}" for name in names), *drugs, *machines, *URINE, *ROOTS)


def score(record: Record, settings: SofaSettings) -> Sofa:
    """Score all components of all subjects."""
    organs = {name: worst(spans(record, settings)) for name, spans in ORGANS.items()}
    return Sofa(organs, find_stays(record))


def sofa(events: pl.DataFrame, settings: SofaSettings | None = None) -> pl.DataFrame:
    """SOFA and its components during stays in intensive care, wherever one of them changes.

    Parameters
    ----------
    events : subject_id i64, time, code (after the mapping to concepts), numeric_value; whole subjects, in any order.

    Returns
    -------
    polars.DataFrame
        The same columns; each value holds until the next of its code. At time t the worst of (t - 24 h, t] counts,
        from before admission too.

        * `DERIVED//sofa//total` and `DERIVED//sofa//<component>`, the classic score: unobserved is 0;
        * `DERIVED//sofa_observed//<component>`: null from where nobody observed it in 24 h;
        * `DERIVED//sofa_observed//components`: how many of the six are observed;
        * `DERIVED//sofa_observed//total`: the sum of those. It is also the lowest that the score can be;
        * `DERIVED//sofa_observed//highest`: the highest, if each unobserved component were 4.

        Nothing is told before the first observation that counts in a stay.

    References
    ----------
    Vincent JL, et al. The SOFA score to describe organ dysfunction/failure. Intensive Care Med 1996;22:707-710.
    Pandharipande PP, et al. Derivation and validation of SpO2/FiO2 ratio to impute for PaO2/FiO2 ratio in the
    respiratory component of the SOFA score. Crit Care Med 2009;37:1317-1321.

    Examples
    --------
    >>> from datetime import datetime
    >>> codes = ["ICU_ADMISSION//MICU", "CONCEPT//platelets", "CONCEPT//creatinine"]
    >>> events = pl.DataFrame({"subject_id": 1, "time": [datetime(2020, 1, 1, hour) for hour in (0, 1, 2)],
    ...                        "code": codes, "numeric_value": [None, 90.0, 2.5]})
    >>> total = sofa(events).filter(pl.col("code") == "DERIVED//sofa//total")
    >>> total["numeric_value"].to_list()
    [2.0, 4.0]
    """
    settings = settings or SofaSettings()
    record = read_record(events, roots(settings))
    return gather(sofa_events(record, score(record, settings), settings))


def sofa_events(record: Record, found: Sofa, settings: SofaSettings) -> list[pl.DataFrame]:
    """`sofa` of components that are scored already."""
    stays = found.stays
    changes = np.concatenate([organ.place for organ in found.organs.values()])
    hours = full_hours(stays) if settings.every_hour else stays.begin[:0]
    places = distinct(np.concatenate([changes, stays.begin, hours]))
    places = places[stays.spans().covers(places) & record.is_told(places)]
    points = found.at(places)
    is_begun = _since_first(stays, places, points.max(axis=0, initial=-1) >= 0)
    places, points = places[is_begun], points[:, is_begun]
    # A value is told where it changes, at the first place of a stay, and at full hours.
    is_due = np.isin(places, hours) | _first_of_stay(stays, places)
    num_observed = (points >= 0).sum(axis=0)
    total = np.maximum(points, 0).sum(axis=0)
    told = [
        (f"{CODE}//total", total),
        (f"{OBSERVED}//components", num_observed),
        (f"{OBSERVED}//total", total),
        (f"{OBSERVED}//highest", total + 4 * (len(points) - num_observed)),
    ]
    for name, level in zip(found.organs, points, strict=True):
        told += [(f"{CODE}//{name}", np.maximum(level, 0)), (f"{OBSERVED}//{name}", np.where(level >= 0, level, -1))]
    tables = []
    for code, number in told:
        kept = is_due | (np.diff(number, prepend=-9) != 0)
        value = np.where(number >= 0, number, np.nan)[kept].astype(np.float64)
        tables.append(record.axis.events(places[kept], code, value))
    return tables


def _first_of_stay(stays: Stays, places: Ints) -> Mask:
    """Which of sorted places are the first in their stay."""
    stay = np.searchsorted(stays.begin, places, side="right")
    return np.append(True, stay[1:] != stay[:-1])[: len(stay)]


def _since_first(stays: Stays, places: Ints, is_seen: Mask) -> Mask:
    """Which of sorted places are at or after the first of their stay at which something is seen."""
    stay = np.searchsorted(stays.begin, places, side="right")
    last_seen = np.maximum.accumulate(np.where(is_seen, stay, 0)) if len(stay) else stay
    is_since: Mask = last_seen == stay
    return is_since


def full_hours(stays: Stays) -> Ints:
    """Every full hour since admission of all stays, from 0 to their end."""
    counts = (stays.end - stays.begin) // HOUR + 1
    first = np.repeat(np.cumsum(counts) - counts, counts)
    hour = np.arange(counts.sum()) - first
    hours: Ints = np.repeat(stays.begin, counts) + hour * HOUR
    return hours
