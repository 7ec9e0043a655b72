# ruff: noqa: E501  (the raw tables stand here as they are)
"""MIMIC-IV: no row lost, nothing told before it was known."""

import gzip
from collections import Counter
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from sojourn.errors import MissingTableError
from sojourn.sources.mimic_iv import SOURCE
from sojourn.sources.records import CODES_SCHEMA, EVENT_SCHEMA, SourceBatch

PATIENTS = """subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod
1,F,60,2150,2011 - 2013,2150-01-20
2,M,50,2150,2011 - 2013,2151-03-01
3,F,40,2150,,
"""
ADMISSIONS = """subject_id,hadm_id,admittime,dischtime,deathtime,admission_type,admission_location,discharge_location,insurance,language,marital_status,race,edregtime,edouttime,hospital_expire_flag
1,10,2150-01-10 08:00:00,2150-01-20 00:00:00,2150-01-20 17:05:00,URGENT,EMERGENCY ROOM,DIED,Other,ENGLISH,,WHITE,2150-01-10 06:00:00,2150-01-10 09:00:00,1
2,20,2150-06-01 10:00:00,2150-06-03 12:00:00,,ELECTIVE,,HOME,Other,ENGLISH,SINGLE,OTHER,,,0
"""
STAYS = """subject_id,hadm_id,stay_id,first_careunit,last_careunit,intime,outtime,los
1,10,100,MICU,MICU,2150-01-10 09:00:00,2150-01-12 09:00:00,2
1,10,101,MICU,MICU,2150-01-15 09:00:00,2150-01-20 21:00:00,5
2,20,200,SICU,SICU,2150-06-01 11:00:00,2150-06-02 11:00:00,1
"""
LABS = """labevent_id,subject_id,specimen_id,itemid,charttime,storetime,value,valuenum,valueuom,comments
1,1,7,50813,2150-01-10 10:00:00,2150-01-10 11:00:00,1.5,1.5,mmol/L,
2,1,8,51492,2150-01-10 10:00:00,2150-01-10 11:00:00,>300,,mg/dL,
3,1,8,51487,2150-01-10 10:00:00,2150-01-10 11:00:00,NEG,,,
4,1,8,51466,2150-01-10 10:00:00,2150-01-10 11:00:00,,,,NEG.
5,1,9,52033,2150-01-10 10:00:00,2150-01-10 11:00:00,ART.,,,
6,1,9,50821,2150-01-10 10:00:00,2150-01-10 11:00:00,88,88,mm Hg,
7,1,9,50813,2150-01-10 10:00:00,2150-01-10 11:00:00,2,2,mmol/L,
8,1,10,50821,,2150-01-10 11:00:00,40,40,mm Hg,
"""
INPUTS = """subject_id,starttime,endtime,itemid,amount,amountuom,rate,rateuom,statusdescription
1,2150-01-10 10:00:00,2150-01-10 12:00:00,221906,4,mg,0.1,mcg/kg/min,ChangeDose/Rate
1,2150-01-10 12:00:00,2150-01-10 12:01:00,225798,1,dose,,,FinishedRunning
1,2150-01-10 12:00:00,2150-01-10 13:00:00,221906,9,mg,0.9,mcg/kg/min,Rewritten
1,2150-01-10 14:00:00,2150-01-10 13:00:00,221906,9,mg,0.9,mcg/kg/min,Stopped
"""
OMR = """subject_id,chartdate,seq_num,result_name,result_value
2,2150-05-01,1,Blood Pressure,110/65
2,2150-05-01,1,Weight (Lbs),180
"""
MICRO = """subject_id,micro_specimen_id,chartdate,charttime,spec_type_desc,storedate,storetime,test_itemid,test_name,org_itemid,org_name,isolate_num,ab_name,dilution_text,dilution_comparison,dilution_value,interpretation,comments
1,70,2150-01-10 00:00:00,2150-01-10 10:00:00,BLOOD CULTURE,2150-01-13 00:00:00,2150-01-13 08:00:00,90,AEROBIC,80,E. COLI,1,CEFEPIME,<=1,<=,1,S,
1,70,2150-01-10 00:00:00,2150-01-10 10:00:00,BLOOD CULTURE,2150-01-13 00:00:00,2150-01-13 08:00:00,90,AEROBIC,80,E. COLI,1,AMIKACIN,=>16,=>,16,R,
1,71,2150-01-11 00:00:00,,URINE,,,91,URINE,,,,,,,,,
1,71,2150-01-11 00:00:00,,URINE,,,91,URINE,,,,,,,,,
"""
DIAGNOSES = """subject_id,hadm_id,seq_num,icd_code,icd_version
1,10,1,A419,10
1,99,1,A419,10
"""
PROCEDURES = """subject_id,hadm_id,seq_num,chartdate,icd_code,icd_version
1,10,1,2150-01-20,3961,9
1,10,2,2150-01-11,3961,9
"""
ORDERS = """subject_id,hadm_id,starttime,stoptime,drug,dose_val_rx,dose_unit_rx
1,10,2150-01-10 10:00:00,2150-01-11 10:00:00,Aspirin,81,mg
1,10,2150-01-20 10:00:00,2150-01-25 10:00:00,Heparin,1-2,UNIT
1,10,2150-01-12 10:00:00,2150-01-11 10:00:00,Heparin,1,UNIT
1,10,2150-01-21 10:00:00,2150-01-25 10:00:00,Aspirin,81,mg
"""
TABLES = {
    "hosp/prescriptions.csv": ORDERS,
    "hosp/patients.csv": PATIENTS,
    "hosp/admissions.csv.gz": ADMISSIONS,
    "icu/icustays.csv": STAYS,
    "hosp/labevents.csv.gz": LABS,
    "icu/inputevents.csv": INPUTS,
    "hosp/omr.csv": OMR,
    "hosp/microbiologyevents.csv": MICRO,
    "hosp/diagnoses_icd.csv": DIAGNOSES,
    "hosp/procedures_icd.csv": PROCEDURES,
}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    for name, text in TABLES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return tmp_path


def _read(raw: Path, site: str | None = None) -> tuple[list[SourceBatch], list[str]]:
    warnings: list[str] = []
    batches = list(SOURCE.read(raw, site=site, warn=warnings.append))
    for batch in batches:
        assert dict(batch.events.schema) == EVENT_SCHEMA
        assert batch.events["row"].n_unique() + batch.quarantined.height == batch.num_rows, batch.table
    return batches, warnings


def _events(raw: Path, table: str | None = None) -> pl.DataFrame:
    return pl.concat(batch.events for batch in _read(raw)[0] if table in (None, batch.table))


def _times(events: pl.DataFrame, subject: int) -> dict[str, datetime]:
    return dict(events.filter(pl.col("subject_id") == subject).select("code", "time").rows())


def test_a_death_in_the_icu_ends_stay_and_life_at_the_same_time(raw: Path):
    times = _times(_events(raw), 1)
    death = datetime(2150, 1, 20, 17, 5)
    assert times["MEDS_DEATH"] == times["HOSPITAL_DISCHARGE//DIED"] == times["ICU_DISCHARGE//DIED"] == death
    assert times["ICU_DISCHARGE//ALIVE"] == datetime(2150, 1, 12, 9)


def test_survivors_leave_alive_and_a_later_death_is_known_to_the_day(raw: Path):
    times = _times(_events(raw), 2)
    assert times["HOSPITAL_DISCHARGE//ALIVE//HOME"] == datetime(2150, 6, 3, 12)
    assert times["ICU_DISCHARGE//ALIVE"] == datetime(2150, 6, 2, 11)
    assert times["MEDS_DEATH"] == datetime(2151, 3, 1, 23, 59, 59)
    assert times["MEDS_BIRTH"] == datetime(2100, 7, 1)
    assert times["GENDER//M"] is None
    assert "MEDS_DEATH" not in _times(_events(raw), 3)


def test_a_death_long_after_leaving_the_icu_is_no_icu_death(raw: Path):
    late = STAYS.replace("2150-01-20 21:00:00", "2150-01-20 16:00:00")
    (raw / "icu/icustays.csv").write_text(late)
    assert "ICU_DISCHARGE//DIED" not in _times(_events(raw), 1)
    just = STAYS.replace("2150-01-20 21:00:00", "2150-01-20 16:05:00")
    (raw / "icu/icustays.csv").write_text(just)
    assert "ICU_DISCHARGE//DIED" in _times(_events(raw), 1)


def test_laboratory_answers_bounds_and_specimens(raw: Path):
    events = _events(raw, "hosp/labevents").sort("row")
    assert events.select("code", "numeric_value", "text_value", "bound").rows() == [
        ("LAB//50813//mmol/L", 1.5, None, None),
        ("LAB//51492//mg/dL", 300.0, ">300", ">"),
        ("LAB//51487//NEG", None, "NEG", None),
        ("LAB//51466//NEG", None, "NEG.", None),
        ("LAB//52033//ART", None, "ART.", None),
        ("LAB//50821//mm Hg//ART", 88.0, None, None),
        ("LAB//50813//mmol/L", 2.0, None, None),
    ]
    (batch,) = (batch for batch in _read(raw)[0] if batch.table == "hosp/labevents")
    assert batch.quarantined.select("row", "reason").rows() == [(7, "no_time")]


def test_infusions_have_a_start_with_the_rate_and_an_end(raw: Path):
    (batch,) = (batch for batch in _read(raw)[0] if batch.table == "icu/inputevents")
    assert sorted(batch.events.select("row", "code", "numeric_value").rows()) == [
        (0, "INFUSION_END//221906", None),
        (0, "INFUSION_START//221906//mcg/kg/min", pytest.approx(0.1)),
        (1, "INFUSION_END//225798", None),
        (1, "INFUSION_START//225798//dose", 1.0),
    ]
    assert dict(batch.quarantined.select("row", "reason").rows()) == {2: "rewritten", 3: "ends_before_start"}


def test_orders_planned_for_after_the_stay_did_not_happen(raw: Path):
    (batch,) = (batch for batch in _read(raw)[0] if batch.table == "hosp/prescriptions")
    assert sorted(batch.events.select("row", "code", "numeric_value", "text_value").rows()) == [
        (0, "MEDICATION_ORDER_END//Aspirin", None, None),
        (0, "MEDICATION_ORDER_START//Aspirin//mg", 81.0, None),
        (1, "MEDICATION_ORDER_START//Heparin//UNIT", None, "1-2"),
    ]
    assert dict(batch.quarantined.select("row", "reason").rows()) == {
        2: "stopped_before_start",
        3: "starts_after_the_stay",
    }


def test_what_is_known_to_the_day_stands_at_its_end(raw: Path):
    events = _events(raw, "hosp/omr")
    assert sorted(events.select("code", "numeric_value").rows()) == [
        ("OMR//Blood Pressure//diastolic", 65.0),
        ("OMR//Blood Pressure//systolic", 110.0),
        ("OMR//Weight (Lbs)", 180.0),
    ]
    assert set(events["time"]) == {datetime(2150, 5, 1, 23, 59, 59)}


def test_coded_procedures_do_not_come_after_the_end_of_the_stay(raw: Path):
    times = _events(raw, "hosp/procedures_icd").sort("row")["time"].to_list()
    assert times == [datetime(2150, 1, 20, 17, 5), datetime(2150, 1, 11, 23, 59, 59)]


def test_diagnoses_stand_at_the_end_of_the_stay(raw: Path):
    (batch,) = (batch for batch in _read(raw)[0] if batch.table == "hosp/diagnoses_icd")
    assert batch.events.select("code", "time").rows() == [("DIAGNOSIS//ICD10CM//A419", datetime(2150, 1, 20, 17, 5))]
    assert batch.quarantined.select("row", "reason").rows() == [(1, "unknown_admission")]


def test_results_of_cultures_are_told_when_they_are_known(raw: Path):
    (batch,) = (batch for batch in _read(raw)[0] if batch.table == "hosp/microbiologyevents")
    known = datetime(2150, 1, 13, 8)
    assert sorted(batch.events.select("row", "code", "time", "numeric_value", "bound").rows()) == [
        (0, "CULTURE_RESULT//BLOOD CULTURE//E. COLI", known, None, None),
        (0, "CULTURE_TAKEN//BLOOD CULTURE//AEROBIC", datetime(2150, 1, 10, 10), None, None),
        (0, "SUSCEPTIBILITY//E. COLI//CEFEPIME//S", known, 1.0, "<"),
        (1, "SUSCEPTIBILITY//E. COLI//AMIKACIN//R", known, 16.0, ">"),
        (2, "CULTURE_TAKEN//URINE//URINE", datetime(2150, 1, 11, 23, 59, 59), None, None),
    ]
    assert batch.quarantined.select("row", "reason").rows() == [(3, "repeats_another_row")]


def test_missing_tables_are_said_and_only_patients_and_admissions_are_needed(raw: Path):
    _, warnings = _read(raw)
    assert any("icu/chartevents" in warning and "vital signs" in warning for warning in warnings)
    (raw / "icu/inputevents.csv").unlink()
    assert any("icu/inputevents" in warning for warning in _read(raw)[1])
    (raw / "hosp/patients.csv").unlink()
    with pytest.raises(MissingTableError, match="hosp/patients"):
        _read(raw)


def _without(raw: Path, name: str, *columns: str) -> None:
    """Write a table anew without some columns."""
    frame = pl.read_csv(TABLES[name].encode(), infer_schema=False).drop(columns)
    text = frame.write_csv().encode()
    (raw / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)


def test_numbers_of_the_laboratory_are_read_from_the_text_where_their_column_is_missing(raw: Path):
    whole = _events(raw, "hosp/labevents")
    _without(raw, "hosp/labevents.csv.gz", "valuenum")
    assert _events(raw, "hosp/labevents").equals(whole)
    assert "column valuenum of hosp/labevents is missing: it is taken as unknown" in _read(raw)[1]


def test_charted_numbers_are_read_from_the_text_where_their_column_is_missing(raw: Path):
    (raw / "icu/chartevents.csv").write_text(
        "subject_id,charttime,itemid,value,valueuom\n1,2150-01-10 10:00:00,220045,88,bpm\n"
    )
    assert _events(raw, "icu/chartevents").select("code", "numeric_value").rows() == [("CHART//220045//bpm", 88.0)]


def test_a_table_without_its_times_is_lost_and_the_others_are_read(raw: Path):
    tables = {batch.table for batch in _read(raw)[0]}
    _without(raw, "hosp/labevents.csv.gz", "charttime")
    batches, warnings = _read(raw)
    assert {batch.table for batch in batches} == tables - {"hosp/labevents"}
    assert "table hosp/labevents lacks the column(s) charttime: laboratory results will be missing" in warnings


def test_patients_are_known_without_age_and_sex_but_not_without_their_number(raw: Path):
    _without(raw, "hosp/patients.csv", "gender", "anchor_age", "anchor_year")
    times = _times(_events(raw), 2)
    assert times["MEDS_DEATH"] == datetime(2151, 3, 1, 23, 59, 59)
    assert not times.keys() & {"MEDS_BIRTH", "GENDER//M"}
    _without(raw, "hosp/admissions.csv.gz", "dischtime")
    with pytest.raises(MissingTableError, match=r"hosp/admissions .* the column\(s\) dischtime"):
        _read(raw)
    _without(raw, "hosp/patients.csv", "subject_id")
    with pytest.raises(MissingTableError, match=r"hosp/patients .* the column\(s\) subject_id"):
        _read(raw)


def test_tables_that_are_not_read_are_said(raw: Path):
    (raw / "hosp/poe.csv").write_text("poe_id\n1\n")
    assert any("hosp/poe is there but not read" in warning for warning in _read(raw)[1])


def test_the_site_has_a_name(raw: Path):
    assert set(_events(raw)["site"]) == {"mimic-iv"}
    assert {site for batch in _read(raw, "here")[0] for site in batch.events["site"]} == {"here"}


def test_codes_are_described_by_the_dictionaries(raw: Path):
    (raw / "hosp/d_labitems.csv").write_text("itemid,label,fluid,category\n50813,Lactate,Blood,Blood Gas\n")
    (raw / "icu/d_items.csv").write_text("itemid,label,linksto\n221906,Norepinephrine,inputevents\n")
    codes = SOURCE.codes(raw)
    assert dict(codes.schema) == CODES_SCHEMA
    assert dict(codes.select("code", "description").rows()) == {
        "LAB//50813": "Lactate (Blood, Blood Gas)",
        "INFUSION_START//221906": "Norepinephrine",
        "INFUSION_END//221906": "Norepinephrine",
    }


def test_damaged_times_and_numbers_are_set_aside_not_lost(raw: Path):
    damaged = LABS.replace("2150-01-10 10:00:00", "yesterday", 1).replace(",1.5,1.5,", ",clotted sample,,")
    (raw / "hosp/labevents.csv.gz").write_bytes(gzip.compress(damaged.encode()))
    (batch,) = (batch for batch in _read(raw)[0] if batch.table == "hosp/labevents")
    assert batch.num_rows == 8
    assert dict(batch.quarantined.select("row", "reason").rows()) == {0: "no_time", 7: "no_time"}
    assert "clotted" in batch.quarantined["record"][0]


@pytest.mark.parametrize(
    ("age", "year"), [("999999999", "2150"), ("60", "21800000000"), ("60", "300000"), ("-5", "2150")]
)
def test_a_birth_that_no_calendar_has_is_left_out(raw: Path, age: str, year: str):
    with (raw / "hosp/patients.csv").open("a") as file:
        file.write(f"4,F,{age},{year},,\n")
    patients = _events(raw, "hosp/patients")
    assert patients.filter(pl.col("subject_id") == 4)["code"].to_list() == ["GENDER//F"]
    assert patients.filter(pl.col("code") == "MEDS_BIRTH").height == 3


@pytest.mark.parametrize("written", ["nan", "1e400", "-inf"])
def test_a_result_that_is_no_number_is_kept_without_a_level(raw: Path, written: str):
    labs = LABS.replace(",1.5,1.5,", f",{written},{written},", 1)
    (raw / "hosp/labevents.csv.gz").write_bytes(gzip.compress(labs.encode()))
    event = _events(raw, "hosp/labevents").filter(pl.col("row") == 0).row(0, named=True)
    assert (event["numeric_value"], event["text_value"]) == (None, written)
    assert written not in event["code"]


@pytest.fixture(scope="module")
def demo(sojourn_data: Path) -> tuple[pl.DataFrame, dict[str, Counter[str]]]:
    """Events of the demo, and its rows counted by table."""
    batches, _ = _read(sojourn_data / "mimic-iv-demo")
    counts: dict[str, Counter[str]] = {}
    for batch in batches:
        count = counts.setdefault(batch.table, Counter())
        count.update({"rows": batch.num_rows, "events": batch.events.height})
        count.update(batch.quarantined["reason"].to_list())
    return pl.concat(batch.events for batch in batches), counts


@pytest.mark.real
def test_demo_rows_are_all_accounted_for(demo: tuple[pl.DataFrame, dict[str, Counter[str]]]):
    _, counts = demo
    assert counts["hosp/labevents"] == {"rows": 107_727, "events": 107_727}
    assert counts["icu/chartevents"] == {"rows": 668_862, "events": 668_862}
    assert counts["icu/inputevents"] == {"rows": 20_404, "events": 2 * 20_404}
    assert counts["hosp/prescriptions"]["stopped_before_start"] == 753


@pytest.mark.real
def test_demo_has_its_patients_stays_and_deaths(demo: tuple[pl.DataFrame, dict[str, Counter[str]]]):
    events, _ = demo
    families = events.group_by(pl.col("code").str.extract(r"^(\w+)").alias("family")).len()
    count = dict(families.rows())
    assert count["HOSPITAL_ADMISSION"] == count["HOSPITAL_DISCHARGE"] == 275
    assert count["ICU_ADMISSION"] == count["ICU_DISCHARGE"] == 140
    codes = Counter(events["code"].to_list())
    assert codes["HOSPITAL_DISCHARGE//DIED"] == 15
    assert codes["ICU_DISCHARGE//DIED"] == 12
    assert codes["MEDS_DEATH"] == 31
    assert codes["MEDS_BIRTH"] == 100
    assert events["subject_id"].n_unique() == 100
    assert events.filter(pl.col("code") == "MEDS_DEATH")["subject_id"].is_unique().all()


@pytest.mark.real
def test_demo_knows_no_diagnosis_before_the_stay_ends(demo: tuple[pl.DataFrame, dict[str, Counter[str]]]):
    events, _ = demo
    ends = events.filter(pl.col("code").str.starts_with("HOSPITAL_DISCHARGE")).select("subject_id", "time").unique()
    coded = events.filter(pl.col("code").str.contains("^(?:DIAGNOSIS|DRG)//"))
    assert coded.join(ends, on=["subject_id", "time"], how="anti").is_empty()


@pytest.mark.real
def test_demo_values_are_those_of_the_raw_table(demo: tuple[pl.DataFrame, dict[str, Counter[str]]], sojourn_data: Path):
    events, _ = demo
    raw = pl.read_csv(sojourn_data / "mimic-iv-demo/hosp/labevents.csv.gz", infer_schema=False)
    lactate = raw.filter(pl.col("itemid") == "50813")
    ours = events.filter(pl.col("code") == "LAB//50813//mmol/L")
    assert ours.height == lactate.height == 758
    assert ours["numeric_value"].sum() == pytest.approx(lactate["valuenum"].cast(pl.Float64).sum(), rel=1e-6)
