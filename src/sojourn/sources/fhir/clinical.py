"""FHIR: observations and medication."""

import polars as pl

from sojourn.sources.fhir.codings import bound_in_quantity, coded, one_row_each, reference_id, said, unit_in_quantity
from sojourn.sources.fhir.known import Known, at, events_of, from_start, period, with_patient
from sojourn.sources.fhir.layout import VALUES
from sojourn.sources.fhir.people import WRONG
from sojourn.sources.recipes import Converted, Emit, answer, code_for, measured

_NOT_GIVEN = r"(?i)^(?:not|held|refused)\b"


def _f(name: str) -> pl.Expr:
    return pl.col("_r").struct.field(name)


def _p(name: str) -> pl.Expr:
    return pl.col("_part").struct.field(name)


def observation(frame: pl.DataFrame, known: Known) -> Converted:
    """One event for the value of an observation and one for each component.

    An observation stands when it is true of the patient (`effective`), as laboratory results stand at the time of the
    specimen; without that when it was `issued`. A coded or short answer becomes part of the code. The range that the
    hospital takes for normal is kept as text.
    """
    frame = with_patient(frame, known, "encounter")
    lasting = _f("effectivePeriod")
    time = pl.coalesce(
        at(_f("effectiveDateTime")),
        at(_f("effectiveInstant")),
        at(lasting.struct.field("end")),
        from_start(lasting.struct.field("start")),
        at(_f("issued")),
    )
    num_inner = _f("component").list.len().fill_null(0)
    frame = frame.with_columns(_time=time, _num_inner=num_inner, _normal=_normal())
    own = frame.with_columns(_part=pl.struct(_f("code"), *(_f(name) for name in VALUES)), _is_own=True)
    inner = frame.filter(pl.col("_num_inner") > 0).with_columns(_part=_f("component"), _is_own=False)
    inner = one_row_each(inner, "_part").with_columns(_part=pl.struct(*(_p(name) for name in ("code", *VALUES))))
    return _values(pl.concat([own, inner]))


def _normal() -> pl.Expr:
    """The first reference range, as text."""
    first = _f("referenceRange").list.first()
    low, high = (first.struct.field(end).struct.field("value").cast(pl.String) for end in ("low", "high"))
    ends = pl.concat_str(low.fill_null(""), high.fill_null(""), separator=" to ").str.strip_chars()
    return pl.when(low.is_not_null() | high.is_not_null()).then(pl.concat_str(pl.lit("reference "), ends))


def _values(frame: pl.DataFrame) -> Converted:
    """Events of (code, value) pairs; several rows may belong to one resource."""
    quantity = _p("valueQuantity")
    days = (pl.col("_time") - at(_p("valueDateTime"))).dt.total_seconds() / 86_400
    number = pl.coalesce(quantity.struct.field("value"), _p("valueInteger"), days)
    text = pl.coalesce(_p("valueString"), _p("valueBoolean").cast(pl.String))
    frame = measured(frame.with_columns(_given_number=number, _told=text), "_given_number", "_told")
    unit = pl.coalesce(unit_in_quantity(quantity), pl.when(_p("valueDateTime").is_not_null()).then(pl.lit("d")))
    choice = said(_p("valueCodeableConcept"))
    detail = pl.coalesce(unit, choice, answer(pl.col("_text"), pl.col("_number")))
    has_value = pl.coalesce(pl.col("_number").cast(pl.String), pl.col("_text"), choice).is_not_null()
    absent = said(_p("dataAbsentReason")).is_not_null()
    # A panel says nothing itself; an organism that grew has no value, and its code is what was found.
    says = has_value | ((pl.col("_num_inner") == 0) & pl.col("_is_own") & ~absent)
    bound = pl.coalesce(bound_in_quantity(quantity), pl.col("_bound"))
    told = pl.coalesce("_text", _p("valueDateTime"), pl.when(pl.col("_number").is_not_null()).then("_normal"))
    emit = Emit(code_for_pair(detail), pl.col("_time"), pl.col("_number"), told, bound, when=says)
    refused = ("not_happened", _f("status").is_in([*WRONG, "cancelled"]))
    nothing = ("no_value", (~says).all().over("row"))
    return events_of(frame, [emit], [refused, nothing])


def code_for_pair(detail: pl.Expr) -> pl.Expr:
    """Code of an observation or component with its unit or answer, null without a code."""
    code = coded(_p("code"))
    return pl.when(code.is_not_null()).then(pl.concat_str(code, detail, separator="//", ignore_nulls=True))


def drug(known: Known, frame: pl.DataFrame) -> pl.DataFrame:
    """Add `_drug`: what was given, by its own coding or through a reference."""
    keyed = frame.with_columns(_drug_id=reference_id(_f("medicationReference")))
    joined = keyed.join(
        known.drugs.select("_drug_id", _referred="_drug"), on="_drug_id", how="left", maintain_order="left"
    )
    contained = pl.when(pl.col("_drug_id").is_not_null()).then(pl.lit("unknown"))
    return joined.with_columns(_drug=pl.coalesce(coded(_f("medicationCodeableConcept")), "_referred", contained))


def administration(frame: pl.DataFrame, known: Known) -> Converted:
    """What lasts has a start with its rate (else its dose) and an end; a single dose stands at its time."""
    frame = drug(known, with_patient(frame, known, "context"))
    dosage = _f("dosage").struct
    rate, dose = dosage.field("rateQuantity"), dosage.field("dose")
    ratio = dosage.field("rateRatio").struct
    upper, lower = ratio.field("numerator"), ratio.field("denominator")
    quotient = upper.struct.field("value") / lower.struct.field("value")
    ratio_unit = pl.concat_str(unit_in_quantity(upper), unit_in_quantity(lower), separator="/")
    value = pl.coalesce(
        rate.struct.field("value"), pl.when(quotient.is_finite()).then(quotient), dose.struct.field("value")
    )
    unit = (
        pl.when(rate.struct.field("value").is_not_null())
        .then(unit_in_quantity(rate))
        .when(quotient.is_finite())
        .then(ratio_unit)
        .otherwise(unit_in_quantity(dose))
    )
    start, end, is_wrong = period(_f("effectivePeriod"))
    moment = at(_f("effectiveDateTime"))
    given = ~(
        (_f("status") == "not-done") | said(dosage.field("method")).str.contains(_NOT_GIVEN).fill_null(value=False)
    )
    name = pl.col("_drug")
    emits = [
        Emit(code_for("INFUSION_START", name, unit), start, value, when=given),
        Emit(code_for("INFUSION_END", name), end, when=given),
        Emit(
            code_for("MEDICATION_ADMINISTRATION", name, unit_in_quantity(dose)),
            moment,
            dose.struct.field("value"),
            bound=bound_in_quantity(dose),
            when=given,
        ),
        Emit(code_for("MEDICATION_ADMINISTRATION", name, "not_given"), pl.coalesce(moment, start), when=~given),
    ]
    refused = ("not_happened", _f("status").is_in(WRONG))
    return events_of(frame, emits, [refused, ("ends_before_start", is_wrong)])


def request(frame: pl.DataFrame, known: Known) -> Converted:
    """Start and end of drug orders, with the dose; what was planned for after the stay did not happen."""
    frame = drug(known, with_patient(frame, known, "encounter"))
    start, stop, is_wrong = period(_f("dispenseRequest").struct.field("validityPeriod"))
    dose = _f("dosageInstruction").list.first().struct.field("doseAndRate").list.first().struct.field("doseQuantity")
    name = pl.col("_drug")
    in_stay = pl.col("_kind") == "hospital"
    emits = [
        Emit(
            code_for("MEDICATION_ORDER_START", name, unit_in_quantity(dose)),
            pl.coalesce(start, at(_f("authoredOn"))),
            dose.struct.field("value"),
            bound=bound_in_quantity(dose),
        ),
        Emit(
            code_for("MEDICATION_ORDER_END", name),
            stop,
            when=~(in_stay & (stop > pl.col("_end"))).fill_null(value=False),
        ),
    ]
    reject = [
        ("not_happened", _f("status").is_in([*WRONG, "cancelled", "draft"])),
        ("stopped_before_start", is_wrong),
        ("starts_after_the_stay", in_stay & (start > pl.col("_end"))),
    ]
    return events_of(frame, emits, reject)


def dispense(frame: pl.DataFrame, known: Known) -> Converted:
    """What the pharmacy handed over."""
    frame = drug(known, with_patient(frame, known, "context"))
    quantity = _f("quantity")
    time = pl.coalesce(at(_f("whenHandedOver")), at(_f("whenPrepared")))
    code = code_for("MEDICATION_DISPENSE", pl.col("_drug"), unit_in_quantity(quantity))
    refused = ("not_happened", _f("status").is_in([*WRONG, "cancelled", "declined"]))
    return events_of(frame, [Emit(code, time, quantity.struct.field("value"))], [refused])


def statement(frame: pl.DataFrame, known: Known) -> Converted:
    """Drugs that a patient takes, when somebody said so."""
    frame = drug(known, with_patient(frame, known, "context"))
    begins = _f("effectivePeriod").struct.field("start")
    time = pl.coalesce(at(_f("dateAsserted")), at(_f("effectiveDateTime")), from_start(begins))
    refused = ("not_happened", _f("status").is_in([*WRONG, "not-taken"]))
    return events_of(frame, [Emit(code_for("HOME_MEDICATION", pl.col("_drug")), time)], [refused])
