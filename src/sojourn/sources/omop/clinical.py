"""OMOP: conditions, procedures, drugs, measurements, observations, devices and specimens."""

import polars as pl

from sojourn.sources.casts import to_number, to_time
from sojourn.sources.omop.clock import day_time, event_time, identifier
from sojourn.sources.omop.known import Known, events_of, with_concept, with_visit
from sojourn.sources.recipes import (
    MAX_LABEL_LENGTH,
    Converted,
    Emit,
    answer,
    code_for,
    label,
    measured,
    unit_of,
)

_BOUNDS = {4171754: "<", 4171756: "<", 4171755: ">", 4172704: ">"}
"""Operators ``<=``, ``<``, ``>=`` and ``>``."""
_ORDERS = (32838, 32833, 38000177)
"""Types of drug exposure that are prescriptions and orders, not administrations."""


def _thing(frame: pl.DataFrame, known: Known, domain: str) -> pl.DataFrame:
    """Rows with person, visit and `_thing`: the standard concept, else the local one, else the source's own word."""
    frame = with_concept(with_visit(frame, known), known, f"{domain}_concept_id", "_standard")
    frame = with_concept(frame, known, f"{domain}_source_concept_id", "_local")
    word = label(pl.col(f"{domain}_source_value"))
    return frame.with_columns(_thing=pl.coalesce("_standard_code", "_local_code", word))


def _in_hospital(known_end: str = "_end") -> pl.Expr:
    return (pl.col("_kind") == "hospital") & pl.col(known_end).is_not_null()


def condition(frame: pl.DataFrame, known: Known) -> Converted:
    """Conditions; those made for billing stand at the end of the visit, when they are coded, never before."""
    frame = _thing(frame, known, "condition")
    start = event_time(frame, "condition_start")
    is_billing = identifier("condition_type_concept_id").is_in(list(known.billing))
    time = pl.when(is_billing).then(pl.max_horizontal(start, "_end")).otherwise(start)
    return events_of(frame, [Emit(code_for("DIAGNOSIS", pl.col("_thing")), time)])


def procedure(frame: pl.DataFrame, known: Known) -> Converted:
    """Procedures; midnight is a day of unknown hour: its end, or that of the stay. CDM 5.4 also knows ends."""
    frame = _thing(frame, known, "procedure")
    day, stop = day_time("procedure"), day_time("procedure_end")
    same_day = (pl.col("_end").dt.date() == day.dt.date()).fill_null(value=False)
    time = (
        pl.when(same_day & (day.dt.time() == pl.time(23, 59, 59))).then(pl.min_horizontal(day, "_end")).otherwise(day)
    )
    # An end on the same day of which the hour is not known says nothing.
    later = (stop.dt.date() > day.dt.date()) | (stop == to_time(pl.col("procedure_end_datetime")))
    lasts = (later & (stop > time + pl.duration(minutes=1))).fill_null(value=False)
    name = pl.col("_thing")
    emits = [
        Emit(code_for("PROCEDURE", name), time, when=~lasts),
        Emit(code_for("PROCEDURE_START", name), time, when=lasts),
        Emit(code_for("PROCEDURE_END", name), stop, when=lasts),
    ]
    return events_of(frame, emits)


def drug(frame: pl.DataFrame, known: Known) -> Converted:
    """Start and end of drugs: orders and administrations are told apart; what was planned for after a hospital stay
    did not happen."""
    frame = _thing(frame, known, "drug")
    start, stop = event_time(frame, "drug_exposure_start"), event_time(frame, "drug_exposure_end")
    is_order = identifier("drug_type_concept_id").is_in(_ORDERS).fill_null(value=False)
    name, unit = pl.col("_thing"), unit_of(pl.col("dose_unit_source_value"))
    amount = to_number(pl.col("quantity"))
    quantity = pl.when(amount > 0).then(amount)  # 0 stands for a quantity that nobody noted
    ends = (stop > start) & ~(_in_hospital() & (stop > pl.col("_end"))).fill_null(value=False)
    emits = [
        Emit(code_for("MEDICATION_ORDER_START", name, unit), start, quantity, when=is_order),
        Emit(code_for("DRUG_START", name, unit), start, quantity, when=~is_order),
        Emit(code_for("MEDICATION_ORDER_END", name), stop, when=is_order & ends),
        Emit(code_for("DRUG_END", name), stop, when=~is_order & ends),
    ]
    late = is_order & _in_hospital() & (start > pl.col("_end"))
    return events_of(frame, emits, [("stopped_before_start", stop < start), ("starts_after_the_stay", late)])


def measurement(frame: pl.DataFrame, known: Known) -> Converted:
    """One event a row: the value in its unit, or the answer as part of the code."""
    return _valued(frame, known, "measurement", "value_source_value")


def observation(frame: pl.DataFrame, known: Known) -> Converted:
    """One event a row, as measurements."""
    text = pl.coalesce(*(pl.col(name).cast(pl.String) for name in ("value_as_string", "value_source_value")))
    return _valued(frame.with_columns(_said=text), known, "observation", "_said")


def _valued(frame: pl.DataFrame, known: Known, domain: str, text: str) -> Converted:
    """Events with a number, a coded answer or text."""
    frame = _thing(frame, known, domain)
    for column, prefix in (("value_as_concept_id", "_answer"), ("unit_concept_id", "_unit")):
        frame = with_concept(frame, known, column, prefix)
    frame = measured(frame, "value_as_number", text)
    is_ucum = pl.col("_unit_code").str.starts_with("UCUM//")
    ucum = pl.when(is_ucum).then(pl.col("_unit_code").str.strip_prefix("UCUM//"))
    unit = pl.coalesce(unit_of(ucum), unit_of(pl.col("unit_source_value")))
    word = pl.when(pl.col("_answer_name").str.len_chars() <= MAX_LABEL_LENGTH).then("_answer_name")
    chosen = pl.coalesce(word, "_answer_code", answer(pl.col("_text"), pl.col("_number")))
    is_standard = pl.coalesce("_standard_code", "_local_code").is_not_null()
    name = pl.when(is_standard).then("_thing").otherwise(code_for(domain.upper(), pl.col("_thing")))
    detail = pl.when(pl.col("_number").is_null()).then(chosen).otherwise(unit)
    code = pl.when(name.is_not_null()).then(
        pl.concat_str(name, pl.coalesce(detail, unit), separator="//", ignore_nulls=True)
    )
    operator = identifier("operator_concept_id").replace_strict(_BOUNDS, default=None, return_dtype=pl.String)
    bound = pl.coalesce(pl.when(pl.col("_number").is_not_null()).then(operator), "_bound")
    emit = Emit(
        code.str.slice(0, 200),
        event_time(frame, domain),
        pl.col("_number"),
        pl.coalesce("_text", "_answer_name"),
        bound,
    )
    return events_of(frame, [emit])


def device(frame: pl.DataFrame, known: Known) -> Converted:
    """Devices, from when to when."""
    frame = _thing(frame, known, "device")
    start, stop = event_time(frame, "device_exposure_start"), event_time(frame, "device_exposure_end")
    emits = [
        Emit(code_for("DEVICE_START", pl.col("_thing")), start),
        Emit(code_for("DEVICE_END", pl.col("_thing")), stop, when=stop > start),
    ]
    return events_of(frame, emits, [("ends_before_start", stop < start)])


def specimen(frame: pl.DataFrame, known: Known) -> Converted:
    """Specimens, when they were taken."""
    frame = with_concept(
        frame.with_columns(visit_occurrence_id=pl.lit(None, pl.String)), known, "specimen_concept_id", "_s"
    )
    frame = with_visit(frame, known)
    name = pl.coalesce("_s_code", label(pl.col("specimen_source_value")))
    return events_of(frame, [Emit(code_for("SPECIMEN", name), event_time(frame, "specimen"))])
