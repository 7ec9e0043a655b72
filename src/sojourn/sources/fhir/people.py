"""FHIR: patients, encounters, conditions, procedures and specimens."""

import polars as pl

from sojourn.sources.clocks import as_written
from sojourn.sources.fhir.codings import coded, said
from sojourn.sources.fhir.known import Known, at, events_of, period, with_patient
from sojourn.sources.recipes import Converted, Emit, code_for, code_of, label
from sojourn.sources.records import as_events
from sojourn.sources.stays import ICU_TOLERANCE

WRONG = ["entered-in-error"]
_SEXES = {"female": "F", "male": "M"}


def _f(name: str) -> pl.Expr:
    return pl.col("_r").struct.field(name)


def _fact(url: str) -> pl.Expr:
    """Text of a US core extension of a patient, such as the race."""
    shown = pl.element().struct.field("valueCoding").struct.field("display")
    words = pl.coalesce(pl.element().struct.field("valueString"), shown)
    inner = pl.element().struct.field("extension").list.eval(words)
    chosen = _f("extension").list.eval(
        pl.when(pl.element().struct.field("url").str.ends_with(url)).then(inner.list.drop_nulls().list.last())
    )
    return label(chosen.list.drop_nulls().list.first())


def patient(frame: pl.DataFrame, known: Known) -> Converted:
    """Birth, static facts and death; of a birth known to the year or month the middle of that is the guess."""
    frame = frame.with_columns(_patient=_f("id"))
    frame = frame.join(known.patients, on="_patient", how="left", maintain_order="left").with_columns(_site="_home")
    born = _f("birthDate")
    length = born.str.len_chars()
    full = pl.when(length == 4).then(born + "-07-01").when(length == 7).then(born + "-15").otherwise(born)
    emits = [
        Emit(code_for("GENDER", label(_f("gender")).replace(_SEXES)), None),
        Emit(code_for("RACE", _fact("us-core-race")), None),
        Emit(code_for("ETHNICITY", _fact("us-core-ethnicity")), None),
        Emit(code_for("MARITAL_STATUS", said(_f("maritalStatus"))), None),
        Emit(pl.lit("MEDS_BIRTH"), as_written(full)),
        Emit(pl.lit("MEDS_DEATH"), pl.col("_dead")),
    ]
    return events_of(frame, emits)


def encounter(frame: pl.DataFrame, known: Known) -> Converted:
    """Hospital stays, ICU stays, emergency departments and visits, and the moves between wards."""
    frame = with_patient(frame.with_columns(_encounter=_f("id")), known, None).drop("_site")
    frame = frame.join(known.encounters, on="_encounter", how="left", maintain_order="left")
    frame = frame.with_columns(_site=pl.coalesce("_site", "_home"))
    kind, start, stop = pl.col("_kind"), pl.col("_start"), pl.col("_stop")
    came, left = (said(_f("hospitalization").struct.field(name)) for name in ("admitSource", "dischargeDisposition"))
    death = pl.coalesce("_death", "_dead")
    died_there = (kind == "icu") & death.is_between(start, stop + ICU_TOLERANCE).fill_null(value=False)
    alive = code_of("HOSPITAL_DISCHARGE", "ALIVE", left)
    emits = [
        Emit(
            code_of("HOSPITAL_ADMISSION", label(_f("class").struct.field("code")), came), start, when=kind == "hospital"
        ),
        Emit(
            pl.when(pl.col("_died")).then(pl.lit("HOSPITAL_DISCHARGE//DIED")).otherwise(alive),
            pl.col("_end"),
            when=kind == "hospital",
        ),
        Emit(code_for("SERVICE", said(_f("serviceType"))), start, when=kind == "hospital"),
        Emit(code_of("ICU_ADMISSION", pl.col("_place")), start, when=kind == "icu"),
        Emit(pl.lit("ICU_DISCHARGE//ALIVE"), stop, when=(kind == "icu") & ~died_there),
        Emit(pl.lit("ICU_DISCHARGE//DIED"), death, when=died_there),
        Emit(pl.lit("EMERGENCY_DEPARTMENT_START"), start, when=kind == "emergency"),
        Emit(pl.lit("EMERGENCY_DEPARTMENT_END"), stop, when=kind == "emergency"),
        Emit(code_of("VISIT_START", label(_f("class").struct.field("code"))), start, when=kind == "visit"),
        Emit(pl.lit("VISIT_END"), stop, when=kind == "visit"),
    ]
    refused = ("not_happened", _f("status").is_in([*WRONG, "planned", "cancelled"]))
    events, quarantined = events_of(frame, emits, [refused])
    kept = frame.filter(pl.col("row").is_in(events["row"].unique().implode()))
    return as_events(events, *_moves(kept, known)), quarantined


def _moves(frame: pl.DataFrame, known: Known) -> list[pl.DataFrame]:
    """Events of the locations of encounters: several for one encounter."""
    who = frame.filter(pl.col("_kind") != "icu").select("row", "_encounter", "_subject", "_site", "_death")
    who = who.rename({"_subject": "subject_id", "_site": "site"})
    moves = who.join(known.moves, on="_encounter", how="inner")
    told = known.encounters.filter(pl.col("_kind") == "icu").height > 0
    icu = who.join(known.icu.clear() if told else known.icu, on="_encounter", how="inner")
    died = pl.col("_death").is_between(pl.col("_icu_start"), pl.col("_icu_stop") + ICU_TOLERANCE).fill_null(value=False)
    end = pl.when(died).then(pl.lit("ICU_DISCHARGE//DIED")).otherwise(pl.lit("ICU_DISCHARGE//ALIVE"))
    stop = pl.when(died).then("_death").otherwise("_icu_stop")
    parts = [
        moves.with_columns(code=code_for("TRANSFER", pl.col("_place")), time="_moved"),
        icu.with_columns(code=code_of("ICU_ADMISSION", pl.col("_icu_place")), time="_icu_start"),
        icu.with_columns(code=end, time=stop),
    ]
    return [part.drop_nulls(["code", "time"]) for part in parts]


def condition(frame: pl.DataFrame, known: Known) -> Converted:
    """Diagnoses of an encounter stand at its end, when they are coded; others when they were recorded."""
    frame = with_patient(frame, known, "encounter")
    categories = _f("category").list.eval(said(pl.element()))
    of_encounter = categories.list.contains("encounter-diagnosis").fill_null(value=False)
    noted = pl.coalesce(at(_f("recordedDate")), at(_f("onsetDateTime")))
    code = code_for("DIAGNOSIS", coded(_f("code")))
    time = pl.when(of_encounter | noted.is_null()).then(pl.coalesce("_end", noted)).otherwise(noted)
    wrong = ("entered_in_error", said(_f("verificationStatus")).is_in([*WRONG, "refuted"]))
    return events_of(frame, [Emit(code, time)], [wrong])


def procedure(frame: pl.DataFrame, known: Known) -> Converted:
    """What lasts has a start and an end; what is known to the day stands at its end, or at that of the stay."""
    frame = with_patient(frame, known, "encounter")
    moment = _f("performedDateTime")
    start, end, is_wrong = period(_f("performedPeriod"))
    is_day = (moment.str.len_chars() == 10) | moment.str.contains(r"T00:00:00(?:\.0+)?(?:Z|[+-]\d{2}:\d{2})?$")
    day = at(moment.str.slice(0, 10))
    same_day = (pl.col("_end").dt.date() == day.dt.date()).fill_null(value=False)
    known_to_day = pl.when(same_day).then(pl.min_horizontal(day, "_end")).otherwise(day)
    time = pl.when(is_day).then(known_to_day).otherwise(at(moment))
    code = coded(_f("code"))
    emits = [
        Emit(code_for("PROCEDURE", code), time),
        Emit(code_for("PROCEDURE_START", code), start),
        Emit(code_for("PROCEDURE_END", code), end, when=end > start + pl.duration(minutes=1)),
    ]
    refused = ("not_happened", _f("status").is_in([*WRONG, "not-done", "preparation"]))
    return events_of(frame, emits, [refused, ("ends_before_start", is_wrong)])


def specimen(frame: pl.DataFrame, known: Known) -> Converted:
    """A specimen, when it was taken."""
    frame = with_patient(frame, known, None)
    taken = _f("collection")
    time = pl.coalesce(
        at(taken.struct.field("collectedDateTime")), at(taken.struct.field("collectedPeriod").struct.field("end"))
    )
    wrong = ("entered_in_error", _f("status").is_in(WRONG))
    return events_of(frame, [Emit(code_for("SPECIMEN", coded(_f("type"))), time)], [wrong])
