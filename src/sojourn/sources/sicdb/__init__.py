"""SICdb 1.0.x (Salzburg intensive care database, raw tables) -> events.

Written from the published layout; the full database was not available. Conventions:

* **Subject**: the patient (`PatientID`) with all cases. **Site**: the unit of the first case, ``sicdb-<HospitalUnit>``.
* **Times** are seconds since the patient's first admission, and there are no dates: `OffsetAfterFirstAdmission` says
  when a case began. The first admission is put on 1 January of its `AdmissionYear`. Rows that lie more than 30 days
  before their case began are set aside: many of them would mean that a table counts from the case instead.
* **Stay**: a case is in the ICU from `ICUOffset` to `TimeOfStay`, both after its beginning.
* **Death**: in the ICU if `DischargeState` says so or `OffsetOfDeath` is at most an hour after the stay; the stay, the
  hospital stay and the life then end together. A death with `HospitalDischargeType` dead ends the hospital stay. The
  end of other hospital stays is not recorded in seconds.
* **Hourly values** (``data_float_h``) are means of up to 60 values: they stand at the end of their hour, when they were
  known. A single value stands at its own time. The values of each minute (`rawdata`) are not unpacked.
* **References** of a case (``data_ref``) and its diagnosis have no time: they stand at the end of the stay.
* **Words** behind numbers come from ``d_references``.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from sojourn.sources.recipes import label
from sojourn.sources.records import SourceBatch, as_codes
from sojourn.sources.sicdb import cases, measurements
from sojourn.sources.sicdb.known import look_up, read_references
from sojourn.sources.tables import RawTables

RECIPES = (*cases.RECIPES, *measurements.RECIPES)
_FAMILIES = ("LAB", "DATA", "MEDICATION", "MEDICATION_END", "RANGE")


class SICdb:
    """The source ``sicdb``."""

    name = "sicdb"

    def read(self, raw: Path, *, site: str | None, warn: Callable[[str], None]) -> Iterator[SourceBatch]:
        """Yield the batches of all tables; see `sojourn.sources.records.Source`."""
        tables = RawTables(raw, warn)
        known = look_up(tables, site or self.name)
        for recipe in RECIPES:
            yield from recipe.stream(tables, known)

    def codes(self, raw: Path) -> pl.DataFrame:
        """Names from ``d_references``, which numbers everything once; which family a number is of, the data say."""
        words = read_references(RawTables(raw, lambda _: None))
        named = [
            words.select(
                code=pl.concat_str(pl.lit(f"{family}//"), pl.col("_id").cast(pl.String)),
                description=label(pl.col("_word")),
                unit=pl.col("_unit"),
            )
            for family in _FAMILIES
        ]
        return as_codes(pl.concat(named))

    def finish(self, out: Path) -> None:
        """There is nothing beside the events."""


SOURCE = SICdb()
