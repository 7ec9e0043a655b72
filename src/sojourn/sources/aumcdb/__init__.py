"""AmsterdamUMCdb 1.0.2 (raw tables) -> events.

Written from the published layout; the full database was not available. Conventions:

* **Subject**: the patient (`patientid`), with all admissions to intensive and medium care.
* **Times** are milliseconds since the first admission, and there are no dates. The first admission is put on 1 January
  of the first year of its `admissionyeargroup`, so differences are right, and dates mean nothing.
* **Groups** of age, weight and height stand at their middle (``60-69`` years is 65; open groups are taken to be as wide
  as the others).
* **Death**: who left the ICU to `Overleden` and died within a day of it died there, and the stay and the life end at
  its recorded end. Other deaths stand at `dateofdeath`. The end of the hospital stay is not recorded.
* **Drugs** give a start with dose rate (continuous ones) or dose, and the continuous ones an end. Rates of vasoactive
  drugs become mcg/kg/min by the weight of the group.
* **Units** are as written, but ``µg`` is mcg, ``uur`` h, ``dag`` d, and ``Geen`` none. The files are in Latin-1.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from sojourn.sources.aumcdb import items, stays, treatments
from sojourn.sources.aumcdb.known import look_up
from sojourn.sources.frames import TextFormat
from sojourn.sources.recipes import code_of, label
from sojourn.sources.records import SourceBatch, as_codes
from sojourn.sources.tables import RawTables

RECIPES = (*stays.RECIPES, *items.RECIPES, *treatments.RECIPES)
LATIN_1 = TextFormat(encoding="latin-1")
_LABELLED = {
    "numericitems": ("NUMERIC",),
    "listitems": ("LIST",),
    "freetextitems": ("FREETEXT",),
    "drugitems": ("DRUG", "DRUG_END"),
    "procedureorderitems": ("PROCEDURE_ORDER",),
    "processitems": ("PROCESS",),
}
"""Table whose rows carry the names of their items -> families of its codes."""


class AmsterdamUMCdb:
    """The source ``aumcdb``."""

    name = "aumcdb"

    def read(self, raw: Path, *, site: str | None, warn: Callable[[str], None]) -> Iterator[SourceBatch]:
        """Yield the batches of all tables; see `sojourn.sources.records.Source`."""
        tables = RawTables(raw, warn, LATIN_1)
        known = look_up(tables, site or self.name)
        for recipe in RECIPES:
            yield from recipe.stream(tables, known)

    def codes(self, raw: Path) -> pl.DataFrame:
        """Names of the items, from the rows themselves: the database has no dictionary beside them."""
        tables = RawTables(raw, lambda _: None, LATIN_1)
        named = [part for table, families in _LABELLED.items() for part in _names(tables, table, families)]
        return as_codes(pl.concat([pl.DataFrame(schema={"code": pl.String, "description": pl.String}), *named]))

    def finish(self, out: Path) -> None:
        """There is nothing beside the events."""


def _names(tables: RawTables, table: str, families: tuple[str, ...]) -> Iterator[pl.DataFrame]:
    """Distinct items of a table with their names, batch by batch."""
    if tables.find(table) is None or not {"itemid", "item"} <= {name.lower() for name in tables.columns(table)}:
        return
    seen: set[str] = set()
    for frame in tables.batches(table, ("itemid", "item")):
        distinct = frame.select(pl.col("itemid").cast(pl.String), "item").drop_nulls("itemid").unique("itemid")
        new = distinct.filter(~pl.col("itemid").is_in(seen)).sort("itemid")
        seen.update(new["itemid"])
        for family in families:
            yield new.select(code=code_of(family, pl.col("itemid")), description=label(pl.col("item")))


SOURCE = AmsterdamUMCdb()
