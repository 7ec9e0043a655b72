"""HiRID: drugs, as single doses and as infusions whose rows tell the dose since the row before."""

import polars as pl

from sojourn.sources.casts import to_integer, to_number, to_time
from sojourn.sources.hirid.known import Known, events_of, join_patient
from sojourn.sources.recipes import Converted, Emit, Recipe, code_for, unit_of

INVALIDATED, START, SINGLE, END = 2, 4, 32, 256
"""Bits of `recordstatus`: 524 starts an infusion, 520 goes on, 776 ends it, 780 and 544 are doses given at once."""
_INFUSION = ("_patient", "pharmaid", "infusionid")
_MCG = {"mcg": 1.0, "mg": 1000.0, "g": 1_000_000.0}


def _pharma(frame: pl.DataFrame, known: Known) -> Converted:
    """Starts with rates, ends, and single doses, which are no start: nothing runs after them."""
    frame = join_patient(frame, known)
    status = to_integer(pl.col("recordstatus")).fill_null(0)
    weight = pl.col("_patient").replace_strict(known.weights or {-1: 0.0}, default=None, return_dtype=pl.Float64)
    frame = frame.with_columns(
        _status=status,
        _time=to_time(pl.col("givenat")),
        _dose=to_number(pl.col("givendose")),
        _unit=unit_of(pl.col("doseunit").cast(pl.String).str.replace(r"^[µμ]g\b", "mcg")),
        _weight=weight,
        _item=to_integer(pl.col("pharmaid")).cast(pl.String),
    )
    frame = _with_rates(frame)
    item, time = pl.col("_item"), pl.col("_time")
    emits = [
        Emit(code_for("PHARMA", item, "dose", pl.col("_unit")), time, pl.col("_dose"), when=pl.col("_is_single")),
        Emit(
            code_for("PHARMA", item, "start", pl.col("_rate_unit")),
            time,
            pl.col("_rate"),
            when=~pl.col("_is_single") & ~pl.col("_is_end"),
        ),
        Emit(code_for("PHARMA_END", item), time, when=pl.col("_is_end") & ~pl.col("_is_single")),
    ]
    return events_of(frame, known, emits, [("invalidated", _has(INVALIDATED))])


def _has(bit: int) -> pl.Expr:
    """Whether a bit of the status is set."""
    return pl.col("_status") & pl.lit(bit, pl.Int64) != 0


def _with_rates(frame: pl.DataFrame) -> pl.DataFrame:
    """Add `_is_single`, `_is_end`, and `_rate` with `_rate_unit`: that of the step which begins at a row."""
    frame = frame.with_columns(
        _is_single=_has(SINGLE) | (_has(START) & _has(END)) | pl.col("infusionid").is_null(),
        _is_end=_has(END),
    )
    is_step = ~pl.col("_is_single") & ~_has(INVALIDATED) & pl.col("_time").is_not_null()
    steps = frame.filter(is_step).sort("_time", "row").select(
        "row",
        "_unit",
        "_weight",
        _given=pl.col("_dose").shift(-1).over(_INFUSION),
        _minutes=(pl.col("_time").shift(-1).over(_INFUSION) - pl.col("_time")).dt.total_seconds() / 60,
    )  # fmt: skip
    per_minute = pl.when(pl.col("_minutes") > 0).then(pl.col("_given") / pl.col("_minutes"))
    mcg = pl.col("_unit").replace_strict(_MCG, default=None, return_dtype=pl.Float64)
    weighed = per_minute * mcg / pl.col("_weight")
    steps = steps.select(
        "row",
        _rate=pl.coalesce(weighed, per_minute),
        _rate_unit=pl.when(weighed.is_not_null())
        .then(pl.lit("mcg/kg/min"))
        .when(per_minute.is_not_null())
        .then(pl.concat_str(pl.col("_unit"), pl.lit("/min"))),
    )
    return frame.join(steps, on="row", how="left", maintain_order="left")


RECIPE = Recipe(
    "pharma_records",
    _pharma,
    ("patientid", "pharmaid", "givenat", "givendose"),
    ("doseunit", "infusionid", "recordstatus"),
    "all drugs, vasopressors and antibiotics among them",
)
