"""KDIGO stages and onsets, worked by hand, and what must not change them."""

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helpers.task_records import Row, at, table
from sojourn.concepts.derived import derive_onsets
from sojourn.concepts.derived.kdigo import KdigoSettings, kdigo
from sojourn.errors import ConfigError

CREATININE, URINE, WEIGHT = "CONCEPT//creatinine", "CONCEPT//urine_output", "CONCEPT//weight"
STAY: list[Row] = [(1, 0, "ICU_ADMISSION//MICU"), (1, 0, WEIGHT, 100), (1, 300, "ICU_DISCHARGE//ALIVE")]


def stages(rows: list[Row], name: str = "stage", **chosen: object) -> list[tuple[float, float]]:
    found = kdigo(table(rows), KdigoSettings(**chosen)) if chosen else kdigo(table(rows))  # type: ignore[arg-type]
    found = found.filter(pl.col("code") == f"DERIVED//kdigo//{name}").select("time", "numeric_value")
    return [((time - at(0)).total_seconds() / 3600, value) for time, value in found.rows()]


def onsets(rows: list[Row], name: str = "aki_kdigo") -> list[float]:
    found = derive_onsets(table(rows), [name])[name]
    return [(time - at(0)).total_seconds() / 3600 for time in found["time"]]


def hourly(volumes: list[float], start: float = 0) -> list[Row]:
    return [(1, start + hour + 1, URINE, volume) for hour, volume in enumerate(volumes)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([(0, 1.0), (47, 1.29), (48, 1.3), (49, 1.3)], [0, 0, 1, 0]),  # + 0.3 within 48 h, both ends counted
        ([(0, 0.8), (100, 1.19), (150, 1.2)], [0, 0, 1]),  # 1.5 x the lowest of 7 days, in 32-bit numbers
        ([(0, 1.0), (100, 2.0), (120, 3.0)], [0, 2, 3]),
        ([(0, 3.8), (24, 4.0), (30, 4.1)], [0, 0, 3]),  # 4.0 counts only with a rise
        ([(0, 1.0), (169, 1.6)], [0, 0]),  # the baseline is older than 7 days
        ([(0, 2.0)], [0]),
    ],
)
def test_stages_by_creatinine(values: list[tuple[float, float]], expected: list[int]) -> None:
    rows: list[Row] = [(1, hour, CREATININE, value) for hour, value in values]
    assert [value for _, value in stages(rows, "stage_creatinine")] == expected
    assert [value for _, value in stages(rows[::-1], "stage_creatinine")] == expected


def test_a_longer_baseline_finds_an_older_rise() -> None:
    rows: list[Row] = [(1, 0, CREATININE, 1.0), (1, 400, CREATININE, 2.1)]
    assert stages(rows)[-1] == (400, 0)
    assert stages(rows, baseline_days=90)[-1] == (400, 2)
    with pytest.raises(ConfigError, match="baseline_days"):
        KdigoSettings(baseline_days=4000)


def test_urine_counts_by_the_mean_of_windows_that_are_covered() -> None:
    rows = [*STAY, *hourly([40] * 13)]  # 0.4 mL/kg/h
    assert stages(rows, "stage_urine") == [(6, 1), (7, 1), (8, 1), (9, 1), (10, 1), (11, 1), (12, 2), (13, 2)]
    assert stages([*STAY, *hourly([60] * 13)], "stage_urine")[-1] == (13, 0)
    # One dry hour among six does not matter: (5 x 60 + 0) / 6 h / 100 kg is 0.5, which is not below it.
    assert [v for _, v in stages([*STAY, *hourly([60, 60, 60, 0, 60, 60, 60])], "stage_urine")] == [0, 0]


def test_anuria_is_stage_three_after_twelve_hours() -> None:
    assert stages([*STAY, *hourly([0] * 12)], "stage_urine")[-1] == (12, 3)
    assert stages([*STAY, *hourly([0] * 11)], "stage_urine")[-1] == (11, 1)
    assert stages([*STAY, (1, 12, URINE, 0)], "stage_urine") == [(12, 3)]


def test_below_a_third_for_a_day_is_stage_three() -> None:
    assert stages([*STAY, *hourly([29] * 24)], "stage_urine")[-1] == (24, 3)
    assert stages([*STAY, *hourly([31] * 24)], "stage_urine")[-1] == (24, 2)


def test_a_gap_in_charting_is_not_covered() -> None:
    rows = [*STAY, *hourly([40] * 5), *hourly([40] * 5, start=30)]
    # The first volume after the gap is spread over 12 h: a low mean there is certain, whatever came before.
    assert stages(rows, "stage_urine") == [(31, 2), (32, 2), (33, 2), (34, 2), (35, 2)]
    high = [*STAY, *hourly([40] * 5), (1, 31, URINE, 900), *hourly([40] * 3, start=31)]
    assert [value for _, value in stages(high, "stage_urine")] == [0, 0, 0, 0]


def test_without_a_weight_urine_has_no_stage() -> None:
    assert stages([STAY[0], *hourly([10] * 13)], "stage_urine") == []
    assert stages([STAY[0], *hourly([10] * 13), (1, 5, CREATININE, 1.0)]) == [(5, 0)]


def test_therapy_is_stage_three_while_it_runs() -> None:
    rows: list[Row] = [*STAY, (1, 10, "CONCEPT//rrt//start"), (1, 20, CREATININE, 1.0), (1, 30, "CONCEPT//rrt//end")]
    assert stages(rows) == [(10, 3), (20, 3), (30, 0)]
    assert onsets(rows, "kdigo_stage_3") == [10]


def test_the_stage_is_the_worst_criterion_that_still_holds() -> None:
    rows: list[Row] = [*STAY, (1, 1, CREATININE, 1.0), (1, 2, CREATININE, 2.1), *hourly([200] * 8)]
    assert stages(rows)[-1] == (8, 2)
    late: list[Row] = [*rows, (1, 60, URINE, 2000)]
    assert stages(late)[-1] == (60, 0)  # the creatinine is older than 48 h


def test_the_onset_is_where_the_mean_falls_below_the_threshold() -> None:
    # 100 mL/h until hour 6, then 20: after x hours the mean of six is 100 - 80 x / 6, which is 50 at x = 3.75.
    dense = [*STAY, *hourly([100] * 6 + [20] * 6)]
    assert onsets(dense) == [pytest.approx(9.75, abs=1 / 1000)]
    sparse: list[Row] = [*STAY, (1, 6, URINE, 600), (1, 12, URINE, 120)]
    assert onsets(sparse) == onsets(dense)
    # What is told as an input waits for the charting.
    assert stages(sparse, "stage_urine") == [(6, 0), (12, 1)]


def test_each_stay_has_its_own_first_onset_from_the_end_of_the_stay_before() -> None:
    rows: list[Row] = [
        (1, 0, "HOSPITAL_ADMISSION//X"),
        (1, 1, CREATININE, 1.0),
        (1, 20, CREATININE, 1.5),
        (1, 24, "ICU_ADMISSION//A"),
        (1, 40, CREATININE, 2.5),
        (1, 48, "ICU_DISCHARGE//ALIVE"),
        (1, 60, CREATININE, 3.0),
        (1, 72, "ICU_ADMISSION//B"),
        (1, 90, "ICU_DISCHARGE//ALIVE"),
        (1, 99, CREATININE, 9.0),
        (2, 5, CREATININE, 1.0),
        (2, 9, CREATININE, 4.0),  # no stay
    ]
    assert onsets(rows) == [20, 60]
    assert onsets(rows, "kdigo_stage_2") == [40, 60]
    assert onsets(rows, "kdigo_stage_3") == [60]


def test_nothing_comes_from_nothing() -> None:
    assert kdigo(table([])).schema == table([]).schema
    assert onsets([]) == []
    assert onsets(STAY) == []


VOLUMES = st.lists(st.integers(0, 6), min_size=8, max_size=40)


@settings(deadline=None, max_examples=60)
@given(volumes=VOLUMES, cut=st.integers(1, 39), minutes=st.integers(1, 59))
@example(volumes=[0] * 14, cut=3, minutes=30)
def test_charting_one_flow_in_two_parts_changes_neither_stage_nor_onset(
    volumes: list[int], cut: int, minutes: int
) -> None:
    """A collection charted in two parts of the same flow: stages at the old chartings and all onsets stay."""
    cut = 1 + cut % (len(volumes) - 1)
    heavy: Row = (1, 0, WEIGHT, 300.1)  # no mean of these volumes is just at a threshold
    once = [*STAY[:1], heavy, *hourly([60.0 * v for v in volumes])]
    twice = [row for row in once if row[1] != cut + 1]
    early, late = volumes[cut] * minutes, volumes[cut] * (60 - minutes)
    twice += [(1, cut + minutes / 60, URINE, early), (1, cut + 1, URINE, late)]
    for name in ("aki_kdigo", "kdigo_stage_2", "kdigo_stage_3"):
        assert onsets(twice, name) == pytest.approx(onsets(once, name), abs=2 / 3600)
    known = dict(stages(once, "stage_urine"))
    worst: dict[float, float] = {}
    for hour, value in stages(twice, "stage_urine"):
        end = min(e for e in known if e >= hour - 1e-9)
        worst[end] = max(value, worst.get(end, 0))
    assert worst == known
