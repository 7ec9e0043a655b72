# ruff: noqa: E501  (the raw tables stand here as they are)
"""SICdb: cases of a patient on one clock, seconds since the first admission, words behind numbers.

The tables are written by hand in the published layout; no patient stands behind them.
"""

import gzip
from datetime import datetime
from pathlib import Path

import pytest

from helpers.raw_sources import codes_and_times, concepts_of, read_source, told
from sojourn.errors import MissingTableError
from sojourn.pipeline import build, ingest
from sojourn.sources.sicdb import SOURCE
from sojourn.sources.sicdb.known import DEFAULT_YEAR
from sojourn.tasks.label import label

HOUR, DAY = 3_600, 86_400
SECOND = 400 * DAY
CASES = f"""CaseID,PatientID,AdmissionYear,TimeOfStay,ICUOffset,saps3,HospitalDischargeType,DischargeState,DischargeUnit,OffsetOfDeath,EstimatedSurvivalObservationTime,Sex,WeightOnAdmission,HeightOnAdmission,AgeOnAdmission,HospitalUnit,ReferringUnit,ICD10Main,ICD10MainText,DiagnosisT2,SurgicalSite,HoursOfCRRT,AdmissionFormHasSepsis,OrbisDataAvailable,HeartSurgeryAdditionalData,HeartSurgeryCrossClampTime,HeartSurgeryBeginOffset,HeartSurgeryEndOffset,OffsetAfterFirstAdmission
1,100,2014,{72 * HOUR},{2 * HOUR},50,2026,2202,3,{SECOND + 50 * HOUR},,735,80000,175,65,7,9,I21.0,Herzinfarkt,,,,,,,,,,0
2,100,2015,{50 * HOUR},0,60,2028,2203,3,{SECOND + 50 * HOUR},,735,82000,175,65,8,9,J96.0,Ateminsuffizienz,,,,,,,,,,{SECOND}
3,200,2013,{40 * HOUR},0,40,2028,2202,3,{60 * HOUR},,736,,,40,7,,,,,,,,,,,,,0
4,300,2016,{30 * HOUR},0,40,,,3,,,,,,,,,,,,,,,,,,,,
"""
REFERENCES = """ReferenceGlobalID,ReferenceValue,ReferenceName,ReferenceDescription,ReferenceUnit,ReferenceOrder,ReferenceType,Data
735,Männlich,Sex,,,,,
736,Weiblich,Sex,,,,,
2026,Survived,HospitalDischargeType,,,,,
2028,Deceased,HospitalDischargeType,,,,,
2202,lebend,DischargeState,,,,,
2203,verstorben,DischargeState,,,,,
7,ICU 1,HospitalUnit,,,,,
9,Notaufnahme,ReferringUnit,,,,,
367,Kreatinin,Laboratory,,mg/dL,,,
708,HeartRate,DataFloat,,bpm,,,
1562,Norepinephrin,Drug,,mg,,,
1406,Amoxicillin,Drug,,mg,,,
44,Aufnahme,LogState,,,,,
55,Beatmung,DataRange,,,,,
66,Diabetes,DataRef,,,,,
67,Vorerkrankung,CustomField,,,,,
"""
LABORATORY = f"""id,CaseID,LaboratoryID,Offset,LaboratoryValue,LaboratoryType
1,1,367,{HOUR},1.2,1
2,2,367,{SECOND + HOUR},2.4,1
3,2,367,{HOUR},2.4,1
4,1,367,{HOUR},,1
5,9,367,{HOUR},1.2,1
6,1,367,,1.2,1
"""
DATA_FLOAT = f"""id,CaseID,DataID,Offset,Val,cnt,rawdata
1,1,708,{2 * HOUR},80,60,0x0000A042
2,1,708,{3 * HOUR},90,1,
3,1,708,{4 * HOUR},,1,
"""
DATA_RANGE = f"""id,CaseID,DataID,Offset,OffsetEnd,Data
1,1,55,{3 * HOUR},{9 * HOUR},
2,1,55,{9 * HOUR},{3 * HOUR},
"""
DATA_REF = "id,CaseID,RefID,CustomFieldID\n1,1,66,67\n"
MEDICATION = f"""id,CaseID,PatientID,DrugID,Offset,OffsetDrugEnd,IsSingleDose,Amount,AmountPerMinute,GivenState
1,1,100,1562,{3 * HOUR},{4 * HOUR},0,0.48,0.008,1
2,3,200,1562,{3 * HOUR},{4 * HOUR},0,0.48,0.008,1
3,1,100,1406,{3 * HOUR},{3 * HOUR + 60},1,1000,,1
4,1,100,1562,{4 * HOUR},{3 * HOUR},0,0.48,0.008,1
"""
UNITLOG = f"id,CaseID,PatientID,LogState,Offset,HospitalUnit\n1,1,100,44,{2 * HOUR},7\n"
TABLES = {
    "cases.csv.gz": CASES,
    "d_references.csv.gz": REFERENCES,
    "laboratory.csv.gz": LABORATORY,
    "data_float_h.csv.gz": DATA_FLOAT,
    "data_range.csv.gz": DATA_RANGE,
    "data_ref.csv.gz": DATA_REF,
    "medication.csv.gz": MEDICATION,
    "unitlog.csv.gz": UNITLOG,
}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    for name, text in TABLES.items():
        (folder / name).write_bytes(gzip.compress(text.encode()))
    return folder


def test_the_cases_of_a_patient_are_on_one_clock(raw: Path) -> None:
    batches, warnings = read_source(SOURCE, raw)
    assert warnings == []
    seen = codes_and_times(batches["cases"], 100)
    admitted = [time for code, time in seen if code.startswith("ICU_ADMISSION")]
    assert admitted == [datetime(2014, 1, 1, 2), datetime(2015, 2, 5)]
    assert ("ICU_ADMISSION//ICU 1//Notaufnahme", datetime(2014, 1, 1, 2)) in seen
    assert [code for code, time in seen if time is None] == ["GENDER//M"]
    assert ("MEDS_BIRTH", datetime(1949, 1, 1)) in seen
    assert ("DIAGNOSIS//ICD10//I21.0", datetime(2014, 1, 4)) in seen


def test_a_death_in_the_icu_ends_everything_at_the_stays_end(raw: Path) -> None:
    seen = codes_and_times(read_source(SOURCE, raw)[0]["cases"], 100)
    end = datetime(2015, 2, 7, 2)
    assert [(code, time) for code, time in seen if "DISCHARGE" in code or code == "MEDS_DEATH"] == [
        ("ICU_DISCHARGE//ALIVE", datetime(2014, 1, 4)),
        ("HOSPITAL_DISCHARGE//DIED", end),
        ("ICU_DISCHARGE//DIED", end),
        ("MEDS_DEATH", end),
    ]


def test_a_death_on_the_ward_ends_the_hospital_stay(raw: Path) -> None:
    seen = dict(codes_and_times(read_source(SOURCE, raw)[0]["cases"], 200))
    assert seen["ICU_DISCHARGE//ALIVE"] == datetime(2013, 1, 2, 16)
    assert seen["HOSPITAL_DISCHARGE//DIED"] == seen["MEDS_DEATH"] == datetime(2013, 1, 3, 12)
    assert "GENDER//F" in seen


def test_numbers_that_no_case_can_have_are_unknown(raw: Path) -> None:
    odd = CASES.replace("3,200,2013,", "3,200,201300000,").replace(",,40,7,", ",,1e30,7,")
    (raw / "cases.csv.gz").write_bytes(gzip.compress(odd.encode()))
    laboratory = LABORATORY + "7,1,367,1e30,1.2,1\n"
    (raw / "laboratory.csv.gz").write_bytes(gzip.compress(laboratory.encode()))
    batches, _ = read_source(SOURCE, raw)
    times = dict(codes_and_times(batches["cases"], 200))
    assert "MEDS_BIRTH" not in times
    assert times["MEDS_DEATH"] == datetime(DEFAULT_YEAR, 1, 3, 12)
    assert dict(batches["laboratory"].quarantined.select("row", "reason").rows())[6] == "no_time"


def test_what_is_unknown_is_not_made_up(raw: Path) -> None:
    seen = [code for code, _ in codes_and_times(read_source(SOURCE, raw)[0]["cases"], 300)]
    assert sorted(seen) == ["ICU_ADMISSION", "ICU_DISCHARGE"]


def test_without_references_the_published_numbers_count(raw: Path) -> None:
    (raw / "d_references.csv.gz").unlink()
    batches, warnings = read_source(SOURCE, raw)
    seen = [code for code, _ in codes_and_times(batches["cases"], 200)]
    assert {"GENDER//F", "ICU_DISCHARGE//ALIVE", "HOSPITAL_DISCHARGE//DIED", "MEDS_DEATH"} <= set(seen)
    assert warnings == [
        "table d_references is missing: what the numbers of items, units and states mean will be missing"
    ]
    assert told(batches["laboratory"])[0] == (0, "LAB//367", pytest.approx(1.2))


def test_laboratory_counts_from_the_first_admission(raw: Path) -> None:
    batch = read_source(SOURCE, raw)[0]["laboratory"]
    assert told(batch) == [(0, "LAB//367//mg/dL", pytest.approx(1.2)), (1, "LAB//367//mg/dL", pytest.approx(2.4))]
    assert batch.events.sort("row")["time"].to_list() == [datetime(2014, 1, 1, 1), datetime(2015, 2, 5, 1)]
    assert dict(batch.quarantined.select("row", "reason").rows()) == {
        2: "long_before_the_case",
        3: "no_number",
        4: "no_subject",
        5: "no_time",
    }


def test_a_mean_stands_at_the_end_of_its_hour(raw: Path) -> None:
    batch = read_source(SOURCE, raw)[0]["data_float_h"]
    assert batch.events.sort("row").select("code", "time", "numeric_value").rows() == [
        ("DATA//708", datetime(2014, 1, 1, 3), 80.0),
        ("DATA//708", datetime(2014, 1, 1, 3), 90.0),
    ]
    assert batch.quarantined["reason"].to_list() == ["no_number"]


def test_infusions_start_with_a_rate_and_end(raw: Path) -> None:
    batch = read_source(SOURCE, raw)[0]["medication"]
    assert told(batch) == [
        (0, "MEDICATION//1562//start//mcg/kg/min", pytest.approx(0.1)),
        (0, "MEDICATION_END//1562", None),
        (1, "MEDICATION//1562//start//mg/min", pytest.approx(0.008)),
        (1, "MEDICATION_END//1562", None),
        (2, "MEDICATION//1406//dose//mg", 1000.0),
    ]
    assert batch.quarantined["reason"].to_list() == ["ends_before_start"]


def test_ranges_moves_and_references(raw: Path) -> None:
    batches, _ = read_source(SOURCE, raw)
    assert told(batches["data_range"]) == [(0, "RANGE//55//end", None), (0, "RANGE//55//start", None)]
    assert told(batches["unitlog"]) == [(0, "TRANSFER//Aufnahme//ICU 1", None)]
    reference = batches["data_ref"].events
    assert reference.select("code", "time").rows() == [("REFERENCE//Vorerkrankung//Diabetes", datetime(2014, 1, 4))]


def test_the_site_is_the_unit_of_the_first_case(raw: Path) -> None:
    events = read_source(SOURCE, raw)[0]["cases"].events
    assert events.select("subject_id", "site").unique().sort("subject_id").rows() == [
        (100, "sicdb-7"),
        (200, "sicdb-7"),
        (300, "sicdb"),
    ]
    assert "here-7" in read_source(SOURCE, raw, "here")[0]["cases"].events["site"]


def test_cases_are_needed(raw: Path) -> None:
    (raw / "cases.csv.gz").unlink()
    with pytest.raises(MissingTableError, match="cases"):
        read_source(SOURCE, raw)


def test_from_raw_tables_to_labels_of_death(raw: Path, tmp_path: Path) -> None:
    ingest("sicdb", raw, tmp_path / "meds")
    assert {
        "LAB//367//mg/dL": "creatinine",
        "DATA//708": "heart_rate",
        "MEDICATION//1562//start//mcg/kg/min": "norepinephrine//start",
        "MEDICATION_END//1562": "norepinephrine//end",
        "MEDICATION//1406//dose//mg": "antibiotic//start",
        "ADMISSION//weight//kg": "weight",
    }.items() <= concepts_of(tmp_path / "meds").items()
    build(tmp_path / "store", [tmp_path / "meds"])
    labels = label("icu-death", tmp_path / "store", tmp_path / "labels.parquet")
    assert (labels.num_labels, labels.num_positive) == (4, 1)
