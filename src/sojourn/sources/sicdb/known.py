"""What the other tables of SICdb need to know first: whose case it is, since when, and what the numbers mean."""

from typing import NamedTuple

import polars as pl

from sojourn.sources.casts import to_integer, to_number, to_offset, to_year
from sojourn.sources.recipes import Converted, Emit, convert, unit_of
from sojourn.sources.tables import RawTables

NEEDED = "no row has a patient"
"""What does not work without ``cases``."""
DEFAULT_YEAR = 2013
EARLIEST_DAYS = 30
_REFERENCES = {"_id": pl.Int64, "_word": pl.String, "_unit": pl.String}
_LOST = "what the numbers of items, units and states mean"


class Known(NamedTuple):
    """Small tables held in memory while the large ones stream by."""

    cases: pl.DataFrame
    """One row per case: `_case` and `_patient` i64, `_zero` datetime (the patient's first admission), `_begin` seconds
    (the case after it), `_site`, `_weight` kg, `_is_first` and `_is_last` bool (among the patient's), `_stay` seconds
    (end of the case after its beginning)."""
    references: pl.DataFrame
    """`_id` i64, `_word`, `_unit`: what a number means."""


def look_up(tables: RawTables, site: str) -> Known:
    """Read the cases and the references; sites are called ``<site>-<HospitalUnit>``.

    Raises
    ------
    MissingTableError
        If ``cases`` is missing: without it no row has a patient.
    """
    optional = ("AdmissionYear", "OffsetAfterFirstAdmission", "TimeOfStay", "WeightOnAdmission", "HospitalUnit")
    frame = tables.read_needed("cases", ("CaseID", "PatientID"), optional, why=NEEDED)
    begin = pl.col("_begin")
    unit = to_integer(pl.col("HospitalUnit")).cast(pl.String)
    cases = (
        frame.select(
            _case=to_integer(pl.col("CaseID")),
            _patient=to_integer(pl.col("PatientID")),
            _begin=seconds("OffsetAfterFirstAdmission").fill_null(0),
            _year=to_year(to_integer(pl.col("AdmissionYear"))).fill_null(DEFAULT_YEAR),
            _site=pl.concat_str(pl.lit(site), unit, separator="-", ignore_nulls=True),
            _weight=to_number(pl.col("WeightOnAdmission")) / 1000,
            _stay=seconds("TimeOfStay"),
        )
        .drop_nulls(["_case", "_patient"])
        .unique("_case", keep="first", maintain_order=True)
        .with_columns(
            _is_first=begin == begin.min().over("_patient"),
            _is_last=begin == begin.max().over("_patient"),
            _site=pl.col("_site").sort_by("_begin").first().over("_patient"),
            _year=pl.col("_year").min().over("_patient"),
        )
        .with_columns(_zero=pl.datetime("_year", 1, 1, time_unit="us"))
    )
    return Known(cases.drop("_year"), read_references(tables))


def read_references(tables: RawTables) -> pl.DataFrame:
    """What the numbers mean; empty if the table is missing."""
    frame = tables.read("d_references", ("ReferenceGlobalID", "ReferenceValue"), ("ReferenceUnit",), lost=_LOST)
    if frame is None:
        return pl.DataFrame(schema=_REFERENCES)
    return (
        frame.select(
            _id=to_integer(pl.col("ReferenceGlobalID")),
            _word=pl.col("ReferenceValue").cast(pl.String),
            _unit=unit_of(pl.col("ReferenceUnit").cast(pl.String).str.replace(r"^[µμ]g\b", "mcg")),
        )
        .drop_nulls("_id")
        .unique("_id", keep="first", maintain_order=True)
    )


def with_words(frame: pl.DataFrame, known: Known, *columns: str) -> pl.DataFrame:
    """Add `_word of <column>` and `_unit of <column>` for columns of numbers that ``d_references`` explains."""
    for column in columns:
        words = known.references.rename({"_word": f"_word of {column}", "_unit": f"_unit of {column}"})
        keyed = frame.with_columns(to_integer(pl.col(column)).alias("_number"))
        frame = keyed.join(words, left_on="_number", right_on="_id", how="left", maintain_order="left").drop("_number")
    return frame


def join_case(frame: pl.DataFrame, known: Known) -> pl.DataFrame:
    """Add the columns of `Known.cases` to rows of another table."""
    keyed = frame.with_columns(_case=to_integer(pl.col("CaseID")))
    return keyed.join(known.cases, on="_case", how="left", maintain_order="left")


def seconds(column: str) -> pl.Expr:
    """A number of whole seconds (i64); null where there is none that a case can have."""
    return to_offset(to_integer(pl.col(column)), "seconds")


def at(offset: str | pl.Expr) -> pl.Expr:
    """Time of seconds since the patient's first admission."""
    number = to_number(pl.col(offset)) if isinstance(offset, str) else offset
    return pl.col("_zero") + pl.duration(seconds=to_offset(number, "seconds"))


def events_of(
    frame: pl.DataFrame, known: Known, emits: list[Emit], reject: list[tuple[str, pl.Expr]] | None = None
) -> Converted:
    """`convert` with the subject and site of SICdb; rows of unknown cases have no subject."""
    if "_zero" not in frame.columns:
        frame = join_case(frame, known)
    refusals = list(reject or [])
    if "Offset" in frame.columns:
        early = to_number(pl.col("Offset")) < pl.col("_begin") - EARLIEST_DAYS * 86_400
        refusals.append(("long_before_the_case", early))
    return convert(frame, emits, site=pl.col("_site"), subject=pl.col("_patient"), reject=refusals)
