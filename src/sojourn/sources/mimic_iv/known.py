"""What the other tables of MIMIC-IV need to know first: the ends of hospital stays, and when subjects died."""

from typing import NamedTuple

import polars as pl

from sojourn.sources.casts import to_time
from sojourn.sources.recipes import Converted, Emit, convert
from sojourn.sources.tables import RawTables

SUBJECT = pl.col("subject_id").cast(pl.Int64, strict=False)
NEEDED = "no record has a subject or an end"
"""What does not work without ``hosp/patients`` and ``hosp/admissions``."""
_ADMISSION_COLUMNS = ("subject_id", "hadm_id", "admittime", "dischtime", "deathtime")


class Known(NamedTuple):
    """Small tables held in memory while the large ones stream by."""

    site: str
    """Name of the site."""
    stays: pl.DataFrame
    """One row per hospital stay: `_hadm` i64, `_admission` and `_end` (datetime; death where the patient died there,
    else discharge), `_death` (datetime, null for survivors)."""
    deaths: pl.DataFrame
    """One row per subject who died in hospital: `_subject_id` i64, `_death` datetime."""


def look_up(tables: RawTables, site: str) -> Known:
    """Read the hospital stays.

    Raises
    ------
    MissingTableError
        If ``hosp/patients`` or ``hosp/admissions`` is missing: nothing works without them.
    """
    tables.need("hosp/patients", ("subject_id",), why=NEEDED)
    optional = ("discharge_location", "hospital_expire_flag")
    raw = tables.read_needed("hosp/admissions", _ADMISSION_COLUMNS, optional, why=NEEDED)
    stays = with_end(raw).select(
        "_end",
        "_death",
        _hadm=pl.col("hadm_id").cast(pl.Int64, strict=False),
        _subject_id=SUBJECT,
        _admission=to_time(pl.col("admittime")),
    )
    dead = stays.filter(pl.col("_death").is_not_null())
    return Known(
        site=site,
        stays=stays.select("_hadm", "_admission", "_end", "_death").drop_nulls("_hadm").unique("_hadm", keep="first"),
        deaths=dead.group_by("_subject_id").agg(pl.col("_death").min()),
    )


def with_end(admissions: pl.DataFrame) -> pl.DataFrame:
    """Add `_died`, `_death` and `_end` to rows of ``hosp/admissions``.

    For patients who died, MIMIC-IV gives some discharge times as midnight at the beginning of the day of death: the
    stay would then end up to a day before its last measurements. So their stay ends at `deathtime`.
    """
    died = (pl.col("hospital_expire_flag").cast(pl.String) == "1").fill_null(value=False) | (
        pl.col("discharge_location") == "DIED"
    ).fill_null(value=False)
    discharge, death = to_time(pl.col("dischtime")), to_time(pl.col("deathtime"))
    return admissions.with_columns(_died=died | death.is_not_null()).with_columns(
        _death=pl.when(pl.col("_died")).then(pl.coalesce(death, discharge)),
        _end=pl.when(pl.col("_died")).then(pl.coalesce(death, discharge)).otherwise(discharge),
    )


def join_stay(frame: pl.DataFrame, known: Known) -> pl.DataFrame:
    """Add `_admission`, `_end` and `_death` of the hospital stay that `hadm_id` names (null if there is none)."""
    keyed = frame.with_columns(_hadm=pl.col("hadm_id").cast(pl.Int64, strict=False))
    return keyed.join(known.stays, on="_hadm", how="left", maintain_order="left")


def end_of_day(date: pl.Expr) -> pl.Expr:
    """The last second of a date: what is known only to the day must not be told in its morning."""
    return to_time(date).dt.truncate("1d") + pl.duration(hours=23, minutes=59, seconds=59)


def events_of(
    frame: pl.DataFrame, known: Known, emits: list[Emit], reject: list[tuple[str, pl.Expr]] | None = None
) -> Converted:
    """`convert` with the subject and site of MIMIC-IV."""
    return convert(frame, emits, site=pl.lit(known.site), subject=SUBJECT, reject=reject or [])
