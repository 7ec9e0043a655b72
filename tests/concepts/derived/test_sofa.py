"""SOFA, worked by hand, and what must never change an earlier score."""

import polars as pl
import pytest

from helpers.task_records import Row, at, table
from sojourn.concepts.derived.sofa import sofa
from sojourn.concepts.derived.sofa_settings import SofaSettings
from sojourn.errors import ConfigError

STAY: list[Row] = [(1, 0, "ICU_ADMISSION//MICU"), (1, 90, "ICU_DISCHARGE//ALIVE")]


def told(rows: list[Row], code: str = "sofa//total", **chosen: object) -> list[tuple[float, float | None]]:
    found = sofa(table(rows), SofaSettings(**chosen)) if chosen else sofa(table(rows))  # type: ignore[arg-type]
    found = found.filter(pl.col("code") == f"DERIVED//{code}").select("time", "numeric_value")
    return [(round((time - at(0)).total_seconds() / 3600, 4), value) for time, value in found.rows()]


def points(concept: str, value: float, organ: str, *more: Row, **chosen: object) -> float | None:
    """Points of an organ when one value is charted at hour 2."""
    found = told([*STAY, *more, (1, 2, f"CONCEPT//{concept}", value)], f"sofa_observed//{organ}", **chosen)
    return dict(found)[2]


@pytest.mark.parametrize(
    ("concept", "organ", "values"),
    [
        ("platelets", "coagulation", {150: 0, 149: 1, 100: 1, 99: 2, 50: 2, 49: 3, 20: 3, 19: 4}),
        ("bilirubin_total", "liver", {1.1: 0, 1.2: 1, 1.9: 1, 2.0: 2, 5.9: 2, 6.0: 3, 11.9: 3, 12.0: 4}),
        ("creatinine", "renal", {1.1: 0, 1.2: 1, 1.9: 1, 2.0: 2, 3.4: 2, 3.5: 3, 4.9: 3, 5.0: 4}),
        ("map", "cardiovascular", {70: 0, 69: 1}),
        ("gcs_total", "nervous_system", {15: 0, 14: 1, 13: 1, 12: 2, 10: 2, 9: 3, 6: 3, 5: 4, 3: 4}),
    ],
)
def test_thresholds(concept: str, organ: str, values: dict[float, int]) -> None:
    assert {value: points(concept, value, organ) for value in values} == values


def test_oxygen_counts_with_its_inspired_share_and_ventilation() -> None:
    half: Row = (1, 1, "CONCEPT//fio2", 50)
    on: Row = (1, 0.5, "CONCEPT//ventilation//start")
    nature: Row = (1, 0.5, "CONCEPT//noninvasive_ventilation//start")
    values = {201: 0, 199: 1, 151: 1, 149: 2, 101: 2, 99: 2, 40: 2}
    assert {po2: points("po2", po2, "respiration", half) for po2 in values} == values
    assert [points("po2", po2, "respiration", half, on) for po2 in (101, 99, 51, 49)] == [2, 3, 3, 4]
    assert points("po2", 49, "respiration", half, nature) == 4
    assert points("po2", 49, "respiration", half, needs_ventilation=False) == 4


def test_what_to_do_without_inspired_oxygen_is_a_setting() -> None:
    on: Row = (1, 0.5, "CONCEPT//ventilation//start")
    assert points("po2", 60, "respiration") == 2  # 60 / 0.21 = 286
    assert told([*STAY, on, (1, 2, "CONCEPT//po2", 60)]) == []
    assert points("po2", 60, "respiration", on, fio2_fallback="room_air_always") == 2
    assert told([*STAY, (1, 2, "CONCEPT//po2", 60)], fio2_fallback="unobserved") == []
    old: Row = (1, -5, "CONCEPT//fio2", 100)
    assert points("po2", 60, "respiration", old) == 2  # seven hours old: as without
    assert points("po2", 60, "respiration", old, fio2_hours=8) == 2  # 60 / 1.0, but not ventilated
    assert points("po2", 60, "respiration", old, on, fio2_hours=8) == 4


def test_saturation_stands_in_only_where_asked_and_no_blood_gas_was_taken() -> None:
    rows: list[Row] = [*STAY, (1, 1, "CONCEPT//fio2", 50), (1, 2, "CONCEPT//spo2", 96), (1, 3, "CONCEPT//spo2", 99)]
    assert told(rows) == []
    assert told(rows, "sofa_observed//respiration", use_spo2=True) == [(2, 2), (26, None)]  # 96 / 0.5 = 192
    gas: Row = (1, 1.5, "CONCEPT//po2", 250)
    assert told([*rows, gas], "sofa_observed//respiration", use_spo2=True) == [(1.5, 0), (25.5, None)]


@pytest.mark.parametrize(
    ("drug", "rates"),
    [
        ("dobutamine", {2: 2, 40: 2}),
        ("dopamine", {5: 2, 5.1: 3, 15: 3, 15.1: 4}),
        ("epinephrine", {0.1: 3, 0.11: 4}),
        ("norepinephrine", {0.02: 3, 0.1: 3, 0.11: 4}),
    ],
)
def test_catecholamines(drug: str, rates: dict[float, int]) -> None:
    def worst(rate: float) -> float | None:
        drip: list[Row] = [(1, 2, f"CONCEPT//{drug}//start", rate), (1, 10, f"CONCEPT//{drug}//end")]
        found = told([*STAY, *drip], "sofa_observed//cardiovascular")
        assert [hour for hour, _ in found] == [3, 34]  # after one hour; until 24 h after the end
        assert found[1][1] is None
        return found[0][1]

    assert {rate: worst(rate) for rate in rates} == rates


def test_a_drug_that_ran_less_than_an_hour_and_one_of_unknown_rate() -> None:
    short: list[Row] = [(1, 2, "CONCEPT//norepinephrine//start", 0.3), (1, 2.9, "CONCEPT//norepinephrine//end")]
    assert told([*STAY, *short]) == []
    assert told([*STAY, *short], min_infusion_hours=0)[0] == (2, 4)
    unknown: Row = (1, 2, "CONCEPT//norepinephrine//start//ml/hr", 12)
    assert told([*STAY, unknown])[0] == (3, 3)
    # A change of rate is no new start: the higher rate counts at once.
    raised: Row = (1, 4, "CONCEPT//norepinephrine//start", 0.3)
    assert told([*STAY, unknown, raised])[:2] == [(3, 3), (4, 4)]


def test_coma_scale_from_its_parts_and_under_ventilation() -> None:
    parts: list[Row] = [
        (1, 1, "CONCEPT//gcs_eye", 3),
        (1, 1, "CONCEPT//gcs_motor", 5),
        (1, 2, "CONCEPT//gcs_verbal", 1),
    ]
    on: Row = (1, 0, "CONCEPT//ventilation//start")
    organ = "sofa_observed//nervous_system"
    assert told([*STAY, *parts], organ)[0] == (2, 3)  # 9
    assert told([*STAY, *parts, on], organ)[0] == (2, 3)
    assert told([*STAY, *parts, on], organ, gcs_when_ventilated="verbal_normal")[0] == (1, 1)  # 3 + 5 + 5
    assert told([*STAY, *parts, on], organ, gcs_when_ventilated="normal")[0] == (2, 0)
    assert told([*STAY, *parts, on], organ, gcs_when_ventilated="unobserved") == []
    assert told([*STAY, *parts[:2]], organ) == []


def test_urine_of_a_day_is_scaled_from_what_is_covered() -> None:
    weight: Row = (1, 0, "CONCEPT//weight", 80)

    def urine(volume: float, hours: int) -> list[Row]:
        return [weight, *((1, h, "CONCEPT//urine_output", volume) for h in range(1, hours + 1))]

    organ = "sofa_observed//renal"
    assert told([*STAY, *urine(20, 11)], organ) == []
    assert told([*STAY, *urine(20, 12)], organ)[0] == (12, 3)  # 480 mL a day
    assert told([*STAY, *urine(8, 12)], organ)[0] == (12, 4)  # 192 mL a day
    assert told([*STAY, *urine(21, 12)], organ)[0] == (12, 0)  # 504 mL a day
    assert told([*STAY, *urine(20, 24)], organ, urine_hours=24)[0] == (24, 3)
    rrt: Row = (1, 5, "CONCEPT//rrt//start")
    assert told([*STAY, rrt]) == []
    assert told([*STAY, rrt], rrt_is_four=True)[0] == (5, 4)


def test_the_worst_of_a_day_holds_and_unobserved_is_kept_apart_from_normal() -> None:
    rows: list[Row] = [
        *STAY,
        (1, -4, "CONCEPT//platelets", 90),  # two points, from before admission
        (1, 1, "CONCEPT//creatinine", 0.9),
        (1, 10, "CONCEPT//platelets", 160),
    ]
    assert told(rows) == [(0, 2), (20, 0)]
    assert told(rows, "sofa//coagulation") == [(0, 2), (20, 0)]
    assert told(rows, "sofa_observed//coagulation") == [(0, 2), (20, 0), (34, None)]
    assert told(rows, "sofa_observed//renal") == [(0, None), (1, 0), (25, None)]
    assert told(rows, "sofa_observed//components") == [(0, 1), (1, 2), (25, 1), (34, 0)]
    # Lowest and highest that the score can be: 2 + 5 x 4, 2 + 4 x 4, 0 + 4 x 4, 0 + 5 x 4.
    assert told(rows, "sofa_observed//total") == [(0, 2), (20, 0)]
    assert told(rows, "sofa_observed//highest") == [(0, 22), (1, 18), (20, 16), (25, 20), (34, 24)]


def test_every_hour_repeats_the_score_at_full_hours() -> None:
    rows: list[Row] = [(1, 0.5, "ICU_ADMISSION//A"), (1, 1, "CONCEPT//platelets", 90), (1, 4, "ICU_DISCHARGE//ALIVE")]
    assert told(rows) == [(1, 2)]
    assert told(rows, every_hour=True) == [(1, 2), (1.5, 2), (2.5, 2), (3.5, 2)]


def test_nothing_is_told_outside_stays_or_after_the_record() -> None:
    assert told([(1, 0, "CONCEPT//platelets", 90), (1, 9, "X")]) == []
    assert told([*STAY, (1, 95, "CONCEPT//platelets", 90)]) == []
    open_stay: list[Row] = [STAY[0], (1, 1, "CONCEPT//platelets", 90), (1, 8, "X")]
    assert told(open_stay, "sofa_observed//coagulation") == [(1, 2)]
    assert sofa(table([])).schema == table([]).schema


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="fio2_fallback"):
        SofaSettings(fio2_fallback="guess")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="urine_hours"):
        SofaSettings(urine_hours=30)
