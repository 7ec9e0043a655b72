"""SICdb: who the patients are, when they came, went and died, and what they had."""

import polars as pl

from sojourn.sources.casts import to_age, to_integer, to_number
from sojourn.sources.recipes import Converted, Emit, Recipe, code_for, code_of, label
from sojourn.sources.sicdb.known import NEEDED, Known, at, events_of, join_case, seconds, with_words

_FEMALE = r"(?i)^\s*(?:f|female|w|weiblich|frau)\b"
_MALE = r"(?i)^\s*(?:m|male|männlich|mann)\b"
_SEX_IDS = {735: "M", 736: "F"}
_DEAD = r"(?i)verstorb|gestorb|\btot\b|\bdied\b|\bdead\b|deceas|exitus|not survived"
_ALIVE = r"(?i)lebend|\balive\b|^\s*survived"
_DEAD_IDS, _ALIVE_IDS = (2028,), (2026, 2202)
"""What `HospitalDischargeType` and `DischargeState` mean where ``d_references`` is missing."""
DEATH_TOLERANCE_SECONDS = 3_600
_DAYS_A_YEAR = 365.25


def _cases(frame: pl.DataFrame, known: Known) -> Converted:
    """Static facts, admission, discharge, death and diagnosis of one case."""
    frame = with_words(join_case(frame, known), known, "Sex", "DischargeState", "HospitalDischargeType")
    frame = with_words(frame, known, "HospitalUnit", "ReferringUnit", "DischargeUnit").with_columns(
        _in=pl.col("_begin") + seconds("ICUOffset").fill_null(0),
        _out=pl.col("_begin") + pl.col("_stay"),
        _dead=seconds("OffsetOfDeath"),
    )
    in_icu = _says("DischargeState", dead=True) | (pl.col("_dead") <= pl.col("_out") + DEATH_TOLERANCE_SECONDS)
    frame = frame.with_columns(_icu_death=in_icu.fill_null(value=False))
    frame = frame.with_columns(
        _hospital_death=pl.col("_icu_death") | _says("HospitalDischargeType", dead=True).fill_null(value=False),
        _end_of_life=pl.when(pl.col("_icu_death")).then("_out").otherwise("_dead"),
    )
    return events_of(frame, known, [*_people(), *_stay()])


def _says(column: str, *, dead: bool) -> pl.Expr:
    """Whether a state says dead (or alive), by its word or, without one, by its number; null if it says neither."""
    word = pl.col(f"_word of {column}")
    by_word = word.str.contains(_DEAD if dead else _ALIVE)
    if not dead:
        by_word = by_word & ~word.str.contains(_DEAD)
    return pl.coalesce(by_word, to_integer(pl.col(column)).is_in(_DEAD_IDS if dead else _ALIVE_IDS))


def _people() -> list[Emit]:
    """Birth, sex, height and weight."""
    admitted = at("_in")
    word, number = pl.col("_word of Sex"), to_integer(pl.col("Sex"))
    by_word = pl.when(word.str.contains(_FEMALE)).then(pl.lit("F")).when(word.str.contains(_MALE)).then(pl.lit("M"))
    sex = pl.coalesce(by_word, number.replace_strict(_SEX_IDS, default=None, return_dtype=pl.String))
    days = (to_age(to_number(pl.col("AgeOnAdmission"))) * _DAYS_A_YEAR).round()
    height, weight = to_number(pl.col("HeightOnAdmission")), pl.col("_weight")
    return [
        Emit(pl.lit("MEDS_BIRTH"), at("_begin") - pl.duration(days=days.cast(pl.Int64)), when=pl.col("_is_first")),
        Emit(code_for("GENDER", sex), None, when=pl.col("_is_first")),
        Emit(pl.when(height > 0).then(pl.lit("ADMISSION//height//cm")), admitted, height),
        Emit(pl.when(weight > 0).then(pl.lit("ADMISSION//weight//kg")), admitted, weight),
    ]


def _stay() -> list[Emit]:
    """Admission, discharge, death, diagnosis."""
    unit = label(pl.coalesce("_word of HospitalUnit", pl.col("HospitalUnit").cast(pl.String)))
    origin = label(pl.coalesce("_word of ReferringUnit", pl.col("ReferringUnit").cast(pl.String)))
    status = pl.when(pl.col("_icu_death")).then(pl.lit("DIED")).when(_says("DischargeState", dead=False))
    diagnosis = code_for("DIAGNOSIS//ICD10", label(pl.col("ICD10Main")))
    ended = at("_end_of_life")
    return [
        Emit(code_of("ICU_ADMISSION", unit, origin), at("_in")),
        Emit(code_of("ICU_DISCHARGE", status.then(pl.lit("ALIVE"))), at("_out")),
        Emit(diagnosis, at("_out"), text=pl.col("ICD10MainText").cast(pl.String)),
        Emit(pl.lit("HOSPITAL_DISCHARGE//DIED"), ended, when=pl.col("_hospital_death")),
        Emit(pl.lit("MEDS_DEATH"), ended, when=pl.col("_icu_death") | pl.col("_is_last")),
    ]


RECIPES = (
    Recipe(
        "cases",
        _cases,
        ("CaseID", "PatientID"),
        (
            "ICUOffset",
            "Sex",
            "AgeOnAdmission",
            "HeightOnAdmission",
            "DischargeState",
            "HospitalDischargeType",
            "OffsetOfDeath",
            "HospitalUnit",
            "ReferringUnit",
            "DischargeUnit",
            "ICD10Main",
            "ICD10MainText",
        ),
        why=NEEDED,
    ),
)
