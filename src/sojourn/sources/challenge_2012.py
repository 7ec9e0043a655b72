"""PhysioNet/CinC Challenge 2012: the first 48 hours of intensive care stays, and how they ended.

Reads the official folders or archives of one ``.txt`` file for each patient (`Time, Parameter, Value`), or tables
(Parquet, CSV) with `RecordID`, `minutes` or `Time`, `Parameter` and `Value`; beside them ``Outcomes-a.txt`` and so on.

The challenge has no dates: admission to the unit is 2000-01-01 00:00, where the descriptors stand too. Height and
weight are timed there like every later weight, so that their concepts are the same as in other sources.

References
----------
Silva et al. (2012), Predicting in-hospital mortality of ICU patients. Computing in Cardiology 39:245-248.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from sojourn.sources.casts import to_age, to_integer, to_number, to_offset
from sojourn.sources.challenge_2012_outcomes import OUTCOME_CODES, at_minute, read_outcomes, site_of
from sojourn.sources.patient_files import find_inputs, is_archive, iterate_files, last_number, set_letter, stack_files
from sojourn.sources.records import SourceBatch, as_codes, as_events, join_quarantined, quarantine
from sojourn.sources.tables import RawTables
from sojourn.sources.variables import read_values, read_variables, variable_codes

_FILES = r"\d+\.txt"
_SET = r"set-?([a-z])(?![a-z])"
_DESCRIPTORS = ("Age", "Gender", "Height", "ICUType", "Weight")
_UNITS = {1: "CCU", 2: "CSRU", 3: "MICU", 4: "SICU"}
_OTHER_CODES = (
    ("MEDS_BIRTH", "Birth: admission to the unit less the age in whole years"),
    ("GENDER", "Gender"),
    ("GENDER//F", "Female"),
    ("GENDER//M", "Male"),
    ("ICU_ADMISSION", "Admission to the intensive care unit"),
    ("ICU_ADMISSION//CCU", "Coronary care unit"),
    ("ICU_ADMISSION//CSRU", "Cardiac surgery recovery unit"),
    ("ICU_ADMISSION//MICU", "Medical intensive care unit"),
    ("ICU_ADMISSION//SICU", "Surgical intensive care unit"),
    ("OTHER", "A parameter that the documentation does not name"),
    ("VENTILATION//start", "First time on mechanical ventilation in the 48 hours; its end is not recorded"),
)


class Challenge2012:
    """Source of the first 48 hours of stays with outcomes."""

    name = "challenge-2012"

    def read(self, raw: Path, *, site: str | None, warn: Callable[[str], None]) -> Iterator[SourceBatch]:
        """Yield the batches of all tables (or of all patient files as the one table ``txt``), then of the outcomes."""
        letters: dict[int, str | None] = {}
        tables = {} if is_archive(raw) else _find_tables(raw)
        if not tables:
            yield from _read_files(raw, site, letters)
        for name, place in tables.items():
            yield from _read_table(name, place, site, letters)
        yield from read_outcomes(raw, letters, site, warn)

    def codes(self, raw: Path) -> pl.DataFrame:
        """Describe the variables, the admission and the outcomes."""
        others = [
            {
                "code": code,
                "description": description,
                "target_only": code.startswith("OUTCOME//"),
                "concept": "ventilation//start" if code == "VENTILATION//start" else None,
            }
            for code, description in (*_OTHER_CODES, *OUTCOME_CODES)
        ]
        return pl.concat([variable_codes("challenge_2012"), as_codes(others)])

    def finish(self, out: Path) -> None:
        """There is nothing beside the events."""


SOURCE = Challenge2012()


def _find_tables(raw: Path) -> dict[str, RawTables]:
    """Tables in the long form: name -> where to read it."""

    def ignore(warning: str) -> None:
        """Looking for tables loses nothing."""

    place = RawTables(raw if raw.is_dir() else raw.parent, ignore)
    names = [name for name in place.names() if {"RecordID", "Parameter", "Value"} <= set(place.columns(name))]
    return {name: place for name in names if raw.is_dir() or place.find(name) == raw}


def _read_table(name: str, place: RawTables, site: str | None, letters: dict[int, str | None]) -> Iterator[SourceBatch]:
    """Read a table twice: for the start of ventilation, then for the events; note the records in `letters`."""
    clock = "minutes" if "minutes" in place.columns(name) else "Time"
    columns = ("RecordID", clock, "Parameter", "Value")
    letter = pl.lit(_letter(name, place.raw), pl.String)

    def keyed(frame: pl.DataFrame) -> pl.DataFrame:
        return _with_keys(frame.with_columns(_letter=letter), pl.col("RecordID"), clock)

    def transform(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        rows = keyed(frame)
        letters.update(_records(rows))
        return _convert(rows, starts, site)

    frames = place.batches(name, columns, why="no measurement has a time")
    starts = _ventilation_starts(pl.concat(_ventilation(keyed(frame)) for frame in frames))
    yield from place.stream(name, transform, columns)


def _letter(path: str, folder: Path) -> str | None:
    """Letter of the set: in the path below the folder, else in the name of the folder, as ``set-a`` unpacked."""
    return set_letter(path, _SET) or set_letter(folder.absolute().name, _SET)


def _read_files(raw: Path, site: str | None, letters: dict[int, str | None]) -> Iterator[SourceBatch]:
    """Read one file for each patient; note the records in `letters`."""

    def keys(path: str) -> tuple[str, str | None]:
        return path.rsplit("/", 1)[-1].removesuffix(".txt"), _letter(path, raw)

    stacked = stack_files(
        (file for place in find_inputs(raw, _FILES) for file in iterate_files(place, _FILES)),
        separator=",",
        required=("Time", "Parameter", "Value"),
        keys=keys,
        key_names=("file", "_letter"),
    )
    for frame, malformed in stacked:
        rows = _with_keys(frame, pl.col("file"), "Time")
        letters.update(_records(rows))
        events, quarantined = _convert(rows, _ventilation_starts(_ventilation(rows)), site)
        odd = quarantine(malformed, "malformed_row")
        yield SourceBatch("txt", rows.height + malformed.height, events, join_quarantined(quarantined, odd))


def _with_keys(frame: pl.DataFrame, record: pl.Expr, clock: str) -> pl.DataFrame:
    """Add `_record` and `_minute` (null where they cannot be read) to rows with `_letter`."""
    minute = (
        to_offset(to_integer(pl.col("minutes")), "minutes") if clock == "minutes" else _minute_of_clock(pl.col("Time"))
    )
    return frame.with_columns(_record=last_number(record), _minute=minute)


def _minute_of_clock(text: pl.Expr) -> pl.Expr:
    """Minutes from ``HH:MM``, where the hours go on after 23."""
    parts = text.cast(pl.String).str.strip_chars().str.extract_groups(r"^(\d{1,4}):([0-5]\d)$")
    return parts.struct["1"].cast(pl.Int64, strict=False) * 60 + parts.struct["2"].cast(pl.Int64, strict=False)


def _records(rows: pl.DataFrame) -> Iterator[tuple[int, str | None]]:
    """Each record of the rows with the letter of its set."""
    return rows.filter(pl.col("_record").is_not_null()).select("_record", "_letter").unique().iter_rows()


def _ventilation(rows: pl.DataFrame) -> pl.DataFrame:
    """Times on mechanical ventilation."""
    is_on = (pl.col("Parameter") == "MechVent") & (to_number(pl.col("Value")) == 1)
    timed = pl.col("_record").is_not_null() & pl.col("_minute").is_not_null()
    return rows.filter(is_on & timed).select("_record", "_minute", "row")


def _ventilation_starts(ventilation: pl.DataFrame) -> pl.DataFrame:
    """Number of the row of the first such time of each record."""
    return ventilation.sort("_minute", "row").group_by("_record").agg(pl.col("row").first()).select("row")


def _problem() -> pl.Expr:
    """Why a row gives no event; null if it gives one."""
    value, name = to_number(pl.col("Value")), pl.col("Parameter")
    is_descriptor = name.is_in(_DESCRIPTORS)
    is_impossible = (
        ((name == "Gender") & ~value.is_in([0, 1]))
        | ((name == "ICUType") & ~value.is_in(list(_UNITS)))
        | ((name == "Age") & to_age(value).is_null())
    )
    return (
        pl.when(pl.col("_record").is_null())
        .then(pl.lit("no_subject"))
        .when(pl.col("_minute").is_null())
        .then(pl.lit("no_time"))
        .when(name.is_null() | (name.str.strip_chars() == ""))
        .then(pl.lit("no_code"))
        .when(name == "RecordID")
        .then(pl.lit("identifier"))
        .when(is_descriptor & (value == -1))
        .then(pl.lit("unknown_descriptor"))
        .when(pl.col("Value").is_null() | (is_descriptor & value.is_null()) | _is_nan())
        .then(pl.lit("no_value"))
        .when(is_impossible)
        .then(pl.lit("unknown_descriptor"))
    )


def _is_nan() -> pl.Expr:
    """Whether the value is the number or the text NaN."""
    return pl.col("Value").cast(pl.String).str.strip_chars().str.to_lowercase().is_in(["nan", ""])


def _convert(keyed: pl.DataFrame, starts: pl.DataFrame, site: str | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events of rows, and the rows that gave none."""
    judged = keyed.with_columns(_problem=_problem())
    bad = judged.filter(pl.col("_problem").is_not_null())
    rows = judged.filter(pl.col("_problem").is_null()).with_columns(
        subject_id="_record", time=at_minute(pl.col("_minute")), site=site_of(pl.col("_letter"), site)
    )
    started = rows.join(starts, on="row", how="semi").with_columns(code=pl.lit("VENTILATION//start"))
    events = as_events(_measurements(rows), *_descriptors(rows), started)
    return events, quarantine(bad, pl.col("_problem"))


def _measurements(rows: pl.DataFrame) -> pl.DataFrame:
    """Timed variables, also those that the documentation does not name."""
    variables = read_variables("challenge_2012")
    long = rows.filter(~pl.col("Parameter").is_in(["Age", "Gender", "ICUType"])).select(
        "row", "subject_id", "time", "site", variable=pl.col("Parameter").str.strip_chars(), value="Value"
    )
    events = read_values(long, variables)
    return events.with_columns(code=pl.coalesce("code", pl.lit("OTHER//") + pl.col("variable").str.slice(0, 100)))


def _descriptors(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Birth, gender and the unit."""
    value = to_number(pl.col("Value"))
    age = rows.filter(pl.col("Parameter") == "Age")
    birth = at_minute(-(value * 365.25 * 24 * 60).round().cast(pl.Int64))
    yield age.with_columns(time=birth, code=pl.lit("MEDS_BIRTH"))
    gender = pl.when(value == 0).then(pl.lit("F")).otherwise(pl.lit("M"))
    static = pl.lit(None, pl.Datetime("us"))
    yield rows.filter(pl.col("Parameter") == "Gender").with_columns(time=static, code=pl.lit("GENDER//") + gender)
    unit = value.cast(pl.Int64).replace_strict(_UNITS, default="UNKNOWN", return_dtype=pl.String)
    yield rows.filter(pl.col("Parameter") == "ICUType").with_columns(code=pl.lit("ICU_ADMISSION//") + unit)
