# ruff: noqa: E501  (the raw tables stand here as they are)
"""eICU: one subject a unit stay, one site a hospital, minutes since admission."""

import gzip
from collections import Counter
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from sojourn.errors import MissingTableError
from sojourn.sources.eicu import SOURCE
from sojourn.sources.eicu.known import DEFAULT_YEAR
from sojourn.sources.records import EVENT_SCHEMA, SourceBatch

PATIENT = """patientunitstayid,gender,age,ethnicity,hospitalid,admissionheight,admissionweight,hospitaladmitoffset,hospitaladmitsource,hospitaldischargeyear,hospitaldischargelocation,hospitaldischargeoffset,hospitaldischargestatus,unittype,unitadmittime24,unitadmitsource,unitstaytype,unitvisitnumber,dischargeweight,unitdischargeoffset,unitdischargestatus,uniquepid
1,Female,> 89,Caucasian,59,170,80,-60,Floor,2015,Home,3000,Alive,MICU,13:14:00,Floor,admit,1,,1500,Alive,p1
2,Male,40,Asian,60,,,-60,,2014,Death,100,Expired,MICU,01:00:00,,admit,1,,331,Expired,p2
3,Female,91,Caucasian,59,,50,-60,,2015,Death,5000,Expired,MICU,13:14:00,,readmit,2,,1000,Alive,p1
4,,,,61,,,,,2015,,200,,MICU,13:14:00,,admit,1,,100,,p4
"""
LAB = """labid,patientunitstayid,labresultoffset,labname,labresult,labresulttext,labmeasurenamesystem,labmeasurenameinterface
1,1,10,lactate,1.5,1.5,mmol/L,mmol/L
2,1,10,troponin - I,,<0.02,ng/mL,ng/mL
3,1,10,ionized calcium,4.5,4.5,mg/dL,mmol/L
4,1,10,ionized calcium,1.1,1.1,mg/dL,mmol/L
5,1,10,FiO2,0.4,0.40,%,%
6,1,10,FiO2,40,40,%,
7,1,10,FiO2,40,40,%,lpm
8,1,10,magnesium,1.4,1.4,mg/dL,mEq/L
9,9,10,lactate,1.5,1.5,mmol/L,mmol/L
"""
VITAL = """vitalperiodicid,patientunitstayid,observationoffset,temperature,sao2,heartrate
1,1,5,37,98,80
2,1,10,98.6,,
3,1,15,,,
"""
CHARTING = """nursingchartid,patientunitstayid,nursingchartoffset,nursingchartcelltypevallabel,nursingchartcelltypevalname,nursingchartvalue
1,1,5,Glasgow coma score,GCS Total,15
2,1,5,Temperature,Temperature Location,ORAL
"""
INFUSION = """infusiondrugid,patientunitstayid,infusionoffset,drugname,drugrate,patientweight
1,1,5,Norepinephrine (mcg/min),8,
2,1,15,Norepinephrine (mcg/min),8,100
3,1,25,Norepinephrine (mcg/min),0,
4,1,35,Norepinephrine (mcg/min),ERROR,
5,2,5,Norepinephrine (mcg/min),8,
6,1,5,Propofol (),10,
"""
RESPIRATORY = """respcareid,patientunitstayid,respcarestatusoffset,airwaytype,ventstartoffset,ventendoffset,priorventstartoffset,priorventendoffset
1,1,10,Oral ETT,-30,0,0,0
2,1,90,,0,0,-30,80
"""
APACHE = "apacheapsvarid,patientunitstayid,eyes,wbc\n1,1,4,-1\n2,2,4,10\n"
EXAM = """physicalexamid,patientunitstayid,physicalexamoffset,physicalexampath,physicalexamvalue,physicalexamtext
1,1,5,notes/Progress Notes/Physical Exam/Physical Exam/Neurologic/GCS/Motor Score/6,6,6
2,1,5,notes/Progress Notes/Physical Exam/Physical Exam/Pulmonary/Airway/intubated,intubated,intubated
"""
MEDICATION = """medicationid,patientunitstayid,drugstartoffset,drugstopoffset,drugname,drughiclseqno,drugordercancelled,dosage
1,1,5,100,ASPIRIN 81 MG,1820,No,81 3
2,1,5,9000,,1820,No,
3,1,4000,9000,HEPARIN,,No,
4,1,5,100,HEPARIN,,Yes,
5,1,5,100,,,No,
"""
TABLES = {
    "medication.csv": MEDICATION,
    "patient.csv.gz": PATIENT,
    "lab.csv.gz": LAB,
    "vitalPeriodic.csv.gz": VITAL,
    "nurseCharting.csv": CHARTING,
    "infusionDrug.csv": INFUSION,
    "respiratoryCare.csv": RESPIRATORY,
    "apacheApsVar.csv": APACHE,
    "physicalExam.csv": EXAM,
    "note.csv": "noteid,patientunitstayid\n1,1\n2,1\n",
    "apachePatientResult.csv": "patientunitstayid,actualicumortality\n1,ALIVE\n",
}
ZERO = datetime(2015, 1, 1, 13, 14)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    for name, text in TABLES.items():
        data = text.encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return tmp_path


def _read(raw: Path, site: str | None = None) -> tuple[dict[str, SourceBatch], list[str]]:
    warnings: list[str] = []
    batches = {batch.table: batch for batch in SOURCE.read(raw, site=site, warn=warnings.append)}
    for batch in batches.values():
        assert dict(batch.events.schema) == EVENT_SCHEMA
        assert batch.events["row"].n_unique() + batch.quarantined.height == batch.num_rows, batch.table
    return batches, warnings


def _patient(raw: Path, stay: int) -> dict[str, datetime | None]:
    events = _read(raw)[0]["patient"].events.filter(pl.col("subject_id") == stay)
    return dict(events.select("code", "time").rows())


def _told(batch: SourceBatch) -> list[tuple[object, ...]]:
    return batch.events.sort("row").select("row", "code", "numeric_value").rows()


def test_a_stay_begins_at_its_time_of_day(raw: Path):
    times = _patient(raw, 1)
    assert times["ICU_ADMISSION//MICU//Floor"] == ZERO
    assert times["HOSPITAL_ADMISSION//Floor"] == datetime(2015, 1, 1, 12, 14)
    assert times["ICU_DISCHARGE//ALIVE"] == datetime(2015, 1, 2, 14, 14)
    assert times["HOSPITAL_DISCHARGE//ALIVE//Home"] == datetime(2015, 1, 3, 15, 14)
    assert times["GENDER//F"] is None
    assert "MEDS_DEATH" not in times


def test_ages_over_89_count_as_90(raw: Path):
    birth = _patient(raw, 1)["MEDS_BIRTH"]
    assert birth is not None
    assert (ZERO - birth).days == round(90 * 365.25)


def test_numbers_that_no_stay_can_have_are_unknown(raw: Path):
    header, *rows = PATIENT.strip().split("\n")
    cells = dict(zip(header.split(","), rows[0].split(","), strict=True))
    cells |= {"age": "1e30", "hospitaldischargeyear": "20140000", "unitdischargeoffset": str(9 * 10**18)}
    (raw / "patient.csv.gz").write_bytes(
        gzip.compress("\n".join([header, ",".join(cells.values()), *rows[1:]]).encode())
    )
    (raw / "lab.csv.gz").write_bytes(gzip.compress(LAB.replace("1,1,10,", f"1,1,{9 * 10**18},", 1).encode()))
    codes = _patient(raw, int(cells["patientunitstayid"]))
    assert "MEDS_BIRTH" not in codes
    assert not [code for code in codes if code.startswith("ICU_DISCHARGE")]
    told = [code for code in codes if code.startswith("HOSPITAL_DISCHARGE")]
    assert told, "the end of the hospital stay is known"
    assert {time.year for time in codes.values() if time is not None} == {DEFAULT_YEAR}
    batches, _ = _read(raw)
    assert dict(batches["lab"].quarantined.select("row", "reason").rows())[0] == "no_time"


def test_a_death_in_the_unit_ends_everything_at_the_unit_end(raw: Path):
    times = _patient(raw, 2)
    death = datetime(2014, 1, 1, 6, 31)
    assert times["ICU_DISCHARGE//DIED"] == times["HOSPITAL_DISCHARGE//DIED"] == times["MEDS_DEATH"] == death


def test_a_death_after_the_unit_is_no_unit_death(raw: Path):
    times = _patient(raw, 3)
    assert times["ICU_DISCHARGE//ALIVE"] == datetime(2015, 1, 2, 5, 54)
    assert times["HOSPITAL_DISCHARGE//DIED"] == times["MEDS_DEATH"] == datetime(2015, 1, 5, 0, 34)


def test_an_unknown_status_is_neither_alive_nor_dead(raw: Path):
    assert {"ICU_DISCHARGE", "HOSPITAL_DISCHARGE"} <= _patient(raw, 4).keys()
    assert "MEDS_BIRTH" not in _patient(raw, 4)


def test_units_of_laboratory_results(raw: Path):
    batch = _read(raw)[0]["lab"]
    assert _told(batch) == [
        (0, "LAB//lactate//mmol/L", 1.5),
        (1, "LAB//troponin - I//ng/mL", pytest.approx(0.02)),
        (2, "LAB//ionized calcium//mg/dL", 4.5),
        (3, "LAB//ionized calcium//mmol/L", pytest.approx(1.1)),
        (4, "LAB//FiO2//fraction", pytest.approx(0.4)),
        (5, "LAB//FiO2//%", 40.0),
        (6, "LAB//FiO2", 40.0),
        (7, "LAB//magnesium//mEq/L", pytest.approx(1.4)),
    ]
    assert batch.events.sort("row")["bound"].to_list()[:2] == [None, "<"]
    assert batch.quarantined.select("row", "reason").rows() == [(8, "unknown_stay")]


def test_monitors_give_one_event_a_number(raw: Path):
    batch = _read(raw)[0]["vitalPeriodic"]
    assert sorted(_told(batch)) == [
        (0, "VITAL//heartrate//bpm", 80.0),
        (0, "VITAL//sao2//%", 98.0),
        (0, "VITAL//temperature//°C", 37.0),
        (1, "VITAL//temperature//°F", pytest.approx(98.6)),
    ]
    assert batch.events["time"].max() == datetime(2015, 1, 1, 13, 24)
    assert batch.quarantined.select("row", "reason").rows() == [(2, "empty_row")]


def test_flowsheets_and_examinations(raw: Path):
    batches, _ = _read(raw)
    assert _told(batches["nurseCharting"]) == [
        (0, "CHART//Glasgow coma score//GCS Total", 15.0),
        (1, "CHART//Temperature//Temperature Location//ORAL", None),
    ]
    assert _told(batches["physicalExam"]) == [
        (0, "EXAM//Neurologic//GCS//Motor Score", 6.0),
        (1, "EXAM//Pulmonary//Airway//intubated", None),
    ]


def test_vasoactive_rates_are_brought_to_the_weight_where_it_is_known(raw: Path):
    batch = _read(raw)[0]["infusionDrug"]
    assert _told(batch) == [
        (0, "INFUSION_START//Norepinephrine//mcg/kg/min", pytest.approx(8 / 80)),
        (1, "INFUSION_START//Norepinephrine//mcg/kg/min", pytest.approx(8 / 100)),
        (2, "INFUSION_END//Norepinephrine", None),
        (4, "INFUSION_START//Norepinephrine//mcg/min", 8.0),
        (5, "INFUSION_START//Propofol", 10.0),
    ]
    assert batch.events.sort("row")["text_value"].to_list() == ["8 mcg/min", "8 mcg/min", None, None, None]
    assert batch.quarantined.select("row", "reason").rows() == [(3, "no_rate")]


@pytest.mark.parametrize("rate", ["OFF", "Off", " off at 3"])
def test_a_rate_that_says_off_ends_the_infusion(raw: Path, rate: str):
    text = "infusiondrugid,patientunitstayid,infusionoffset,drugname,drugrate,patientweight\n"
    drug = "Norepinephrine (mcg/kg/min)"
    (raw / "infusionDrug.csv").write_text(f"{text}1,1,5,{drug},0.2,\n2,1,65,{drug},{rate},\n3,1,70,{drug},unknown,\n")
    batch = _read(raw)[0]["infusionDrug"]
    assert _told(batch) == [
        (0, "INFUSION_START//Norepinephrine//mcg/kg/min", pytest.approx(0.2)),
        (1, "INFUSION_END//Norepinephrine", None),
    ]
    assert batch.quarantined.select("row", "reason").rows() == [(2, "no_rate")]


def test_orders_have_a_drug_and_end_within_the_stay(raw: Path):
    batch = _read(raw)[0]["medication"]
    assert sorted(batch.events.select("row", "code").rows()) == [
        (0, "MEDICATION_ORDER_END//HICL 1820//ASPIRIN 81 MG"),
        (0, "MEDICATION_ORDER_START//HICL 1820//ASPIRIN 81 MG"),
        (1, "MEDICATION_ORDER_START//HICL 1820"),
    ]
    assert dict(batch.quarantined.select("row", "reason").rows()) == {
        2: "starts_after_the_stay",
        3: "order_cancelled",
        4: "no_drug",
    }


def test_an_order_that_stops_before_it_starts_ends_where_it_begins(raw: Path):
    lines = ["1,1,50,40,ASPIRIN,,No,", "2,1,50,0,HEPARIN,,No,", "3,1,-50,0,INSULIN,,No,"]
    (raw / "medication.csv").write_text("\n".join([MEDICATION.splitlines()[0], *lines]) + "\n")
    events = _read(raw)[0]["medication"].events.sort("row", "time", "code")
    starts = events.filter(pl.col("row") == 0)["time"]
    assert starts.to_list() == [starts[0]] * 2
    assert events.select("row", "code").rows()[2:] == [
        (1, "MEDICATION_ORDER_START//HEPARIN"),
        (2, "MEDICATION_ORDER_START//INSULIN"),
        (2, "MEDICATION_ORDER_END//INSULIN"),
    ]


def test_ventilation_starts_and_ends_once(raw: Path):
    events = _read(raw)[0]["respiratoryCare"].events
    ventilation = events.filter(pl.col("code").str.starts_with("PROCEDURE"))
    assert sorted(ventilation.select("code", "time").rows()) == [
        ("PROCEDURE_END//ventilation", datetime(2015, 1, 1, 14, 34)),
        ("PROCEDURE_START//ventilation", datetime(2015, 1, 1, 12, 44)),
    ]


def test_a_row_that_only_repeats_ventilation_is_set_aside(raw: Path):
    columns = "patientunitstayid,respcarestatusoffset,airwaytype,ventstartoffset"
    (raw / "respiratoryCare.csv").write_text(f"{columns}\n1,10,Oral ETT,5\n1,,Oral ETT,5\n")
    batch = _read(raw)[0]["respiratoryCare"]
    assert batch.events["row"].to_list() == [0, 0]
    assert batch.quarantined.select("row", "reason").rows() == [(1, "repeats_another_row")]


def test_worst_values_of_the_first_day_are_known_when_it_is_over(raw: Path):
    batch = _read(raw)[0]["apacheApsVar"]
    assert batch.events.select("code", "time").rows() == [("APACHE//eyes", datetime(2015, 1, 2, 13, 14))]
    assert batch.quarantined.select("row", "reason").rows() == [(1, "stay_shorter_than_a_day")]


def test_outcomes_and_free_text_are_not_read_and_this_is_said(raw: Path):
    batches, warnings = _read(raw)
    assert batches["note"].quarantined["reason"].to_list() == ["free_text_is_not_read"] * 2
    assert any("apachePatientResult is there but not read" in warning for warning in warnings)
    assert any("vitalAperiodic is missing" in warning for warning in warnings)


def test_each_hospital_is_a_site(raw: Path):
    sites = _read(raw)[0]["patient"].events.select("subject_id", "site").unique().sort("subject_id").rows()
    assert sites == [(1, "eicu-59"), (2, "eicu-60"), (3, "eicu-59"), (4, "eicu-61")]
    assert "here-59" in _read(raw, "here")[0]["patient"].events["site"]


def test_stays_of_one_patient_are_in_the_same_split(raw: Path):
    splits = dict(SOURCE.splits(raw).rows())
    assert splits.keys() == {1, 2, 3, 4}
    assert splits[1] == splits[3]


def test_patients_are_needed(raw: Path):
    (raw / "patient.csv.gz").write_bytes(gzip.compress(PATIENT.replace("unitadmittime24", "clock", 1).encode()))
    with pytest.raises(MissingTableError, match=r"patient .* the column\(s\) unitadmittime24"):
        _read(raw)
    (raw / "patient.csv.gz").unlink()
    with pytest.raises(MissingTableError, match="patient"):
        _read(raw)


def test_a_stay_without_its_status_still_ends(raw: Path):
    text = PATIENT.replace("unitdischargestatus", "status", 1)
    (raw / "patient.csv.gz").write_bytes(gzip.compress(text.encode()))
    events = _read(raw)[0]["patient"].events
    assert events.filter(pl.col("code") == "ICU_DISCHARGE")["subject_id"].n_unique() == 4


def test_a_part_of_the_laboratory_stands_in_for_it(raw: Path):
    (raw / "lab.csv.gz").rename(raw / "lab_SUBSET.csv.gz")
    batches, warnings = _read(raw)
    assert batches["lab"].num_rows == 9
    assert any("lab_SUBSET is read in its place" in warning for warning in warnings)
    assert not any("lab_SUBSET is there but not read" in warning for warning in warnings)


@pytest.mark.real
def test_demo_rows_stays_and_hospitals(sojourn_data: Path):
    events: list[pl.DataFrame] = []
    rows: Counter[str] = Counter()
    for batch in SOURCE.read(sojourn_data / "eicu-demo", site=None, warn=lambda _: None):
        assert batch.events["row"].n_unique() + batch.quarantined.height == batch.num_rows, batch.table
        events.append(batch.events)
        rows[batch.table] += batch.num_rows
    told = pl.concat(events)
    assert rows["vitalAperiodic"] == 180_907
    assert rows["lab"] == 20_856
    assert told["site"].n_unique() == 126
    assert told["subject_id"].n_unique() == 1_692
    codes = Counter(told["code"].to_list())
    assert codes["ICU_DISCHARGE//DIED"] == 76
    assert codes["MEDS_DEATH"] == codes["HOSPITAL_DISCHARGE//DIED"] == 135
    patients = pl.read_parquet(sojourn_data / "eicu-demo/patient.parquet").select(
        "uniquepid", subject_id="patientunitstayid"
    )
    splits = SOURCE.splits(sojourn_data / "eicu-demo").join(patients, on="subject_id")
    assert splits.group_by("uniquepid").agg(pl.col("split").n_unique())["split"].max() == 1
    assert set(splits["split"]) == {"train", "tuning", "held_out"}
