"""HiRID: who the patients are, when they came, and how and when the stay ended; read after the observations."""

import polars as pl

from sojourn.sources.casts import to_age, to_number
from sojourn.sources.hirid.known import NEEDED, Known, events_of, join_patient
from sojourn.sources.recipes import Converted, Emit, Recipe, code_for, code_of, label

_DAYS_A_YEAR = 365.25
_STATUS = {"alive": "ALIVE", "dead": "DIED"}


def _general(frame: pl.DataFrame, known: Known) -> Converted:
    """Birth, sex, admission, and the end of the stay at the last sign of the patient."""
    ends = pl.DataFrame(
        [(patient, time) for patient, (_, time) in known.ends.items()],
        schema={"_patient": pl.Int64, "_end": pl.Datetime("us")},
        orient="row",
    )
    frame = join_patient(frame, known).join(ends, on="_patient", how="left", maintain_order="left")
    admitted, end = pl.col("_admitted"), pl.max_horizontal("_end", "_admitted")
    seconds = (to_age(to_number(pl.col("age"))) * _DAYS_A_YEAR * 86_400).round().cast(pl.Int64)
    word = label(pl.col("discharge_status")).str.to_lowercase()
    status = word.replace_strict(_STATUS, default=None, return_dtype=pl.String)
    emits = [
        Emit(pl.lit("MEDS_BIRTH"), admitted - pl.duration(seconds=seconds)),
        Emit(code_for("GENDER", label(pl.col("sex"))), None),
        Emit(pl.lit("ICU_ADMISSION"), admitted),
        Emit(code_of("ICU_DISCHARGE", status), end, when=pl.col("_end").is_not_null()),
        Emit(pl.lit("MEDS_DEATH"), end, when=(status == "DIED") & pl.col("_end").is_not_null()),
    ]
    repeats = ("repeats_another_row", ~pl.col("_patient").is_first_distinct())
    return events_of(frame, known, emits, [repeats])


RECIPE = Recipe(
    "general_table",
    _general,
    ("patientid", "admissiontime"),
    ("sex", "age", "discharge_status"),
    why=NEEDED,
)
