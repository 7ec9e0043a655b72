# ruff: noqa: E501  (the raw tables stand here as they are)
"""HiRID: one stay a patient, tables in parts, counters, infusions by steps, an end that nobody recorded.

The tables are written by hand in the published layout; no patient stands behind them.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from helpers.raw_sources import codes_and_times, concepts_of, read_source, told
from sojourn.errors import MissingTableError
from sojourn.pipeline import build, ingest
from sojourn.sources.frames import frames_of
from sojourn.sources.hirid import SOURCE
from sojourn.tasks.label import label

GENERAL = """patientid,admissiontime,sex,age,discharge_status
1,2134-04-16 11:34:40,F,80,alive
2,2100-01-01 00:00:00,M,45,dead
3,2100-01-01 00:00:00,M,,
1,2134-04-16 11:34:40,F,80,alive
"""
REFERENCE = """Source Table,ID,Variable Name,Unit,Additional information
Observation,200,Heart rate,/min,
Observation,20000600,creatinine,umol/l,
Observation,30005110,OUTurine/c,ml,
Observation,10000400,Weight,kg,
Pharma,1000462,Noradrenalin 1mg/ml,µg,
"""
ORDINALS = "variableid,code,stringvalue\n15001552,1,Tubus\n"
PART_0 = """patientid,datetime,entertime,status,stringvalue,type,value,variableid
1,2134-04-16 12:00:00,2134-04-16 12:00:05,8,,n,80,200
1,2134-04-16 12:00:00,2134-04-16 12:00:05,8,,n,75,10000400
1,2134-04-16 14:00:00,2134-04-16 14:00:05,8,,n,250,30005110
1,2134-04-16 13:00:00,2134-04-16 13:00:05,8,,n,100,30005110
1,2134-04-16 15:00:00,2134-04-16 15:00:05,8,,n,30,30005110
1,2134-04-16 13:00:00,2134-04-16 13:00:05,8,,n,1,15001552
1,2134-04-16 13:00:00,2134-04-16 13:00:05,8,negativ,s,,24000999
1,2134-04-18 12:00:00,2134-04-18 12:00:05,8,,n,70,200
1,2134-04-18 20:00:00,2134-04-18 20:00:05,8,,n,110,20000600
1,2134-04-16 13:00:00,2134-04-16 13:00:05,8,,n,,200
9,2134-04-16 13:00:00,2134-04-16 13:00:05,8,,n,80,200
"""
PART_1 = """patientid,datetime,entertime,status,stringvalue,type,value,variableid
2,2100-01-01 01:00:00,2100-01-01 01:00:00,8,,n,60,110
2,2100-01-02 08:00:00,2100-01-02 08:00:00,8,,n,40,110
2,never,2100-01-02 08:00:00,8,,n,40,110
3,2100-01-01 05:00:00,2100-01-01 05:00:00,8,,n,38,400
"""
PHARMA = """patientid,pharmaid,givenat,enteredentryat,givendose,cumulativedose,fluidamount_calc,cumulfluidamount_calc,doseunit,route,infusionid,typeid,subtypeid,recordstatus
1,1000462,2134-04-16 12:00:00,2134-04-16 12:00:00,0,0,0,0,µg,iv,77,1,1,524
1,1000462,2134-04-16 13:00:00,2134-04-16 13:00:00,450,450,0,0,µg,iv,77,1,1,520
1,1000462,2134-04-16 13:30:00,2134-04-16 13:30:00,450,900,0,0,µg,iv,77,1,1,776
1,163,2134-04-16 12:30:00,2134-04-16 12:30:00,2,2,0,0,g,iv,78,1,1,544
1,163,2134-04-16 18:30:00,2134-04-16 18:30:00,2,2,0,0,g,iv,79,1,1,780
1,1000462,2134-04-16 13:10:00,2134-04-16 13:10:00,9999,0,0,0,µg,iv,77,1,1,522
2,1000462,2100-01-01 02:00:00,2100-01-01 02:00:00,0,0,0,0,µg,iv,80,1,1,524
2,1000462,2100-01-01 03:00:00,2100-01-01 03:00:00,600,600,0,0,µg,iv,80,1,1,776
"""
FILES = {
    "reference_data/general_table.csv": GENERAL,
    "reference_data/hirid_variable_reference.csv": REFERENCE,
    "reference_data/ordinal_vars_ref.csv": ORDINALS,
    "raw_stage/observation_tables/csv/part-0.csv": PART_0,
    "raw_stage/observation_tables/csv/part-1.csv": PART_1,
    "raw_stage/pharma_records/csv/part-0.csv": PHARMA,
}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "raw"


def test_a_stay_ends_with_the_last_heart_rate(raw: Path) -> None:
    batches, warnings = read_source(SOURCE, raw)
    assert warnings == []
    seen = codes_and_times(batches["general_table"], 1)
    admitted = datetime(2134, 4, 16, 11, 34, 40)
    assert [(code, time) for code, time in seen if code != "MEDS_BIRTH"] == [
        ("GENDER//F", None),
        ("ICU_ADMISSION", admitted),
        ("ICU_DISCHARGE//ALIVE", datetime(2134, 4, 18, 12)),
    ]
    born = dict(seen)["MEDS_BIRTH"]
    assert born is not None
    assert (admitted - born).days == 80 * 365.25
    assert batches["general_table"].quarantined.select("row", "reason").rows() == [(3, "repeats_another_row")]


def test_who_was_discharged_dead_died_at_the_end(raw: Path) -> None:
    seen = dict(codes_and_times(read_source(SOURCE, raw)[0]["general_table"], 2))
    assert seen["ICU_DISCHARGE//DIED"] == seen["MEDS_DEATH"] == datetime(2100, 1, 2, 8)


@pytest.mark.parametrize("age", ["1e20", "-5", "inf"])
def test_an_age_that_nobody_has_gives_no_birth(raw: Path, age: str) -> None:
    path = raw / "reference_data/general_table.csv"
    path.write_text(GENERAL.replace("M,45,dead", f"M,{age},dead"))
    batches, _ = read_source(SOURCE, raw)
    assert "MEDS_BIRTH" not in dict(codes_and_times(batches["general_table"], 2))
    assert "MEDS_BIRTH" in dict(codes_and_times(batches["general_table"], 1))


def test_an_unknown_status_is_neither_alive_nor_dead(raw: Path) -> None:
    seen = dict(codes_and_times(read_source(SOURCE, raw)[0]["general_table"], 3))
    assert seen["ICU_DISCHARGE"] == datetime(2100, 1, 1, 5)
    assert not {"MEDS_DEATH", "MEDS_BIRTH"} & set(seen)


def test_observations_are_counted_over_all_parts(raw: Path) -> None:
    batch = read_source(SOURCE, raw)[0]["observation_tables"]
    assert batch.num_rows == 15
    assert told(batch) == [
        (0, "OBSERVATION//200", 80.0),
        (1, "OBSERVATION//10000400", 75.0),
        (2, "OBSERVATION//30005110", 150.0),
        (3, "OBSERVATION//30005110", 100.0),
        (4, "OBSERVATION//30005110", 30.0),
        (5, "OBSERVATION//15001552//Tubus", 1.0),
        (6, "OBSERVATION//24000999//negativ", None),
        (7, "OBSERVATION//200", 70.0),
        (8, "OBSERVATION//20000600", 110.0),
        (11, "OBSERVATION//110", 60.0),
        (12, "OBSERVATION//110", 40.0),
        (14, "OBSERVATION//400", 38.0),
    ]
    assert batch.events.sort("row")["text_value"].to_list()[2:5] == ["250", "100", "30"]
    assert dict(batch.quarantined.select("row", "reason").rows()) == {
        9: "no_value",
        10: "unknown_patient",
        13: "no_time",
    }


def test_a_counter_goes_on_in_the_next_batch(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header, pulse, weight, later, earlier, *others = PART_0.splitlines(keepends=True)
    part = raw / "raw_stage" / "observation_tables" / "csv" / "part-0.csv"
    part.write_text("".join((header, pulse, weight, earlier, later, *others)))  # counters in the order of time
    whole = told(read_source(SOURCE, raw)[0]["observation_tables"])

    def row_by_row(*args: Any) -> Iterator[pl.DataFrame]:
        return (row for frame in frames_of(*args) for row in frame.iter_slices(1))

    monkeypatch.setattr("sojourn.sources.tables.frames_of", row_by_row)
    monkeypatch.setattr("sojourn.sources.hirid._WHOLE_PART", 1)
    pieces = told(read_source(SOURCE, raw)[0]["observation_tables"])
    assert [value for _, code, value in pieces if code == "OBSERVATION//30005110"] == [100.0, 150.0, 30.0]
    assert pieces == whole


def test_a_step_of_an_infusion_begins_with_its_rate(raw: Path) -> None:
    batch = read_source(SOURCE, raw)[0]["pharma_records"]
    assert told(batch) == [
        (0, "PHARMA//1000462//start//mcg/kg/min", pytest.approx(450 / 60 / 75)),
        (1, "PHARMA//1000462//start//mcg/kg/min", pytest.approx(450 / 30 / 75)),
        (2, "PHARMA_END//1000462", None),
        (3, "PHARMA//163//dose//g", 2.0),
        (4, "PHARMA//163//dose//g", 2.0),
        (6, "PHARMA//1000462//start//mcg/min", pytest.approx(10.0)),
        (7, "PHARMA_END//1000462", None),
    ]
    assert batch.quarantined.select("row", "reason").rows() == [(5, "invalidated")]


def test_parquet_parts_go_before_csv(raw: Path) -> None:
    folder = raw / "raw_stage/observation_tables/parquet"
    folder.mkdir()
    frame = pl.read_csv(PART_1.encode()).with_columns(
        pl.col("datetime").str.to_datetime(strict=False), pl.lit(None, pl.String).alias("stringvalue")
    )
    frame.head(2).write_parquet(folder / "part-1.parquet")
    batch = read_source(SOURCE, raw)[0]["observation_tables"]
    assert batch.num_rows == 13
    assert told(batch)[-1] == (12, "OBSERVATION//110", 40.0)


def test_what_is_missing_is_said(raw: Path) -> None:
    for name in ("hirid_variable_reference", "ordinal_vars_ref"):
        (raw / f"reference_data/{name}.csv").unlink()
    (raw / "raw_stage/pharma_records/csv/part-0.csv").unlink()
    batches, warnings = read_source(SOURCE, raw)
    assert [warning.split(":")[0] for warning in warnings] == [
        "table ordinal_vars_ref is missing",
        "table hirid_variable_reference is missing",
        "table pharma_records is missing",
    ]
    assert (2, "OBSERVATION//30005110", 150.0) in told(batches["observation_tables"])
    assert (5, "OBSERVATION//15001552", 1.0) in told(batches["observation_tables"])
    assert SOURCE.codes(raw).is_empty()
    (raw / "reference_data/general_table.csv").unlink()
    with pytest.raises(MissingTableError, match="general_table"):
        read_source(SOURCE, raw)


def test_from_raw_tables_to_labels_of_death(raw: Path, tmp_path: Path) -> None:
    report = ingest("hirid", raw, tmp_path / "meds")
    assert report.sites == {"hirid": 3}
    assert {
        "OBSERVATION//200": "heart_rate",
        "OBSERVATION//20000600": "creatinine",
        "OBSERVATION//30005110": "urine_output",
        "PHARMA//1000462//start//mcg/kg/min": "norepinephrine//start",
        "PHARMA_END//1000462": "norepinephrine//end",
        "PHARMA//163//dose//g": "antibiotic//start",
    }.items() <= concepts_of(tmp_path / "meds").items()
    named = dict(SOURCE.codes(raw).select("code", "description").rows())
    assert named["PHARMA_END//1000462"] == named["PHARMA//1000462"] == "Noradrenalin 1mg/ml"
    build(tmp_path / "store", [tmp_path / "meds"])
    labels = label("icu-death", tmp_path / "store", tmp_path / "labels.parquet")
    assert (labels.num_labels, labels.num_positive) == (2, 1)
