"""MIMIC-IV: laboratory, microbiology, drugs, outpatient measurements and codes for billing."""

import polars as pl

from sojourn.sources.casts import to_number, to_time
from sojourn.sources.mimic_iv.known import Known, end_of_day, events_of, join_stay
from sojourn.sources.recipes import (
    Converted,
    Emit,
    Recipe,
    answer,
    code_for,
    code_of,
    first_of,
    label,
    measured,
    unit_of,
)

_SPECIMEN_ITEM = "52033"
_BY_SPECIMEN = ("50802", "50817", "50818", "50820", "50821")
"""Base excess, saturation, pCO2, pH and pO2 mean something else in venous blood than in arterial blood."""


def _labevents(frame: pl.DataFrame, known: Known) -> Converted:
    """One event a row, at `charttime`: when the specimen was taken, as MEDS has it.

    The result was available at `storetime`, typically an hour later. Answers such as ``NEG`` become part of the code;
    where `value` is empty, short `comments` hold the answer. Blood gases carry the kind of blood, which a row of its
    own gives for the specimen (the rows of a specimen stand together).
    """
    frame = measured(frame, "valuenum", "value").with_columns(_item=pl.col("itemid").cast(pl.String))
    specimens = (
        frame.filter(pl.col("_item") == _SPECIMEN_ITEM, pl.col("specimen_id").is_not_null())
        .select("specimen_id", _specimen=label(pl.col("value")).str.strip_suffix("."))
        .unique("specimen_id", keep="first", maintain_order=True)
    )
    frame = frame.join(specimens, on="specimen_id", how="left", maintain_order="left")
    comment = pl.col("comments").cast(pl.String)
    said = pl.when(pl.col("_number").is_null() & pl.col("_text").is_null()).then(comment).otherwise(pl.col("_text"))
    frame = frame.with_columns(_said=said)
    code = code_for(
        "LAB",
        pl.col("_item"),
        unit_of(pl.col("valueuom")),
        pl.when(pl.col("_item").is_in(_BY_SPECIMEN)).then(pl.col("_specimen")),
        answer(pl.col("_said"), pl.col("_number")),
    )
    emits = [Emit(code, to_time(pl.col("charttime")), pl.col("_number"), pl.col("_said"), pl.col("_bound"))]
    return events_of(frame, known, emits)


def _microbiology(frame: pl.DataFrame, known: Known) -> Converted:
    """A culture is taken at `charttime`; what grew is known only at `storetime`, often days later.

    A row says one test, or one organism, or one organism's answer to one antibiotic: what several rows repeat is told
    once. Rows without a time of the result keep their specimen event only.
    """
    taken = pl.coalesce(to_time(pl.col("charttime")), end_of_day(pl.col("chartdate")))
    stored = pl.coalesce(to_time(pl.col("storetime")), end_of_day(pl.col("storedate")))
    specimen, organism = label(pl.col("spec_type_desc")), label(pl.col("org_name"))
    grew = organism.fill_null("no organism")
    comparison = pl.col("dilution_comparison").cast(pl.String)
    bound = pl.coalesce(pl.when(comparison.str.contains(side, literal=True)).then(pl.lit(side)) for side in ("<", ">"))
    test = ("subject_id", "micro_specimen_id", "test_itemid", "test_name")
    emits = [
        Emit(code_for("CULTURE_TAKEN", specimen, label(pl.col("test_name"))), taken, when=first_of(*test)),
        Emit(
            code_of("CULTURE_RESULT", specimen, grew),
            stored,
            text=pl.col("comments"),
            when=first_of(*test, "org_itemid", "isolate_num", "comments"),
        ),
        Emit(
            code_of("SUSCEPTIBILITY", organism, label(pl.col("ab_name")), label(pl.col("interpretation"))),
            stored,
            to_number(pl.col("dilution_value")),
            pl.col("dilution_text"),
            bound,
            when=pl.col("ab_name").is_not_null(),
        ),
    ]
    events, quarantined = events_of(frame, known, emits)
    renamed = pl.when(pl.col("reason") == "empty_row").then(pl.lit("repeats_another_row")).otherwise(pl.col("reason"))
    return events, quarantined.with_columns(reason=renamed)


def _emar(frame: pl.DataFrame, known: Known) -> Converted:
    """What the nurses gave, did not give, started and stopped."""
    drug, done = label(pl.col("medication")), label(pl.col("event_txt"))
    code = code_of("MEDICATION_ADMINISTRATION", drug.fill_null("unnamed"), done)
    time = to_time(pl.col("charttime"))
    emits = [Emit(code, time, when=drug.is_not_null() | done.is_not_null())]
    return events_of(frame, known, emits)


def _prescriptions(frame: pl.DataFrame, known: Known) -> Converted:
    """Start and end of drug orders, with the ordered dose; what was planned for after the stay did not happen."""
    frame = join_stay(measured(frame, None, "dose_val_rx"), known)
    start, stop = to_time(pl.col("starttime")), to_time(pl.col("stoptime"))
    drug = label(pl.col("drug"))
    emits = [
        Emit(
            code_for("MEDICATION_ORDER_START", drug, unit_of(pl.col("dose_unit_rx"))),
            start,
            pl.col("_number"),
            pl.col("_text"),
            pl.col("_bound"),
        ),
        Emit(code_for("MEDICATION_ORDER_END", drug), stop, when=~(stop > pl.col("_end")).fill_null(value=False)),
    ]
    reject = [("stopped_before_start", stop < start), ("starts_after_the_stay", start > pl.col("_end"))]
    return events_of(frame, known, emits, reject)


def _omr(frame: pl.DataFrame, known: Known) -> Converted:
    """Outpatient weight, height and blood pressure, known to the day; ``110/65`` is two events."""
    pressure = pl.col("result_value").cast(pl.String).str.extract_groups(r"^\s*(\d{1,3})\s*/\s*(\d{1,3})\s*$")
    frame = measured(frame, None, "result_value").with_columns(_pressure=pressure)
    upper = pl.col("_pressure").struct.field("1").cast(pl.Float64, strict=False)
    lower = pl.col("_pressure").struct.field("2").cast(pl.Float64, strict=False)
    time, name = end_of_day(pl.col("chartdate")), label(pl.col("result_name"))
    single = upper.is_null() & name.is_not_null()
    said = pl.col("_text")
    emits = [
        Emit(code_of("OMR", name, "systolic"), time, upper, when=upper.is_not_null() & name.is_not_null()),
        Emit(code_of("OMR", name, "diastolic"), time, lower, when=upper.is_not_null() & name.is_not_null()),
        Emit(
            code_of("OMR", name, answer(said, pl.col("_number"))),
            time,
            pl.col("_number"),
            said,
            pl.col("_bound"),
            when=single,
        ),
    ]
    return events_of(frame, known, emits)


def _diagnoses(frame: pl.DataFrame, known: Known) -> Converted:
    """Billing diagnoses are made after the stay: they stand at its end, never before."""
    system = pl.format("ICD{}CM", pl.col("icd_version").cast(pl.String))
    code = code_of("DIAGNOSIS", system, label(pl.col("icd_code")))
    return _at_discharge(frame, known, code, pl.col("icd_code").is_not_null())


def _drgcodes(frame: pl.DataFrame, known: Known) -> Converted:
    """Diagnosis-related groups, at the end of the stay."""
    code = code_of("DRG", label(pl.col("drg_type")), label(pl.col("drg_code")))
    return _at_discharge(frame, known, code, pl.col("drg_code").is_not_null())


def _at_discharge(frame: pl.DataFrame, known: Known, code: pl.Expr, when: pl.Expr) -> Converted:
    """Events at the end of the hospital stay."""
    frame = join_stay(frame, known)
    unknown = ("unknown_admission", pl.col("_admission").is_null() & pl.col("_end").is_null())
    return events_of(frame, known, [Emit(code, pl.col("_end"), when=when)], [unknown])


def _procedures(frame: pl.DataFrame, known: Known) -> Converted:
    """Coded procedures, at the end of their day or of the stay, whichever is first."""
    system = pl.format("ICD{}PCS", pl.col("icd_version").cast(pl.String))
    code = code_of("PROCEDURE", system, label(pl.col("icd_code")))
    return _within_stay(frame, known, code, pl.col("icd_code").is_not_null())


def _hcpcs(frame: pl.DataFrame, known: Known) -> Converted:
    """Billed services, timed as the procedures."""
    return _within_stay(frame, known, code_for("HCPCS", label(pl.col("hcpcs_cd"))), pl.lit(value=True))


def _within_stay(frame: pl.DataFrame, known: Known, code: pl.Expr, when: pl.Expr) -> Converted:
    """Events at the end of `chartdate`, or at the end of the stay if that is on the same day."""
    frame = join_stay(frame, known)
    day = end_of_day(pl.col("chartdate"))
    same_day = pl.col("_end").dt.date() == day.dt.date()
    time = pl.when(same_day.fill_null(value=False)).then(pl.min_horizontal(day, "_end")).otherwise(day)
    return events_of(frame, known, [Emit(code, time, when=when)])


RECIPES = (
    Recipe(
        "hosp/labevents",
        _labevents,
        ("subject_id", "itemid", "charttime"),
        ("specimen_id", "value", "valuenum", "valueuom", "comments"),
        "laboratory results",
    ),
    Recipe(
        "hosp/microbiologyevents",
        _microbiology,
        ("subject_id", "micro_specimen_id", "chartdate", "spec_type_desc"),
        (
            "charttime",
            "storedate",
            "storetime",
            "test_itemid",
            "test_name",
            "org_itemid",
            "org_name",
            "isolate_num",
            "ab_name",
            "dilution_text",
            "dilution_comparison",
            "dilution_value",
            "interpretation",
            "comments",
        ),
        "cultures, organisms and susceptibilities",
    ),
    Recipe(
        "hosp/emar",
        _emar,
        ("subject_id", "charttime"),
        ("medication", "event_txt"),
        "drugs given on the wards",
    ),
    Recipe(
        "hosp/prescriptions",
        _prescriptions,
        ("subject_id", "starttime", "drug"),
        ("hadm_id", "stoptime", "dose_val_rx", "dose_unit_rx"),
        "drug orders",
    ),
    Recipe(
        "hosp/omr",
        _omr,
        ("subject_id", "chartdate", "result_name", "result_value"),
        lost="outpatient weight, height and blood pressure",
    ),
    Recipe(
        "hosp/diagnoses_icd",
        _diagnoses,
        ("subject_id", "hadm_id", "icd_code", "icd_version"),
        lost="diagnoses at discharge",
    ),
    Recipe(
        "hosp/procedures_icd",
        _procedures,
        ("subject_id", "hadm_id", "chartdate", "icd_code", "icd_version"),
        lost="coded procedures",
    ),
    Recipe(
        "hosp/drgcodes",
        _drgcodes,
        ("subject_id", "hadm_id", "drg_type", "drg_code"),
        lost="diagnosis-related groups",
    ),
    Recipe(
        "hosp/hcpcsevents",
        _hcpcs,
        ("subject_id", "hadm_id", "chartdate", "hcpcs_cd"),
        lost="billed services",
    ),
)
