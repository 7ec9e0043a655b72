"""AmsterdamUMCdb: who the patients are, when they came to the unit, left it and died."""

import polars as pl

from sojourn.sources.aumcdb.known import NEEDED, Known, at, events_of, join_admission, middle
from sojourn.sources.casts import to_age
from sojourn.sources.recipes import Converted, Emit, Recipe, code_for, code_of, label

_SEXES = {"Vrouw": "F", "Man": "M"}
_DIED = "Overleden"
DEATH_TOLERANCE = pl.duration(hours=24)
"""A recorded time of death up to this long after leaving to `Overleden` is that death."""
_DAYS_A_YEAR = 365.25
_MILLISECONDS_A_DAY = 86_400_000


def _admissions(frame: pl.DataFrame, known: Known) -> Converted:
    """Static facts, admission, discharge and death; each admission of a patient repeats the date, the last tells it."""
    frame = join_admission(frame, known)
    start, end, death = at("admittedat"), at("dischargedat"), at("dateofdeath")
    left_dead = (pl.col("destination") == _DIED).fill_null(value=False)
    died = left_dead & (death.is_null() | (death <= end + DEATH_TOLERANCE)).fill_null(value=False)
    age = to_age(middle(pl.col("agegroup"), 10)) * _DAYS_A_YEAR * _MILLISECONDS_A_DAY
    birth = start - pl.duration(milliseconds=age.round().cast(pl.Int64))
    status = pl.when(died).then(pl.lit("DIED")).when(pl.col("destination").is_not_null()).then(pl.lit("ALIVE"))
    urgent = pl.col("urgency").cast(pl.String).is_in(["1", "true"])
    emits = [
        Emit(pl.lit("MEDS_BIRTH"), birth, when=pl.col("_is_first")),
        Emit(code_for("GENDER", label(pl.col("gender")).replace(_SEXES)), None, when=pl.col("_is_first")),
        Emit(code_of("ICU_ADMISSION", label(pl.col("location")), label(pl.col("origin"))), start),
        Emit(pl.lit("ADMISSION//urgent"), start, when=urgent),
        Emit(code_for("SPECIALTY", label(pl.col("specialty"))), start),
        _group("ADMISSION//weightgroup//kg", start, "weightgroup"),
        _group("ADMISSION//heightgroup//cm", start, "heightgroup"),
        Emit(code_of("ICU_DISCHARGE", status), end),
        Emit(pl.lit("MEDS_DEATH"), pl.when(died).then(end).otherwise(death), when=died | pl.col("_is_last")),
    ]
    return events_of(frame, known, emits)


def _group(code: str, time: pl.Expr, column: str) -> Emit:
    """A number that is known as a group; the text keeps the group."""
    value = middle(pl.col(column), 10)
    return Emit(pl.when(value.is_not_null()).then(pl.lit(code)), time, value, pl.col(column).cast(pl.String))


RECIPES = (
    Recipe(
        "admissions",
        _admissions,
        ("patientid", "admissionid", "admittedat", "dischargedat"),
        (
            "location",
            "urgency",
            "origin",
            "destination",
            "gender",
            "agegroup",
            "dateofdeath",
            "weightgroup",
            "heightgroup",
            "specialty",
        ),
        why=NEEDED,
    ),
)
