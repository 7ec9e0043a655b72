"""CLIF: who the patients are, when they came, went and died, and where they were."""

import polars as pl

from sojourn.sources.clif.known import NEEDED, STAY, Known, events_of, to_local, with_stay
from sojourn.sources.recipes import Converted, Emit, Recipe, code_for, code_of, convert, label
from sojourn.sources.stays import ICU_TOLERANCE

_SEXES = {"female": "F", "male": "M"}
_STILL_THERE = "still admitted"
_UNSAID = "missing"


def _lower(column: str) -> pl.Expr:
    """A category in lower case: the two versions of CLIF differ in capitals."""
    return label(pl.col(column).cast(pl.String).str.to_lowercase())


def _patient(frame: pl.DataFrame, known: Known) -> Converted:
    """Birth, static facts and death; a death in hospital stands where the stay ends."""
    frame = to_local(frame, known.zone, known.warn).with_columns(_patient=pl.col("patient_id").cast(pl.String))
    frame = frame.join(known.patients, on="_patient", how="left", maintain_order="left")
    sex = _lower("sex_category")
    emits = [
        Emit(code_for("GENDER", sex.replace(_SEXES)), None),
        Emit(code_for("RACE", _lower("race_category")), None),
        Emit(code_for("ETHNICITY", _lower("ethnicity_category")), None),
        Emit(code_for("LANGUAGE", _lower("language_category")), None),
        Emit(pl.lit("MEDS_BIRTH"), pl.col("_birth")),
        Emit(pl.lit("MEDS_DEATH"), pl.col("_dead")),
    ]
    return convert(frame, emits, site=pl.col("_site"), subject=pl.col("_subject"))


def _hospitalization(frame: pl.DataFrame, known: Known) -> Converted:
    """Admission, and discharge alive or dead."""
    frame = with_stay(frame, known)
    place = _lower("discharge_category")
    left = pl.when(~place.is_in([_UNSAID, _STILL_THERE])).then(place)
    alive = code_of("HOSPITAL_DISCHARGE", "ALIVE", left)
    emits = [
        Emit(code_of("HOSPITAL_ADMISSION", _lower("admission_type_category")), pl.col("_start")),
        Emit(
            pl.when(pl.col("_died")).then(pl.lit("HOSPITAL_DISCHARGE//DIED")).otherwise(alive),
            pl.col("_end"),
            when=(place != _STILL_THERE).fill_null(value=True),
        ),
    ]
    return events_of(frame, emits)


def _adt(frame: pl.DataFrame, known: Known) -> Converted:
    """Moves between wards; ICU places that follow each other are one ICU stay."""
    frame = with_stay(frame, known).join(known.icu, on="row", how="left", maintain_order="left")
    place, kind = _lower("location_category"), _lower("location_type")
    is_emergency = place == "ed"
    died = pl.col("_death").is_between(pl.col("_icu_start"), pl.col("_icu_stop") + ICU_TOLERANCE)
    died = died.fill_null(value=False)
    emits = [
        Emit(code_for("TRANSFER", place, kind), pl.col("in_dttm")),
        Emit(pl.lit("EMERGENCY_DEPARTMENT_START"), pl.col("in_dttm"), when=is_emergency),
        Emit(pl.lit("EMERGENCY_DEPARTMENT_END"), pl.col("out_dttm"), when=is_emergency),
        Emit(code_of("ICU_ADMISSION", kind), pl.col("_icu_start")),
        Emit(pl.lit("ICU_DISCHARGE//ALIVE"), pl.col("_icu_stop"), when=~died),
        Emit(pl.lit("ICU_DISCHARGE//DIED"), pl.col("_death"), when=died),
    ]
    return events_of(frame, emits)


def _code_status(frame: pl.DataFrame, known: Known) -> Converted:
    """What the patient wants to be done; the table names the patient, not the stay."""
    frame = to_local(frame, known.zone, known.warn).with_columns(_patient=pl.col("patient_id").cast(pl.String))
    frame = frame.join(known.patients, on="_patient", how="left", maintain_order="left")
    emits = [Emit(code_for("CODE_STATUS", _lower("code_status_category")), pl.col("start_dttm"))]
    unknown = ("unknown_patient", pl.col("_site").is_null())
    return convert(frame, emits, site=pl.col("_site"), subject=pl.col("_subject").fill_null(-1), reject=[unknown])


def _diagnosis(frame: pl.DataFrame, known: Known) -> Converted:
    """Billing diagnoses are made after the stay: they stand at its end, never before."""
    frame = with_stay(frame, known)
    code = code_for("DIAGNOSIS", label(pl.col("diagnosis_code_format")), label(pl.col("diagnosis_code")))
    return events_of(frame, [Emit(code, pl.col("_end"), when=pl.col("diagnosis_code").is_not_null())])


def _procedures(frame: pl.DataFrame, known: Known) -> Converted:
    """Billed procedures: when they were billed, but not before the end of the stay, when coding begins."""
    frame = with_stay(frame, known)
    system = label(pl.col("procedure_code_format")).replace({"ICD9": "ICD9PCS", "ICD10": "ICD10PCS"})
    time = pl.max_horizontal("procedure_billed_dttm", "_end")
    code = code_for("PROCEDURE", system, label(pl.col("procedure_code")))
    return events_of(frame, [Emit(code, time, when=pl.col("procedure_code").is_not_null())])


RECIPES = (
    Recipe(
        "patient",
        _patient,
        ("patient_id",),
        ("sex_category", "race_category", "ethnicity_category", "language_category"),
        why=NEEDED,
    ),
    Recipe(
        "hospitalization",
        _hospitalization,
        ("patient_id", STAY, "admission_dttm", "discharge_dttm", "discharge_category"),
        ("admission_type_category",),
        why=NEEDED,
    ),
    Recipe(
        "adt",
        _adt,
        (STAY, "in_dttm", "out_dttm", "location_category"),
        ("location_type",),
        "moves between wards and the ICU stays",
    ),
    Recipe("code_status", _code_status, ("patient_id", "start_dttm", "code_status_category"), (), "code status"),
    Recipe(
        "hospital_diagnosis",
        _diagnosis,
        (STAY, "diagnosis_code", "diagnosis_code_format"),
        (),
        "diagnoses at discharge",
    ),
    Recipe(
        "patient_procedures",
        _procedures,
        (STAY, "procedure_code", "procedure_code_format", "procedure_billed_dttm"),
        (),
        "billed procedures",
    ),
)
