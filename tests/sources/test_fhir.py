"""FHIR bulk exports: no line lost, codes name their systems, stays and deaths as everywhere else."""

import gzip
import json
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sojourn.errors import MissingTableError, SchemaError
from sojourn.sources.fhir import SOURCE
from sojourn.sources.ingest import ingest
from sojourn.sources.records import CODES_SCHEMA, EVENT_SCHEMA, SourceBatch

LOINC, UCUM, SNOMED = "http://loinc.org", "http://unitsofmeasure.org", "http://snomed.info/sct"
ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
ID = "http://here.org/identifier"


def _coded(code: str, system: str = LOINC, display: str | None = None) -> dict[str, Any]:
    coding = {"system": system, "code": code} | ({} if display is None else {"display": display})
    return {"coding": [coding]}


def _ref(kind: str, name: str) -> dict[str, str]:
    return {"reference": f"{kind}/{name}"}


def _quantity(value: float, unit: str, comparator: str | None = None) -> dict[str, Any]:
    return {"value": value, "unit": unit, "code": unit, "system": UCUM} | (
        {"comparator": comparator} if comparator else {}
    )


def _of(kind: str, name: str, patient: str = "a", **elements: Any) -> dict[str, Any]:
    return {"resourceType": kind, "id": name, "subject": _ref("Patient", patient), **elements}


PATIENTS = [
    {
        "resourceType": "Patient",
        "id": "a",
        "gender": "female",
        "birthDate": "2097-04",
        "deceasedDateTime": "2150-01-20",
        "identifier": [
            {"system": "http://hl7.org/fhir/sid/us-ssn", "value": "900000001"},
            {"system": ID, "value": "101"},
        ],
        "extension": [
            {
                "url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race",
                "extension": [{"url": "text", "valueString": "White"}],
            }
        ],
    },
    {
        "resourceType": "Patient",
        "id": "b",
        "gender": "male",
        "birthDate": "2100-03-04",
        "deceasedDateTime": "2151-03-01",
        "identifier": [
            {"system": "http://hl7.org/fhir/sid/us-ssn", "value": "900000002"},
            {"system": ID, "value": "102"},
        ],
    },
]
ICU = {
    "location": _ref("Location", "micu"),
    "period": {"start": "2150-01-10T09:00:00-05:00", "end": "2150-01-20T18:00:00-05:00"},
}
ENCOUNTERS = [
    _of(
        "Encounter",
        "e1",
        **{"class": {"system": ACT, "code": "IMP"}},
        status="finished",
        period={"start": "2150-01-10T08:00:00-05:00", "end": "2150-01-20T17:05:00-05:00"},
        location=[ICU],
        hospitalization={"admitSource": _coded("emd", ID), "dischargeDisposition": _coded("exp", ID)},
    ),
    _of(
        "Encounter",
        "e2",
        "b",
        **{"class": {"system": ACT, "code": "EMER"}},
        status="finished",
        period={"start": "2150-06-01T10:00:00-04:00", "end": "2150-06-01T14:00:00-04:00"},
    ),
    _of(
        "Encounter",
        "e3",
        "b",
        **{"class": {"system": ACT, "code": "IMP"}},
        status="planned",
        period={"start": "2150-07-01"},
    ),
]
TIME = "2150-01-10T10:00:00-05:00"
OBSERVATIONS = [
    _of("Observation", "o1", status="final", code=_coded("8867-4", display="Heart rate"), effectiveDateTime=TIME,
        valueQuantity=_quantity(88, "/min"), encounter=_ref("Encounter", "e1"),
        referenceRange=[{"low": {"value": 60}, "high": {"value": 100}}]),
    _of("Observation", "o2", status="final", code=_coded("85354-9"), effectiveDateTime=TIME,
        component=[{"code": _coded("8480-6"), "valueQuantity": _quantity(120, "mm[Hg]")},
                   {"code": _coded("8462-4"), "valueQuantity": _quantity(70, "mm[Hg]")}]),
    _of("Observation", "o3", status="final", code=_coded("6598-7"), effectiveDateTime=TIME,
        valueQuantity=_quantity(0.01, "ng/mL", "<")),
    _of("Observation", "o4", status="final", code=_coded("94500-6"), effectiveDateTime=TIME,
        valueCodeableConcept=_coded("260373001", SNOMED, "Detected")),
    _of("Observation", "o5", status="final", code=_coded("72514-3"), effectiveDateTime=TIME, valueString="7"),
    _of("Observation", "o6", status="entered-in-error", code=_coded("8867-4"), effectiveDateTime=TIME,
        valueQuantity=_quantity(1, "/min")),
    _of("Observation", "o7", status="final", code=_coded("8867-4"), effectiveDateTime=TIME,
        dataAbsentReason=_coded("unknown", ID)),
    _of("Observation", "o8", status="final", code=_coded("8867-4"), effectiveDateTime="2150", valueInteger=5),
    _of("Observation", "o9", "nobody", status="final", code=_coded("8867-4"), effectiveDateTime=TIME, valueInteger=5),
]  # fmt: skip
MEDICATION = _coded("7512", "http://www.nlm.nih.gov/research/umls/rxnorm", "norepinephrine")
ADMINISTRATIONS = [
    _of("MedicationAdministration", "m1", status="completed", medicationCodeableConcept=MEDICATION,
        effectivePeriod={"start": TIME, "end": "2150-01-10T12:00:00-05:00"},
        dosage={"rateQuantity": _quantity(0.1, "ug/kg/min"), "dose": _quantity(4, "mg")}),
    _of("MedicationAdministration", "m2", status="completed", medicationReference=_ref("Medication", "vanc"),
        effectiveDateTime=TIME, dosage={"dose": _quantity(1, "g")}),
    _of("MedicationAdministration", "m3", status="not-done", medicationReference=_ref("Medication", "vanc"),
        effectiveDateTime=TIME),
    _of("MedicationAdministration", "m4", status="completed", medicationCodeableConcept=MEDICATION,
        effectiveDateTime=TIME, effectivePeriod={"start": TIME},
        dosage={"rateRatio": {"numerator": _quantity(5, "mg"), "denominator": _quantity(2, "h")}}),
]  # fmt: skip
FILES: dict[str, list[dict[str, Any]]] = {
    "Patient": PATIENTS,
    "Encounter": ENCOUNTERS,
    "Observation.000": OBSERVATIONS,
    "MedicationAdministration": ADMINISTRATIONS,
    "Medication": [{"resourceType": "Medication", "id": "vanc", "code": _coded("0781", "http://hl7.org/fhir/sid/ndc")}],
    "Location": [{"resourceType": "Location", "id": "micu", "name": "Medical Intensive Care Unit (MICU)"}],
    "MedicationRequest": [
        _of("MedicationRequest", "r1", status="active", authoredOn=TIME, medicationCodeableConcept=MEDICATION,
            encounter=_ref("Encounter", "e1"),
            dispenseRequest={"validityPeriod": {"start": TIME, "end": "2150-01-25T10:00:00-05:00"}},
            dosageInstruction=[{"doseAndRate": [{"doseQuantity": _quantity(4, "mg")}]}]),
    ],
    "Condition": [
        _of("Condition", "c1", code=_coded("A419", "http://here.org/CodeSystem/diagnosis-icd10", "Sepsis"),
            category=[_coded("encounter-diagnosis", ID)], encounter=_ref("Encounter", "e1")),
        _of("Condition", "c2", "b", code=_coded("38341003", SNOMED), recordedDate="2150-05-05"),
    ],
    "Procedure": [
        _of("Procedure", "p1", status="completed", code=_coded("40617009", SNOMED),
            performedPeriod={"start": TIME, "end": "2150-01-11T10:00:00-05:00"}),
        _of("Procedure", "p2", status="completed", code=_coded("5491", "http://here.org/procedure-icd9"),
            performedDateTime="2150-01-20", encounter=_ref("Encounter", "e1")),
    ],
    "Specimen": [_of("Specimen", "s1", type=_coded("119297000", SNOMED), collection={"collectedDateTime": TIME})],
    "Claim": [{"resourceType": "Claim", "id": "x"}],
}  # fmt: skip


def _write(folder: Path, files: Mapping[str, list[dict[str, Any]]]) -> None:
    folder.mkdir(exist_ok=True)
    for name, resources in files.items():
        text = "\n".join(json.dumps(resource) for resource in resources) + "\n"
        if name == "Encounter":
            (folder / f"{name}.ndjson.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / f"{name}.ndjson").write_text(text)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """An export of two patients."""
    _write(tmp_path / "raw", FILES)
    return tmp_path / "raw"


def _read(raw: Path, site: str | None = None) -> tuple[dict[str, SourceBatch], list[str]]:
    warnings: list[str] = []
    batches = {batch.table: batch for batch in SOURCE.read(raw, site=site, warn=warnings.append)}
    for batch in batches.values():
        assert dict(batch.events.schema) == EVENT_SCHEMA
        assert set(batch.events["row"]) | set(batch.quarantined["row"]) == set(range(batch.num_rows))
        assert not set(batch.events["row"]) & set(batch.quarantined["row"])
    return batches, warnings


def _times(batches: dict[str, SourceBatch], subject: int) -> dict[str, datetime | None]:
    events = pl.concat([batches[name].events for name in ("Patient", "Encounter")])
    return dict(events.filter(pl.col("subject_id") == subject).select("code", "time").iter_rows())


def test_subjects_are_numbered_by_an_identifier_that_is_no_secret(raw: Path) -> None:
    batches, _ = _read(raw)
    assert set(batches["Patient"].events["subject_id"]) == {101, 102}


def test_without_whole_numbers_for_all_subjects_get_a_hash(raw: Path) -> None:
    _write(raw, {"Patient": [PATIENTS[0], PATIENTS[1] | {"identifier": []}]})
    first = set(_read(raw)[0]["Patient"].events["subject_id"])
    assert len(first) == 2
    assert min(first) > 10**12
    assert first == set(_read(raw)[0]["Patient"].events["subject_id"]), "the same in every export"


def test_a_death_in_hospital_ends_the_stay_the_icu_stay_and_the_life_at_once(raw: Path) -> None:
    times = _times(_read(raw)[0], 101)
    death = datetime(2150, 1, 20, 17, 5)
    assert times["MEDS_DEATH"] == times["HOSPITAL_DISCHARGE//DIED"] == times["ICU_DISCHARGE//DIED"] == death
    assert times["HOSPITAL_ADMISSION//IMP//emd"] == datetime(2150, 1, 10, 8)
    assert times["ICU_ADMISSION//Medical Intensive Care Unit (MICU)"] == datetime(2150, 1, 10, 9)
    assert times["MEDS_BIRTH"] == datetime(2097, 4, 15)
    assert times["GENDER//F"] is None
    assert "RACE//White" in times


def test_a_short_emergency_visit_is_no_hospital_stay(raw: Path) -> None:
    batches, _ = _read(raw)
    times = _times(batches, 102)
    assert times["EMERGENCY_DEPARTMENT_START"] == datetime(2150, 6, 1, 10)
    assert times["EMERGENCY_DEPARTMENT_END"] == datetime(2150, 6, 1, 14)
    assert times["MEDS_DEATH"] == datetime(2151, 3, 1, 23, 59, 59)
    assert not [code for code in times if code.startswith("HOSPITAL")]
    assert batches["Encounter"].quarantined.select("row", "reason").rows() == [(2, "not_happened")]


def test_encounters_of_icu_stays_go_before_icu_locations(raw: Path) -> None:
    stay = _of(
        "Encounter",
        "e9",
        **{"class": {"system": ACT, "code": "ACUTE"}},
        partOf=_ref("Encounter", "e1"),
        location=[ICU],
        period={"start": "2150-01-10T09:30:00-05:00", "end": "2150-01-12T09:30:00-05:00"},
    )
    _write(raw, {"Encounter": [*ENCOUNTERS, stay]})
    times = _times(_read(raw)[0], 101)
    assert times["ICU_ADMISSION//Medical Intensive Care Unit (MICU)"] == datetime(2150, 1, 10, 9, 30)
    assert times["ICU_DISCHARGE//ALIVE"] == datetime(2150, 1, 12, 9, 30)


def test_values_components_bounds_and_answers(raw: Path) -> None:
    batch = _read(raw)[0]["Observation.000"]
    assert batch.events.sort("row", "code").select("row", "code", "numeric_value", "text_value", "bound").rows() == [
        (0, "LOINC//8867-4//1/min", 88.0, "reference 60.0 to 100.0", None),
        (1, "LOINC//8462-4//mm[Hg]", 70.0, None, None),
        (1, "LOINC//8480-6//mm[Hg]", 120.0, None, None),
        (2, "LOINC//6598-7//ng/mL", pytest.approx(0.01), None, "<"),
        (3, "LOINC//94500-6//260373001", None, None, None),
        (4, "LOINC//72514-3", 7.0, None, None),
    ]
    assert set(batch.events["time"]) == {datetime(2150, 1, 10, 10)}
    assert dict(batch.quarantined.select("row", "reason").rows()) == {
        5: "not_happened",
        6: "no_value",
        7: "no_time",
        8: "unknown_patient",
    }


def test_drugs_have_a_rate_a_dose_or_were_not_given(raw: Path) -> None:
    batches, _ = _read(raw)
    batch = batches["MedicationAdministration"]
    assert batch.events.sort("row", "code").select("row", "code", "numeric_value").rows() == [
        (0, "INFUSION_END//RxNorm//7512", None),
        (0, "INFUSION_START//RxNorm//7512//ug/kg/min", pytest.approx(0.1)),
        (1, "MEDICATION_ADMINISTRATION//NDC//0781//g", 1.0),
        (2, "MEDICATION_ADMINISTRATION//NDC//0781//not_given", None),
        (3, "INFUSION_START//RxNorm//7512//mg/h", 2.5),
        (3, "MEDICATION_ADMINISTRATION//RxNorm//7512", None),
    ]
    # The order was to end after the patient's death.
    orders = batches["MedicationRequest"].events.select("code", "numeric_value").rows()
    assert orders == [("MEDICATION_ORDER_START//RxNorm//7512//mg", 4.0)]


def test_what_lasts_over_the_hour_that_clocks_show_twice_is_kept(tmp_path: Path) -> None:
    last = {"start": "2020-11-01T01:50:00-04:00", "end": "2020-11-01T01:10:00-05:00"}
    wrong = {"start": "2020-11-01T01:10:00-05:00", "end": "2020-11-01T01:50:00-04:00"}

    def of(kind: str, **elements: Any) -> list[dict[str, Any]]:
        return [_of(kind, "x", status="completed", **elements)]

    files = {
        "Patient": PATIENTS,
        "MedicationAdministration": of(
            "MedicationAdministration", medicationCodeableConcept=MEDICATION, effectivePeriod=last
        ),
        "MedicationRequest": of(
            "MedicationRequest", medicationCodeableConcept=MEDICATION, dispenseRequest={"validityPeriod": last}
        ),
        "Procedure": [
            *of("Procedure", code=_coded("40617009", SNOMED), performedPeriod=last),
            *of("Procedure", code=_coded("40617009", SNOMED), performedPeriod=wrong),
        ],
    }
    _write(tmp_path / "raw", files)
    batches, _ = _read(tmp_path / "raw")
    start, end = datetime(2020, 11, 1, 1, 50), datetime(2020, 11, 1, 2, 10)  # twenty minutes, as it was
    for kind in ("MedicationAdministration", "MedicationRequest", "Procedure"):
        assert sorted(batches[kind].events["time"]) == [start, end], kind
    assert batches["Procedure"].quarantined.select("row", "reason").rows() == [(1, "ends_before_start")]


def test_diagnoses_procedures_and_specimens(raw: Path) -> None:
    batches, _ = _read(raw)
    end = datetime(2150, 1, 20, 17, 5)
    assert batches["Condition"].events.sort("row").select("code", "time").rows() == [
        ("DIAGNOSIS//ICD10CM//A419", end),
        ("DIAGNOSIS//SNOMED//38341003", datetime(2150, 5, 5, 23, 59, 59)),
    ]
    assert sorted(batches["Procedure"].events.select("code", "time").rows()) == [
        ("PROCEDURE//ICD9PCS//5491", end),
        ("PROCEDURE_END//SNOMED//40617009", datetime(2150, 1, 11, 10)),
        ("PROCEDURE_START//SNOMED//40617009", datetime(2150, 1, 10, 10)),
    ]
    assert batches["Specimen"].events["code"].to_list() == ["SPECIMEN//SNOMED//119297000"]


def test_what_is_not_read_is_accounted_for(raw: Path) -> None:
    batches, warnings = _read(raw)
    assert batches["Claim"].quarantined["reason"].to_list() == ["type_is_not_read"]
    assert batches["Location"].quarantined["reason"].to_list() == ["describes_no_patient"]
    assert any("Claim" in warning for warning in warnings)


def test_damaged_lines_are_set_aside_and_the_others_kept(raw: Path) -> None:
    lines = [json.dumps(resource) for resource in OBSERVATIONS[:5]]
    lines[1:2] = ['{"resourceType": "Observation"', "[1, 2]", '{"id": "x"}', lines[1]]
    lines.append(json.dumps(OBSERVATIONS[0] | {"valueQuantity": "88 bpm"}))
    lines.append(json.dumps(FILES["Specimen"][0]))
    (raw / "Observation.000.ndjson").write_text("\n".join(lines) + "\n\n")
    batch = _read(raw)[0]["Observation.000"]
    assert batch.num_rows == 10
    assert dict(batch.quarantined.select("row", "reason").rows()) == {
        1: "malformed_json",
        2: "no_resource_type",
        3: "no_resource_type",
        8: "unexpected_layout",
    }
    assert batch.events.filter(pl.col("row") == 9)["code"].to_list() == ["SPECIMEN//SNOMED//119297000"]


def test_clocks_that_do_not_fit_each_other_are_said(raw: Path) -> None:
    assert not [warning for warning in _read(raw)[1] if "UTC" in warning]
    other = ENCOUNTERS[1] | {"period": {"start": "2150-06-01T14:00:00Z"}}
    _write(raw, {"Encounter": [ENCOUNTERS[0], other]})
    assert any("UTC" in warning for warning in _read(raw)[1])


def test_organisations_are_sites_where_there_are_several(raw: Path) -> None:
    assert set(_read(raw)[0]["Observation.000"].events["site"]) == {"fhir"}
    homes = [PATIENTS[0] | {"managingOrganization": _ref("Organization", "n")}, PATIENTS[1]]
    names = [{"resourceType": "Organization", "id": "n", "name": "North"}, {"resourceType": "Organization", "id": "s"}]
    second = ENCOUNTERS[1] | {"serviceProvider": _ref("Organization", "s")}
    _write(raw, {"Patient": homes, "Organization": names, "Encounter": [ENCOUNTERS[0], second]})
    batches, _ = _read(raw, "net")
    assert set(batches["Observation.000"].events["site"]) == {"net-North"}
    assert set(batches["Encounter"].events["site"]) == {"net-North", "net-s"}


def test_codes_are_described_by_the_resources(raw: Path) -> None:
    codes = SOURCE.codes(raw)
    assert dict(codes.schema) == CODES_SCHEMA
    described = dict(codes.select("code", "description").rows())
    assert described["LOINC//8867-4"] == "Heart rate"
    assert described["INFUSION_START//RxNorm//7512"] == "norepinephrine"
    assert described["DIAGNOSIS//ICD10CM//A419"] == "Sepsis"


def test_folders_without_patients_or_files_are_refused(raw: Path, tmp_path: Path) -> None:
    (raw / "Patient.ndjson").unlink()
    with pytest.raises(MissingTableError, match="Patient resources"):
        _read(raw)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingTableError, match=r"\*.ndjson"):
        _read(tmp_path / "empty")


def test_a_truncated_file_is_refused(raw: Path) -> None:
    whole = (raw / "Encounter.ndjson.gz").read_bytes()
    (raw / "Encounter.ndjson.gz").write_bytes(whole[:-20])
    with pytest.raises(SchemaError, match="must be whole"):
        _read(raw)


@pytest.mark.real
def test_demo_resources_are_all_accounted_for(
    sojourn_data: Path, tmp_path: Path, read_events: Callable[[Path], pl.DataFrame]
) -> None:
    report = ingest("fhir", sojourn_data / "mimic-iv-demo-fhir", tmp_path / "out")
    reasons: Counter[str] = Counter()
    for table in report.tables:
        reasons.update(table.reasons)
    assert sum(table.rows for table in report.tables) == 152_346
    assert reasons == {
        "no_time": 14_338,
        "no_value": 2_107,
        "describes_no_patient": 1_826,
        "starts_after_the_stay": 41,
    }
    events = read_events(tmp_path / "out")
    codes = Counter(events["code"].str.extract(r"^([A-Z_]+(?://(?:DIED|ALIVE))?)").to_list())
    assert (codes["HOSPITAL_ADMISSION"], codes["ICU_ADMISSION"]) == (275, 140)
    assert (codes["HOSPITAL_DISCHARGE//DIED"], codes["ICU_DISCHARGE//DIED"], codes["MEDS_DEATH"]) == (15, 12, 31)
    assert events["subject_id"].unique().is_between(10_000_000, 10_099_999).all()
    assert report.num_subjects == 100
