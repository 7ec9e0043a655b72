"""What HiRID's large tables need to know first, and what they leave behind for the patients, who come last."""

from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import polars as pl

from sojourn.sources.casts import to_integer, to_time
from sojourn.sources.recipes import Converted, Emit, convert, label
from sojourn.sources.tables import RawTables

NEEDED = "nobody is admitted or discharged (it is in reference_data.tar.gz)"
"""What does not work without ``general_table``."""
WEIGHT = "10000400"
_COUNTER_NAMES = r"(?i)/c\b|cumul"
_COUNTERS = ("30005110",)
"""Urine: the counter that is known without ``hirid_variable_reference``."""

COUNTS: dict[str, Any] = {
    "row": pl.UInt64,
    "_patient": pl.Int64,
    "_variable": pl.String,
    "_time": pl.Datetime("us"),
    "_number": pl.Float64,
}
"""Columns of `Known.counts`."""


@dataclass(slots=True)
class Known:
    """Small tables held in memory while the large ones stream by; the last four are filled from the observations."""

    patients: pl.DataFrame
    """One row per patient: `_patient` i64, `_admitted` datetime."""
    ordinals: pl.DataFrame
    """`_variable`, `_value` i64 and `_word`: what the numbers of choices mean."""
    counters: tuple[str, ...]
    """Variables that count up."""
    site: str
    """Name of the hospital."""
    weights: dict[int, float] = field(default_factory=dict)
    """Patient -> first weight in kg."""
    ends: dict[int, tuple[bool, datetime]] = field(default_factory=dict)
    """Patient -> (is it of the circulation, time) of the last observation; those of the circulation go before."""
    counts: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=COUNTS))
    """`COUNTS`, without a `row`: the last value of each counter, from which the next batch goes on."""


def look_up(tables: RawTables, site: str) -> Known:
    """Read the patients and the reference tables.

    Raises
    ------
    MissingTableError
        If ``general_table`` is missing: without it nobody is admitted or discharged.
    """
    general = tables.read_needed("general_table", ("patientid", "admissiontime"), why=NEEDED)
    patients = general.select(_patient=to_integer(pl.col("patientid")), _admitted=to_time(pl.col("admissiontime")))
    return Known(
        patients.drop_nulls("_patient").unique("_patient", keep="first", maintain_order=True),
        _ordinals(tables),
        _counters(tables),
        site,
    )


def _ordinals(tables: RawTables) -> pl.DataFrame:
    """Words for the numbers of choices; none if the table is missing."""
    lost = "words for the numbers of choices"
    frame = tables.read("ordinal_vars_ref", ("variableid", "code", "stringvalue"), lost=lost)
    if frame is None:
        return pl.DataFrame(schema={"_variable": pl.String, "_value": pl.Int64, "_word": pl.String})
    return (
        frame.select(
            _variable=to_integer(pl.col("variableid")).cast(pl.String),
            _value=to_integer(pl.col("code")),
            _word=label(pl.col("stringvalue")),
        )
        .drop_nulls()
        .unique(["_variable", "_value"], keep="first", maintain_order=True)
    )


def _counters(tables: RawTables) -> tuple[str, ...]:
    """Variables that count up, by their names in the reference."""
    lost = "names and units of variables, and which of them but urine count up"
    frame = tables.read("hirid_variable_reference", ("ID", "Variable Name"), lost=lost)
    if frame is None:
        return _COUNTERS
    named = frame.filter(pl.col("Variable Name").cast(pl.String).str.contains(_COUNTER_NAMES))
    return tuple(sorted({*_COUNTERS, *named.select(to_integer(pl.col("ID")).cast(pl.String)).to_series().drop_nulls()}))


def join_patient(frame: pl.DataFrame, known: Known) -> pl.DataFrame:
    """Add the columns of `Known.patients` to rows of another table."""
    keyed = frame.with_columns(_patient=to_integer(pl.col("patientid")))
    return keyed.join(known.patients.with_columns(_is_known=True), on="_patient", how="left", maintain_order="left")


def events_of(
    frame: pl.DataFrame, known: Known, emits: list[Emit], reject: list[tuple[str, pl.Expr]] | None = None
) -> Converted:
    """`convert` with the subject of HiRID; rows of patients that ``general_table`` does not have are set aside."""
    refusals = [("unknown_patient", pl.col("_is_known").is_null()), *(reject or [])]
    return convert(frame, emits, site=pl.lit(known.site), subject=pl.col("_patient"), reject=refusals)
