"""What each organ contributes to the SOFA score: spans in which an observation counts, with their points."""

import numpy as np

from sojourn.concepts.derived.axis import DAY, HOUR, Ints, distinct
from sojourn.concepts.derived.record import Floats, Mask, Points, Record
from sojourn.concepts.derived.sofa_settings import SofaSettings
from sojourn.concepts.derived.steps import Spans, following, latest
from sojourn.concepts.derived.treatments import infusion, joined
from sojourn.concepts.derived.urine import find_collections
from sojourn.concepts.derived.ventilation import INVASIVE, NONINVASIVE

_ROOM_AIR = 21.0
_MOST_SPO2 = 97.0
"""Above it the saturation says nothing of the oxygen pressure."""
_PF = (100, 200, 300, 400)
_SF = (89, 214, 357, 512)
_PLATELETS = (20, 50, 100, 150)
_BILIRUBIN = (1.2, 2.0, 6.0, 12.0)
_CREATININE = (1.2, 2.0, 3.5, 5.0)
_COMA = (6, 10, 13, 15)
_TOLERANCE = 1e-6
"""Values are 32-bit numbers."""


def _below(value: Floats, thresholds: tuple[float, ...]) -> Floats:
    """How many thresholds lie above each value."""
    return (len(thresholds) - np.searchsorted(thresholds, value * (1 + _TOLERANCE), side="right")).astype(np.float64)


def _reached(value: Floats, thresholds: tuple[float, ...]) -> Floats:
    """How many thresholds each value reaches."""
    return np.searchsorted(thresholds, value * (1 + _TOLERANCE), side="right").astype(np.float64)


def _for_a_day(place: Ints, points: Floats) -> Spans:
    """Observations that count for the 24 h after them."""
    return Spans.of(place, place + DAY, points)


def respiration(record: Record, settings: SofaSettings) -> Spans:
    """PaO2 / FiO2 in mmHg; 3 and 4 points only under ventilation."""
    is_ventilated = joined(record, (INVASIVE, NONINVASIVE))
    gas, fio2 = record.values("po2"), record.values("fio2")
    ratio = gas.value / _fio2_at(fio2, gas.place, is_ventilated.covers(gas.place), settings) * 100
    place, points = gas.place, _below(ratio, _PF)
    points[np.isnan(ratio)] = np.nan
    if settings.use_spo2:
        spo2 = record.values("spo2")
        no_gas = np.isnan(latest(Points(place, points), spo2.place, DAY))
        spo2 = spo2.keep(no_gas & (spo2.value <= _MOST_SPO2))
        share = latest(fio2, spo2.place, round(settings.fio2_hours * HOUR))
        by_spo2 = _below(spo2.value / share * 100, _SF)
        by_spo2[np.isnan(share)] = np.nan
        place, points = np.concatenate([place, spo2.place]), np.concatenate([points, by_spo2])
    if settings.needs_ventilation:
        points = np.where(is_ventilated.covers(place), points, np.minimum(points, 2))
    return _observed(place, points)


def _fio2_at(fio2: Points, places: Ints, is_ventilated: Mask, settings: SofaSettings) -> Floats:
    """Inspired oxygen in % at each blood gas, by the policy of the settings where none was charted; NaN: not known."""
    charted = latest(fio2, places, round(settings.fio2_hours * HOUR))
    if settings.fio2_fallback == "unobserved":
        return charted
    is_room_air = np.isnan(charted) & (~is_ventilated | (settings.fio2_fallback == "room_air_always"))
    return np.where(is_room_air, _ROOM_AIR, charted)


def _observed(place: Ints, points: Floats) -> Spans:
    is_known = np.isfinite(points)
    return _for_a_day(place[is_known], points[is_known])


def coagulation(record: Record, settings: SofaSettings) -> Spans:
    """Platelets in 10^9/L: below 150, 100, 50, 20."""
    found = record.values("platelets")
    return _for_a_day(found.place, _below(found.value, _PLATELETS))


def liver(record: Record, settings: SofaSettings) -> Spans:
    """Bilirubin in mg/dL: from 1.2, 2.0, 6.0, 12.0 on."""
    found = record.values("bilirubin_total")
    return _for_a_day(found.place, _reached(found.value, _BILIRUBIN))


def cardiovascular(record: Record, settings: SofaSettings) -> Spans:
    """Mean arterial pressure below 70 mmHg, or the dose of catecholamines in mcg/kg/min.

    A drug at an unknown rate counts as the lowest dose of its kind. An infusion counts once the drug has run for
    `min_infusion_hours`, and for 24 h after its end.
    """
    pressure = record.values("map")
    spans = _for_a_day(pressure.place, (pressure.value < 70).astype(np.float64))
    for drug, thresholds in _DRUGS.items():
        run = infusion(record, drug, open_hours=settings.open_hours)
        rate = np.nan_to_num(run.value, nan=0.0)
        points = thresholds[0] + np.searchsorted(thresholds[1:], rate * (1 - _TOLERANCE)).astype(np.float64)
        began = _began(run) + round(settings.min_infusion_hours * HOUR)
        begin = np.maximum(run.begin, began)
        lasted = run.end > begin
        spans = spans.join(Spans.of(begin[lasted], run.end[lasted] + DAY, points[lasted]))
    return spans


_DRUGS: dict[str, tuple[float, ...]] = {
    "dobutamine": (2,),
    "dopamine": (2, 5, 15),
    "epinephrine": (3, 0.1),
    "norepinephrine": (3, 0.1),
}
"""Drug -> points at any dose, and doses in mcg/kg/min above which there is one point more."""


def _began(run: Spans) -> Ints:
    """When the drug of each span began to run: a change of rate is no new begin."""
    if not len(run.begin):
        return run.begin
    is_new = np.append(True, run.begin[1:] > run.end[:-1])
    began: Ints = run.begin[np.flatnonzero(is_new)[np.cumsum(is_new) - 1]]
    return began


def nervous_system(record: Record, settings: SofaSettings) -> Spans:
    """Glasgow coma scale; what becomes of it under ventilation is a setting."""
    total = record.values("gcs_total")
    parts = {name: record.values(f"gcs_{name}") for name in ("eye", "motor", "verbal")}
    places = distinct(np.concatenate([part.place for part in parts.values()]))
    hold = round(settings.gcs_hours * HOUR)
    eye, motor, verbal = (latest(parts[name], places, hold) for name in ("eye", "motor", "verbal"))
    is_ventilated = joined(record, (INVASIVE,))
    if settings.gcs_when_ventilated == "verbal_normal":
        verbal = np.where(is_ventilated.covers(places), 5.0, verbal)
    summed = eye + motor + verbal
    place, value = np.concatenate([total.place, places]), np.concatenate([total.value, summed])
    value = np.where(is_ventilated.covers(place), _under_ventilation(value, settings), value)
    points = np.where(np.isnan(value), np.nan, _below(value, _COMA))
    return _observed(place, points)


def _under_ventilation(value: Floats, settings: SofaSettings) -> Floats:
    if settings.gcs_when_ventilated == "normal":
        return np.where(np.isnan(value), value, 15.0)
    return np.full(len(value), np.nan) if settings.gcs_when_ventilated == "unobserved" else value


def renal(record: Record, settings: SofaSettings) -> Spans:
    """Creatinine in mg/dL from 1.2, 2.0, 3.5, 5.0 on, or urine below 500 and 200 mL a day.

    The urine of the last 24 h is looked at when it is charted and holds until the next charting; it needs
    `urine_hours` of them covered, and is scaled to 24 h.
    """
    found = record.values("creatinine")
    spans = _for_a_day(found.place, _reached(found.value, _CREATININE))
    urine = find_collections(record, settings.urine)
    day_ago = urine.end - DAY
    volume = urine.volume_until(urine.end) - urine.volume_until(day_ago)
    covered = urine.covered_until(urine.end) - urine.covered_until(day_ago)
    is_enough = covered >= settings.urine_hours * HOUR
    with np.errstate(divide="ignore", invalid="ignore"):
        daily = volume * DAY / covered
    points = np.where(daily < 200, 4.0, np.where(daily < 500, 3.0, 0.0))
    until = np.minimum(following(urine.end, urine.end), urine.end + DAY)
    spans = spans.join(Spans.of(urine.end[is_enough], until[is_enough], points[is_enough]))
    if settings.rrt_is_four:
        run = joined(record, (settings.rrt,))
        spans = spans.join(Spans.of(run.begin, run.end + DAY, np.full(len(run.begin), 4.0)))
    return spans


ORGANS = {
    "respiration": respiration,
    "coagulation": coagulation,
    "liver": liver,
    "cardiovascular": cardiovascular,
    "nervous_system": nervous_system,
    "renal": renal,
}
"""Component -> its spans; values are 0 to 4 points."""
