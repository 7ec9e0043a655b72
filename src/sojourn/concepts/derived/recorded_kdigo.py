"""Acute kidney injury as the public YAIB cohorts have it: hourly, with sums of hourly urine rates."""

from typing import NamedTuple

import numpy as np
import polars as pl

from sojourn.concepts.derived.axis import APART, HOUR, Ints, distinct
from sojourn.concepts.derived.creatinine import creatinine_stages
from sojourn.concepts.derived.record import Floats, Points, Record
from sojourn.concepts.derived.stays import Stays, find_stays

URINE = ("urine_output", "urine_irrigant_out", "tube_feed_residual")
"""What ricu takes for urine: in MIMIC-IV also drained irrigant, and by mistake the residual of tube feed."""
_MAX_GAP = 24
_APART = 200_000
"""Hours between the admissions of two stays on their common scale."""


class HourlyStages(NamedTuple):
    """Hours of stays with a creatinine or urine; arrays have shape [N], in order of stay and hour."""

    stay: Ints
    hour: Ints
    """Hours since admission to the unit, rounded towards 0; negative before it."""
    stage: Floats


def recorded_stages(record: Record, stays: Stays) -> HourlyStages:
    """KDIGO stages of each hour as YAIB-cohorts computes them.

    Notes
    -----
    Kept as it is, to compare labels with: the urine of an hour is divided by one more than the hours since the urine
    before (by 1 for the first, and after a gap of more than 24 h), these rates are *summed* over 6, 12 and 24 h, and
    the sum is compared with thresholds that are meant for a mean in mL/kg/h. So the sparser the charting, the lower the
    sum: with one charting in six hours it is about the mean rate, with six it is three times as much. A stay without a
    weight is compared in mL. Renal replacement therapy does not count. Hours are rounded towards 0 (in its cohort of
    the eICU demo hour 0 holds the hour before it, too), and what was charted before the hospital admission counts.

    References
    ----------
    van de Water R, et al. Yet Another ICU Benchmark. ICLR 2024. Code: github.com/rvandewater/YAIB-cohorts.
    """
    creatinine, urine = _hourly(record, stays, ("creatinine",)), _hourly(record, stays, URINE)
    by_creatinine = creatinine_stages(Points(creatinine.place * HOUR, creatinine.value), closed="right")
    hours = distinct(np.concatenate([creatinine.place, urine.place]))
    stage = np.zeros(len(hours))
    np.maximum.at(stage, np.searchsorted(hours, creatinine.place), by_creatinine)
    np.maximum.at(stage, np.searchsorted(hours, urine.place), _by_urine(record, stays, urine))
    stay = _stay_of(hours)
    return HourlyStages(stay, hours - stay * _APART, stage)


def recorded_onset(record: Record, stage: int = 1) -> Ints:
    """Start of the first hour of each stay with at least `stage`; not before the stay's first row."""
    stays = _from_discharge(record, find_stays(record))
    found = recorded_stages(record, stays)
    is_reached = found.stage >= stage
    stay, first = np.unique(found.stay[is_reached], return_index=True)
    places = stays.begin[stay] + found.hour[is_reached][first] * HOUR
    onsets: Ints = np.maximum(places, stays.since[stay])
    return onsets


def _from_discharge(record: Record, stays: Stays) -> Stays:
    """The stays as they see all rows since the subject last left an ICU or a hospital, also those before admission."""
    first = record.axis.place[record.axis.subjects(stays.begin)]
    left = distinct(np.concatenate([record.rows("HOSPITAL_DISCHARGE").place, stays.end]))
    before = np.append(-APART, left)[np.searchsorted(left, stays.begin, side="right")]
    return stays._replace(since=np.maximum(first, before))


def _stay_of(hours: Ints) -> Ints:
    """Index of the stay of places on the scale of hours."""
    stay: Ints = (hours + _APART // 2) // _APART
    return stay


def _hourly(record: Record, stays: Stays, concepts: tuple[str, ...]) -> Points:
    """Median (of urine: sum) of each hour of each stay; places are hours, `_APART` for each stay."""
    parts = [record.values(concept) for concept in concepts]
    found = Points(*(np.concatenate(side) for side in zip(*parts, strict=True)))
    stay = np.searchsorted(stays.end, found.place)
    if not len(stays.end):
        return found.keep(stay < 0)
    index = np.minimum(stay, len(stays.end) - 1)
    since_begin = found.place - stays.begin[index]
    hour = np.sign(since_begin) * (np.abs(since_begin) // HOUR)
    is_kept = (stay < len(stays.end)) & (found.place >= stays.since[index]) & (np.abs(hour) < _APART // 2)
    table = pl.DataFrame({"place": (stay * _APART + hour)[is_kept], "value": found.value[is_kept]})
    value = pl.col("value").sum() if concepts is URINE else pl.col("value").median()
    table = table.group_by("place").agg(value).sort("place")
    return Points(table["place"].to_numpy(), table["value"].to_numpy())


def _by_urine(record: Record, stays: Stays, urine: Points) -> Floats:
    """Stage at each hour with urine."""
    stay = _stay_of(urine.place)
    hour = urine.place - stay * _APART
    gap = np.append(1, np.diff(urine.place) + 1)[: len(hour)]
    gap[(gap > _MAX_GAP) | np.append(True, stay[1:] != stay[:-1])[: len(hour)]] = 1
    # Summed stay by stay: on the way through all of them rounding would depend on who else is there.
    rates = pl.DataFrame({"stay": stay, "rate": urine.value / gap})
    total = rates.select(pl.col("rate").cum_sum().over("stay")).to_series().to_numpy()
    before = rates.select(pl.col("rate").cum_sum().shift(1, fill_value=0.0).over("stay")).to_series().to_numpy()
    weight = _weights(record, stays)[stay]

    def summed(length: int) -> Floats:
        begin = np.searchsorted(urine.place, urine.place - length, side="right")
        rate: Floats = (total - before[begin]) / weight
        return rate

    stage = np.zeros(len(hour))
    stage[(hour >= 6) & (summed(6) < 0.5)] = 1
    stage[(hour >= 12) & (summed(12) < 0.5)] = 2
    stage[((hour >= 12) & (summed(12) == 0)) | ((hour >= 24) & (summed(24) < 0.3))] = 3
    return stage


def _weights(record: Record, stays: Stays) -> Floats:
    """The first weight of each stay; 1 for a stay without one, whose volumes stay in mL."""
    weight = record.values("weight")
    index = np.searchsorted(weight.place, stays.since)
    if not len(weight.place):
        return np.ones(len(stays.begin))
    first = np.minimum(index, len(weight.place) - 1)
    is_there = (index < len(weight.place)) & (weight.place[first] >= stays.since) & (weight.place[first] <= stays.end)
    return np.where(is_there, weight.value[first], 1.0)
