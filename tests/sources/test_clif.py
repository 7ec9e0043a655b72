# ruff: noqa: E501  (the raw tables stand here as they are)
"""CLIF: categories become codes, stays end as they should, and the clock is that of the hospital."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sojourn.errors import ConfigError, MissingTableError
from sojourn.sources import ingest as engine
from sojourn.sources.clif import SOURCE
from sojourn.sources.ingest import ingest
from sojourn.sources.records import EVENT_SCHEMA, SourceBatch

TABLES = {
    "patient": """patient_id,race_name,race_category,ethnicity_name,ethnicity_category,sex_name,sex_category,birth_date,death_dttm,language_name,language_category
1,WHITE,White,WHITE,Non-Hispanic,F,Female,,2150-01-21 01:50:00+00:00,English,English
2,OTHER,Other,OTHER,Unknown,M,Male,2100-03-04,2150-08-09 05:00:00+00:00,English,English
""",
    "hospitalization": """patient_id,hospitalization_id,hospitalization_joined_id,admission_dttm,discharge_dttm,age_at_admission,admission_type_name,admission_type_category,discharge_name,discharge_category
1,10,,2150-01-10 13:00:00+00:00,2150-01-20 05:00:00+00:00,52,URGENT,ed,DIED,Expired
2,20,,2150-06-01 14:00:00+00:00,2150-06-03 16:00:00+00:00,50,ELECTIVE,elective,HOME,Home
""",
    "adt": """patient_id,hospitalization_id,hospital_id,in_dttm,out_dttm,location_name,location_category,location_type,hospital_type
1,10,north,2150-01-10 11:00:00+00:00,2150-01-10 14:00:00+00:00,ED,ed,,academic
1,10,north,2150-01-10 14:00:00+00:00,2150-01-12 14:00:00+00:00,MICU,icu,medical_icu,academic
1,10,north,2150-01-12 14:30:00+00:00,2150-01-21 02:00:00+00:00,SICU,icu,surgical_icu,academic
2,20,south,2150-06-01 14:00:00+00:00,2150-06-02 14:00:00+00:00,SICU,icu,surgical_icu,community
2,20,south,2150-06-02 14:00:00+00:00,2150-06-03 16:00:00+00:00,Ward,ward,,community
""",
    "vitals": """hospitalization_id,recorded_dttm,vital_name,vital_category,vital_value,meas_site_name
10,2150-01-10 15:00:00+00:00,HR,heart_rate,88,
10,2150-01-10 15:00:00+00:00,Temp,temp_c,,Oral
99,2150-01-10 15:00:00+00:00,HR,heart_rate,80,
10,soon,HR,heart_rate,80,
""",
    "labs": """hospitalization_id,lab_order_dttm,lab_collect_dttm,lab_result_dttm,lab_name,lab_category,lab_value,lab_value_numeric,reference_unit
10,2150-01-10 15:00:00+00:00,2150-01-10 15:10:00+00:00,2150-01-10 16:00:00+00:00,Lactate,lactate,2.1,2.1,mmol/L
10,2150-01-10 15:00:00+00:00,2150-01-10 15:10:00+00:00,2150-01-10 16:00:00+00:00,Platelets,platelet_count,<5,,10*3/uL
10,2150-01-10 15:00:00+00:00,2150-01-10 15:10:00+00:00,2150-01-10 16:00:00+00:00,INR,inr,clotted,,
""",
    "medication_admin_continuous": """hospitalization_id,med_order_id,med_name,med_category,admin_dttm,mar_action_name,mar_action_category,med_dose,med_dose_unit
10,5,Levophed,norepinephrine,2150-01-10 15:00:00+00:00,Started,start,0.1,mcg/kg/min
10,5,Levophed,norepinephrine,2150-01-10 16:00:00+00:00,Changed,dose_change,0.2,mcg/kg/min
10,5,Levophed,norepinephrine,2150-01-10 17:00:00+00:00,Stopped,stop,0,mcg/kg/min
""",
    "medication_admin_intermittent": """hospitalization_id,med_order_id,med_name,med_category,admin_dttm,mar_action_name,mar_action_category,med_dose,med_dose_unit
10,6,Vancomycin,vancomycin,2150-01-10 15:00:00+00:00,Given,given,1,g
10,6,Vancomycin,vancomycin,2150-01-11 15:00:00+00:00,Held,not_given,,g
""",
    "respiratory_support": """hospitalization_id,recorded_dttm,device_name,device_category,mode_name,mode_category,tracheostomy,fio2_set,lpm_set,peep_set
10,2150-01-10 15:00:00+00:00,Cannula,Nasal Cannula,,,0,,2,
10,2150-01-10 17:00:00+00:00,ETT,IMV,,,0,0.5,,5
10,2150-01-10 16:00:00+00:00,ETT,IMV,,Pressure Control,0,0.6,,8
10,2150-01-11 16:00:00+00:00,Mask,Face Mask,,,0,,6,
""",
    "patient_assessments": """hospitalization_id,recorded_dttm,assessment_name,assessment_category,assessment_group,numerical_value,categorical_value,text_value
10,2150-01-10 15:00:00+00:00,gcs,gcs_total,Neurological,14,,
10,2150-01-10 15:00:00+00:00,cam,cam_total,Neurological,,Positive,
10,2150-01-10 15:00:00+00:00,gcs,gcs_eye,Neurological,,,
""",
    "crrt_therapy": """hospitalization_id,recorded_dttm,crrt_mode_name,crrt_mode_category,blood_flow_rate,ultrafiltration_out
10,2150-01-11 15:00:00+00:00,CVVHDF,cvvhdf,200,
10,2150-01-11 16:00:00+00:00,,,,120
""",
    "position": """hospitalization_id,recorded_dttm,position_name,position_category
10,2150-01-10 15:00:00+00:00,Prone,prone
""",
    "code_status": """patient_id,start_dttm,code_status_name,code_status_category
1,2150-01-10 15:00:00+00:00,Full code,Full
7,2150-01-10 15:00:00+00:00,Full code,Full
""",
    "hospital_diagnosis": """hospitalization_id,diagnosis_code,diagnosis_code_format,diagnosis_primary,poa_present
20,A419,ICD10CM,1,1
""",
    "patient_procedures": """hospitalization_id,billing_provider_id,performing_provider_id,procedure_code,procedure_code_format,procedure_billed_dttm
20,,,5491,ICD9,2150-06-02 04:00:00+00:00
""",
}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two patients of two hospitals in the official layout, on the clock of New York."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for name, text in TABLES.items():
        (folder / f"clif_{name}.csv").write_text(text)
    (folder / "clif_config.json").write_text('{"site": "here", "filetype": "csv", "timezone": "Etc/GMT+5"}')
    return folder


def _read(raw: Path, site: str | None = None) -> tuple[dict[str, SourceBatch], list[str]]:
    warnings: list[str] = []
    batches = {batch.table: batch for batch in SOURCE.read(raw, site=site, warn=warnings.append)}
    for batch in batches.values():
        assert dict(batch.events.schema) == EVENT_SCHEMA
        accounted = set(batch.events["row"]) | set(batch.quarantined["row"])
        assert accounted == set(range(batch.num_rows))
        assert not set(batch.events["row"]) & set(batch.quarantined["row"])
    return batches, warnings


def _rows(batch: SourceBatch, *columns: str) -> list[tuple[object, ...]]:
    return batch.events.select("row", *columns).sort("row", "code").rows()


def test_a_death_in_hospital_ends_the_stay_the_icu_stay_and_the_life_at_once(raw: Path) -> None:
    batches, _ = _read(raw)
    death = datetime(2150, 1, 20, 20, 50)
    ends = pl.concat([batches[name].events for name in ("patient", "hospitalization", "adt")])
    times = dict(ends.filter(pl.col("subject_id") == 1).select("code", "time").rows())
    assert times["MEDS_DEATH"] == times["HOSPITAL_DISCHARGE//DIED"] == times["ICU_DISCHARGE//DIED"] == death
    assert times["HOSPITAL_ADMISSION//ed"] == datetime(2150, 1, 10, 8)
    assert times["ICU_ADMISSION//medical_icu"] == datetime(2150, 1, 10, 9)
    assert "ICU_ADMISSION//surgical_icu" not in times, "moves between units within an hour are one stay"
    assert times["EMERGENCY_DEPARTMENT_START"] == datetime(2150, 1, 10, 6)


def test_a_patient_who_goes_home_lives_and_dies_at_the_end_of_a_day(raw: Path) -> None:
    batches, _ = _read(raw)
    events = pl.concat([batches[name].events for name in ("patient", "hospitalization", "adt")])
    times = dict(events.filter(pl.col("subject_id") == 2).select("code", "time").rows())
    assert times["HOSPITAL_DISCHARGE//ALIVE//home"] == datetime(2150, 6, 3, 11)
    assert times["ICU_DISCHARGE//ALIVE"] == datetime(2150, 6, 2, 9)
    assert times["MEDS_DEATH"] == datetime(2150, 8, 9, 23, 59, 59)
    assert times["MEDS_BIRTH"] == datetime(2100, 3, 4)
    assert times["GENDER//M"] is None


def test_a_birth_is_guessed_from_the_age(raw: Path) -> None:
    batches, _ = _read(raw)
    birth = batches["patient"].events.filter(pl.col("code") == "MEDS_BIRTH", pl.col("subject_id") == 1)["time"][0]
    assert birth == datetime(2097, 7, 11, 8)  # 52 years and 183 days before the admission


def test_an_age_that_nobody_has_gives_no_birth(raw: Path) -> None:
    path = raw / "clif_hospitalization.csv"
    path.write_text(path.read_text().replace(",52,", ",99999999999,"))
    births = _read(raw)[0]["patient"].events.filter(pl.col("code") == "MEDS_BIRTH")
    assert births["subject_id"].to_list() == [2], "the other birth has a date"


def test_a_patient_told_twice_has_each_event_of_a_stay_once(raw: Path) -> None:
    before = {name: batch.events.height for name, batch in _read(raw)[0].items() if name != "patient"}
    with (raw / "clif_patient.csv").open("a") as file:
        file.write("1,BLACK,Black,,,F,Female,,2150-01-21 01:50:00+00:00,,\n")
    after = {name: batch.events.height for name, batch in _read(raw)[0].items() if name != "patient"}
    assert after == before


def test_hospitals_are_sites(raw: Path) -> None:
    batches, _ = _read(raw)
    assert set(batches["hospitalization"].events["site"]) == {"clif-north", "clif-south"}
    assert set(_read(raw, "net")[0]["vitals"].events["site"]) == {"net-north"}
    for path in (raw / "clif_adt.csv",):
        path.write_text(path.read_text().replace("south", "north"))
    assert set(_read(raw, "net")[0]["hospitalization"].events["site"]) == {"net"}


def test_measurements_have_the_codes_of_their_categories(raw: Path) -> None:
    batches, _ = _read(raw)
    assert _rows(batches["vitals"], "code", "numeric_value") == [(0, "VITAL//heart_rate", 88.0)]
    assert dict(batches["vitals"].quarantined.select("row", "reason").rows()) == {
        1: "no_value",
        2: "unknown_hospitalization",
        3: "no_time",
    }
    taken = datetime(2150, 1, 10, 10, 10)
    assert _rows(batches["labs"], "code", "time", "numeric_value", "text_value", "bound") == [
        (0, "LAB//lactate//mmol/L", taken, pytest.approx(2.1), None, None),
        (1, "LAB//platelet_count//10*3/uL", taken, 5.0, "<5", "<"),
        (2, "LAB//inr//clotted", taken, None, "clotted", None),
    ]
    assert _rows(batches["patient_assessments"], "code", "numeric_value") == [
        (0, "ASSESSMENT//gcs_total", 14.0),
        (1, "ASSESSMENT//cam_total//Positive", None),
    ]
    assert _rows(batches["crrt_therapy"], "code", "numeric_value") == [
        (0, "CRRT//cvvhdf", None),
        (0, "DIALYSIS//blood_flow_rate//mL/min", 200.0),
        (1, "CRRT", None),
        (1, "DIALYSIS//ultrafiltration_out//mL", 120.0),
    ]
    assert _rows(batches["position"], "code") == [(0, "POSITION//prone")]


def test_infusions_start_change_and_end(raw: Path) -> None:
    batches, _ = _read(raw)
    assert _rows(batches["medication_admin_continuous"], "code", "numeric_value") == [
        (0, "INFUSION_START//norepinephrine//mcg/kg/min", pytest.approx(0.1)),
        (1, "INFUSION_START//norepinephrine//mcg/kg/min", pytest.approx(0.2)),
        (2, "INFUSION_END//norepinephrine", None),
    ]
    assert _rows(batches["medication_admin_intermittent"], "code", "numeric_value") == [
        (0, "MEDICATION_ADMINISTRATION//vancomycin//g", 1.0),
        (1, "MEDICATION_ADMINISTRATION//vancomycin//not_given", None),
    ]


def test_an_infusion_ends_after_its_start_in_the_night_when_the_clock_is_set_back(raw: Path) -> None:
    (raw / "clif_config.json").write_text('{"timezone": "America/New_York"}')
    path = raw / "clif_medication_admin_continuous.csv"
    header = path.read_text().split("\n")[0]
    rows = [
        "10,5,Levophed,norepinephrine,2020-11-01 05:50:00+00:00,Started,start,0.1,mcg/kg/min",
        "10,5,Levophed,norepinephrine,2020-11-01 06:10:00+00:00,Stopped,stop,0,mcg/kg/min",
    ]
    path.write_text("\n".join([header, *rows]) + "\n")
    events = _read(raw)[0]["medication_admin_continuous"].events.sort("time")
    assert events.select("code", "time").rows() == [
        ("INFUSION_START//norepinephrine//mcg/kg/min", datetime(2020, 11, 1, 1, 25)),
        ("INFUSION_END//norepinephrine", datetime(2020, 11, 1, 1, 35)),
    ]


def test_ventilation_starts_and_ends_where_the_device_changes(raw: Path) -> None:
    batches, _ = _read(raw)
    marks = batches["respiratory_support"].events.filter(pl.col("code").str.starts_with("PROCEDURE"))
    assert marks.sort("time").select("code", "time").rows() == [
        ("PROCEDURE_START//invasive_ventilation", datetime(2150, 1, 10, 11)),
        ("PROCEDURE_END//invasive_ventilation", datetime(2150, 1, 11, 11)),
    ]
    settings = dict(
        batches["respiratory_support"].events.filter(pl.col("row") == 2).select("code", "numeric_value").rows()
    )
    assert settings["RESPIRATORY//fio2_set//fraction"] == pytest.approx(0.6)
    assert settings["RESPIRATORY//peep_set//cmH2O"] == 8.0
    assert "VENTILATOR_MODE//pressure control" in settings


def _row_by_row(frames: Iterator[pl.DataFrame], _: int) -> Iterator[pl.DataFrame]:
    for frame in frames:
        yield from (frame[[place]] for place in range(frame.height))


@pytest.fixture
def in_small_batches(raw: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every row is a batch of its own; devices stand in the order of time."""
    path = raw / "clif_respiratory_support.csv"
    header, *rows = path.read_text().strip().split("\n")
    path.write_text("\n".join([header, *sorted(rows)]) + "\n")
    monkeypatch.setattr("sojourn.sources.tables.regroup", _row_by_row)
    return raw


def test_a_change_of_device_is_told_in_the_next_batch(in_small_batches: Path) -> None:
    warnings: list[str] = []
    batches = list(SOURCE.read(in_small_batches, site=None, warn=warnings.append))
    events = pl.concat([batch.events for batch in batches if batch.table == "respiratory_support"])
    marks = events.filter(pl.col("code").str.starts_with("PROCEDURE")).sort("time")
    assert marks.select("row", "code", "time").rows() == [
        (1, "PROCEDURE_START//invasive_ventilation", datetime(2150, 1, 10, 11)),
        (3, "PROCEDURE_END//invasive_ventilation", datetime(2150, 1, 11, 11)),
    ]


def test_an_interrupted_ingest_goes_on_with_the_devices_so_far(
    in_small_batches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = engine._keep_batch

    def until_the_third_device(batch: SourceBatch, *rest: Any) -> Any:
        if batch.table == "respiratory_support" and batch.events["row"].max() == 3:
            raise KeyboardInterrupt
        return keep(batch, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "_keep_batch", until_the_third_device)
        with pytest.raises(KeyboardInterrupt):
            ingest("clif", in_small_batches, tmp_path / "out")
    ingest("clif", in_small_batches, tmp_path / "out")
    ingest("clif", in_small_batches, tmp_path / "at once")
    first, second = (tmp_path / name / "data" / "0.parquet" for name in ("out", "at once"))
    assert first.read_bytes() == second.read_bytes()
    assert "PROCEDURE_END//invasive_ventilation" in pl.read_parquet(first)["code"].to_list()


def test_what_is_coded_for_billing_stands_at_the_end_of_the_stay(raw: Path) -> None:
    batches, _ = _read(raw)
    end = datetime(2150, 6, 3, 11)
    assert _rows(batches["hospital_diagnosis"], "code", "time") == [(0, "DIAGNOSIS//ICD10CM//A419", end)]
    assert _rows(batches["patient_procedures"], "code", "time") == [(0, "PROCEDURE//ICD9PCS//5491", end)]


def test_without_a_configuration_times_stay_in_utc_and_that_is_said(raw: Path) -> None:
    (raw / "clif_config.json").unlink()
    batches, warnings = _read(raw)
    assert any("UTC" in warning for warning in warnings)
    assert batches["vitals"].events["time"].to_list() == [datetime(2150, 1, 10, 15)]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_times_without_an_offset_are_utc_and_that_is_said(raw: Path, suffix: str) -> None:
    expected, warnings = _read(raw)
    assert not any("offset" in warning for warning in warnings)
    for path in raw.glob("*.csv"):
        path.write_text(path.read_text().replace("+00:00", ""))
        if suffix == ".parquet":
            frame = pl.read_csv(path, infer_schema=False)
            times = [pl.col(name).str.to_datetime(strict=False) for name in frame.columns if name.endswith("_dttm")]
            frame.with_columns(times).write_parquet(path.with_suffix(suffix))
            path.unlink()
    batches, warnings = _read(raw)
    said = [warning for warning in warnings if "have no offset from UTC" in warning]
    assert any("admin_dttm" in warning for warning in said)
    for name, batch in expected.items():
        assert batches[name].events.equals(batch.events), name


def test_midnight_of_a_death_without_an_offset_is_a_day(raw: Path) -> None:
    path = raw / "clif_patient.csv"
    path.write_text(path.read_text().replace("2150-08-09 05:00:00+00:00", "2150-08-09 00:00:00"))
    deaths = _read(raw)[0]["patient"].events.filter(pl.col("code") == "MEDS_DEATH", pl.col("subject_id") == 2)
    assert deaths["time"].to_list() == [datetime(2150, 8, 9, 23, 59, 59)]


def test_a_time_zone_that_does_not_exist_is_refused(raw: Path) -> None:
    (raw / "clif_config.json").write_text('{"timezone": "Mars/Olympus"}')
    with pytest.raises(ConfigError, match="valid timezone"):
        _read(raw)


def test_missing_tables_are_said_and_only_two_are_needed(raw: Path) -> None:
    (raw / "clif_vitals.csv").unlink()
    (raw / "clif_microbiology_culture.csv").write_text("patient_id\n1\n")
    _, warnings = _read(raw)
    assert any("clif_vitals" in warning and "vital signs" in warning for warning in warnings)
    assert any("clif_microbiology_culture is there but not read" in warning for warning in warnings)
    (raw / "clif_patient.csv").unlink()
    with pytest.raises(MissingTableError, match="clif_patient"):
        _read(raw)


def test_version_3_gives_the_same_events(raw: Path) -> None:
    first, _ = _read(raw)
    for name in ("patient", "hospitalization", "respiratory_support", "code_status"):
        path = raw / f"clif_{name}.csv"
        for word in ("White", "Female", "Male", "Expired", "Home", "IMV", "Full"):
            path.write_text(path.read_text().replace(f",{word}", f",{word.lower()}"))
    second, _ = _read(raw)
    for name in first:
        assert first[name].events.equals(second[name].events), name


@pytest.mark.real
@pytest.mark.parametrize("version", ["", "3.0"])
def test_demo_rows_are_all_accounted_for(
    sojourn_data: Path, tmp_path: Path, version: str, read_events: Callable[[Path], pl.DataFrame]
) -> None:
    report = ingest("clif", sojourn_data / "mimic-iv-demo-clif" / version, tmp_path / "out")
    counts = {table.table: (table.rows, table.rows_quarantined) for table in report.tables}
    assert counts["vitals"] == (94_261, 0)
    assert counts["labs"] == (51_433, 0)
    assert counts["respiratory_support"] == (3_325, 10)
    assert counts["patient_assessments"] == (32_697, 19)
    assert sum(rows for rows, _ in counts.values()) == 215_868
    assert report.num_subjects == 100
    codes = Counter(read_events(tmp_path / "out")["code"].str.extract(r"^([A-Z_]+(?://(?:DIED|ALIVE))?)").to_list())
    assert (codes["HOSPITAL_ADMISSION"], codes["HOSPITAL_DISCHARGE//DIED"]) == (310, 17)
    assert codes["ICU_DISCHARGE//DIED"] + codes["ICU_DISCHARGE//ALIVE"] == codes["ICU_ADMISSION"] == 143
    assert codes["MEDS_DEATH"] == 36
