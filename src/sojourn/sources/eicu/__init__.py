"""eICU Collaborative Research Database (raw tables) -> events.

Conventions:

* **Subject**: one unit stay (`patientunitstayid`). eICU does not say in which order a patient's hospital stays came, so
  they cannot be one history. Stays of one patient (`uniquepid`) are in the same split all the same.
* **Site**: one per hospital, ``eicu-<hospitalid>``; a name given by the caller takes the place of ``eicu``.
* **Times**: eICU has offsets in minutes from unit admission and no dates. Unit admission is put on 1 January of
  `hospitaldischargeyear` at `unitadmittime24`, so differences and times of day are right, and dates mean nothing.
* **Outcomes** that stand beside values of the first day (``apachePatientResult``, ``apachePredVar``) are not read. The
  worst values of the first day (``apacheApsVar``) stand at its end. Flags such as `activeupondischarge`, which look
  ahead, are not read either.
* **Death**: see `stays`. Stays of unknown status end without ALIVE or DIED.
* **Infusions** are charted rates: each is a start, a rate of 0 or ``OFF`` is an end.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl

from sojourn.events.splits import assign_splits
from sojourn.sources.eicu import measurements, notes, stays, treatments
from sojourn.sources.eicu.known import STAY, look_up, read_patients
from sojourn.sources.records import SourceBatch, as_codes
from sojourn.sources.tables import RawTables

RECIPES = (*stays.RECIPES, *measurements.RECIPES, *treatments.RECIPES, *notes.RECIPES)

NOT_READ = {
    "apachePatientResult": "it holds outcomes and predictions made from them, without a time",
    "apachePredVar": "it holds outcomes beside values that other tables have with their times",
    "carePlanCareProvider": "specialties of the physicians will be missing",
}
"""Tables that are not read -> why, or what is lost."""
_SUFFIXES = (".parquet", ".csv", ".csv.gz")


class EICU:
    """The source ``eicu``."""

    name = "eicu"

    def read(self, raw: Path, *, site: str | None, warn: Callable[[str], None]) -> Iterator[SourceBatch]:
        """Yield the batches of all tables; see `sojourn.sources.records.Source`."""
        tables = RawTables(raw, warn)
        known = look_up(tables, site or self.name)
        files = _table_files(raw)
        substitutes = {
            recipe.table: _substitute(recipe.table, files, tables, warn) for recipe in RECIPES if recipe.table == "lab"
        }
        _warn_of_unread(files, {name.lower() for name in substitutes.values() if name}, warn)
        for recipe in RECIPES:
            yield from recipe.stream(tables, known, found_as=substitutes.get(recipe.table))

    def codes(self, raw: Path) -> pl.DataFrame:
        """Units of the monitors' numbers; the other codes are plain words."""
        vitals = measurements.PERIODIC | measurements.APERIODIC
        return as_codes([{"code": f"VITAL//{name}//{unit}", "unit": unit} for name, unit in vitals.items()])

    def splits(self, raw: Path) -> pl.DataFrame:
        """Split of each unit stay, the same for all stays of one patient."""
        patients = read_patients(RawTables(raw, _ignore))
        person = pl.coalesce(pl.col("uniquepid").cast(pl.String), pl.col(STAY).cast(pl.String))
        people = patients.select(person.alias("person"), subject_id=pl.col(STAY).cast(pl.Int64, strict=False))
        names = people["person"].unique().sort()
        keys = np.array([_key(name) for name in names], dtype=np.int64)
        split = pl.DataFrame({"person": names, "split": assign_splits(keys)})
        return people.drop_nulls().join(split, on="person", how="left").select("subject_id", "split")

    def finish(self, out: Path) -> None:
        """There is nothing beside the events."""


def _key(person: str) -> int:
    """A stable 63-bit number for a patient's name."""
    return int.from_bytes(hashlib.blake2b(person.encode(), digest_size=8).digest(), "little") >> 1


def _table_files(raw: Path) -> dict[str, str]:
    """Lower-case name -> name of the table files in the folder."""
    names = (path.name.removesuffix(s) for path in sorted(raw.iterdir()) for s in _SUFFIXES if path.name.endswith(s))
    return {name.lower(): name for name in names}


def _substitute(table: str, files: dict[str, str], tables: RawTables, warn: Callable[[str], None]) -> str | None:
    """A file such as ``lab_SUBSET`` that stands for a missing ``lab``."""
    others = [name for lower, name in files.items() if lower.startswith(f"{table.lower()}_")]
    if tables.find(table) is not None or not others:
        return None
    warn(f"table {table} is missing: {others[0]} is read in its place, which may hold some stays only")
    return others[0]


def _warn_of_unread(files: dict[str, str], read_as: set[str], warn: Callable[[str], None]) -> None:
    """Say which tables in the folder are not read."""
    known = {recipe.table.lower() for recipe in RECIPES} | {"hospital"} | read_as
    reasons = {name.lower(): reason for name, reason in NOT_READ.items()}
    for lower, name in sorted(files.items()):
        if lower not in known:
            warn(f"table {name} is there but not read: {reasons.get(lower, 'it is not a known table of eICU')}")


def _ignore(warning: str) -> None:
    """`read` has already said what is missing."""


SOURCE = EICU()
