"""Rows of the hospital's record system."""

import numpy as np
import polars as pl
import pytest

from sojourn.sources.records import EVENT_SCHEMA
from sojourn.sources.simulator import SimulatorConfig
from sojourn.sources.simulator.trajectories import Stays
from sojourn.sources.simulator.writing import chart_chunk

STARTS_AND_ENDS = [("vasopressor", "INFUSION_{}//H1-4008"), ("ventilation", "PROCEDURE_{}//H1-5008"),
                   ("rrt", "PROCEDURE_{}//H1-5009")]  # fmt: skip


@pytest.fixture(scope="module")
def rows(small_config: SimulatorConfig, small_stays: Stays) -> pl.DataFrame:
    return chart_chunk(small_config, small_config.sites[0], 0, small_stays)


def test_rows_are_events_in_order(rows: pl.DataFrame) -> None:
    assert rows.columns == [*(name for name in EVENT_SCHEMA if name != "row"), "time_missing"]
    kept = rows.filter(~pl.col("time_missing"))
    assert kept.equals(kept.sort("subject_id", "time", nulls_last=False, maintain_order=True))
    assert rows["subject_id"].n_unique() == 64
    times = kept["time"].drop_nulls()
    assert (times.dt.truncate("1m") == times).all()


def test_every_stay_has_its_frame(rows: pl.DataFrame, small_stays: Stays) -> None:
    per_code = dict(rows.group_by(pl.col("code").str.replace(r"//[^/]*$", "").alias("code")).len().iter_rows())
    for code in ("MEDS_BIRTH", "GENDER", "COMORBIDITY", "HOSPITAL_ADMISSION", "ICU_ADMISSION", "ICU_DISCHARGE",
                 "HOSPITAL_DISCHARGE"):  # fmt: skip
        assert per_code[code] == 64, code
    assert per_code.get("MEDS_DEATH", 0) == (small_stays.died | small_stays.died_on_ward).sum()
    assert rows.filter(pl.col("time").is_null() & ~pl.col("time_missing"))["code"].str.contains("GENDER|COMORB").all()


def test_nothing_is_charted_after_the_end(rows: pl.DataFrame) -> None:
    def when(pattern: str, name: str) -> pl.DataFrame:
        return rows.filter(pl.col("code").str.contains(pattern)).select("subject_id", pl.col("time").alias(name))

    charted = (
        rows.filter(pl.col("code").str.contains("^(VITAL|LAB|OUTPUT|INFUSION|PROCEDURE|MEDICATION)"))
        .join(when("^ICU_ADMISSION", "start"), on="subject_id")
        .join(when("^ICU_DISCHARGE", "end"), on="subject_id")
        .drop_nulls("time")
    )
    assert charted.height > 10_000
    assert charted.filter((pl.col("time") >= pl.col("end")) | (pl.col("time") < pl.col("start"))).height == 0
    last = rows.join(when("^HOSPITAL_DISCHARGE", "end"), on="subject_id").filter(pl.col("time") > pl.col("end"))
    assert last.height == 0


@pytest.mark.parametrize(("name", "pattern"), STARTS_AND_ENDS)
def test_starts_precede_ends(rows: pl.DataFrame, name: str, pattern: str) -> None:
    start, end = ("^" + pattern.format(word) for word in ("START", "END"))
    told = rows.filter(pl.col("code").str.contains(f"{start}|{end}")).sort("subject_id", "time")
    begins = told.select("subject_id", begins=pl.col("code").str.contains(start))
    assert begins["begins"].any(), name
    turn = begins.with_columns(number=pl.int_range(pl.len()).over("subject_id"))
    assert (turn["begins"] == (turn["number"] % 2 == 0)).all()


def test_slips_of_the_pen_happen(small_config: SimulatorConfig, small_stays: Stays, rows: pl.DataFrame) -> None:
    assert rows["flag"].is_not_null().any()
    site = small_config.sites[0]
    charting = site.charting.model_copy(
        update={"duplicate_rate": 0.1, "missing_time_rate": 0.05, "limits": {"lactate": (1.0, 2.0)}}
    )
    messy = chart_chunk(small_config, site.model_copy(update={"charting": charting}), 0, small_stays)
    assert 1.08 < messy.height / rows.height < 1.12
    measured = messy.filter(pl.col("code").str.contains("^(VITAL|LAB|OUTPUT)"))
    assert measured["time_missing"].mean() == pytest.approx(0.05, abs=0.01)
    texts = messy.filter(pl.col("bound") == ">")
    assert texts.height
    assert (texts["text_value"].str.starts_with(">") & texts["numeric_value"].is_not_null()).all()
    assert messy.filter(pl.col("bound").is_null())["text_value"].is_null().all()
    assert np.isfinite(messy["numeric_value"].drop_nulls().to_numpy()).all()
