"""PhysioNet/CinC Challenge 2019: hourly rows of intensive care stays with sepsis labels.

Reads the official folders or archives of one ``.psv`` file for each patient, or tables (Parquet, CSV) with the same
columns, `patient_id` and, where there are several hospitals, `hospital`.

The challenge has no dates: hour `ICULOS` of a stay becomes 2000-01-01 00:00 + `ICULOS` hours. Each patient's first
row gives ``ICU_ADMISSION`` (with the hours in the unit so far), birth, gender and ``HOSPITAL_TO_ICU_HOURS``; the last
row gives ``OUTCOME//follow_up_end`` 6 h later. A row labelled 1 at hour t gives ``OUTCOME//sepsis`` at t + 6 h, so that
"a sepsis outcome within (t, t + 6 h]" is the challenge's label of hour t.

References
----------
Reyna et al. (2020), Early prediction of sepsis from clinical data. Crit Care Med 48(2):210-217.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import polars as pl

from sojourn.sources.casts import to_age, to_number, to_offset
from sojourn.sources.patient_files import (
    find_archives,
    find_inputs,
    is_archive,
    iterate_files,
    last_number,
    set_letter,
    stack_files,
)
from sojourn.sources.records import SourceBatch, as_codes, as_events, join_quarantined, quarantine
from sojourn.sources.tables import RawTables
from sojourn.sources.variables import read_values, read_variables, variable_codes

ORIGIN = datetime(2000, 1, 1)
HORIZON_HOURS = 6
_FILES = r"[^.]+\.psv"
_SET = r"set_?([AB])(?![a-z])"
_STATIC = ("Age", "Gender", "Unit1", "Unit2", "HospAdmTime")
_FIRST_ID_OF_B = 100_000
_OTHER_CODES = (
    ("MEDS_BIRTH", "Birth: admission to the unit less the age"),
    ("GENDER", "Gender"),
    ("GENDER//F", "Female"),
    ("GENDER//M", "Male"),
    ("HOSPITAL_TO_ICU_HOURS", "Hours from admission to the hospital to admission to the unit"),
    ("ICU_ADMISSION", "First charted hour in the unit; the value is the hours since admission to it"),
    ("ICU_ADMISSION//MICU", "Medical intensive care unit"),
    ("ICU_ADMISSION//SICU", "Surgical intensive care unit"),
    ("ICU_ADMISSION//UNKNOWN", "Intensive care unit of unknown kind"),
    ("OUTCOME//sepsis", "Sepsis as the challenge labels it: 6 h after each hour labelled 1"),
    ("OUTCOME//follow_up_end", "Labels are known up to here: 6 h after the last hour"),
)


class Challenge2019:
    """Source of hourly rows with sepsis labels."""

    name = "challenge-2019"

    def read(self, raw: Path, *, site: str | None, warn: Callable[[str], None]) -> Iterator[SourceBatch]:
        """Yield the batches of all tables, or of all patient files as the one table ``psv``."""
        tables = {} if is_archive(raw) else _find_tables(raw)
        if not tables:
            yield from _read_files(find_inputs(raw, _FILES), site)
        elif raw.is_dir():
            for archive in find_archives(raw):
                warn(f"{archive.name} is not read: the tables beside it are")
        for name, path in tables.items():
            yield from _read_table(name, path, site, warn)

    def codes(self, raw: Path) -> pl.DataFrame:
        """Describe the 34 variables, the admission and the labels."""
        others = [
            {"code": code, "description": description, "target_only": code.startswith("OUTCOME//")}
            for code, description in _OTHER_CODES
        ]
        return pl.concat([variable_codes("challenge_2019"), as_codes(others)])

    def finish(self, out: Path) -> None:
        """There is nothing beside the events."""


SOURCE = Challenge2019()


def _find_tables(raw: Path) -> dict[str, RawTables]:
    """Tables with a column `patient_id`: name -> where to read it."""

    def ignore(warning: str) -> None:
        """Looking for tables loses nothing."""

    place = RawTables(raw if raw.is_dir() else raw.parent, ignore)
    names = [name for name in place.names() if {"patient_id", "ICULOS"} <= set(place.columns(name))]
    return {name: place for name in names if raw.is_dir() or place.find(name) == raw}


def _read_table(name: str, place: RawTables, site: str | None, warn: Callable[[str], None]) -> Iterator[SourceBatch]:
    """Read one table twice: for the first and last hour of each patient, then for the events."""
    spans = pl.concat(
        _rows_with_keys(frame).select("row", "_subject", "_hour")
        for frame in place.batches(name, ("patient_id", "ICULOS"))
    )
    ends = _first_and_last(spans)
    columns = (*_variables(), *_STATIC, "SepsisLabel", "hospital")
    letter = set_letter(name, _SET)
    tables = RawTables(place.raw, warn)

    def transform(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        hospital = pl.coalesce(pl.col("hospital").cast(pl.String), pl.lit(letter, pl.String))
        return _convert(_rows_with_keys(frame).with_columns(_letter=hospital), ends, site)

    yield from tables.stream(name, transform, ("patient_id", "ICULOS"), columns, batch_rows=100_000)


def _read_files(places: list[Path], site: str | None) -> Iterator[SourceBatch]:
    """Read one file for each patient."""

    def keys(path: str) -> tuple[str, str | None]:
        return path.rsplit("/", 1)[-1].removesuffix(".psv"), set_letter(path, _SET)

    stacked = stack_files(
        (file for place in places for file in iterate_files(place, _FILES)),
        separator="|",
        required=("ICULOS",),
        keys=keys,
        key_names=("patient_id", "_letter"),
    )
    columns = (*_variables(), *_STATIC, "SepsisLabel")
    for rows, malformed in stacked:
        absent = (pl.lit(None, pl.String).alias(column) for column in columns if column not in rows.columns)
        keyed = _rows_with_keys(rows.with_columns(*absent))
        events, quarantined = _convert(keyed, _first_and_last(keyed), site)
        odd = quarantine(malformed, "malformed_row")
        yield SourceBatch("psv", rows.height + malformed.height, events, join_quarantined(quarantined, odd))


def _variables() -> list[str]:
    """Names of the columns that hold measurements."""
    return [name for name in read_variables("challenge_2019")["variable"] if " " not in name]


def _rows_with_keys(frame: pl.DataFrame) -> pl.DataFrame:
    """Add `_subject` and `_hour`; null where they cannot be read."""
    hour = to_number(pl.col("ICULOS"))
    is_near = to_offset(hour, "hours").is_not_null()
    return frame.with_columns(_subject=last_number(pl.col("patient_id")), _hour=pl.when(is_near).then(hour))


def _first_and_last(keyed: pl.DataFrame) -> pl.DataFrame:
    """Number of the first and the last row in time of each subject."""
    timed = keyed.filter(pl.col("_subject").is_not_null() & pl.col("_hour").is_not_null()).sort("_hour", "row")
    return timed.group_by("_subject").agg(_first=pl.col("row").first(), _last=pl.col("row").last())


def _convert(keyed: pl.DataFrame, ends: pl.DataFrame, site: str | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events of rows, and the rows that gave none."""
    unknown = keyed.filter(pl.col("_subject").is_null() | pl.col("_hour").is_null())
    reason = pl.when(pl.col("_subject").is_null()).then(pl.lit("no_subject")).otherwise(pl.lit("no_time"))
    letter = pl.coalesce(
        "_letter", pl.when(pl.col("_subject") < _FIRST_ID_OF_B).then(pl.lit("A")).otherwise(pl.lit("B"))
    )
    rows = keyed.join(ends, on="_subject", how="left", maintain_order="left").with_columns(
        _time=_at(pl.col("_hour")),
        _site=pl.lit(site) if site is not None else pl.lit("challenge-2019-") + letter,
    )
    rows = rows.filter(pl.col("_time").is_not_null())
    events = as_events(*_measurements(rows), *_admissions(rows), *_labels(rows))
    empty = rows.join(events.select("row"), on="row", how="anti", maintain_order="left")
    return events, join_quarantined(quarantine(unknown, reason), quarantine(empty, "nothing_measured"))


def _at(hours: pl.Expr) -> pl.Expr:
    """Time of an hour since the origin; null where the hour or the subject is null."""
    time = pl.lit(ORIGIN, pl.Datetime("us")) + pl.duration(microseconds=(hours * 3.6e9).round().cast(pl.Int64))
    return pl.when(pl.col("_subject").is_not_null()).then(time)


def _measurements(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """One event for each cell that holds something."""
    variables = read_variables("challenge_2019")
    for name in _variables():
        value = pl.col(name)
        is_text = rows.schema[name] == pl.String
        missing = (value.str.strip_chars().is_in(["NaN", "nan", ""])) if is_text else value.is_nan()
        long = rows.filter(value.is_not_null() & ~missing).select(
            "row", subject_id="_subject", time="_time", site="_site", variable=pl.lit(name), value=value
        )
        if long.height:
            if name == "FiO2":
                percent = to_number(pl.col("value")).is_between(21, 100)
                long = long.with_columns(variable=pl.when(percent).then(pl.lit("FiO2 percent")).otherwise("variable"))
            yield read_values(long, variables)


def _admissions(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """What is known once for each patient, from the first row."""
    first = rows.filter(pl.col("row") == pl.col("_first"))
    keys = {"subject_id": "_subject", "site": "_site"}
    age, gender = to_age(to_number(pl.col("Age"))), to_number(pl.col("Gender"))
    birth = pl.lit(ORIGIN, pl.Datetime("us")) - pl.duration(hours=(age * 24 * 365.25).round().cast(pl.Int64))
    yield first.filter(age.is_not_null()).select("row", **keys, time=birth, code=pl.lit("MEDS_BIRTH"))
    letter = pl.when(gender == 0).then(pl.lit("F")).when(gender == 1).then(pl.lit("M"))
    yield first.filter(letter.is_not_null()).select("row", **keys, code=pl.lit("GENDER//") + letter)
    before = -to_number(pl.col("HospAdmTime"))
    yield first.filter(before.is_not_null()).select(
        "row", **keys, code=pl.lit("HOSPITAL_TO_ICU_HOURS"), numeric_value=before
    )
    unit = (
        pl.when(to_number(pl.col("Unit1")) == 1)
        .then(pl.lit("MICU"))
        .when(to_number(pl.col("Unit2")) == 1)
        .then(pl.lit("SICU"))
        .otherwise(pl.lit("UNKNOWN"))
    )
    yield first.select("row", **keys, time="_time", code=pl.lit("ICU_ADMISSION//") + unit, numeric_value="_hour")


def _labels(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The labels, and how far they are known."""
    later = _at(pl.col("_hour") + HORIZON_HOURS)
    ends = {
        "OUTCOME//sepsis": to_number(pl.col("SepsisLabel")) == 1,
        "OUTCOME//follow_up_end": pl.col("row") == pl.col("_last"),
    }
    for code, here in ends.items():
        yield rows.filter(here).select("row", subject_id="_subject", site="_site", time=later, code=pl.lit(code))
