"""MIMIC-IV: what was charted, infused, drained and done in the intensive care unit."""

import polars as pl

from sojourn.sources.casts import to_number, to_time
from sojourn.sources.mimic_iv.known import Known, events_of
from sojourn.sources.recipes import Converted, Emit, Recipe, answer, code_for, measured, unit_of

_ITEM = pl.col("itemid").cast(pl.String)
_REWRITTEN = ("rewritten", pl.col("statusdescription") == "Rewritten")
"""Rows that a nurse corrected afterwards: what they say did not happen."""


def _chartevents(frame: pl.DataFrame, known: Known) -> Converted:
    """One event a row; answers picked from a list become part of the code."""
    frame = measured(frame, "valuenum", "value")
    code = code_for("CHART", _ITEM, unit_of(pl.col("valueuom")), answer(pl.col("_text"), pl.col("_number")))
    emits = [Emit(code, to_time(pl.col("charttime")), pl.col("_number"), pl.col("_text"), pl.col("_bound"))]
    return events_of(frame, known, emits)


def _inputevents(frame: pl.DataFrame, known: Known) -> Converted:
    """Start and end of every infusion, bolus and feed; a change of rate ends one row and starts the next.

    The number at the start is the rate; for what was given at once and has no rate, the amount.
    """
    rate, amount = to_number(pl.col("rate")), to_number(pl.col("amount"))
    unit = pl.when(rate.is_not_null()).then(pl.col("rateuom")).otherwise(pl.col("amountuom"))
    start, end = to_time(pl.col("starttime")), to_time(pl.col("endtime"))
    emits = [
        Emit(code_for("INFUSION_START", _ITEM, unit_of(unit)), start, pl.coalesce(rate, amount)),
        Emit(code_for("INFUSION_END", _ITEM), end),
    ]
    return events_of(frame, known, emits, [_REWRITTEN, ("ends_before_start", end < start)])


def _ingredientevents(frame: pl.DataFrame, known: Known) -> Converted:
    """Amounts of water, calories and protein in what was given, when all of it was given."""
    code = code_for("INGREDIENT", _ITEM, unit_of(pl.col("amountuom")))
    emits = [Emit(code, to_time(pl.col("endtime")), to_number(pl.col("amount")))]
    return events_of(frame, known, emits, [_REWRITTEN])


def _outputevents(frame: pl.DataFrame, known: Known) -> Converted:
    """Urine, drains, stool."""
    frame = measured(frame, None, "value")
    code = code_for("OUTPUT", _ITEM, unit_of(pl.col("valueuom")))
    emits = [Emit(code, to_time(pl.col("charttime")), pl.col("_number"), pl.col("_text"), pl.col("_bound"))]
    return events_of(frame, known, emits)


def _procedureevents(frame: pl.DataFrame, known: Known) -> Converted:
    """Start and end of ventilation, dialysis, lines and drains; what lasts at most a minute has no end."""
    start, end = to_time(pl.col("starttime")), to_time(pl.col("endtime"))
    emits = [
        Emit(code_for("PROCEDURE_START", _ITEM), start),
        Emit(code_for("PROCEDURE_END", _ITEM), end, when=end > start + pl.duration(minutes=1)),
    ]
    return events_of(frame, known, emits, [_REWRITTEN, ("ends_before_start", end < start)])


def _datetimeevents(frame: pl.DataFrame, known: Known) -> Converted:
    """Charted dates (insertion of a line, last dialysis); the number is how many days ago that was."""
    charted, date = to_time(pl.col("charttime")), to_time(pl.col("value"))
    days = (charted - date).dt.total_seconds() / 86_400
    emits = [Emit(code_for("DATETIME", _ITEM, "d"), charted, days, pl.col("value").cast(pl.String))]
    return events_of(frame, known, emits)


RECIPES = (
    Recipe(
        "icu/chartevents",
        _chartevents,
        ("subject_id", "charttime", "itemid"),
        ("value", "valuenum", "valueuom"),
        "vital signs, ventilator settings and nursing scores",
    ),
    Recipe(
        "icu/inputevents",
        _inputevents,
        ("subject_id", "starttime", "endtime", "itemid", "amount", "rate"),
        ("amountuom", "rateuom", "statusdescription"),
        "infusions, boluses and feeds",
    ),
    Recipe(
        "icu/ingredientevents",
        _ingredientevents,
        ("subject_id", "endtime", "itemid", "amount"),
        ("amountuom", "statusdescription"),
        "water, calories and protein given",
    ),
    Recipe(
        "icu/outputevents",
        _outputevents,
        ("subject_id", "charttime", "itemid", "value"),
        ("valueuom",),
        "urine and other output",
    ),
    Recipe(
        "icu/procedureevents",
        _procedureevents,
        ("subject_id", "starttime", "endtime", "itemid"),
        ("statusdescription",),
        "ventilation, dialysis, lines and procedures",
    ),
    Recipe(
        "icu/datetimeevents",
        _datetimeevents,
        ("subject_id", "charttime", "itemid", "value"),
        lost="charted dates",
    ),
)
