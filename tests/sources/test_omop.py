# ruff: noqa: E501  (the raw tables stand here as they are)
"""OMOP CDM 5.3 and 5.4: standard concepts become codes, and files and databases give the same events."""

import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from sojourn.errors import MissingTableError
from sojourn.sources.ingest import ingest
from sojourn.sources.omop import SOURCE
from sojourn.sources.records import CODES_SCHEMA, EVENT_SCHEMA, SourceBatch

TABLES = {
    "person": """person_id,gender_concept_id,year_of_birth,month_of_birth,day_of_birth,birth_datetime,race_concept_id,ethnicity_concept_id,location_id,provider_id,care_site_id,person_source_value,gender_source_value,gender_source_concept_id,race_source_value,race_source_concept_id,ethnicity_source_value,ethnicity_source_concept_id
1,8532,2097,,,,8527,0,,,,p1,F,0,WHITE,0,,0
2,0,2100,3,4,,0,0,,,,p2,M,0,,0,,0
""",
    "death": """person_id,death_date,death_datetime,death_type_concept_id,cause_concept_id,cause_source_value,cause_source_concept_id
1,2150-01-20,2150-01-20 00:00:00,32817,0,,0
2,2151-03-01,,32817,0,,0
2,2151-03-02,,32817,0,,0
""",
    "visit_occurrence": """visit_occurrence_id,person_id,visit_concept_id,visit_start_date,visit_start_datetime,visit_end_date,visit_end_datetime,visit_type_concept_id,provider_id,care_site_id,visit_source_value,visit_source_concept_id,admitting_source_concept_id,admitting_source_value,discharge_to_concept_id,discharge_to_source_value,preceding_visit_occurrence_id
10,1,9201,2150-01-10,2150-01-10 08:00:00,2150-01-20,2150-01-20 17:05:00,32817,,100,v,0,0,EMERGENCY ROOM,4216643,,
20,2,9203,2150-06-01,2150-06-01 10:00:00,2150-06-01,2150-06-01 14:00:00,32817,,200,v,0,0,,0,,
21,2,9203,2150-07-01,2150-07-01 10:00:00,2150-07-03,2150-07-03 14:00:00,32817,,200,v,0,0,,0,HOME,
22,2,9202,2150-08-01,,2150-08-01,,32817,,200,v,0,0,,0,,
""",
    "visit_detail": """visit_detail_id,person_id,visit_detail_concept_id,visit_detail_start_date,visit_detail_start_datetime,visit_detail_end_date,visit_detail_end_datetime,visit_detail_type_concept_id,provider_id,care_site_id,visit_detail_source_value,visit_detail_source_concept_id,visit_occurrence_id
1000,1,32037,2150-01-10,2150-01-10 09:00:00,2150-01-12,2150-01-12 09:00:00,32817,,,w,0,10
1001,1,0,2150-01-12,2150-01-12 09:30:00,2150-01-20,2150-01-20 18:00:00,32817,,300,w,0,10
1002,2,0,2150-07-01,2150-07-01 11:00:00,2150-07-02,2150-07-02 11:00:00,32817,,400,w,0,21
""",
    "care_site": """care_site_id,care_site_name,place_of_service_concept_id,location_id,care_site_source_value,place_of_service_source_value
100,North,,,,
200,South,,,,
300,Trauma SICU (TSICU),,,,
400,Ward,,,,
""",
    "condition_occurrence": """condition_occurrence_id,person_id,condition_concept_id,condition_start_date,condition_start_datetime,condition_end_date,condition_end_datetime,condition_type_concept_id,condition_status_concept_id,stop_reason,provider_id,visit_occurrence_id,visit_detail_id,condition_source_value,condition_source_concept_id,condition_status_source_value
1,1,132797,2150-01-10,2150-01-10 08:00:00,,,32821,,,,10,,A419,0,
2,1,132797,2150-01-11,2150-01-11 08:00:00,,,32817,,,,10,,A419,0,
3,7,132797,2150-01-11,2150-01-11 08:00:00,,,32817,,,,10,,A419,0,
""",
    "procedure_occurrence": """procedure_occurrence_id,person_id,procedure_concept_id,procedure_date,procedure_datetime,procedure_type_concept_id,modifier_concept_id,quantity,provider_id,visit_occurrence_id,visit_detail_id,procedure_source_value,procedure_source_concept_id,modifier_source_value
1,1,0,2150-01-20,2150-01-20 00:00:00,32821,0,1,,10,,5491,0,
2,1,555,2150-01-11,2150-01-11 10:00:00,32817,0,1,,10,,x,0,
""",
    "drug_exposure": """drug_exposure_id,person_id,drug_concept_id,drug_exposure_start_date,drug_exposure_start_datetime,drug_exposure_end_date,drug_exposure_end_datetime,verbatim_end_date,drug_type_concept_id,stop_reason,refills,quantity,days_supply,sig,route_concept_id,lot_number,provider_id,visit_occurrence_id,visit_detail_id,drug_source_value,drug_source_concept_id,route_source_value,dose_unit_source_value
1,1,1321341,2150-01-10,2150-01-10 10:00:00,2150-01-10,2150-01-10 12:00:00,,32818,,,4,,,0,,,10,,Levophed,0,IV,mg
2,1,1321341,2150-01-19,2150-01-19 10:00:00,2150-01-25,2150-01-25 10:00:00,,32838,,,4,,,0,,,10,,Levophed,0,IV,mg
3,1,0,2150-01-19,2150-01-19 10:00:00,2150-01-18,2150-01-18 10:00:00,,32838,,,1,,,0,,,10,,Saline,0,IV,mL
""",
    "measurement": """measurement_id,person_id,measurement_concept_id,measurement_date,measurement_datetime,measurement_time,measurement_type_concept_id,operator_concept_id,value_as_number,value_as_concept_id,unit_concept_id,range_low,range_high,provider_id,visit_occurrence_id,visit_detail_id,measurement_source_value,measurement_source_concept_id,unit_source_value,value_source_value
1,1,3047181,2150-01-10,2150-01-10 10:00:00,,32856,4172703,2.5,0,8753,,,,10,,lac,0,mmol/l,2.5
2,1,3047181,2150-01-10,2150-01-10 00:00:00,,32856,4171756,0.3,0,0,,,,10,,lac,0,mmol/l,<0.3
3,1,0,2150-01-10,2150-01-10 10:00:00,,32856,0,,45884084,0,,,,10,,culture,0,,
4,1,0,2150-01-10,2150-01-10 10:00:00,,32856,0,7,0,0,,,,10,,local lab,2000000001,mg,
5,1,4242,2150-01-10,,,32856,0,>9,0,0,,,,10,,x,0,,>9
6,1,0,,,,32856,0,1,0,0,,,,10,,y,0,,
""",
    "observation": """observation_id,person_id,observation_concept_id,observation_date,observation_datetime,observation_type_concept_id,value_as_number,value_as_string,value_as_concept_id,qualifier_concept_id,unit_concept_id,provider_id,visit_occurrence_id,visit_detail_id,observation_source_value,observation_source_concept_id,unit_source_value,qualifier_source_value
1,1,4275495,2150-01-10,2150-01-10 10:00:00,32817,,never,0,0,0,,10,,smoking,0,,
""",
    "device_exposure": """device_exposure_id,person_id,device_concept_id,device_exposure_start_date,device_exposure_start_datetime,device_exposure_end_date,device_exposure_end_datetime,device_type_concept_id,unique_device_id,quantity,provider_id,visit_occurrence_id,visit_detail_id,device_source_value,device_source_concept_id
1,1,45768171,2150-01-10,2150-01-10 10:00:00,2150-01-11,2150-01-11 10:00:00,32817,,,,10,,bed,0
""",
    "specimen": """specimen_id,person_id,specimen_concept_id,specimen_type_concept_id,specimen_date,specimen_datetime,quantity,unit_concept_id,anatomic_site_concept_id,disease_status_concept_id,specimen_source_id,specimen_source_value,unit_source_value,anatomic_site_source_value,disease_status_source_value
1,1,4001225,32856,2150-01-10,2150-01-10 10:00:00,,,0,0,,blood,,,
""",
    "concept": """concept_id,concept_name,domain_id,vocabulary_id,concept_class_id,standard_concept,concept_code,valid_start_date,valid_end_date,invalid_reason
3047181,Lactate [Moles/volume] in Blood,Measurement,LOINC,Lab Test,S,2524-7,1970-01-01,2099-12-31,
132797,Sepsis,Condition,SNOMED,Disorder,S,91302008,1970-01-01,2099-12-31,
1321341,norepinephrine,Drug,RxNorm,Ingredient,S,7512,1970-01-01,2099-12-31,
8753,millimole per liter,Unit,UCUM,Unit,S,mmol/L,1970-01-01,2099-12-31,
45884084,Positive,Meas Value,LOINC,Answer,S,LA6576-8,1970-01-01,2099-12-31,
2000000001,Our own test,Measurement,north_labs,Lab Test,,T1,1970-01-01,2099-12-31,
2000000002,Inserting a line,Procedure,north_procedures,Procedure,,L1,1970-01-01,2099-12-31,
8527,White,Race,Race,Race,S,5,1970-01-01,2099-12-31,
4275495,Smoking,Observation,SNOMED,Observable,S,229819007,1970-01-01,2099-12-31,
""",
    "concept_relationship": """concept_id_1,concept_id_2,relationship_id,valid_start_date,valid_end_date,invalid_reason
2000000002,555,Maps to,1970-01-01,2099-12-31,
""",
}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two persons at two hospitals, in CDM 5.3."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for name, text in TABLES.items():
        (folder / f"{name.upper() if name == 'concept' else name}.csv").write_text(text)
    # A concept is looked up only if a record uses it, here as the source concept of a procedure.
    path = folder / "procedure_occurrence.csv"
    path.write_text(path.read_text().replace(",x,0,", ",x,2000000002,"))
    return folder


def _read(raw: Path, site: str | None = None) -> tuple[dict[str, SourceBatch], list[str]]:
    warnings: list[str] = []
    batches = {batch.table: batch for batch in SOURCE.read(raw, site=site, warn=warnings.append)}
    for batch in batches.values():
        assert dict(batch.events.schema) == EVENT_SCHEMA
        assert set(batch.events["row"]) | set(batch.quarantined["row"]) == set(range(batch.num_rows))
        assert not set(batch.events["row"]) & set(batch.quarantined["row"])
    return batches, warnings


def _times(batches: dict[str, SourceBatch], subject: int) -> dict[str, datetime | None]:
    events = pl.concat([batches[name].events for name in ("person", "death", "visit_occurrence", "visit_detail")])
    return dict(events.filter(pl.col("subject_id") == subject).select("code", "time").iter_rows())


def _rows(batch: SourceBatch, *columns: str) -> list[tuple[object, ...]]:
    return batch.events.sort("row", "code").select("row", *columns).rows()


def test_a_death_in_hospital_ends_the_stay_the_icu_stay_and_the_life_at_once(raw: Path) -> None:
    times = _times(_read(raw)[0], 1)
    death = datetime(2150, 1, 20, 17, 5)
    assert times["MEDS_DEATH"] == times["HOSPITAL_DISCHARGE//DIED"] == times["ICU_DISCHARGE//DIED"] == death
    assert times["HOSPITAL_ADMISSION//inpatient//EMERGENCY ROOM"] == datetime(2150, 1, 10, 8)
    assert times["ICU_ADMISSION//intensive care"] == datetime(2150, 1, 10, 9)
    assert "ICU_ADMISSION//Trauma SICU (TSICU)" not in times, "moves between units within an hour are one stay"
    assert times["MEDS_BIRTH"] == datetime(2097, 7, 1)
    assert times["GENDER//F"] is None
    assert "RACE//White" in times


def test_short_emergency_visits_long_ones_and_outpatients(raw: Path) -> None:
    batches, _ = _read(raw)
    times = _times(batches, 2)
    assert times["EMERGENCY_DEPARTMENT_START"] == datetime(2150, 6, 1, 10)
    assert times["HOSPITAL_ADMISSION//emergency room"] == datetime(2150, 7, 1, 10)
    assert times["HOSPITAL_DISCHARGE//ALIVE//HOME"] == datetime(2150, 7, 3, 14)
    assert times["VISIT_START//outpatient"] == datetime(2150, 8, 1)
    assert times["VISIT_END"] == datetime(2150, 8, 1, 23, 59, 59)
    assert times["MEDS_DEATH"] == datetime(2151, 3, 1, 23, 59, 59)
    assert times["MEDS_BIRTH"] == datetime(2100, 3, 4)
    assert times["GENDER//M"] is None
    assert batches["death"].quarantined.select("row", "reason").rows() == [(2, "repeats_another_row")]


def test_measurements_carry_the_standard_code_the_unit_and_the_bound(raw: Path) -> None:
    batch = _read(raw)[0]["measurement"]
    assert _rows(batch, "code", "time", "numeric_value", "bound") == [
        (0, "LOINC//2524-7//mmol/L", datetime(2150, 1, 10, 10), 2.5, None),
        (1, "LOINC//2524-7//mmol/l", datetime(2150, 1, 10), pytest.approx(0.3), "<"),
        (2, "MEASUREMENT//culture//Positive", datetime(2150, 1, 10, 10), None, None),
        (3, "north_labs//T1//mg", datetime(2150, 1, 10, 10), 7.0, None),
        (4, "OMOP//4242", datetime(2150, 1, 10, 23, 59, 59), 9.0, ">"),
    ]
    assert batch.quarantined.select("row", "reason").rows() == [(5, "no_time")]
    observation = _read(raw)[0]["observation"].events
    assert observation.select("code", "text_value").rows() == [("SNOMED//229819007//never", "never")]


def test_where_all_times_are_midnight_they_are_days(raw: Path) -> None:
    path = raw / "measurement.csv"
    path.write_text(path.read_text().replace(" 10:00:00", " 00:00:00"))
    assert set(_read(raw)[0]["measurement"].events["time"]) == {datetime(2150, 1, 10, 23, 59, 59)}


@pytest.mark.parametrize("offset", ["+00:00", "-05", " UTC", "typed"])
def test_an_offset_from_utc_leaves_the_hour_that_stands_there(raw: Path, offset: str) -> None:
    before = _rows(_read(raw)[0]["measurement"], "time", "code")
    path = raw / "measurement.csv"
    if offset == "typed":
        time = pl.col("measurement_datetime").str.to_datetime("%Y-%m-%d %H:%M:%S", time_zone="UTC")
        pl.read_csv(path, infer_schema=False).with_columns(time).write_parquet(raw / "measurement.parquet")
    else:
        path.write_text(path.read_text().replace(":00:00,", f":00:00{offset},"))
    assert _rows(_read(raw)[0]["measurement"], "time", "code") == before


@pytest.mark.parametrize(
    ("written", "born"),
    [
        ("2,0,2100,0,0", datetime(2100, 7, 1)),
        ("2,0,2100,2,30", datetime(2100, 2, 15)),
        ("2,0,2100,2,0", datetime(2100, 2, 15)),
        ("2,0,2100,12,31", datetime(2100, 12, 31)),
        ("2,0,2100,,4", datetime(2100, 7, 1)),
        ("2,0,999999,3,4", None),
    ],
)
def test_of_a_birth_that_is_no_date_what_can_be_known_is(raw: Path, written: str, born: datetime | None) -> None:
    path = raw / "person.csv"
    path.write_text(path.read_text().replace("2,0,2100,3,4", written))
    births = dict(_read(raw)[0]["person"].events.filter(code="MEDS_BIRTH").select("subject_id", "time").rows())
    assert births == {1: datetime(2097, 7, 1)} | ({} if born is None else {2: born})


def test_diagnoses_for_billing_stand_at_the_end_of_the_visit(raw: Path) -> None:
    batch = _read(raw)[0]["condition_occurrence"]
    assert _rows(batch, "code", "time") == [
        (0, "DIAGNOSIS//SNOMED//91302008", datetime(2150, 1, 20, 17, 5)),
        (1, "DIAGNOSIS//SNOMED//91302008", datetime(2150, 1, 11, 8)),
    ]
    assert batch.quarantined.select("row", "reason").rows() == [(2, "unknown_person")]


def test_procedures_drugs_devices_and_specimens(raw: Path) -> None:
    batches, _ = _read(raw)
    assert _rows(batches["procedure_occurrence"], "code", "time") == [
        (0, "PROCEDURE//5491", datetime(2150, 1, 20, 17, 5)),
        (1, "PROCEDURE//OMOP//555", datetime(2150, 1, 11, 10)),
    ]
    assert _rows(batches["drug_exposure"], "code", "numeric_value") == [
        (0, "DRUG_END//RxNorm//7512", None),
        (0, "DRUG_START//RxNorm//7512//mg", 4.0),
        (1, "MEDICATION_ORDER_START//RxNorm//7512//mg", 4.0),
    ]
    assert batches["drug_exposure"].quarantined["reason"].to_list() == ["stopped_before_start"]
    assert _rows(batches["device_exposure"], "code") == [
        (0, "DEVICE_END//OMOP//45768171"),
        (0, "DEVICE_START//OMOP//45768171"),
    ]
    assert batches["specimen"].events["code"].to_list() == ["SPECIMEN//OMOP//4001225"]


def test_version_5_4_gives_the_same_events(raw: Path) -> None:
    first, _ = _read(raw)
    path = raw / "visit_occurrence.csv"
    text = path.read_text().replace("admitting_source_concept_id", "admitted_from_concept_id")
    text = text.replace("admitting_source_value", "admitted_from_source_value")
    path.write_text(text.replace("discharge_to_", "discharged_to_"))
    path = raw / "procedure_occurrence.csv"
    lines = path.read_text().splitlines()
    ends = ["procedure_end_date,procedure_end_datetime", "2150-01-20,", "2150-01-11,2150-01-11 11:00:00"]
    path.write_text("\n".join(f"{line},{end}" for line, end in zip(lines, ends, strict=True)) + "\n")
    second, _ = _read(raw)
    for name in set(first) - {"procedure_occurrence"}:
        assert first[name].events.equals(second[name].events), name
    assert _rows(second["procedure_occurrence"], "code")[1:] == [
        (1, "PROCEDURE_END//OMOP//555"),
        (1, "PROCEDURE_START//OMOP//555"),
    ]


def test_care_sites_of_visits_are_sites(raw: Path) -> None:
    batches, _ = _read(raw)
    assert set(batches["measurement"].events["site"]) == {"omop-North"}
    assert set(batches["visit_occurrence"].events["site"]) == {"omop-North", "omop-South"}
    assert set(_read(raw, "net")[0]["measurement"].events["site"]) == {"net-North"}


def test_the_vocabulary_may_be_as_athena_writes_it(raw: Path) -> None:
    path = raw / "CONCEPT.csv"
    path.write_text(path.read_text().replace(",", "\t"))
    assert _read(raw)[0]["measurement"].events["code"][0] == "LOINC//2524-7//mmol/L"


def test_codes_are_described_by_the_vocabulary(raw: Path) -> None:
    codes = SOURCE.codes(raw)
    assert dict(codes.schema) == CODES_SCHEMA
    described = dict(codes.select("code", "description").rows())
    assert described["LOINC//2524-7"] == "Lactate [Moles/volume] in Blood"
    assert described["DRUG_START//RxNorm//7512"] == "norepinephrine"
    assert described["PROCEDURE//OMOP//555"] == "Inserting a line", "from the local concept that maps to it"


def test_missing_tables_are_said_and_only_persons_are_needed(raw: Path) -> None:
    (raw / "measurement.csv").unlink()
    (raw / "note.csv").write_text("note_id,note_text\n1,text\n")
    _, warnings = _read(raw)
    assert any("measurement is missing" in warning and "laboratory" in warning for warning in warnings)
    assert any("note is there but not read" in warning for warning in warnings)
    assert any("OMOP//<concept_id>" in warning for warning in warnings)
    (raw / "person.csv").unlink()
    with pytest.raises(MissingTableError, match="person"):
        _read(raw)


@pytest.mark.real
def test_mimic_demo_rows_are_all_accounted_for(
    sojourn_data: Path, tmp_path: Path, read_events: Callable[[Path], pl.DataFrame]
) -> None:
    with tarfile.open(sojourn_data / "omop" / "mimic4demo_omop_0.9_no_measurement_observation.tar.gz") as archive:
        archive.extractall(tmp_path / "raw")
    report = ingest("omop", tmp_path / "raw", tmp_path / "out")
    counts = {table.table: (table.rows, table.rows_quarantined) for table in report.tables}
    assert counts == {
        "person": (100, 0),
        "death": (15, 0),
        "visit_occurrence": (852, 0),
        "visit_detail": (14_479, 0),
        "condition_occurrence": (16_441, 0),
        "procedure_occurrence": (18_447, 0),
        "drug_exposure": (18_229, 113),
        "device_exposure": (3_855, 0),
        "specimen": (150, 0),
    }
    codes = Counter(read_events(tmp_path / "out")["code"].str.extract(r"^([A-Z_]+(?://(?:DIED|ALIVE))?)").to_list())
    assert (codes["HOSPITAL_ADMISSION"], codes["ICU_ADMISSION"]) == (272, 138)
    assert (codes["HOSPITAL_DISCHARGE//DIED"], codes["ICU_DISCHARGE//DIED"], codes["MEDS_DEATH"]) == (15, 12, 15)


@pytest.mark.real
def test_synthetic_persons_have_loinc_codes_with_ucum_units(
    sojourn_data: Path, tmp_path: Path, read_events: Callable[[Path], pl.DataFrame]
) -> None:
    with zipfile.ZipFile(sojourn_data / "omop" / "Synthea27NjParquet_5.4.zip") as archive:
        archive.extractall(tmp_path / "raw")
    report = ingest("omop", tmp_path / "raw" / "Synthea27NjParquet", tmp_path / "out")
    counts = {table.table: (table.rows, table.rows_quarantined) for table in report.tables}
    assert counts["measurement"] == (10_040, 0)
    assert counts["observation"] == (8_099, 0)
    assert report.sites == {"omop-NJ": 28}
    weight = read_events(tmp_path / "out").filter(pl.col("code") == "LOINC//29463-7//kg")
    raw = pl.read_parquet(tmp_path / "raw" / "Synthea27NjParquet" / "measurement.parquet")
    expected = raw.filter(pl.col("measurement_source_value") == "29463-7")["value_as_number"].cast(pl.Float64)
    assert weight.height == len(expected)
    assert weight["numeric_value"].sum() == pytest.approx(expected.sum(), rel=1e-6)
