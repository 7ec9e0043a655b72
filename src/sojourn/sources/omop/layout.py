"""OMOP CDM 5.3 and 5.4: the tables and columns that are read."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import polars as pl

from sojourn.sources.omop import clinical, people
from sojourn.sources.omop.known import NEEDED, Known, complete, present
from sojourn.sources.recipes import Converted
from sojourn.sources.records import SourceBatch
from sojourn.sources.tables import RawTables


class Table(NamedTuple):
    """How one table is read. Columns that only one version of the CDM has are null where they are missing."""

    name: str
    """Official name."""
    convert: Callable[[pl.DataFrame, Known], Converted]
    """Maps a batch and what is known to (events, quarantined)."""
    required: tuple[str, ...]
    """Columns without which the table cannot be read: it is lost then."""
    optional: tuple[str, ...]
    """Further columns, by their names in CDM 5.4."""
    lost: str
    """What goes missing without the table."""
    why: str = ""
    """What does not work without the table, if nothing does: then it is needed."""

    def concept_columns(self) -> tuple[str, ...]:
        """The columns that name concepts."""
        return tuple(name for name in (*self.required, *self.optional) if name.endswith("_concept_id"))

    def stream(self, tables: RawTables, known: Known) -> Iterator[SourceBatch]:
        """Batches of this table."""
        have = {column.lower() for column in tables.columns(self.name)}

        def transform(frame: pl.DataFrame) -> Converted:
            return self.convert(complete(frame, self.optional), known)

        there = present(have, self.optional)
        return tables.stream(self.name, transform, self.required, there, lost=self.lost, why=self.why)


def _clinical(
    domain: str, *optional: str, prefix: str = "", end: bool = False
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Required and optional columns that most clinical tables have."""
    stem = prefix or domain
    required = ("person_id", f"{domain}_concept_id", f"{stem}_date")
    ends = (f"{stem.removesuffix('_start')}_end_date", f"{stem.removesuffix('_start')}_end_datetime") if end else ()
    shared = (f"{domain}_source_concept_id", f"{domain}_source_value", "visit_occurrence_id", f"{stem}_datetime")
    return required, (*shared, *ends, *optional)


_VALUE = ("value_as_number", "value_as_concept_id", "unit_concept_id", "unit_source_value", "value_source_value")

TABLES = (
    Table(
        "person",
        people.person,
        ("person_id", "year_of_birth"),
        (
            "gender_concept_id",
            "gender_source_value",
            "month_of_birth",
            "day_of_birth",
            "birth_datetime",
            "race_concept_id",
            "race_source_value",
            "ethnicity_concept_id",
            "ethnicity_source_value",
        ),
        "everything",
        NEEDED,
    ),
    Table("death", people.death, ("person_id", "death_date"), ("death_datetime",), "deaths outside of visits"),
    Table(
        "visit_occurrence",
        people.visit_occurrence,
        ("visit_occurrence_id", "person_id", "visit_concept_id"),
        (
            "admitted_from_concept_id",
            "admitted_from_source_value",
            "discharged_to_concept_id",
            "discharged_to_source_value",
        ),
        "hospital stays and their ends",
    ),
    Table(
        "visit_detail",
        people.visit_detail,
        ("person_id", "visit_detail_concept_id", "visit_detail_start_date"),
        ("visit_detail_start_datetime", "visit_occurrence_id", "care_site_id"),
        "moves between wards and the ICU stays",
    ),
    Table(
        "condition_occurrence",
        clinical.condition,
        *_clinical("condition", "condition_type_concept_id", prefix="condition_start"),
        "diagnoses",
    ),
    Table("procedure_occurrence", clinical.procedure, *_clinical("procedure", end=True), "procedures"),
    Table(
        "drug_exposure",
        clinical.drug,
        *_clinical(
            "drug",
            "drug_type_concept_id",
            "quantity",
            "dose_unit_source_value",
            prefix="drug_exposure_start",
            end=True,
        ),
        "drugs",
    ),
    Table(
        "measurement",
        clinical.measurement,
        *_clinical("measurement", *_VALUE, "operator_concept_id"),
        "laboratory results and vital signs",
    ),
    Table(
        "observation",
        clinical.observation,
        *_clinical("observation", *_VALUE, "value_as_string", "operator_concept_id"),
        "observations",
    ),
    Table(
        "device_exposure", clinical.device, *_clinical("device", prefix="device_exposure_start", end=True), "devices"
    ),
    Table(
        "specimen",
        clinical.specimen,
        ("person_id", "specimen_concept_id", "specimen_date"),
        ("specimen_datetime", "specimen_source_value"),
        "specimens",
    ),
)
"""The tables in the order in which they are read."""

NOT_READ = {"note": "free text", "note_nlp": "what was found in free text", "episode": "episodes of care"}
"""Tables with clinical content that are not read -> what is lost."""
