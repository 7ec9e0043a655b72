"""eICU: laboratory, monitors, nurses' flowsheets, fluid balance and the ventilator."""

from functools import partial

import polars as pl

from sojourn.sources.casts import to_number
from sojourn.sources.eicu.known import STAY, Known, at, events_of
from sojourn.sources.recipes import Converted, Emit, Recipe, answer, code_for, label, measured, unit_of

PERIODIC = {
    "temperature": "°C",
    "sao2": "%",
    "heartrate": "bpm",
    "respiration": "1/min",
    "cvp": "mmHg",
    "etco2": "mmHg",
    "systemicsystolic": "mmHg",
    "systemicdiastolic": "mmHg",
    "systemicmean": "mmHg",
    "pasystolic": "mmHg",
    "padiastolic": "mmHg",
    "pamean": "mmHg",
    "st1": "mm",
    "st2": "mm",
    "st3": "mm",
    "icp": "mmHg",
}
"""Columns of ``vitalPeriodic`` (medians of the monitor over five minutes) -> unit."""
APERIODIC = {
    "noninvasivesystolic": "mmHg",
    "noninvasivediastolic": "mmHg",
    "noninvasivemean": "mmHg",
    "paop": "mmHg",
    "cardiacoutput": "L/min",
    "cardiacinput": "L/min/m2",
    "svr": "dyn.s/cm5",
    "svri": "dyn.s.m2/cm5",
    "pvr": "dyn.s/cm5",
    "pvri": "dyn.s.m2/cm5",
}
"""Columns of ``vitalAperiodic`` -> unit."""
_COLDEST_FAHRENHEIT = 50.0
_MAX_IONIZED_MMOL = 2.5


def _lab(frame: pl.DataFrame, known: Known) -> Converted:
    """One event a row, when the specimen was drawn."""
    frame = measured(frame, "labresult", "labresulttext")
    code = code_for("LAB", label(pl.col("labname")), _lab_unit(), answer(pl.col("_text"), pl.col("_number")))
    emits = [Emit(code, at("labresultoffset"), pl.col("_number"), pl.col("_text"), pl.col("_bound"))]
    return events_of(frame, known, emits)


def _lab_unit() -> pl.Expr:
    """Unit of a result: the system's name for it, except where that is known to be wrong.

    The system calls all ionized calcium mg/dL, and hospitals call mg/dL mmol/L; the ranges of the two do not meet, so
    the number itself decides. C-reactive protein, magnesium and calcium keep the unit of the hospital's interface.
    """
    name, number = pl.col("labname"), pl.col("_number")
    interface = pl.col("labmeasurenameinterface").cast(pl.String).str.strip_chars().str.to_lowercase()
    ionized = pl.when(number <= _MAX_IONIZED_MMOL).then(pl.lit("mmol/L")).otherwise(pl.lit("mg/dL"))
    return (
        pl.when(name == "ionized calcium")
        .then(ionized)
        .when(name == "FiO2")
        .then(pl.when(interface.str.contains("lpm").fill_null(value=False)).then(None).otherwise(_fio2_unit()))
        .when((name == "CRP") & (interface == "mg/l"))
        .then(pl.lit("mg/L"))
        .when((name == "magnesium") & (interface == "meq/l"))
        .then(pl.lit("mEq/L"))
        .when((name == "calcium") & (interface == "mmol/l"))
        .then(pl.lit("mmol/L"))
        .otherwise(unit_of(pl.col("labmeasurenamesystem")))
    )


def _fio2_unit() -> pl.Expr:
    """Inspired oxygen is charted as fraction, percent, or something else; the number tells which."""
    number = pl.col("_number")
    fraction = pl.when(number.is_between(0.2, 1.0)).then(pl.lit("fraction"))
    return pl.coalesce(fraction, pl.when(number.is_between(20.0, 100.0)).then(pl.lit("%")))


def _customlab(frame: pl.DataFrame, known: Known) -> Converted:
    """Results that a hospital named itself, without a unit."""
    frame = measured(frame, "labotherresult", "labothervaluetext")
    code = code_for("LAB_CUSTOM", label(pl.col("labothername")), answer(pl.col("_text"), pl.col("_number")))
    emits = [Emit(code, at("labotheroffset"), pl.col("_number"), pl.col("_text"), pl.col("_bound"))]
    return events_of(frame, known, emits)


def _vitals(frame: pl.DataFrame, known: Known, *, columns: dict[str, str]) -> Converted:
    """One event for each number of the row; temperatures over 50 are degrees Fahrenheit."""
    emits = []
    for column, unit in columns.items():
        value = to_number(pl.col(column))
        hot = pl.lit(column == "temperature") & (value > _COLDEST_FAHRENHEIT)
        name = pl.when(hot).then(pl.lit("VITAL//temperature//°F")).otherwise(pl.lit(f"VITAL//{column}//{unit}"))
        code = pl.when(value.is_not_null()).then(name)
        emits.append(Emit(code, at("observationoffset"), value))
    return events_of(frame, known, emits)


def _nursecharting(frame: pl.DataFrame, known: Known) -> Converted:
    """What nurses charted; the label is the kind of observation, the name which of its numbers."""
    frame = measured(frame, None, "nursingchartvalue")
    code = code_for(
        "CHART",
        label(pl.col("nursingchartcelltypevallabel")),
        label(pl.col("nursingchartcelltypevalname")),
        answer(pl.col("_text"), pl.col("_number")),
    )
    emits = [Emit(code, at("nursingchartoffset"), pl.col("_number"), pl.col("_text"), pl.col("_bound"))]
    return events_of(frame, known, emits)


def _respiratorycharting(frame: pl.DataFrame, known: Known) -> Converted:
    """Ventilator settings and readings; a percent sign is not part of the number."""
    bare = pl.col("respchartvalue").cast(pl.String).str.strip_chars(" %")
    frame = measured(frame.with_columns(_value=bare), None, "_value")
    name = label(pl.col("respchartvaluelabel"))
    unit = pl.when(name.str.to_lowercase().is_in(["fio2", "fio2 (%)", "o2 percentage"])).then(_fio2_unit())
    code = code_for("RESPIRATORY", name, unit, answer(pl.col("_text"), pl.col("_number")))
    emits = [Emit(code, at("respchartoffset"), pl.col("_number"), pl.col("_text"), pl.col("_bound"))]
    return events_of(frame, known, emits)


def _intakeoutput(frame: pl.DataFrame, known: Known) -> Converted:
    """One event a cell; the row's running totals repeat the cells and are left out."""
    kind = pl.col("cellpath").cast(pl.String).str.split("|").list.get(3, null_on_oob=True).str.to_lowercase()
    family = pl.coalesce(
        pl.when(kind.str.starts_with(word)).then(pl.lit(name)) for word, name in _BALANCE.items()
    ).fill_null("FLOWSHEET")
    unit = pl.when(kind.str.contains("(ml)", literal=True)).then(pl.lit("ml"))
    name = label(pl.col("celllabel"))
    code = pl.when(name.is_not_null()).then(pl.concat_str(family, name, unit, separator="//", ignore_nulls=True))
    frame = measured(frame, "cellvaluenumeric", "cellvaluetext")
    emits = [Emit(code, at("intakeoutputoffset"), pl.col("_number"), pl.col("_text"), pl.col("_bound"))]
    return events_of(frame, known, emits)


_BALANCE = {"intake": "INTAKE", "output": "OUTPUT", "dialysis": "DIALYSIS_BALANCE", "weight": "WEIGHT"}

RECIPES = (
    Recipe(
        "lab",
        _lab,
        (STAY, "labresultoffset", "labname", "labresult"),
        ("labresulttext", "labmeasurenamesystem", "labmeasurenameinterface"),
        "laboratory results",
    ),
    Recipe(
        "customLab",
        _customlab,
        (STAY, "labotheroffset", "labothername"),
        ("labotherresult", "labothervaluetext"),
        "laboratory results that hospitals named themselves",
    ),
    Recipe(
        "vitalPeriodic",
        partial(_vitals, columns=PERIODIC),
        (STAY, "observationoffset"),
        tuple(PERIODIC),
        "heart rate, saturation, respiration, temperature and invasive pressures of the monitors",
    ),
    Recipe(
        "vitalAperiodic",
        partial(_vitals, columns=APERIODIC),
        (STAY, "observationoffset"),
        tuple(APERIODIC),
        "cuff pressures and cardiac output",
    ),
    Recipe(
        "nurseCharting",
        _nursecharting,
        (STAY, "nursingchartoffset", "nursingchartvalue"),
        ("nursingchartcelltypevallabel", "nursingchartcelltypevalname"),
        "vital signs, coma scale and pain that nurses charted",
    ),
    Recipe(
        "respiratoryCharting",
        _respiratorycharting,
        (STAY, "respchartoffset", "respchartvaluelabel", "respchartvalue"),
        lost="ventilator settings and readings",
    ),
    Recipe(
        "intakeOutput",
        _intakeoutput,
        (STAY, "intakeoutputoffset", "celllabel"),
        ("cellpath", "cellvaluenumeric", "cellvaluetext"),
        "urine, other output and intake",
    ),
)
