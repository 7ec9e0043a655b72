"""What the other tables of eICU need to know first: when each unit stay began, and in which hospital."""

from typing import NamedTuple

import polars as pl

from sojourn.sources.casts import to_number, to_offset, to_year
from sojourn.sources.recipes import Converted, Emit, convert, label
from sojourn.sources.tables import RawTables

STAY = "patientunitstayid"
NEEDED = "no stay has a beginning or a hospital"
"""What does not work without ``patient``."""
DEFAULT_YEAR = 2000
_COLUMNS = (STAY, "hospitalid", "unitadmittime24", "unitdischargeoffset")
_OPTIONAL = (
    "hospitaldischargeyear",
    "hospitaldischargeoffset",
    "unitdischargestatus",
    "admissionweight",
    "uniquepid",
)
_HOSPITAL_LOST = "size, teaching status and region of the hospitals"


class Known(NamedTuple):
    """Small tables held in memory while the large ones stream by."""

    stays: pl.DataFrame
    """One row per unit stay: `_stay` i64, `_zero` datetime (unit admission), `_site`, `_hospital`, `_weight` kg,
    `_stay_minutes` (length of the unit stay), `_end_minutes` (end of the hospital stay, see `end_of_stay`)."""
    hospitals: pl.DataFrame
    """One row per hospital: `_hospital`, `_beds`, `_teaching`, `_region`."""


def read_patients(tables: RawTables) -> pl.DataFrame:
    """The columns of ``patient`` that the other tables need, as they are.

    Raises
    ------
    MissingTableError
        If ``patient`` is missing: nothing works without it.
    """
    return tables.read_needed("patient", _COLUMNS, _OPTIONAL, why=NEEDED)


def look_up(tables: RawTables, site: str) -> Known:
    """Read the unit stays and the hospitals; sites are called ``<site>-<hospitalid>``."""
    hospital = pl.col("hospitalid").cast(pl.Int64, strict=False)
    year = to_year(pl.col("hospitaldischargeyear").cast(pl.Int32, strict=False)).fill_null(DEFAULT_YEAR)
    clock = pl.col("unitadmittime24").cast(pl.String).str.to_time("%H:%M:%S", strict=False)
    stays = read_patients(tables).select(
        _stay=pl.col(STAY).cast(pl.Int64, strict=False),
        _zero=pl.datetime(year, 1, 1, clock.dt.hour(), clock.dt.minute(), clock.dt.second(), time_unit="us"),
        _site=pl.format("{}-{}", pl.lit(site), hospital),
        _hospital=hospital,
        _weight=to_number(pl.col("admissionweight")),
        _stay_minutes=minutes("unitdischargeoffset"),
        _end_minutes=end_of_stay(),
    )
    return Known(stays.drop_nulls("_stay").unique("_stay", keep="first", maintain_order=True), _hospitals(tables))


def died_in_unit() -> pl.Expr:
    """Whether the patient of a row of ``patient`` died in the unit."""
    return (pl.col("unitdischargestatus") == "Expired").fill_null(value=False)


def end_of_stay() -> pl.Expr:
    """Offset of the end of the hospital stay, in minutes.

    The ends of the two stays disagree in about one of a hundred. For a death in the unit the unit's end counts; else
    the hospital stay ends no earlier than the unit stay.
    """
    unit_end, hospital_end = minutes("unitdischargeoffset"), minutes("hospitaldischargeoffset")
    return pl.when(died_in_unit()).then(unit_end).otherwise(pl.max_horizontal(hospital_end, unit_end))


def _hospitals(tables: RawTables) -> pl.DataFrame:
    """What is known of each hospital; empty if the table is missing."""
    columns = ("numbedscategory", "teachingstatus", "region")
    raw = tables.read("hospital", ("hospitalid",), columns, lost=_HOSPITAL_LOST)
    if raw is None:
        raw = pl.DataFrame(schema=dict.fromkeys(("hospitalid", *columns), pl.String))
    return raw.select(
        _hospital=pl.col("hospitalid").cast(pl.Int64, strict=False),
        _beds=label(pl.col("numbedscategory")),
        _teaching=label(pl.col("teachingstatus")).str.slice(0, 1).str.to_lowercase(),
        _region=label(pl.col("region")),
    ).unique("_hospital", keep="first", maintain_order=True)


def join_stay(frame: pl.DataFrame, known: Known) -> pl.DataFrame:
    """Add the columns of `Known.stays` to rows of another table."""
    keyed = frame.with_columns(_stay=pl.col(STAY).cast(pl.Int64, strict=False))
    return keyed.join(known.stays, on="_stay", how="left", maintain_order="left")


def minutes(column: str) -> pl.Expr:
    """An offset in whole minutes (i64); null where there is none that a stay can have."""
    return to_offset(pl.col(column).cast(pl.Int64, strict=False), "minutes")


def at(offset: str | pl.Expr) -> pl.Expr:
    """Time of an offset since unit admission, given by its column or as `minutes`; null where there is none."""
    return pl.col("_zero") + pl.duration(minutes=minutes(offset) if isinstance(offset, str) else offset)


def events_of(
    frame: pl.DataFrame, known: Known, emits: list[Emit], reject: list[tuple[str, pl.Expr]] | None = None
) -> Converted:
    """`convert` with the subject and site of eICU; rows of stays that ``patient`` does not have are set aside."""
    if "_zero" not in frame.columns:
        frame = join_stay(frame, known)
    unknown = ("unknown_stay", pl.col("_zero").is_null())
    return convert(frame, emits, site=pl.col("_site"), subject=pl.col("_stay"), reject=[unknown, *(reject or [])])
