"""How the stays of Challenge 2012 ended: ``Outcomes-<set>.txt``.

Outcomes are known by the day only and come after the 48 hours that the records cover: discharge and death are set to
admission + `Length_of_stay` (death: `Survival`) days, or to 48 h and 1 min where the day is unknown or earlier. What
the challenge computed from the stay (SAPS-I, SOFA) and a death after discharge are target-only.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

import polars as pl

from sojourn.sources.casts import to_integer, to_number, to_offset
from sojourn.sources.patient_files import PatientFile, set_letter, stack_files
from sojourn.sources.records import SourceBatch, as_events, join_quarantined, quarantine

ORIGIN = datetime(2000, 1, 1)
"""Admission to the unit of every patient."""

OUTCOME_CODES = (
    ("HOSPITAL_DISCHARGE", "Discharge from the hospital, to the day"),
    ("HOSPITAL_DISCHARGE//ALIVE", "Left the hospital alive"),
    ("HOSPITAL_DISCHARGE//DIED", "Died in the hospital"),
    ("MEDS_DEATH", "Death in the hospital, to the day"),
    ("OUTCOME//death_after_discharge", "Death after leaving the hospital alive, to the day"),
    ("OUTCOME//saps_i", "Simplified Acute Physiology Score I of the first day"),
    ("OUTCOME//sofa", "Sequential Organ Failure Assessment score of the first day"),
)
"""Code and description of all that the outcomes give."""

_AFTER_WINDOW_MINUTES = 48 * 60 + 1
_DAY_MINUTES = 24 * 60
_COLUMNS = ("RecordID", "SAPS-I", "SOFA", "Length_of_stay", "Survival", "In-hospital_death")
_NAME = r"(?i)outcomes?-([a-z])\.(?:txt|csv)"


def at_minute(minute: pl.Expr) -> pl.Expr:
    """Time of a whole minute since admission."""
    return pl.lit(ORIGIN, pl.Datetime("us")) + pl.duration(minutes=minute)


def site_of(letter: pl.Expr, site: str | None) -> pl.Expr:
    """Site of a set: ``challenge-2012-a``, or what the caller says."""
    if site is not None:
        return pl.lit(site)
    return pl.concat_str(pl.lit("challenge-2012"), letter.str.to_lowercase(), separator="-", ignore_nulls=True)


def read_outcomes(
    raw: Path, letters: Mapping[int, str | None], site: str | None, warn: Callable[[str], None]
) -> Iterator[SourceBatch]:
    """Yield the outcomes, one table for each file that lies in the folder or beside the file or folder `raw`.

    Parameters
    ----------
    letters : record -> letter of its set, of all records that were read; other records are quarantined. Files of
        sets that were not read are left alone.
    """
    place = (raw if raw.is_dir() else raw.parent).absolute()
    read = {letter for letter in letters.values() if letter is not None}
    paths = [path for path in _find(place.rglob("*")) if not read or set_letter(path.name, _NAME) in read]
    elsewhere = read - _sets(paths)
    # The official archive holds the records alone: unpacked, the outcomes lie beside its folder.
    paths += [path for path in _find(place.parent.glob("*")) if set_letter(path.name, _NAME) in elsewhere]
    missing = sorted(read - _sets(paths))
    if missing or not paths:
        warn(f"Outcomes of set {', '.join(missing).lower() or '?'} are missing: deaths and discharges will be missing")
    known = pl.DataFrame({"_record": letters.keys(), "_letter": letters.values()}, schema=_KNOWN)
    for path in paths:
        yield from _read_file(path, known, site)


def _find(paths: Iterable[Path]) -> list[Path]:
    """Files of outcomes among paths, sorted."""
    return sorted(path for path in paths if re.fullmatch(_NAME, path.name))


def _sets(paths: Iterable[Path]) -> set[str | None]:
    """Letters of the sets whose outcomes some files hold."""
    return {set_letter(path.name, _NAME) for path in paths}


_KNOWN = {"_record": pl.Int64, "_letter": pl.String}


def _read_file(path: Path, known: pl.DataFrame, site: str | None) -> Iterator[SourceBatch]:
    """Read one file of outcomes."""
    file = PatientFile(path.name, path.read_text("utf-8-sig", "replace"))
    stacked = stack_files(iter([file]), separator=",", required=_COLUMNS, keys=lambda path: (), key_names=())
    for rows, malformed in stacked:
        events, quarantined = _convert(rows, known, site)
        odd = quarantine(malformed, "malformed_row")
        count = rows.height + malformed.height
        yield SourceBatch(path.stem, count, events, join_quarantined(quarantined, odd))


def _convert(raw_rows: pl.DataFrame, known: pl.DataFrame, site: str | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events of rows, and the rows that gave none."""
    rows = raw_rows.with_columns(_record=to_integer(pl.col("RecordID")), _died=to_number(pl.col("In-hospital_death")))
    rows = rows.join(known.with_columns(_known=pl.lit(value=True)), on="_record", how="left", maintain_order="left")
    problem = (
        pl.when(pl.col("_record").is_null())
        .then(pl.lit("no_subject"))
        .when(pl.col("_known").is_null())
        .then(pl.lit("no_record"))
        .when(~pl.col("_died").is_in([0, 1]) | pl.col("_died").is_null())
        .then(pl.lit("no_outcome"))
    )
    rows = rows.with_columns(_problem=problem)
    good = rows.filter(pl.col("_problem").is_null()).with_columns(
        subject_id="_record", site=site_of(pl.col("_letter"), site)
    )
    bad = quarantine(rows.filter(pl.col("_problem").is_not_null()), pl.col("_problem"))
    return as_events(*_endings(good), *_scores(good)), bad


def _days(column: str) -> pl.Expr:
    """Whole days as minutes; null where unknown (negative)."""
    days = to_number(pl.col(column))
    return pl.when(days >= 0).then(to_offset(days * _DAY_MINUTES, "minutes"))


def _after_window(minute: pl.Expr) -> pl.Expr:
    """Time of a minute, but never within the 48 hours."""
    late = pl.max_horizontal(minute.fill_null(_AFTER_WINDOW_MINUTES), pl.lit(_AFTER_WINDOW_MINUTES, pl.Int64))
    return at_minute(late)


def _endings(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Discharge and death."""
    stay, survival = _days("Length_of_stay"), _days("Survival")
    died = rows.filter(pl.col("_died") == 1).with_columns(time=_after_window(pl.coalesce(survival, stay)))
    yield died.with_columns(code=pl.lit("HOSPITAL_DISCHARGE//DIED"))
    yield died.with_columns(code=pl.lit("MEDS_DEATH"))
    alive = rows.filter(pl.col("_died") == 0)
    yield alive.with_columns(time=_after_window(stay), code=pl.lit("HOSPITAL_DISCHARGE//ALIVE"))
    later = alive.filter(survival.is_not_null())
    yield later.with_columns(time=_after_window(survival), code=pl.lit("OUTCOME//death_after_discharge"))


def _scores(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Scores of the first day, at its end; -1 is unknown."""
    for column, code in (("SAPS-I", "OUTCOME//saps_i"), ("SOFA", "OUTCOME//sofa")):
        score = to_number(pl.col(column))
        yield rows.filter(score >= 0).with_columns(
            time=at_minute(pl.lit(_DAY_MINUTES)), code=pl.lit(code), numeric_value=score
        )
