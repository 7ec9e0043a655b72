"""MIMIC-IV (raw ``hosp`` and ``icu`` tables) -> events.

Conventions, which matter for what a model may know when:

* **Times** are MIMIC's shifted times. What is known only to the day (outpatient measurements, coded procedures, death
  outside the hospital) stands at 23:59:59, so that no morning knows its evening.
* **Laboratory** results stand at `charttime`, when the specimen was taken, as MEDS has them; results of cultures stand
  at `storetime`, because they come days after the specimen.
* **Billing** codes (diagnoses, DRG) stand at the end of the hospital stay.
* **Death**: the stay, the ICU stay and the life of a patient who dies in hospital end at the same `deathtime`; the
  recorded ends of the stays are up to a day before or hours after it. ICU death: see `stays.ICU_DEATH_TOLERANCE`.
* **Birth** is 1 July of `anchor_year` - `anchor_age`.
* **Infusions** and procedures give one event at their start and one at their end; a change of rate is an end and a
  start at the same time.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from sojourn.sources.mimic_iv import hosp, icu, stays
from sojourn.sources.mimic_iv.dictionary import describe
from sojourn.sources.mimic_iv.known import look_up
from sojourn.sources.records import SourceBatch
from sojourn.sources.tables import RawTables

RECIPES = (*stays.RECIPES, *hosp.RECIPES, *icu.RECIPES)

NOT_READ = {
    "hosp/emar_detail": "doses and rates of single administrations",
    "hosp/pharmacy": "details of dispensing beyond the prescriptions",
    "hosp/poe": "orders other than drugs, such as consultations and code status",
    "hosp/poe_detail": "details of those orders",
}
"""Tables with clinical content that are not read -> what is lost."""


class MimicIV:
    """The source ``mimic-iv``."""

    name = "mimic-iv"

    def read(self, raw: Path, *, site: str | None, warn: Callable[[str], None]) -> Iterator[SourceBatch]:
        """Yield the batches of all tables; see `sojourn.sources.records.Source`."""
        tables = RawTables(raw, warn)
        known = look_up(tables, site or self.name)
        for table, lost in NOT_READ.items():
            if tables.find(table) is not None:
                warn(f"table {table} is there but not read: {lost} will be missing")
        for recipe in RECIPES:
            yield from recipe.stream(tables, known)

    def codes(self, raw: Path) -> pl.DataFrame:
        """Descriptions from the dictionaries."""
        return describe(RawTables(raw, _ignore))

    def finish(self, out: Path) -> None:
        """There is nothing beside the events."""


def _ignore(warning: str) -> None:
    """A missing dictionary only leaves codes without a description."""


SOURCE = MimicIV()
