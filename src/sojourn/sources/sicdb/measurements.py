"""SICdb: laboratory, monitors, intervals, drugs, moves between units, and references of a case."""

import polars as pl

from sojourn.sources.casts import to_integer, to_number
from sojourn.sources.recipes import Converted, Emit, Recipe, code_for, label
from sojourn.sources.sicdb.known import Known, at, events_of, join_case, with_words

_HOUR_SECONDS = 3_600
VASOACTIVE = (1562, 1502, 1618, 1559)
"""Norepinephrine, epinephrine, dopamine, dobutamine."""
_MCG = {"mcg": 1.0, "mg": 1000.0, "g": 1_000_000.0}


def _number_of(column: str) -> pl.Expr:
    """An item's number as a level of a code."""
    return to_integer(pl.col(column)).cast(pl.String)


def _laboratory(frame: pl.DataFrame, known: Known) -> Converted:
    """One event a row."""
    frame = with_words(frame, known, "LaboratoryID")
    value = to_number(pl.col("LaboratoryValue"))
    code = code_for("LAB", _number_of("LaboratoryID"), pl.col("_unit of LaboratoryID"))
    return events_of(frame, known, [Emit(code, at("Offset"), value)], [("no_number", value.is_null())])


def _data_float_h(frame: pl.DataFrame, known: Known) -> Converted:
    """The mean of an hour at its end, or a single value at its time."""
    raw = pl.col("rawdata").cast(pl.String)
    is_mean = (to_integer(pl.col("cnt")) > 1).fill_null(value=False) | (raw.str.len_bytes() > 2).fill_null(value=False)
    seconds = to_number(pl.col("Offset")) + pl.when(is_mean).then(_HOUR_SECONDS).otherwise(0)
    value = to_number(pl.col("Val"))
    emits = [Emit(code_for("DATA", _number_of("DataID")), at(seconds), value)]
    return events_of(frame, known, emits, [("no_number", value.is_null())])


def _data_range(frame: pl.DataFrame, known: Known) -> Converted:
    """Start and end of lines, ventilation, dialysis; what is noted beside them is kept at the start."""
    start, end = at("Offset"), at("OffsetEnd")
    emits = [
        Emit(
            code_for("RANGE", _number_of("DataID"), "start"),
            start,
            to_number(pl.col("Data")),
            pl.col("Data").cast(pl.String),
        ),
        Emit(code_for("RANGE", _number_of("DataID"), "end"), end),
    ]
    return events_of(frame, known, emits, [("ends_before_start", end < start)])


def _medication(frame: pl.DataFrame, known: Known) -> Converted:
    """Start and end of infusions with their rate, and single doses.

    `AmountPerMinute` is in the drug's unit per minute; rates of vasoactive drugs become mcg/kg/min where the unit and
    the weight on admission are known.
    """
    frame = with_words(join_case(frame, known), known, "DrugID")
    unit, rate = pl.col("_unit of DrugID"), to_number(pl.col("AmountPerMinute"))
    once = pl.col("IsSingleDose").cast(pl.String).str.to_lowercase().is_in(["1", "true"]).fill_null(value=False)
    mcg = unit.replace_strict(_MCG, default=None, return_dtype=pl.Float64)
    is_vasoactive = to_integer(pl.col("DrugID")).is_in(VASOACTIVE) & ~once
    weighed = pl.when(is_vasoactive & (pl.col("_weight") > 0)).then(rate * mcg / pl.col("_weight"))
    written = pl.when(once).then(unit).otherwise(pl.concat_str(unit, pl.lit("/min")))
    value = pl.when(once).then(to_number(pl.col("Amount"))).otherwise(rate)
    is_weighed = weighed.is_not_null()
    start, end = at("Offset"), at("OffsetDrugEnd")
    emits = [
        Emit(
            code_for(
                "MEDICATION",
                _number_of("DrugID"),
                pl.when(once).then(pl.lit("dose")).otherwise(pl.lit("start")),
                pl.when(is_weighed).then(pl.lit("mcg/kg/min")).otherwise(written),
            ),
            start,
            pl.when(is_weighed).then(weighed).otherwise(value),
            pl.when(is_weighed).then(pl.concat_str(pl.col("AmountPerMinute").cast(pl.String), pl.lit(" "), written)),
        ),
        Emit(code_for("MEDICATION_END", _number_of("DrugID")), end, when=~once),
    ]
    return events_of(frame, known, emits, [("ends_before_start", end < start)])


def _unitlog(frame: pl.DataFrame, known: Known) -> Converted:
    """Moves between units."""
    frame = with_words(frame, known, "LogState", "HospitalUnit")
    state = label(pl.coalesce("_word of LogState", pl.col("LogState").cast(pl.String)))
    unit = label(pl.coalesce("_word of HospitalUnit", pl.col("HospitalUnit").cast(pl.String)))
    return events_of(frame, known, [Emit(code_for("TRANSFER", state, unit), at("Offset"))])


def _data_ref(frame: pl.DataFrame, known: Known) -> Converted:
    """What was noted of a case without a time: it stands at the end of the stay, never before."""
    frame = with_words(join_case(frame, known), known, "RefID", "CustomFieldID")
    field = label(pl.coalesce("_word of CustomFieldID", _number_of("CustomFieldID")))
    word = label(pl.coalesce("_word of RefID", _number_of("RefID")))
    return events_of(frame, known, [Emit(code_for("REFERENCE", field, word), at(pl.col("_begin") + pl.col("_stay")))])


RECIPES = (
    Recipe("unitlog", _unitlog, ("CaseID", "Offset", "LogState"), ("HospitalUnit",), "moves between units"),
    Recipe(
        "laboratory",
        _laboratory,
        ("CaseID", "LaboratoryID", "Offset", "LaboratoryValue"),
        lost="laboratory results",
    ),
    Recipe(
        "data_float_h",
        _data_float_h,
        ("CaseID", "DataID", "Offset", "Val"),
        ("cnt", "rawdata"),
        "vital signs, ventilator settings and urine",
    ),
    Recipe(
        "data_range",
        _data_range,
        ("CaseID", "DataID", "Offset", "OffsetEnd"),
        ("Data",),
        "ventilation, dialysis, lines and drains",
    ),
    Recipe(
        "medication",
        _medication,
        ("CaseID", "DrugID", "Offset"),
        ("OffsetDrugEnd", "IsSingleDose", "Amount", "AmountPerMinute"),
        "drugs, vasopressors among them",
    ),
    Recipe("data_ref", _data_ref, ("CaseID", "RefID"), ("CustomFieldID",), "references of cases"),
)
