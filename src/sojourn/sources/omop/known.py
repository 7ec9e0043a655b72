"""OMOP: persons, visits, deaths and care sites, which the other tables refer to."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import polars as pl

from sojourn.sources.casts import to_time
from sojourn.sources.identity import site_names
from sojourn.sources.omop.clock import day_time, identifier, start_time, without_offsets
from sojourn.sources.recipes import Converted, Emit, convert, label
from sojourn.sources.stays import icu_runs, says_died, with_ends
from sojourn.sources.tables import RawTables

NEEDED = "no record has a subject"
"""What does not work without ``person``."""
DIED = 4216643
"""Concept "patient died", as a discharge destination."""
RENAMED = {
    "admitting_source_concept_id": "admitted_from_concept_id",
    "admitting_source_value": "admitted_from_source_value",
    "discharge_to_concept_id": "discharged_to_concept_id",
    "discharge_to_source_value": "discharged_to_source_value",
    "visit_detail_parent_id": "parent_visit_detail_id",
}
"""Names of columns in CDM 5.3 -> in CDM 5.4."""
_ICU_NAME = r"(?i)intensive care|critical care|coronary care|\b[A-Z]{0,4}ICU\b|\bCCU\b"
_LONG = pl.duration(hours=24)


class Known(NamedTuple):
    """Small tables held in memory while the large ones stream by."""

    concepts: pl.DataFrame
    """`_id`, `_code`, `_name`: the concepts that the records use."""
    persons: pl.DataFrame
    """`_person` i64, `_home` (site), `_dead` (in a visit, else as ``death`` says), `_is_told` (in ``death``)."""
    visits: pl.DataFrame
    """`_visit` i64, `_kind` (hospital, icu, emergency, visit), `_visit_name`, `_start`, `_end`, `_stop`, `_died`,
    `_death`, `_site`."""
    icu: pl.DataFrame
    """`row` in ``visit_detail``, `_icu_start`, `_icu_stop`."""
    care_sites: pl.DataFrame
    """`_care_site` i64, `_care_site_name`."""
    billing: frozenset[int]
    """Type concepts of records made for billing."""


def read_columns(
    tables: RawTables, table: str, required: Sequence[str], optional: Sequence[str], *, why: str = ""
) -> pl.DataFrame:
    """A small table whole, empty if it is missing and not needed (`why`); absent optional columns are null, old names
    become new ones."""
    have = {column.lower() for column in tables.columns(table)}
    frames = list(tables.batches(table, required, present(have, optional), lost=f"what {table} says", why=why))
    empty = pl.DataFrame(schema={"row": pl.UInt64, **dict.fromkeys(required, pl.String)})
    return complete(pl.concat(frames, how="vertical_relaxed") if frames else empty, optional)


def present(have: set[str], optional: Sequence[str]) -> list[str]:
    """Those of the columns that a table has, under their new or their old names."""
    old = {new: name for name, new in RENAMED.items()}
    names = [column if column in have else old.get(column, column) for column in optional]
    return [name for name in names if name in have]


def complete(frame: pl.DataFrame, optional: Sequence[str]) -> pl.DataFrame:
    """Old names of columns become new ones, absent columns null, and times are those that stand there."""
    renamed = without_offsets(frame).rename({old: new for old, new in RENAMED.items() if old in frame.columns})
    return renamed.with_columns(
        pl.lit(None, pl.String).alias(column) for column in optional if column not in renamed.columns
    )


def look_up(tables: RawTables, concepts: pl.DataFrame, site: str | None) -> Known:
    """Read the persons, visits, deaths and care sites.

    Raises
    ------
    MissingTableError
        If ``person`` is missing: nothing works without it.
    """
    care_sites = read_columns(tables, "care_site", ("care_site_id",), ("care_site_name", "care_site_source_value"))
    places = care_sites.select(
        _care_site=identifier("care_site_id"),
        _care_site_name=pl.coalesce(label(pl.col("care_site_name")), label(pl.col("care_site_source_value"))),
    ).unique("_care_site", keep="first", maintain_order=True)
    deaths = _deaths(tables)
    persons = read_columns(tables, "person", ("person_id",), ("care_site_id",), why=NEEDED).select(
        _person=identifier("person_id"), _care_site=identifier("care_site_id")
    )
    persons = persons.drop_nulls("_person").unique("_person", keep="first", maintain_order=True)
    visits = _visits(tables, concepts).join(deaths, on="_person", how="left", maintain_order="left")
    visits = with_ends(visits.with_columns(pl.col("_dead_is_day").fill_null(value=False)))
    hospitals = pl.concat([visits["_care_site"], persons["_care_site"]]).drop_nulls().n_unique()
    whole = _abbreviation(tables)
    place = pl.coalesce("_care_site_name", pl.col("_care_site").cast(pl.String), pl.lit(whole, pl.String))
    named = site_names(place, source="omop", site=site, num_names=hospitals)
    persons = persons.join(places, on="_care_site", how="left", maintain_order="left").with_columns(_home=named)
    visits = visits.join(places, on="_care_site", how="left", maintain_order="left")
    visits = visits.with_columns(_site=pl.when(pl.col("_care_site").is_not_null()).then(named))
    ended = visits.filter(pl.col("_died")).group_by("_person").agg(pl.col("_death").min())
    persons = persons.join(deaths, on="_person", how="left", maintain_order="left")
    persons = persons.join(ended, on="_person", how="left", maintain_order="left")
    return Known(
        concepts=concepts,
        persons=persons.select(
            "_person", "_home", _dead=pl.coalesce("_death", "_dead"), _is_told=pl.col("_dead_is_day").is_not_null()
        ),
        visits=visits.select(_VISIT_COLUMNS),
        icu=_icu(tables, concepts, places),
        care_sites=places,
        billing=_billing(concepts),
    )


_VISIT_COLUMNS = ("_visit", "_kind", "_visit_name", "_start", "_stop", "_end", "_died", "_death", "_site")
_BILLING = frozenset({32810, 32821})


def _billing(concepts: pl.DataFrame) -> frozenset[int]:
    """Claims and billing records among the used type concepts, by their names, and those known by their ids."""
    named = concepts.filter(pl.col("_name").str.contains(r"(?i)\bclaim\b|\bbilling\b").fill_null(value=False))
    return _BILLING | frozenset(named.filter(pl.col("_code").str.starts_with("Type Concept//"))["_id"])


def _abbreviation(tables: RawTables) -> str | None:
    """What ``cdm_source`` calls the database."""
    if tables.find("cdm_source") is None:
        return None
    frame = read_columns(tables, "cdm_source", (), ("cdm_source_abbreviation", "cdm_source_name"))
    names = frame.select(
        pl.coalesce(label(pl.col("cdm_source_abbreviation")), label(pl.col("cdm_source_name"))).alias("name")
    )["name"].drop_nulls()
    return str(names[0]) if len(names) else None


def _deaths(tables: RawTables) -> pl.DataFrame:
    """One row per person who died: `_person`, `_dead`, `_dead_is_day`."""
    frame = read_columns(tables, "death", ("person_id", "death_date"), ("death_datetime",))
    exact = to_time(pl.col("death_datetime"))
    is_day = (exact.is_null() | (exact == exact.dt.truncate("1d"))).fill_null(value=True)
    return (
        frame.select(_person=identifier("person_id"), _dead=day_time("death"), _dead_is_day=is_day)
        .drop_nulls(["_person", "_dead"])
        .sort("_person", "_dead", "_dead_is_day")
        .unique("_person", keep="first", maintain_order=True)
    )


@cache
def visit_kinds() -> pl.DataFrame:
    """Known visit concepts: `_concept` i64, `_known_kind`, `_known_name`."""
    table = files("sojourn.sources").joinpath("data/omop_visits.csv").read_bytes()
    return pl.read_csv(table).select(_concept="concept_id", _known_kind="kind", _known_name="name")


def _visits(tables: RawTables, concepts: pl.DataFrame) -> pl.DataFrame:
    """Visits with what kind of stay each is."""
    required = ("visit_occurrence_id", "person_id", "visit_concept_id", "visit_start_date", "visit_end_date")
    optional = (
        "visit_start_datetime",
        "visit_end_datetime",
        "care_site_id",
        "discharged_to_concept_id",
        "discharged_to_source_value",
    )
    raw = read_columns(tables, "visit_occurrence", required, optional)
    left = label(pl.col("discharged_to_source_value"))
    goes_to_death = pl.when(identifier("discharged_to_concept_id") == DIED).then(pl.lit(value=True))
    is_long = (pl.col("_stop") - pl.col("_start") >= _LONG).fill_null(value=False)
    # Outpatient visits of which only the dates are known may be noted as ending the day after.
    has_hour = pl.col("_start") != pl.col("_start").dt.truncate("1d")
    named = concepts.select(_concept="_id", _concept_name="_name")
    return (
        raw.select(
            _visit=identifier("visit_occurrence_id"),
            _person=identifier("person_id"),
            _concept=identifier("visit_concept_id"),
            _start=start_time("visit_start"),
            _stop=day_time("visit_end"),
            _care_site=identifier("care_site_id"),
            _says_died=pl.coalesce(goes_to_death, says_died(left)),
            _leaves=left.is_not_null(),
        )
        .drop_nulls("_visit")
        .unique("_visit", keep="first", maintain_order=True)
        .join(visit_kinds(), on="_concept", how="left", maintain_order="left")
        .join(named, on="_concept", how="left", maintain_order="left")
        .with_columns(
            # What lasts a day, or says where the patient went, is a stay whatever it began as.
            _kind=pl.when(pl.col("_known_kind").is_in(["hospital", "icu"]))
            .then("_known_kind")
            .when(pl.col("_leaves") | (is_long & (has_hour | (pl.col("_known_kind") != "visit").fill_null(value=True))))
            .then(pl.lit("hospital"))
            .otherwise(pl.col("_known_kind").fill_null("visit")),
            _visit_name=pl.coalesce("_known_name", "_concept_name", pl.format("OMOP {}", "_concept")),
        )
    )


def _icu(tables: RawTables, concepts: pl.DataFrame, places: pl.DataFrame) -> pl.DataFrame:
    """ICU stays among the visit details, by their concept or the name of their care site."""
    required = ("visit_detail_concept_id", "visit_occurrence_id", "visit_detail_start_date", "visit_detail_end_date")
    optional = ("visit_detail_start_datetime", "visit_detail_end_datetime", "care_site_id")
    raw = read_columns(tables, "visit_detail", required, optional).with_columns(
        _concept=identifier("visit_detail_concept_id"), _care_site=identifier("care_site_id")
    )
    named = concepts.select(_concept="_id", _concept_name="_name")
    joined = (
        raw.join(places, on="_care_site", how="left", maintain_order="left")
        .join(visit_kinds(), on="_concept", how="left", maintain_order="left")
        .join(named, on="_concept", how="left", maintain_order="left")
    )
    by_name = pl.coalesce("_care_site_name", "_concept_name").str.contains(_ICU_NAME)
    is_icu = pl.coalesce(by_name, pl.col("_known_kind") == "icu").fill_null(value=False)
    return icu_runs(
        joined.select(
            "row",
            _stay=identifier("visit_occurrence_id"),
            _start=start_time("visit_detail_start"),
            _stop=day_time("visit_detail_end"),
            _is_icu=is_icu | (pl.col("_known_kind") == "icu").fill_null(value=False),
        )
    )


def with_visit(frame: pl.DataFrame, known: Known) -> pl.DataFrame:
    """Rows with their person and their visit."""
    keyed = frame.with_columns(_person=identifier("person_id"), _visit=identifier("visit_occurrence_id"))
    joined = keyed.join(known.persons, on="_person", how="left", maintain_order="left")
    joined = joined.join(known.visits, on="_visit", how="left", maintain_order="left")
    return joined.with_columns(_site=pl.coalesce("_site", "_home"))


def with_concept(frame: pl.DataFrame, known: Known, column: str, name: str) -> pl.DataFrame:
    """Add `<name>_code` and `<name>_name` of the concept that a column names; null for 0 and for none."""
    keyed = frame.with_columns(_key=identifier(column))
    table = known.concepts.select(_key="_id", **{f"{name}_code": "_code", f"{name}_name": "_name"})
    return keyed.join(table, on="_key", how="left", maintain_order="left").drop("_key")


def events_of(frame: pl.DataFrame, emits: list[Emit], reject: list[tuple[str, pl.Expr]] | None = None) -> Converted:
    """`convert` for rows that `with_visit` has made."""
    reasons = [("no_subject", pl.col("_person").is_null()), ("unknown_person", pl.col("_home").is_null())]
    return convert(
        frame, emits, site=pl.col("_site"), subject=pl.col("_person").fill_null(-1), reject=[*reasons, *(reject or [])]
    )
