"""CLIF (Common Longitudinal ICU data Format) 2.1, and 3.0 where it has the same tables, -> events.

Conventions, which matter for what a model may know when:

* **Times** are UTC in CLIF, also those without an offset. If `RAW` holds a ``clif_config.json`` (or ``config.json``,
  ``.yaml``) with a `timezone`, as the CLIF projects have it, they are brought to that clock; else they stay UTC, with a
  warning. Dates, and midnights of births and deaths without an offset, stay as they are.
* **Categories** (the minimum common ICU data elements) are the codes, in lower case; names that a hospital made stay
  out of them.
* **Laboratory** results stand at `lab_collect_dttm`, when the specimen was taken.
* **Diagnoses** and billed procedures stand at the end of the hospital stay.
* **Death**: the stay, the ICU stay and the life of a patient who dies in hospital end at the same time. A death whose
  time is midnight is known only to the day and stands at its end.
* **ICU stays** are runs of ICU places in ``adt``. **Birth** is guessed from the age where no date is given.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from sojourn.sources.clif import bedside, people
from sojourn.sources.clif.known import find_name, look_up
from sojourn.sources.records import SourceBatch, as_codes
from sojourn.sources.tables import RawTables

RECIPES = (*people.RECIPES, *bedside.RECIPES)


class Clif:
    """The source ``clif``."""

    name = "clif"

    def read(self, raw: Path, *, site: str | None, warn: Callable[[str], None]) -> Iterator[SourceBatch]:
        """Yield the batches of all tables; see `sojourn.sources.records.Source`."""
        tables = RawTables(raw, warn)
        known = look_up(tables, site, warn)
        if known.zone is None:
            warn("no configuration names the time zone: times stay in UTC, so that the hour of the day is not local")
        read = {recipe.table for recipe in RECIPES}
        for name in tables.names():
            table = name.lower().removeprefix("clif_")
            if table != name.lower() and "/" not in name and table not in read:
                warn(f"table {name} is there but not read: what it says will be missing")
        for recipe in RECIPES:
            yield from recipe.stream(tables, known, found_as=find_name(tables, recipe.table))

    def codes(self, raw: Path) -> pl.DataFrame:
        """The categories say what they mean; there is no dictionary."""
        return as_codes([])

    def finish(self, out: Path) -> None:
        """There is nothing beside the events."""


SOURCE = Clif()
