"""The rule of the YAIB cohorts: worked by hand, against YAIB's own labels, and why it depends on charting."""

from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from helpers.task_records import Row, at, table
from sojourn.concepts.derived import derive_onsets
from sojourn.concepts.derived.kdigo import roots
from sojourn.concepts.derived.record import read_record
from sojourn.concepts.derived.recorded_kdigo import recorded_stages
from sojourn.concepts.derived.stays import find_stays

CREATININE, URINE, WEIGHT = "CONCEPT//creatinine", "CONCEPT//urine_output", "CONCEPT//weight"
STAY: list[Row] = [(1, 0, "ICU_ADMISSION//MICU"), (1, 0, WEIGHT, 100), (1, 100, "ICU_DISCHARGE//ALIVE")]


def stages(rows: list[Row]) -> list[tuple[int, float]]:
    record = read_record(table(rows), roots())
    found = recorded_stages(record, find_stays(record))
    return list(zip(found.hour.tolist(), found.stage.tolist(), strict=True))


def onsets(rows: list[Row], name: str) -> list[float]:
    return [(t - at(0)).total_seconds() / 3600 for t in derive_onsets(table(rows), [name])[name]["time"]]


def flow(rate: float, every: int, hours: int = 48) -> list[Row]:
    """A constant flow in mL/h, charted every so many hours."""
    return [(1, hour, URINE, rate * every) for hour in range(every, hours + 1, every)]


def test_rates_are_summed_and_gaps_are_one_hour_too_long() -> None:
    # First: 30 / 1. Then 30 / 2 an hour: at hour 6 of (0, 6] there are six of them, 90 mL, or 0.9 mL/kg.
    rows = [*STAY, *((1, h + 0.5, URINE, 30) for h in range(8))]
    assert stages(rows)[6:] == [(6, 0.0), (7, 0.0)]
    # 16 mL an hour, 8 each, 48 mL: 0.48 is below 0.5.
    rows = [*STAY, *((1, h + 0.5, URINE, 16) for h in range(8))]
    assert stages(rows)[6:] == [(6, 1.0), (7, 1.0)]
    # Twelve of 8 are 96 mL, 0.96: stage 1 at most by hour 12.
    assert stages([*STAY, *((1, h + 0.5, URINE, 16) for h in range(13))])[-1] == (12, 1.0)


def test_nothing_for_twelve_hours_is_stage_three_and_early_hours_do_not_count() -> None:
    rows = [*STAY, *((1, h + 0.5, URINE, 0) for h in range(13))]
    assert stages(rows)[5:7] == [(5, 0.0), (6, 1.0)]
    assert stages(rows)[12] == (12, 3.0)


def test_a_gap_of_more_than_a_day_is_divided_by_one() -> None:
    assert stages([*STAY, (1, 1.5, URINE, 40), (1, 30.5, URINE, 60)])[-1] == (30, 0.0)
    # 23 h and one more are inside the limit: 60 / 24 = 2.5 mL.
    assert stages([*STAY, (1, 7.5, URINE, 60), (1, 30.5, URINE, 60)])[-1] == (30, 2.0)


def test_without_a_weight_volumes_are_compared_as_they_are() -> None:
    assert stages([STAY[0], *flow(1, 1, 8)])[-1] == (8, 0.0)


def test_creatinine_of_an_hour_is_its_median_and_what_is_48_hours_old_does_not_count() -> None:
    rows: list[Row] = [*STAY, (1, 1.1, CREATININE, 1.0), (1, 1.2, CREATININE, 1.4), (1, 48.5, CREATININE, 1.5)]
    assert stages(rows) == [(1, 0.0), (48, 1.0)]
    assert stages([*STAY, (1, 1.1, CREATININE, 1.2), (1, 49.5, CREATININE, 1.5)]) == [(1, 0.0), (49, 0.0)]
    assert onsets(rows, "aki_kdigo_recorded") == [48]


def test_before_the_stay_hours_are_negative_and_an_onset_is_not_before_the_record() -> None:
    rows: list[Row] = [(1, -3, "HOSPITAL_ADMISSION//X"), (1, -2.5, CREATININE, 1.0), (1, -1.5, CREATININE, 2.0), *STAY]
    assert stages(rows) == [(-2, 0.0), (-1, 2.0)]
    assert onsets(rows, "aki_kdigo_recorded") == [-1]
    assert onsets(rows[1:], "aki_kdigo_recorded") == [-1]
    assert onsets([(1, -1, "HOSPITAL_ADMISSION//X"), *rows[1:]], "aki_kdigo_recorded") == [-1]


def test_therapy_is_no_criterion() -> None:
    rows: list[Row] = [*STAY, (1, 10, "CONCEPT//rrt//start"), (1, 11, CREATININE, 1.0)]
    assert onsets(rows, "aki_kdigo_recorded") == []
    assert onsets(rows, "aki_kdigo") == [10]


@pytest.mark.parametrize("rate", [20, 40, 60, 90])
def test_the_recorded_rule_depends_on_how_often_a_flow_is_charted_and_ours_does_not(rate: int) -> None:
    """The same flow, charted every 1, 2, 4, 6 h: by the mean there is one answer, by the sum there are several."""
    ours = {every: onsets([*STAY, *flow(rate, every)], "aki_kdigo") for every in (1, 2, 4, 6)}
    recorded = {every: bool(onsets([*STAY, *flow(rate, every)], "aki_kdigo_recorded")) for every in (1, 2, 4, 6)}
    is_low = rate / 100 < 0.5
    assert {bool(found) for found in ours.values()} == {is_low}
    if is_low:
        assert max(found[0] for found in ours.values()) - min(found[0] for found in ours.values()) < 0.01
    # Charted hourly, 40 mL/h gives six halves of 40, 1.2 mL/kg; charted every six hours, 240 / 7 mL, 0.34 mL/kg.
    assert recorded[1] is False
    assert recorded[6] is (rate * 6 / 7 / 100 < 0.5)
    assert (len(set(recorded.values())) > 1) is is_low


@pytest.mark.real
def test_against_the_labels_of_yaib(sojourn_data: Path) -> None:
    """YAIB's hourly grid of the eICU demo gives YAIB's onsets, but for labs before hour 0."""
    folder = sojourn_data / "yaib-demo" / "aki" / "eicu_demo"
    dyn, outc, sta = (pl.read_parquet(folder / f"{name}.parquet") for name in ("dyn", "outc", "sta"))
    events = events_of_grid(dyn, sta)
    found = derive_onsets(events, ["aki_kdigo_recorded"])["aki_kdigo_recorded"]
    hour = (pl.col("time") - ZERO).dt.total_hours()
    ours = found.select(pl.col("subject_id").cast(pl.Int32).alias("stay_id"), ours=hour)
    first = pl.col("time").filter(pl.col("label")).min().dt.total_hours()
    theirs = outc.group_by("stay_id").agg(first=first).with_columns(onset=pl.col("first") + 6)
    both = theirs.join(ours, on="stay_id", how="left")
    negative = both.filter(pl.col("first").is_null())
    assert negative["ours"].is_not_null().sum() <= 2
    told = both.filter(pl.col("first") > 0, pl.col("ours").is_not_null())  # from hour 0 on the label window is cut
    assert (told["ours"] == told["onset"]).mean() > 0.97  # type: ignore[operator]
    assert both.filter(pl.col("first").is_not_null())["ours"].is_not_null().mean() > 0.9  # type: ignore[operator]


@pytest.mark.real
def test_charting_the_same_urine_hourly_moves_recorded_labels_and_no_onset_of_ours(sojourn_data: Path) -> None:
    """Urine of real stays, each volume spread evenly over the hours since the one before: whose labels stay?"""
    folder = sojourn_data / "yaib-demo" / "aki" / "eicu_demo"
    dyn, sta = (pl.read_parquet(folder / f"{name}.parquet") for name in ("dyn", "sta"))
    hour = pl.col("time").dt.total_hours().alias("hour")
    rare = dyn.drop_nulls("urine").select("stay_id", "time", "urine", hour, crea=pl.lit(None, pl.Float64))
    rare = rare.filter(pl.col("hour") > 0, pl.col("stay_id").is_in(sta.drop_nulls("weight")["stay_id"].implode()))
    gap = pl.col("hour") - pl.col("hour").shift().over("stay_id").fill_null(0)
    rare = rare.sort("stay_id", "time").with_columns(gap=gap)
    parts = pl.when(pl.col("gap") <= 12).then("gap").otherwise(1)
    often = rare.join(pl.DataFrame({"part": range(12)}), how="cross").filter(pl.col("part") < parts)
    often = often.with_columns(urine=pl.col("urine") / parts, time=pl.col("time") - pl.duration(hours="part"))
    num_stays, moved = rare["stay_id"].n_unique(), {}
    for name in ("aki_kdigo", "aki_kdigo_recorded"):
        seldom, hourly = (
            dict(derive_onsets(events_of_grid(urine, sta), [name])[name].rows()) for urine in (rare, often)
        )
        moved[name] = len(set(seldom) ^ set(hourly)) / num_stays
        if name == "aki_kdigo":
            late = [abs((hourly[stay] - seldom[stay]).total_seconds()) for stay in set(seldom) & set(hourly)]
            assert np.quantile(late, 0.99) <= 2
    assert moved["aki_kdigo"] < 0.002
    assert moved["aki_kdigo_recorded"] > 0.1, moved


def test_a_sum_at_the_threshold_does_not_depend_on_who_else_is_there() -> None:
    """Half a mL/kg in six hours is no injury, whatever rounding the sums of others would bring."""

    def stay(subject: int, weight: float, volume: float) -> list[Row]:
        edges = [(subject, 0, "ICU_ADMISSION//MICU"), (subject, 0, WEIGHT, weight), (subject, 60, "ICU_DISCHARGE//A")]
        return [*edges, *((subject, 2 * k + 0.5, URINE, volume) for k in range(1, 12))]

    others = [stay(subject, 70, 51 + 37 * subject) for subject in range(4)]
    at_threshold = [stay(10 + k, weight, weight / 2) for k, weight in enumerate((40, 60, 80, 90, 100, 120))]
    for rows in at_threshold:
        alone = onsets(rows, "aki_kdigo_recorded")
        for before in range(1, 5):
            together = [row for part in [*others[:before], rows] for row in part]
            found = derive_onsets(table(together), ["aki_kdigo_recorded"])["aki_kdigo_recorded"]
            assert found.filter(subject_id=rows[0][0]).height == len(alone)


ZERO = datetime(2020, 1, 1)


def events_of_grid(dyn: pl.DataFrame, sta: pl.DataFrame) -> pl.DataFrame:
    """YAIB's grid as events; hour 0 is the admission."""
    hour = pl.lit(ZERO) + pl.col("time").cast(pl.Duration("us"))
    who = pl.col("stay_id").cast(pl.Int64).alias("subject_id")
    stays = dyn.group_by("stay_id").agg(pl.col("time").max())
    known = sta.filter(pl.col("stay_id").is_in(stays["stay_id"].implode())).drop_nulls("weight")
    none = pl.lit(None, pl.Float32)
    parts = [
        stays.select(who, time=pl.lit(ZERO), code=pl.lit("ICU_ADMISSION//X"), numeric_value=none),
        stays.select(who, time=hour, code=pl.lit("ICU_DISCHARGE//ALIVE"), numeric_value=none),
        known.select(who, time=pl.lit(ZERO), code=pl.lit(WEIGHT), numeric_value=pl.col("weight").cast(pl.Float32)),
    ]
    for column, code in (("urine", URINE), ("crea", CREATININE)):
        value = pl.col(column).cast(pl.Float32)
        parts.append(dyn.drop_nulls(column).select(who, time=hour, code=pl.lit(code), numeric_value=value))
    return pl.concat(part.with_columns(pl.col("time").cast(pl.Datetime("us"))) for part in parts)
