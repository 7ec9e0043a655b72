"""What the other tables of CLIF need to know first: the stays, the patients, the places and the time zone."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from sojourn.errors import ConfigError
from sojourn.sources.casts import to_age, to_integer, to_time
from sojourn.sources.clocks import day_ends_late, from_zoned, in_zone, lacks_offset
from sojourn.sources.identity import site_names, subject_numbers
from sojourn.sources.recipes import Converted, Emit, convert, label
from sojourn.sources.stays import icu_runs, says_died, with_ends
from sojourn.sources.tables import RawTables

STAY = "hospitalization_id"
NEEDED = "no record has a subject"
"""What does not work without the tables of patients and of hospitalizations."""
_CONFIG = ("clif_config.json", "clif_config.yaml", "clif_config.yml", "config.json", "config.yaml", "config.yml")
_UNSAID = pl.col("discharge_category").cast(pl.String).str.to_lowercase() == "missing"
_DAYS = ("birth_date", "death_dttm")
"""Columns in which midnight may stand for a day, which is the same in every zone."""
_HALF_A_YEAR = pl.duration(days=183)


DEVICES: dict[str, Any] = {"row": pl.UInt64, "_stay": pl.String, "recorded_dttm": pl.Datetime("us"), "_kind": pl.String}
"""Columns of `Known.devices`."""


def _unheard(warning: str) -> None:
    """Nobody listens."""


@dataclass(slots=True)
class Known:
    """Small tables held in memory while the large ones stream by; the last is filled from the respiratory support."""

    zone: str | None
    """Time zone of the hospital, if a configuration file beside the tables names it."""
    stays: pl.DataFrame
    """One row per hospitalization: `_stay`, `_subject`, `_site`, `_start`, `_end`, `_died`, `_death`."""
    patients: pl.DataFrame
    """One row per patient: `_patient`, `_subject`, `_site`, `_dead` and `_birth`."""
    icu: pl.DataFrame
    """One row per ICU stay: `row` of its first place in ``adt``, `_icu_start`, `_icu_stop`."""
    warn: Callable[[str], None] = _unheard
    """Called with one sentence for what is only taken to be so."""
    devices: pl.DataFrame = field(default_factory=partial(pl.DataFrame, schema=DEVICES))
    """`DEVICES`, without a `row`: the last kind of device of each stay, from which the next batch goes on."""


def find_name(tables: RawTables, table: str) -> str:
    """Name that the file of a table has: ``clif_vitals``, or ``vitals`` alone."""
    return next((name for name in (f"clif_{table}", table) if tables.find(name) is not None), f"clif_{table}")


def look_up(tables: RawTables, site: str | None, warn: Callable[[str], None]) -> Known:
    """Read the stays, the patients and the places.

    Raises
    ------
    MissingTableError
        If ``clif_patient`` or ``clif_hospitalization`` is missing: nothing works without them.
    ConfigError
        If the configuration names a time zone that does not exist.
    """
    zone = _zone(tables.raw)
    small = partial(_read, tables, partial(to_local, zone=zone, warn=warn))
    people = small("patient", ("patient_id", "death_dttm"), ("birth_date",), why=NEEDED)
    columns = ("patient_id", STAY, "admission_dttm", "discharge_dttm", "discharge_category")
    raw = small("hospitalization", columns, ("age_at_admission",), why=NEEDED)
    ids = pl.concat([people["patient_id"], raw["patient_id"]]).cast(pl.String)
    adt = ("in_dttm", "out_dttm", "location_category")
    places = small("adt", (STAY, *adt), ("hospital_id",))
    hospitals = places.select(_stay=pl.col(STAY).cast(pl.String), _hospital=label(pl.col("hospital_id"))).drop_nulls()
    hospitals = hospitals.unique("_stay", keep="first", maintain_order=True)
    named = site_names(pl.col("_hospital"), source="clif", site=site, num_names=hospitals["_hospital"].n_unique())
    # Of a patient with several rows the first counts, as below: each further one would repeat all events of the stays.
    deaths = people.select(_patient=pl.col("patient_id").cast(pl.String), _dead="death_dttm")
    deaths = deaths.unique("_patient", keep="first", maintain_order=True)
    stays = (
        raw.with_columns(_patient=pl.col("patient_id").cast(pl.String), _stay=pl.col(STAY).cast(pl.String))
        .drop_nulls("_stay")
        .unique("_stay", keep="first", maintain_order=True)
        .join(subject_numbers(ids).rename({"id": "_patient", "subject": "_subject"}), on="_patient", how="left")
        .join(deaths, on="_patient", how="left")
        .join(hospitals, on="_stay", how="left", maintain_order="left")
        .with_columns(
            _start=pl.col("admission_dttm"),
            _stop=pl.col("discharge_dttm"),
            _dead_is_day=pl.col("_dead") == pl.col("_dead").dt.truncate("1d"),
            _dead=day_ends_late(pl.col("_dead")),
            _says_died=says_died(pl.when(_UNSAID.not_()).then(pl.col("discharge_category"))),
            _site=named,
        )
    )
    stays = with_ends(stays)
    return Known(zone, stays.select(_STAY_COLUMNS), _patients(people, stays, ids, site), _icu(places), warn)


_STAY_COLUMNS = ("_stay", "_patient", "_subject", "_site", "_start", "_end", "_died", "_death")


def _patients(people: pl.DataFrame, stays: pl.DataFrame, ids: pl.Series, site: str | None) -> pl.DataFrame:
    """One row per patient; a birth that is not given is guessed from the age at the first admission."""
    age = to_age(to_integer(pl.col("age_at_admission")))
    # The age says the year only: half a year is the guess with the smallest error.
    guess = pl.col("_start").dt.offset_by(pl.format("-{}y", age)) - _HALF_A_YEAR
    first = stays.sort("_start").with_columns(_guess=guess).group_by("_patient", maintain_order=True)
    seen = first.agg(pl.col("_guess").drop_nulls().first(), pl.col("_site").first(), pl.col("_death").min())
    return (
        people.with_columns(_patient=pl.col("patient_id").cast(pl.String))
        .join(subject_numbers(ids).rename({"id": "_patient", "subject": "_subject"}), on="_patient", how="left")
        .join(seen, on="_patient", how="left", maintain_order="left")
        .select(
            "_patient",
            "_subject",
            _site=pl.col("_site").fill_null(site or "clif"),
            _dead=pl.coalesce("_death", day_ends_late(pl.col("death_dttm"))),
            _birth=pl.coalesce(pl.col("birth_date").cast(pl.Datetime("us"), strict=False), "_guess"),
        )
        .drop_nulls("_patient")
        .unique("_patient", keep="first", maintain_order=True)
    )


def _icu(places: pl.DataFrame) -> pl.DataFrame:
    """ICU stays from the places of ``adt``."""
    is_icu = pl.col("location_category").cast(pl.String).str.to_lowercase() == "icu"
    return icu_runs(
        places.select("row", _stay=pl.col(STAY).cast(pl.String), _start="in_dttm", _stop="out_dttm", _is_icu=is_icu)
    )


def _read(
    tables: RawTables,
    local: Callable[[pl.DataFrame], pl.DataFrame],
    table: str,
    required: tuple[str, ...],
    optional: tuple[str, ...],
    why: str = "",
) -> pl.DataFrame:
    """A small table with local times; empty if it is missing and not needed."""
    lost = f"all that clif_{table} says"
    frames = list(tables.batches(find_name(tables, table), required, optional, lost=lost, why=why))
    empty = pl.DataFrame(schema={"row": pl.UInt64, **dict.fromkeys((*required, *optional), pl.String)})
    return local(pl.concat(frames) if frames else empty)


def to_local(frame: pl.DataFrame, zone: str | None, warn: Callable[[str], None]) -> pl.DataFrame:
    """Bring all columns with times (``*_dttm``, ``birth_date``) to plain datetimes on the hospital's clock.

    Times without an offset are in UTC, as CLIF prescribes; where a zone makes this a difference, it is said.
    """
    times = [name for name in frame.columns if name.endswith("_dttm") or name == "birth_date"]
    bare = [] if zone is None else [name for name in times if _is_bare(frame, name).any()]
    for name in bare:
        warn(f"times in {name} have no offset from UTC: they are taken to be in UTC, as CLIF prescribes")
    local = frame.with_columns(_clock(name, frame.schema[name], zone) for name in times)
    if not bare:
        return local
    # Plain times came through `_clock` as they were written.
    in_utc = (from_zoned(pl.col(name).dt.replace_time_zone("UTC"), zone) for name in bare)
    return local.with_columns(
        pl.when(_is_bare(frame, name)).then(moved).otherwise(name).alias(name)
        for name, moved in zip(bare, in_utc, strict=True)
    )


def _clock(name: str, kind: pl.DataType, zone: str | None) -> pl.Expr:
    if isinstance(kind, pl.Datetime) and kind.time_zone is not None:
        return from_zoned(pl.col(name), zone)
    if isinstance(kind, pl.Datetime | pl.Date):
        return pl.col(name).cast(pl.Datetime("us"))
    return in_zone(pl.col(name), zone)


def _is_bare(frame: pl.DataFrame, name: str) -> pl.Series:
    """Whether each time says neither an offset nor a zone; a date alone has no need of one."""
    column, kind = pl.col(name), frame.schema[name]
    is_plain = isinstance(kind, pl.Datetime) and kind.time_zone is None
    is_bare = column.is_not_null() if is_plain else lacks_offset(column) if kind == pl.String else pl.lit(value=False)
    if name in _DAYS:
        written = column.cast(pl.Datetime("us")) if is_plain else to_time(column)
        is_bare = is_bare & (written != written.dt.truncate("1d"))
    return frame.select(is_bare.fill_null(value=False).alias(name)).to_series()


def _zone(raw: Path) -> str | None:
    """Time zone that a configuration file in the folder names, as ``clifpy`` and the CLIF projects write it."""
    for path in (raw / name for name in _CONFIG):
        if not path.exists():
            continue
        text = path.read_text(encoding="utf-8")
        try:
            content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
            zone = content.get("timezone") or content.get("time_zone")
            pl.select(pl.lit("2020-01-01 00:00:00+00:00").pipe(in_zone, zone))
        except (ValueError, AttributeError, TypeError, yaml.YAMLError, pl.exceptions.PolarsError) as error:
            msg = f"{path} must be a configuration with a valid timezone; it is not ({type(error).__name__}). Mend it."
            raise ConfigError(msg) from error
        return None if zone is None else str(zone)
    return None


def with_stay(frame: pl.DataFrame, known: Known) -> pl.DataFrame:
    """Rows on the hospital's clock, with the columns of `Known.stays`."""
    local = to_local(frame, known.zone, known.warn).with_columns(_stay=pl.col(STAY).cast(pl.String))
    return local.join(known.stays, on="_stay", how="left", maintain_order="left")


def events_of(frame: pl.DataFrame, emits: list[Emit], reject: list[tuple[str, pl.Expr]] | None = None) -> Converted:
    """`convert` for rows that `with_stay` has made; rows of stays that nobody knows are set aside."""
    unknown = ("unknown_hospitalization", pl.col("_patient").is_null())
    return convert(
        frame, emits, site=pl.col("_site"), subject=pl.col("_subject").fill_null(-1), reject=[unknown, *(reject or [])]
    )
