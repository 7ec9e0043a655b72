"""What the other tables of AmsterdamUMCdb need to know first: whose admission it is, since when, and how heavy."""

from typing import NamedTuple

import polars as pl

from sojourn.sources.casts import to_number, to_offset, to_year
from sojourn.sources.recipes import Converted, Emit, convert, unit_of
from sojourn.sources.tables import RawTables

NEEDED = "no item has a patient"
"""What does not work without ``admissions``."""
DEFAULT_YEAR = 2003
_UNIT_WORDS = {"uur": "h", "dag": "d", "Geen": ""}


class Known(NamedTuple):
    """Small tables held in memory while the large ones stream by."""

    admissions: pl.DataFrame
    """One row per admission: `_admission` i64, `_patient` i64, `_zero` datetime (first admission of the patient),
    `_weight` kg, `_is_first` and `_is_last` bool (among the patient's)."""
    site: str
    """Name of the hospital."""


def look_up(tables: RawTables, site: str) -> Known:
    """Read the admissions.

    Raises
    ------
    MissingTableError
        If they are missing: without them no item has a patient.
    """
    needed, optional = ("patientid", "admissionid", "admittedat"), ("admissionyeargroup", "weightgroup")
    frame = tables.read_needed("admissions", needed, optional, why=NEEDED)
    first = pl.col("_admitted") == pl.col("_admitted").min().over("_patient")
    last = pl.col("_admitted") == pl.col("_admitted").max().over("_patient")
    year = pl.col("admissionyeargroup").cast(pl.String).str.extract(r"(\d{4})").cast(pl.Int32, strict=False)
    admissions = (
        frame.select(
            _admission=pl.col("admissionid").cast(pl.Int64, strict=False),
            _patient=pl.col("patientid").cast(pl.Int64, strict=False),
            _admitted=to_number(pl.col("admittedat")),
            _year=to_year(year).fill_null(DEFAULT_YEAR),
            _weight=middle(pl.col("weightgroup"), 10),
        )
        .drop_nulls(["_admission", "_patient"])
        .unique("_admission", keep="first", maintain_order=True)
        .with_columns(_is_first=first.fill_null(value=False), _is_last=last.fill_null(value=False))
        .with_columns(_year=pl.col("_year").min().over("_patient"))
        .with_columns(_zero=pl.datetime("_year", 1, 1, time_unit="us"))
    )
    return Known(admissions.drop("_admitted", "_year"), site)


def middle(group: pl.Expr, width: float) -> pl.Expr:
    """Middle of a group such as ``60-69``, ``59-`` (up to 59) or ``110+``; open ones are taken to be `width` wide.

    Examples
    --------
    >>> pl.select(middle(pl.Series(["60-69", "59-", "110+", "", None]), 10)).to_series().to_list()
    [65.0, 55.0, 115.0, None, None]
    """
    text = group.cast(pl.String).str.strip_chars()
    low = text.str.extract(r"^(\d+)").cast(pl.Float64, strict=False)
    high = text.str.extract(r"^\d+\s*-\s*(\d+)$").cast(pl.Float64, strict=False)
    return (
        pl.when(high.is_not_null())
        .then((low + high + 1) / 2)
        .when(text.str.contains(r"^\d+\s*-$"))
        .then(low + 1 - width / 2)
        .when(text.str.contains(r"^\d+\s*\+$"))
        .then(low + width / 2)
    )


def at(milliseconds: str) -> pl.Expr:
    """Time of milliseconds since the patient's first admission."""
    return pl.col("_zero") + pl.duration(milliseconds=to_offset(to_number(pl.col(milliseconds)), "milliseconds"))


def dutch_unit(text: pl.Expr) -> pl.Expr:
    """A unit in the spelling of the other sources; null for none."""
    clean = text.cast(pl.String).str.strip_chars().replace(_UNIT_WORDS)
    return unit_of(clean.str.replace(r"^[µμ]g\b", "mcg"))


def join_admission(frame: pl.DataFrame, known: Known) -> pl.DataFrame:
    """Add the columns of `Known.admissions` to rows of another table."""
    keyed = frame.with_columns(_admission=pl.col("admissionid").cast(pl.Int64, strict=False))
    return keyed.join(known.admissions, on="_admission", how="left", maintain_order="left")


def events_of(
    frame: pl.DataFrame, known: Known, emits: list[Emit], reject: list[tuple[str, pl.Expr]] | None = None
) -> Converted:
    """`convert` with the subject of the admission; rows of unknown admissions have none."""
    if "_zero" not in frame.columns:
        frame = join_admission(frame, known)
    return convert(frame, emits, site=pl.lit(known.site), subject=pl.col("_patient"), reject=reject or [])
