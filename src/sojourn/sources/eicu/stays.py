"""eICU: one subject per unit stay; its beginning, end and death, and what was known on admission."""

import polars as pl

from sojourn.sources.casts import to_age, to_number
from sojourn.sources.eicu.known import NEEDED, STAY, Known, at, died_in_unit, events_of, join_stay
from sojourn.sources.recipes import Converted, Emit, Recipe, code_for, code_of, label

_MINUTES_A_YEAR = 525_960
_OLDEST = 90.0
_SEXES = {"Female": "F", "Male": "M"}


def _patient(frame: pl.DataFrame, known: Known) -> Converted:
    """Birth, static facts, admissions, discharges and death of one unit stay."""
    frame = join_stay(frame, known).join(known.hospitals, on="_hospital", how="left", maintain_order="left")
    return events_of(frame, known, [*_statics(), *_admission(), *_ends()])


def _statics() -> list[Emit]:
    """Facts without a time; an age ``> 89`` counts as 90."""
    age = pl.col("age").cast(pl.String).str.strip_chars()
    years = pl.when(age.str.starts_with(">")).then(pl.lit(_OLDEST)).otherwise(to_age(to_number(age)))
    birth = pl.col("_zero") - pl.duration(minutes=(years * _MINUTES_A_YEAR).round().cast(pl.Int64))
    sex = label(pl.col("gender"))
    return [
        Emit(pl.lit("MEDS_BIRTH"), birth),
        Emit(code_for("GENDER", sex.replace(_SEXES)), None),
        Emit(code_for("ETHNICITY", label(pl.col("ethnicity"))), None),
        Emit(code_for("HOSPITAL_BEDS", pl.col("_beds")), None),
        Emit(code_for("HOSPITAL_TEACHING", pl.col("_teaching")), None),
        Emit(code_for("HOSPITAL_REGION", pl.col("_region")), None),
    ]


def _admission() -> list[Emit]:
    """What was known when the patient came."""
    zero = pl.col("_zero")
    source = label(pl.col("unitadmitsource"))
    return [
        Emit(code_of("HOSPITAL_ADMISSION", label(pl.col("hospitaladmitsource"))), at("hospitaladmitoffset")),
        Emit(code_of("ICU_ADMISSION", label(pl.col("unittype")), source), zero),
        Emit(
            code_for("ICU_STAY_TYPE", label(pl.col("unitstaytype"))),
            zero,
            to_number(pl.col("unitvisitnumber")),
        ),
        _number("VITAL//admissionheight//cm", zero, "admissionheight"),
        _number("VITAL//admissionweight//kg", zero, "admissionweight"),
        _number("VITAL//dischargeweight//kg", at("unitdischargeoffset"), "dischargeweight"),
    ]


def _number(code: str, time: pl.Expr, column: str) -> Emit:
    """A number of the row, where there is one."""
    value = to_number(pl.col(column))
    return Emit(pl.when(value.is_not_null()).then(pl.lit(code)), time, value)


def _ends() -> list[Emit]:
    """End of the unit stay, of the hospital stay, and of life.

    For a death in the unit all three stand at the unit's end, also where the hospital's status says otherwise.
    """
    died = died_in_unit() | (pl.col("hospitaldischargestatus") == "Expired").fill_null(value=False)
    end = at("_end_minutes")
    alive = pl.when(pl.col("unitdischargestatus") == "Alive").then(pl.lit("ALIVE"))
    left = pl.when(pl.col("hospitaldischargestatus") == "Alive").then(pl.lit("ALIVE"))
    return [
        Emit(
            pl.when(died_in_unit()).then(pl.lit("ICU_DISCHARGE//DIED")).otherwise(code_of("ICU_DISCHARGE", alive)),
            at("unitdischargeoffset"),
        ),
        Emit(
            pl.when(died)
            .then(pl.lit("HOSPITAL_DISCHARGE//DIED"))
            .otherwise(code_of("HOSPITAL_DISCHARGE", left, label(pl.col("hospitaldischargelocation")))),
            end,
        ),
        Emit(pl.lit("MEDS_DEATH"), end, when=died),
    ]


RECIPES = (
    Recipe(
        "patient",
        _patient,
        (STAY, "hospitalid", "unitdischargeoffset"),
        (
            "gender",
            "age",
            "ethnicity",
            "admissionheight",
            "admissionweight",
            "dischargeweight",
            "hospitaladmitoffset",
            "hospitaladmitsource",
            "hospitaldischargelocation",
            "hospitaldischargeoffset",
            "hospitaldischargestatus",
            "unitadmitsource",
            "unitdischargestatus",
            "unitstaytype",
            "unittype",
            "unitvisitnumber",
        ),
        why=NEEDED,
    ),
)
