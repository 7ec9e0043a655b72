"""OMOP CDM 5.3 and 5.4 (a folder of CSV or Parquet tables, or a database) -> events.

Conventions, which matter for what a model may know when:

* **Codes** carry the standard concept's vocabulary and code (``LOINC//2524-7//mmol/L``,
  ``DIAGNOSIS//SNOMED//91302008``), then its unit or answer. A concept that the vocabulary tables lack is
  ``OMOP//<concept_id>``; a row without a standard concept (0) keeps its local concept, else its source value.
* **Times**: a date without a time stands at 23:59:59, and so does midnight where only days are known (deaths,
  procedures, ends of visits, and tables whose times are all midnight). An offset from UTC is left out.
* **Conditions** made for billing (claims) stand at the end of their visit.
* **Stays**: visits of inpatients, and others that last 24 hours or say where the patient went, are hospital stays; runs
  of visit details in intensive care (by concept or by the name of the care site) are ICU stays.
* **Death**: the stay, the ICU stay and the life of a patient who dies in hospital end at the same time.
* **Site**: the care site of the visit, else of the person, else what ``cdm_source`` calls the database.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from sojourn.sources.database import DatabaseTables, without_secrets
from sojourn.sources.omop.concepts import read_concepts, used_concepts
from sojourn.sources.omop.known import look_up
from sojourn.sources.omop.layout import NOT_READ, TABLES
from sojourn.sources.records import SourceBatch, as_codes
from sojourn.sources.tables import RawTables

_FAMILIES = (
    "DIAGNOSIS",
    "PROCEDURE",
    "PROCEDURE_START",
    "PROCEDURE_END",
    "DRUG_START",
    "DRUG_END",
    "MEDICATION_ORDER_START",
    "MEDICATION_ORDER_END",
    "DEVICE_START",
    "DEVICE_END",
    "SPECIMEN",
)


class Omop:
    """The source ``omop``."""

    name = "omop"

    def connect(self, url: str) -> "OmopDatabase":
        """The same source, reading a database instead of a folder."""
        return OmopDatabase(url)

    def read(self, raw: Path, *, site: str | None, warn: Callable[[str], None]) -> Iterator[SourceBatch]:
        """Yield the batches of all tables; see `sojourn.sources.records.Source`."""
        tables = self._tables(raw, warn)
        concepts = self._concepts(tables)
        known = look_up(tables, concepts, site)
        if concepts.filter(pl.col("_code").str.starts_with("OMOP//")).height:
            warn("the vocabulary tables lack some standard concepts: their codes are OMOP//<concept_id>")
        for name, lost in NOT_READ.items():
            if tables.columns(name) and next(tables.batches(name, tables.columns(name)[:1]), None) is not None:
                warn(f"table {name} is there but not read: {lost} will be missing")
        for table in TABLES:
            yield from table.stream(tables, known)

    def codes(self, raw: Path) -> pl.DataFrame:
        """Descriptions from the vocabulary tables."""
        concepts = self._concepts(self._tables(raw, _ignore)).drop_nulls("_name")
        plain = concepts.select(code="_code", description="_name")
        prefixed = [plain.with_columns(code=pl.format("{}//{}", pl.lit(family), "code")) for family in _FAMILIES]
        return as_codes(pl.concat([plain, *prefixed]))

    def finish(self, out: Path) -> None:
        """There is nothing beside the events."""

    def _tables(self, raw: Path, warn: Callable[[str], None]) -> RawTables:
        return RawTables(raw, warn)

    def _concepts(self, tables: RawTables) -> pl.DataFrame:
        """The concepts that the tables use."""
        columns = [(table.name, table.concept_columns()) for table in TABLES]
        return read_concepts(tables, used_concepts(tables, columns))


class OmopDatabase(Omop):
    """The source ``omop`` for one database.

    Parameters
    ----------
    url : SQLAlchemy URL, or ``duckdb:///<file>``.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.shown = without_secrets(url)

    def fingerprint(self) -> str:
        """Digest of the names and sizes of the tables."""
        return DatabaseTables(self._url, _ignore).fingerprint()

    def _tables(self, raw: Path, warn: Callable[[str], None]) -> RawTables:
        return DatabaseTables(self._url, warn)


def _ignore(warning: str) -> None:
    """What is missing has been said when the tables were read."""


SOURCE = Omop()
