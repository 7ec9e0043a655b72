"""What the other resources refer to: patients, encounters, drugs, places and organisations."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import polars as pl

from sojourn.errors import MissingTableError
from sojourn.sources.clocks import as_written, at_day_end, in_utc
from sojourn.sources.fhir.codings import coded, displayed, one_row_each, reference_id, said
from sojourn.sources.fhir.files import BulkFile, decode
from sojourn.sources.fhir.layout import decoded_as
from sojourn.sources.identity import hashed, site_names
from sojourn.sources.recipes import Converted, Emit, convert, label
from sojourn.sources.stays import icu_runs, says_died, with_ends

_SECRETS = r"(?i)ssn|social|passport|driver|\b(?:SS|DL|PPN|SB)\b"
"""Identifiers that must never become the number of a subject."""
_ICU_PLACE = r"(?i)intensive care|critical care|coronary care|\b[A-Z]{0,4}ICU\b|\bCCU\b"
_ICU_ID, _EMERGENCY_ID, _HOSPITAL_ID = r"(?i)[-/]icu$", r"(?i)[-/](?:ed|emergency)$", r"(?i)[-/](?:hosp|hospital)$"
_INPATIENT = ("IMP", "ACUTE", "NONAC", "OBSENC")
_LONG = pl.duration(hours=24)


class Known(NamedTuple):
    """Small resources held in memory while the large files stream by."""

    patients: pl.DataFrame
    """`_patient` (id), `_subject` i64, `_home` (site), `_dead`: death in a stay, else as the patient says."""
    encounters: pl.DataFrame
    """`_encounter` (id), `_kind` (hospital, icu, emergency, visit), `_start`, `_end`, `_died`, `_death`, `_site`,
    `_place` (name of the first location)."""
    moves: pl.DataFrame
    """`_encounter`, `_place`, `_moved` (start), one row per location of an encounter that is not an ICU stay itself."""
    icu: pl.DataFrame
    """`_encounter`, `_icu_place`, `_icu_start`, `_icu_stop`: ICU stays told only by the locations of an encounter."""
    drugs: pl.DataFrame
    """`_drug_id`, `_drug` (system and code)."""
    base: str
    """Name of the site where no organisation is known."""


def look_up(files: Iterable[BulkFile], site: str | None, warn: Callable[[str], None]) -> Known:
    """Read the patients, encounters, medications, locations and organisations.

    Raises
    ------
    MissingTableError
        If there is no file of patients: nothing works without them.
    """
    listed = list(files)
    people = _gather(listed, "Patient")
    if people.is_empty():
        msg = "raw must hold a file of Patient resources, without which no record has a subject. Add it to the folder."
        raise MissingTableError(msg)
    visits, places = _gather(listed, "Encounter"), _gather(listed, "Location")
    if visits.is_empty():
        warn("there is no file of Encounter resources: stays, and the times of diagnoses, will be missing")
    names = places.select(_location="id", _place=label(_f("name"))).unique("_location", keep="first")
    organisations = _gather(listed, "Organization").select(_org="id", _name=pl.coalesce(label(_f("name")), "id"))
    people = _people(people)
    visits = _visits(visits, people)
    _warn_of_clocks(visits, warn)
    hospitals = pl.concat([visits["_org"], people["_org"]]).drop_nulls().n_unique()
    named = site_names(pl.coalesce("_name", "_org"), source="fhir", site=site, num_names=hospitals)
    organisations = organisations.unique("_org", keep="first")
    people = people.join(organisations, on="_org", how="left", maintain_order="left").with_columns(_home=named)
    stays = with_ends(visits).join(organisations, on="_org", how="left", maintain_order="left")
    stays = stays.with_columns(_site=pl.when(pl.col("_org").is_not_null()).then(named))
    moves, icu = _places(visits, names)
    first = moves.unique("_encounter", keep="first", maintain_order=True).select("_encounter", "_place")
    stays = stays.join(first, on="_encounter", how="left", maintain_order="left")
    stays = _with_parents(stays)
    lethal = stays.filter(pl.col("_kind").is_in(["hospital", "emergency"]))
    dead = lethal.group_by("_patient").agg(pl.col("_death").min())
    people = people.join(dead, on="_patient", how="left", maintain_order="left")
    return Known(
        patients=people.select("_patient", "_subject", "_home", _dead=pl.coalesce("_death", "_dead")),
        encounters=stays.drop("_patient"),
        moves=moves,
        icu=icu,
        drugs=_drugs(_gather(listed, "Medication")),
        base=site or "fhir",
    )


def _f(name: str) -> pl.Expr:
    return pl.col("_r").struct.field(name)


def _gather(files: list[BulkFile], kind: str) -> pl.DataFrame:
    """All resources of one type, from the files that begin with one: `row`, `id` and `_r`."""
    frames = [
        part.frame.drop("resource")
        for file in files
        if file.kind == kind
        for _, parts, _ in decode(file)
        for part in parts
        if part.kind == kind
    ]
    empty = pl.DataFrame(schema={"row": pl.UInt64, "_r": decoded_as(kind)})
    return pl.concat([empty, *frames]).with_columns(id=_f("id")).drop_nulls("id")


def at(text: pl.Expr) -> pl.Expr:
    """Time of a FHIR dateTime on the clock that wrote it; of a date the end of the day; less than a date is null."""
    return pl.when(text.str.len_chars() == 10).then(at_day_end(as_written(text))).otherwise(as_written(text))


def from_start(text: pl.Expr) -> pl.Expr:
    """Time at which a period begins; of a date the start of the day."""
    return as_written(text)


def period(element: pl.Expr) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Start and end of a Period on the clocks that wrote them, and whether it ends before it starts.

    In the night when clocks are set back an end may show an earlier hour than its start. It then stands as long after
    the start as it truly is, because an end at or before a start would end nothing.
    """
    begins, ends = element.struct.field("start"), element.struct.field("end")
    start, end = from_start(begins), at(ends)
    length = in_utc(ends) - in_utc(begins)
    is_shown_late = (length > pl.duration(seconds=0)) & (end <= start)
    is_wrong = pl.coalesce(length < pl.duration(seconds=0), end < start)
    return start, pl.when(is_shown_late).then(start + length).otherwise(end), is_wrong


def _people(people: pl.DataFrame) -> pl.DataFrame:
    """Patients with their number and death."""
    died = _f("deceasedDateTime")
    return (
        people.unique("id", keep="first", maintain_order=True)
        .select(
            _patient="id",
            _dead=at(died),
            _dead_is_day=(died.str.len_chars() == 10).fill_null(value=False),
            _org=reference_id(_f("managingOrganization")),
        )
        .join(_numbers(people), on="_patient", how="left", maintain_order="left")
    )


def _numbers(people: pl.DataFrame) -> pl.DataFrame:
    """Number of each patient: the identifier of the first system that gives each one of their own, else a hash."""
    each = one_row_each(people.select("id", _identifier=_f("identifier")), "_identifier").unnest("_identifier")
    kind = pl.concat_str(pl.col("system"), coded(pl.col("type")), separator=" ", ignore_nulls=True)
    number = pl.col("value").str.extract(r"^(\d{1,18})$").cast(pl.Int64, strict=False)
    usable = each.filter(~kind.str.contains(_SECRETS).fill_null(value=False)).with_columns(_number=number)
    everyone = people["id"].n_unique()
    for rows in usable.partition_by("system", maintain_order=True):
        found = rows.drop_nulls("_number").unique(["id", "_number"])
        if found.height == everyone == found["id"].n_unique() == found["_number"].n_unique():
            return found.select(_patient="id", _subject="_number")
    ids = people["id"].unique().sort()
    return pl.DataFrame({"_patient": ids, "_subject": pl.Series([hashed(text) for text in ids], dtype=pl.Int64)})


def _visits(visits: pl.DataFrame, people: pl.DataFrame) -> pl.DataFrame:
    """Encounters with what kind of stay each is."""
    system = _f("identifier").list.first().struct.field("system")
    left = said(_f("hospitalization").struct.field("dischargeDisposition"))
    return (
        visits.unique("id", keep="first", maintain_order=True)
        .select(
            "row",
            _encounter="id",
            _patient=reference_id(_f("subject")),
            _parent=reference_id(_f("partOf")),
            _org=reference_id(_f("serviceProvider")),
            _start=from_start(_f("period").struct.field("start")),
            _stop=at(_f("period").struct.field("end")),
            _class=_f("class").struct.field("code"),
            _system=system,
            _locations=_f("location"),
            _says_died=says_died(left),
            _written=_f("period").struct.field("start"),
        )
        .join(people.select("_patient", "_dead", "_dead_is_day"), on="_patient", how="left", maintain_order="left")
    )


def _places(visits: pl.DataFrame, names: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Locations of all encounters, and the ICU stays among them where no encounter of its own tells them."""
    each = (
        one_row_each(visits.select("_encounter", "_start", "_stop", _at=pl.col("_locations")), "_at")
        .filter(pl.col("_at").is_not_null())
        .with_row_index("row")
        .select(
            pl.col("row").cast(pl.UInt64),
            "_encounter",
            _location=reference_id(pl.col("_at").struct.field("location")),
            _moved=pl.coalesce(from_start(pl.col("_at").struct.field("period").struct.field("start")), "_start"),
            _gone=pl.coalesce(at(pl.col("_at").struct.field("period").struct.field("end")), "_stop"),
        )
        .join(names, on="_location", how="left", maintain_order="left")
    )
    is_icu = pl.col("_place").str.contains(_ICU_PLACE).fill_null(value=False)
    runs = icu_runs(each.select("row", _stay="_encounter", _start="_moved", _stop="_gone", _is_icu=is_icu))
    icu = runs.join(each.select("row", "_encounter", _icu_place="_place"), on="row", how="left").drop("row")
    return each.select("_encounter", "_place", "_moved"), icu


def _with_parents(stays: pl.DataFrame) -> pl.DataFrame:
    """Encounters with their kind, and what they take from the encounter that they are part of: site and death."""
    parent = stays.select(_parent="_encounter", _parent_site="_site", _parent_death="_death")
    joined = stays.join(parent, on="_parent", how="left", maintain_order="left")
    is_part = pl.col("_parent").is_not_null()
    in_icu = pl.col("_place").str.contains(_ICU_PLACE).fill_null(value=False)
    is_long = (pl.col("_stop") - pl.col("_start") >= _LONG).fill_null(value=False)
    kind = (
        pl.when(pl.col("_system").str.contains(_ICU_ID) | (is_part & in_icu))
        .then(pl.lit("icu"))
        .when(pl.col("_system").str.contains(_EMERGENCY_ID))
        .then(pl.lit("emergency"))
        .when(pl.col("_system").str.contains(_HOSPITAL_ID) | (pl.col("_class").is_in(_INPATIENT) & ~is_part))
        .then(pl.lit("hospital"))
        .when(is_long & ~is_part)
        .then(pl.lit("hospital"))
        .when(pl.col("_class") == "EMER")
        .then(pl.lit("emergency"))
        .otherwise(pl.lit("visit"))
    )
    return joined.select(
        "_encounter",
        "_patient",
        "_start",
        "_stop",
        "_end",
        "_died",
        "_place",
        _kind=kind,
        _death=pl.coalesce("_parent_death", "_death"),
        _site=pl.coalesce("_site", "_parent_site"),
    )


def _drugs(drugs: pl.DataFrame) -> pl.DataFrame:
    """Medications that others refer to, by their code, else by their first identifier."""
    first = label(_f("identifier").list.first().struct.field("value"))
    named = drugs.select(_drug_id="id", _drug=pl.coalesce(coded(_f("code")), first), _drug_name=displayed(_f("code")))
    return named.unique("_drug_id", keep="first", maintain_order=True)


def _warn_of_clocks(visits: pl.DataFrame, warn: Callable[[str], None]) -> None:
    """Times keep the clock that wrote them, which only works if all were written by clocks of one place."""
    written = visits["_written"].drop_nulls()
    in_utc = written.str.contains(r"(?:Z|[+-]00:?00)$")
    if in_utc.any() and not in_utc.all() and written.filter(~in_utc).str.contains(r"\d[+-]\d{2}:?\d{2}$").any():
        warn("some times are in UTC and others carry another offset: the hours of the day do not fit each other")


def with_patient(frame: pl.DataFrame, known: Known, encounter: str | None) -> pl.DataFrame:
    """Resources with their patient and, through the element `encounter`, their stay."""
    keyed = frame.with_columns(_patient=reference_id(_f("subject")))
    keyed = keyed.join(known.patients, on="_patient", how="left", maintain_order="left")
    if encounter is None:
        return keyed.with_columns(_site="_home")
    keyed = keyed.with_columns(_encounter=reference_id(_f(encounter)))
    joined = keyed.join(known.encounters, on="_encounter", how="left", maintain_order="left")
    return joined.with_columns(_site=pl.coalesce("_site", "_home"))


def events_of(frame: pl.DataFrame, emits: list[Emit], reject: list[tuple[str, pl.Expr]] | None = None) -> Converted:
    """`convert` for resources that `with_patient` has made."""
    reasons = [("no_subject", pl.col("_patient").is_null()), ("unknown_patient", pl.col("_subject").is_null())]
    return convert(
        frame, emits, site=pl.col("_site"), subject=pl.col("_subject").fill_null(-1), reject=[*reasons, *(reject or [])]
    )
