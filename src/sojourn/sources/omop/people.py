"""OMOP: persons, deaths and visits."""

import polars as pl

from sojourn.sources.casts import to_integer, to_time
from sojourn.sources.omop.clock import day_time, identifier, start_time
from sojourn.sources.omop.known import Known, events_of, visit_kinds, with_concept, with_visit
from sojourn.sources.recipes import Converted, Emit, code_for, code_of, first_of, label
from sojourn.sources.stays import ICU_TOLERANCE

_SEXES = {8507: "M", 8532: "F"}


def person(frame: pl.DataFrame, known: Known) -> Converted:
    """Birth and static facts; of a birth known to the year or month the middle of that is the guess."""
    frame = frame.with_columns(visit_occurrence_id=pl.lit(None, pl.String))
    frame = with_concept(with_visit(frame, known), known, "race_concept_id", "_race")
    frame = with_concept(frame, known, "ethnicity_concept_id", "_ethnicity")
    month, day = to_integer(pl.col("month_of_birth")), to_integer(pl.col("day_of_birth"))
    # Text, because a month 0 or a 30 February must not stop the table: such a part of the date is not known.
    year = to_integer(pl.col("year_of_birth")).cast(pl.String).str.zfill(4)
    to_month = pl.concat_str(year, month.cast(pl.String).str.zfill(2), separator="-")
    to_day = pl.concat_str(to_month, day.cast(pl.String).str.zfill(2), separator="-")
    born = pl.coalesce(to_time(to_day), to_time(to_month + "-15"), to_time(year + "-07-01"))
    sex = identifier("gender_concept_id").replace_strict(_SEXES, default=None, return_dtype=pl.String)
    emits = [
        Emit(code_for("GENDER", pl.coalesce(sex, label(pl.col("gender_source_value")))), None),
        Emit(code_for("RACE", pl.coalesce("_race_name", label(pl.col("race_source_value")))), None),
        Emit(code_for("ETHNICITY", pl.coalesce("_ethnicity_name", label(pl.col("ethnicity_source_value")))), None),
        Emit(pl.lit("MEDS_BIRTH"), pl.coalesce(to_time(pl.col("birth_datetime")), born)),
    ]
    return events_of(frame, emits)


def death(frame: pl.DataFrame, known: Known) -> Converted:
    """Death, in hospital at the end of the visit; of a person with several rows the first counts."""
    frame = frame.with_columns(visit_occurrence_id=pl.lit(None, pl.String))
    frame = with_visit(frame, known).drop("_death")
    emits = [Emit(pl.lit("MEDS_DEATH"), pl.col("_dead"), when=day_time("death").is_not_null())]
    return events_of(frame, emits, [("repeats_another_row", ~first_of("person_id"))])


def visit_occurrence(frame: pl.DataFrame, known: Known) -> Converted:
    """Hospital stays with their end, visits to the emergency department and other visits."""
    frame = with_concept(with_visit(frame, known), known, "admitted_from_concept_id", "_from")
    frame = with_concept(frame, known, "discharged_to_concept_id", "_to")
    came, went = (
        pl.coalesce(label(pl.col(f"{name}_source_value")), short)
        for name, short in (("admitted_from", "_from_name"), ("discharged_to", "_to_name"))
    )
    kind, start, stop, name = pl.col("_kind"), pl.col("_start"), pl.col("_stop"), pl.col("_visit_name")
    died = pl.col("_died").fill_null(value=False)
    in_icu = (kind == "icu") & died
    emits = [
        Emit(code_of("HOSPITAL_ADMISSION", name, came), start, when=kind == "hospital"),
        Emit(
            pl.when(died)
            .then(pl.lit("HOSPITAL_DISCHARGE//DIED"))
            .otherwise(code_of("HOSPITAL_DISCHARGE", "ALIVE", went)),
            pl.col("_end"),
            when=kind == "hospital",
        ),
        Emit(code_of("ICU_ADMISSION", name), start, when=kind == "icu"),
        Emit(pl.lit("ICU_DISCHARGE//ALIVE"), stop, when=(kind == "icu") & ~died),
        Emit(pl.lit("ICU_DISCHARGE//DIED"), pl.col("_death"), when=in_icu),
        Emit(pl.lit("EMERGENCY_DEPARTMENT_START"), start, when=kind == "emergency"),
        Emit(pl.lit("EMERGENCY_DEPARTMENT_END"), stop, when=kind == "emergency"),
        Emit(code_for("VISIT_START", name), start, when=kind == "visit"),
        Emit(pl.lit("VISIT_END"), stop, when=(kind == "visit") & (stop > start)),
        Emit(pl.lit("MEDS_DEATH"), pl.col("_death"), when=died & ~pl.col("_is_told")),
    ]
    return events_of(frame, emits, [("ends_before_start", stop < start)])


def visit_detail(frame: pl.DataFrame, known: Known) -> Converted:
    """Moves between wards; visit details in intensive care that follow each other are one ICU stay."""
    frame = with_visit(frame, known).join(known.icu, on="row", how="left", maintain_order="left")
    frame = frame.with_columns(_care_site=identifier("care_site_id"), _concept=identifier("visit_detail_concept_id"))
    frame = frame.join(known.care_sites, on="_care_site", how="left", maintain_order="left")
    frame = frame.join(visit_kinds(), on="_concept", how="left", maintain_order="left")
    frame = with_concept(frame, known, "visit_detail_concept_id", "_detail")
    death = pl.coalesce("_death", "_dead")
    died = death.is_between(pl.col("_icu_start"), pl.col("_icu_stop") + ICU_TOLERANCE).fill_null(value=False)
    place = pl.coalesce("_care_site_name", "_known_name", "_detail_name", "_detail_code", pl.lit("unknown"))
    emits = [
        Emit(code_for("TRANSFER", place), start_time("visit_detail_start")),
        Emit(code_of("ICU_ADMISSION", place), pl.col("_icu_start")),
        Emit(pl.lit("ICU_DISCHARGE//ALIVE"), pl.col("_icu_stop"), when=~died),
        Emit(pl.lit("ICU_DISCHARGE//DIED"), death, when=died),
    ]
    return events_of(frame, emits)
