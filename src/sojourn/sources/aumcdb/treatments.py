"""AmsterdamUMCdb: drugs, ordered procedures, and processes such as ventilation and dialysis."""

import polars as pl

from sojourn.sources.aumcdb.known import Known, at, dutch_unit, events_of, join_admission
from sojourn.sources.casts import to_number
from sojourn.sources.recipes import Converted, Emit, Recipe, code_for

_ITEM = pl.col("itemid").cast(pl.String)
VASOACTIVE = ("7229", "6818", "7179", "7178")
"""Noradrenaline, adrenaline, dopamine, dobutamine."""
_MCG = {"mcg": 1.0, "mg": 1000.0, "g": 1_000_000.0}
_PER_MINUTE = {"min": 1.0, "h": 1 / 60, "d": 1 / 1440}


def _drugitems(frame: pl.DataFrame, known: Known) -> Converted:
    """Start and end of continuous drugs with the dose rate, and doses given at once."""
    frame = join_admission(frame, known).with_columns(
        _unit=dutch_unit(pl.col("doseunit")), _per=dutch_unit(pl.col("doserateunit"))
    )
    start, stop = at("start"), at("stop")
    dose, unit, per = to_number(pl.col("dose")), pl.col("_unit"), pl.col("_per")
    by_kg = _flag("doserateperkg")
    is_rate = _flag("iscontinuous") | per.is_not_null()
    weighed = _weighed(dose, unit, per, by_kg)
    kg = pl.when(by_kg).then(pl.lit("/kg")).otherwise(pl.lit(""))
    written = pl.when(per.is_not_null()).then(pl.concat_str(unit, kg, pl.lit("/"), per)).otherwise(unit)
    as_weighed = weighed.is_not_null()
    kind = pl.when(is_rate).then(pl.lit("start")).otherwise(pl.lit("dose"))  # nothing runs after a dose given at once
    emits = [
        Emit(
            code_for("DRUG", _ITEM, kind, pl.when(as_weighed).then(pl.lit("mcg/kg/min")).otherwise(written)),
            start,
            pl.when(as_weighed).then(weighed).otherwise(dose),
            pl.when(as_weighed).then(pl.concat_str(pl.col("dose").cast(pl.String), pl.lit(" "), written)),
        ),
        Emit(code_for("DRUG_END", _ITEM), stop, when=is_rate),
    ]
    return events_of(frame, known, emits, [("ends_before_start", stop < start)])


def _flag(column: str) -> pl.Expr:
    """A column of 0 and 1."""
    return pl.col(column).cast(pl.String).str.strip_chars("' bB").is_in(["1", "true"]).fill_null(value=False)


def _weighed(dose: pl.Expr, unit: pl.Expr, per: pl.Expr, by_kg: pl.Expr) -> pl.Expr:
    """Rate of a vasoactive drug in mcg/kg/min; null for other drugs and where unit or weight is not known."""
    mcg = unit.replace_strict(_MCG, default=None, return_dtype=pl.Float64)
    minutes = per.replace_strict(_PER_MINUTE, default=None, return_dtype=pl.Float64)
    weight = pl.when(by_kg).then(1.0).otherwise(pl.col("_weight"))
    return pl.when(_ITEM.is_in(VASOACTIVE)).then(dose * mcg * minutes / weight)


def _procedureorders(frame: pl.DataFrame, known: Known) -> Converted:
    """Orders, of cultures among others, when they were registered."""
    return events_of(frame, known, [Emit(code_for("PROCEDURE_ORDER", _ITEM), at("registeredat"))])


def _processes(frame: pl.DataFrame, known: Known) -> Converted:
    """Start and end of lines, ventilation, dialysis."""
    emits = [
        Emit(code_for("PROCESS", _ITEM, "start"), at("start")),
        Emit(code_for("PROCESS", _ITEM, "end"), at("stop")),
    ]
    return events_of(frame, known, emits, [("ends_before_start", at("stop") < at("start"))])


RECIPES = (
    Recipe(
        "drugitems",
        _drugitems,
        ("admissionid", "itemid", "start", "stop", "dose"),
        ("doseunit", "doserateunit", "doserateperkg", "iscontinuous"),
        "drugs, vasopressors among them",
    ),
    Recipe(
        "procedureorderitems",
        _procedureorders,
        ("admissionid", "itemid", "registeredat"),
        lost="ordered procedures and cultures",
    ),
    Recipe(
        "processitems",
        _processes,
        ("admissionid", "itemid", "start", "stop"),
        lost="ventilation, dialysis, lines and drains",
    ),
)
