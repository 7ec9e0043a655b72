"""MIMIC-IV: who the patients are, when they came, went and died, and where they were."""

import polars as pl

from sojourn.sources.casts import to_age, to_number, to_time, to_year
from sojourn.sources.mimic_iv.known import NEEDED, Known, end_of_day, events_of, join_stay, with_end
from sojourn.sources.recipes import Converted, Emit, Recipe, code_for, code_of, label

ICU_DEATH_TOLERANCE = pl.duration(hours=1)
"""A death up to this long after the recorded end of an ICU stay still happened there."""


def _patients(frame: pl.DataFrame, known: Known) -> Converted:
    """Birth, sex, time period and death.

    The year of birth is `anchor_year` - `anchor_age`; within it, 1 July is the guess with the smallest error. Ages
    over 89 are given as 91. Death is the time of death in hospital where there is one, else the end of day `dod`
    (known up to a year after the last discharge).
    """
    frame = frame.with_columns(_subject_id=pl.col("subject_id").cast(pl.Int64, strict=False)).join(
        known.deaths, on="_subject_id", how="left", maintain_order="left"
    )
    year = to_number(pl.col("anchor_year")) - to_age(to_number(pl.col("anchor_age")))
    birth = pl.datetime(to_year(year), 7, 1, time_unit="us")
    emits = [
        Emit(code_for("GENDER", label(pl.col("gender"))), None),
        Emit(pl.lit("MEDS_BIRTH"), birth),
        Emit(pl.lit("MEDS_DEATH"), pl.coalesce("_death", end_of_day(pl.col("dod")))),
        Emit(code_for("ANCHOR_YEAR_GROUP", label(pl.col("anchor_year_group"))), None),
    ]
    return events_of(frame, known, emits)


def _admissions(frame: pl.DataFrame, known: Known) -> Converted:
    """Admission with what was known then; discharge, alive or dead."""
    frame = with_end(frame)
    admitted = to_time(pl.col("admittime"))
    alive = code_of("HOSPITAL_DISCHARGE", "ALIVE", label(pl.col("discharge_location")))
    facts = [
        Emit(code_for(name.upper(), label(pl.col(name))), admitted)
        for name in ("insurance", "language", "marital_status", "race")
    ]
    emits = [
        Emit(
            code_of("HOSPITAL_ADMISSION", label(pl.col("admission_type")), label(pl.col("admission_location"))),
            admitted,
        ),
        *facts,
        Emit(pl.lit("EMERGENCY_DEPARTMENT_START"), to_time(pl.col("edregtime"))),
        Emit(pl.lit("EMERGENCY_DEPARTMENT_END"), to_time(pl.col("edouttime"))),
        Emit(pl.when(pl.col("_died")).then(pl.lit("HOSPITAL_DISCHARGE//DIED")).otherwise(alive), pl.col("_end")),
    ]
    return events_of(frame, known, emits)


def _icustays(frame: pl.DataFrame, known: Known) -> Converted:
    """Start and end of ICU stays.

    A patient died in the stay if the time of death is between its start and one hour after its end; the stay then
    ends at the time of death, because the recorded end is when the bed was cleared, up to hours later.
    """
    frame = join_stay(frame, known)
    start, end = to_time(pl.col("intime")), to_time(pl.col("outtime"))
    died = pl.col("_death").is_between(start, end + ICU_DEATH_TOLERANCE).fill_null(value=False)
    emits = [
        Emit(code_of("ICU_ADMISSION", label(pl.col("first_careunit"))), start),
        Emit(pl.lit("ICU_DISCHARGE//ALIVE"), end, when=~died),
        Emit(pl.lit("ICU_DISCHARGE//DIED"), pl.col("_death"), when=died),
    ]
    return events_of(frame, known, emits)


def _transfers(frame: pl.DataFrame, known: Known) -> Converted:
    """Moves between wards; the discharges of this table repeat ``hosp/admissions``, which has the better times."""
    is_discharge = pl.col("eventtype") == "discharge"
    emits = [
        Emit(
            code_for("TRANSFER", label(pl.col("eventtype")), label(pl.col("careunit"))),
            to_time(pl.col("intime")),
        )
    ]
    return events_of(frame, known, emits, [("discharge_is_in_admissions", is_discharge)])


def _services(frame: pl.DataFrame, known: Known) -> Converted:
    """The service that cares for the patient from now on."""
    emits = [Emit(code_for("SERVICE", label(pl.col("curr_service"))), to_time(pl.col("transfertime")))]
    return events_of(frame, known, emits)


RECIPES = (
    Recipe(
        "hosp/patients",
        _patients,
        ("subject_id",),
        ("gender", "anchor_age", "anchor_year", "anchor_year_group", "dod"),
        why=NEEDED,
    ),
    Recipe(
        "hosp/admissions",
        _admissions,
        ("subject_id", "hadm_id", "admittime", "dischtime", "deathtime"),
        (
            "admission_type",
            "admission_location",
            "discharge_location",
            "insurance",
            "language",
            "marital_status",
            "race",
            "edregtime",
            "edouttime",
            "hospital_expire_flag",
        ),
        why=NEEDED,
    ),
    Recipe(
        "icu/icustays",
        _icustays,
        ("subject_id", "hadm_id", "intime", "outtime"),
        ("first_careunit",),
        "starts, ends and deaths of ICU stays",
    ),
    Recipe(
        "hosp/transfers",
        _transfers,
        ("subject_id", "eventtype", "intime"),
        ("careunit",),
        "moves between wards",
    ),
    Recipe(
        "hosp/services",
        _services,
        ("subject_id", "transfertime", "curr_service"),
        lost="changes of the caring service",
    ),
)
