"""eICU: infusions, drug orders, ventilation and other treatments."""

import polars as pl

from sojourn.sources.casts import to_number
from sojourn.sources.eicu.known import STAY, Known, at, events_of, join_stay, minutes
from sojourn.sources.recipes import Converted, Emit, Recipe, code_for, code_of, label, path_levels, unit_of
from sojourn.sources.records import join_quarantined, quarantine

_NAME_AND_UNIT = r"^(.*?)\s*\(([^()]*)\)\s*$"
_OFF = r"(?i)^\s*off"
"""What stands in the rate where an infusion was stopped."""
_VASOACTIVE = r"(?i)epineph|levophed|phenyleph|dopamin|dobutam"
_WEIGHTS_KG = (20.0, 400.0)


def _infusiondrug(frame: pl.DataFrame, known: Known) -> Converted:
    """Rates as they were charted: each is a start with its rate, and a rate of 0 or ``OFF`` an end.

    The unit stands in the drug's name. Vasoactive drugs in mcg/min become mcg/kg/min where the weight is known
    (`patientweight`, else the weight on admission); the text keeps what was charted.
    """
    parts = pl.col("drugname").cast(pl.String).str.extract_groups(_NAME_AND_UNIT)
    written = pl.col("drugrate").cast(pl.String)
    charted = pl.when(written.str.contains(_OFF)).then(0.0).otherwise(to_number(pl.col("drugrate")))
    frame = join_stay(frame, known).with_columns(_parts=parts, _rate=charted)
    name = label(pl.coalesce(pl.col("_parts").struct.field("1"), pl.col("drugname")))
    unit = unit_of(pl.col("_parts").struct.field("2").str.to_lowercase())
    weight = pl.coalesce(to_number(pl.col("patientweight")), "_weight")
    by_weight = ((unit == "mcg/min") & name.str.contains(_VASOACTIVE) & weight.is_between(*_WEIGHTS_KG)).fill_null(
        value=False
    )
    rate = pl.col("_rate")
    emits = [
        Emit(
            code_for("INFUSION_START", name, pl.when(by_weight).then(pl.lit("mcg/kg/min")).otherwise(unit)),
            at("infusionoffset"),
            pl.when(by_weight).then(rate / weight).otherwise(rate),
            pl.when(by_weight).then(pl.format("{} mcg/min", written)),
            when=rate != 0,
        ),
        Emit(code_for("INFUSION_END", name), at("infusionoffset"), when=rate == 0),
    ]
    return events_of(frame, known, emits, [("no_rate", rate.is_null())])


def _medication(frame: pl.DataFrame, known: Known) -> Converted:
    """Start and end of drug orders; the ingredient's HICL number comes before the hospital's own name of the drug.

    Orders carry planned times: what was planned for after the stay did not happen. A stop before the start ends the
    order where it begins; one of 0 is then no time.
    """
    frame = join_stay(frame, known)
    hicl = pl.format("HICL {}", pl.col("drughiclseqno").cast(pl.Int64, strict=False))
    name = label(pl.col("drugname"))
    drug = pl.coalesce(hicl, name)
    detail = pl.when(hicl.is_not_null()).then(name)
    start = minutes("drugstartoffset")
    told = minutes("drugstopoffset")
    stop = pl.when((told != 0) | (start <= 0)).then(pl.when(told < start).then(start).otherwise(told))
    emits = [
        Emit(code_for("MEDICATION_ORDER_START", drug, detail), at(start), text=pl.col("dosage").cast(pl.String)),
        Emit(code_for("MEDICATION_ORDER_END", drug, detail), at(stop), when=stop.is_between(start, "_end_minutes")),
    ]
    reject = [
        ("order_cancelled", pl.col("drugordercancelled") == "Yes"),
        ("no_drug", drug.is_null()),
        ("starts_after_the_stay", start > pl.col("_end_minutes")),
    ]
    return events_of(frame, known, emits, reject)


def _admissiondrug(frame: pl.DataFrame, known: Known) -> Converted:
    """Drugs that the patient took before."""
    hicl = pl.format("HICL {}", pl.col("drughiclseqno").cast(pl.Int64, strict=False))
    name = label(pl.col("drugname"))
    code = code_for("HOME_MEDICATION", pl.coalesce(hicl, name), pl.when(hicl.is_not_null()).then(name))
    return events_of(frame, known, [Emit(code, at("drugoffset"))])


def _treatment(frame: pl.DataFrame, known: Known) -> Converted:
    """A treatment that is under way, as noted by the care team; long ones are noted again and again."""
    code = code_for("TREATMENT", path_levels(pl.col("treatmentstring"), "|"))
    return events_of(frame, known, [Emit(code, at("treatmentoffset"))])


def _respiratorycare(frame: pl.DataFrame, known: Known) -> Converted:
    """State of the airway, and start and end of ventilation; an offset of 0 means none.

    Later rows of a stay repeat the starts and ends of earlier ones: each is told once.
    """
    airway = code_of("RESPIRATORY_CARE", label(pl.col("airwaytype")))
    emits = [Emit(airway, at("respcarestatusoffset"))]
    for code, columns in _VENTILATION.items():
        for column in columns:
            offset = minutes(column)
            emits.append(Emit(pl.lit(code), at(offset), when=offset != 0))
    events, quarantined = events_of(frame, known, emits)
    repeats = pl.col("code").is_in(list(_VENTILATION)) & ~pl.struct("subject_id", "time", "code").is_first_distinct()
    kept = events.filter(~repeats)
    lost = events.join(kept, on="row", how="anti")["row"].unique().implode()
    return kept, join_quarantined(
        quarantined, quarantine(frame.filter(pl.col("row").is_in(lost)), "repeats_another_row")
    )


_VENTILATION = {
    "PROCEDURE_START//ventilation": ("ventstartoffset", "priorventstartoffset"),
    "PROCEDURE_END//ventilation": ("ventendoffset", "priorventendoffset"),
}

RECIPES = (
    Recipe(
        "infusionDrug",
        _infusiondrug,
        (STAY, "infusionoffset", "drugname", "drugrate"),
        ("patientweight",),
        "infusions, vasopressors among them",
    ),
    Recipe(
        "medication",
        _medication,
        (STAY, "drugstartoffset"),
        ("drugstopoffset", "drugname", "drughiclseqno", "drugordercancelled", "dosage"),
        "drug orders",
    ),
    Recipe(
        "admissionDrug",
        _admissiondrug,
        (STAY, "drugoffset"),
        ("drugname", "drughiclseqno"),
        "drugs taken before admission",
    ),
    Recipe(
        "treatment",
        _treatment,
        (STAY, "treatmentoffset", "treatmentstring"),
        lost="treatments, dialysis among them",
    ),
    Recipe(
        "respiratoryCare",
        _respiratorycare,
        (STAY, "respcarestatusoffset"),
        ("airwaytype", "ventstartoffset", "priorventstartoffset", "ventendoffset", "priorventendoffset"),
        "airways and the times of ventilation",
    ),
)
