"""FHIR R4 bulk exports (``*.ndjson``, gzipped or not) -> events.

Conventions, which matter for what a model may know when:

* **Subjects** are numbered by the first identifier system that gives every patient a whole number of its own (never by
  a social security, passport or driver's number), else by a hash of the resource's id.
* **Times** keep the clock that wrote them; the offset from UTC is left out, and only says whether an end is before its
  start. Dates without a time stand at 23:59:59.
* **Codes** name their system: LOINC, SNOMED and RxNorm are preferred where a concept has several codings; a system
  that is not well known gives the end of its URL. Codes for coded answers and units follow.
* **Observations** stand at their `effective` time. **Diagnoses** of an encounter stand at its end.
* **Stays**: the system of an encounter's identifier, its class, its length and its locations say whether it is a
  hospital stay, an ICU stay, a visit to the emergency department or another visit. Without encounters for ICU stays,
  runs of ICU locations are ICU stays.
* **Death**: the stay, the ICU stay and the life of a patient who dies in hospital end at the same time.
* Every line of every file is accounted for: what describes no patient (Medication, Location, Organization) and types of
  resources that are not read go to the quarantine with that reason.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from sojourn.sources.fhir import clinical, people
from sojourn.sources.fhir.describe import describe
from sojourn.sources.fhir.files import BulkFile, Decoded, decode, find_files
from sojourn.sources.fhir.known import Known, look_up
from sojourn.sources.fhir.layout import DICTIONARIES
from sojourn.sources.recipes import Converted
from sojourn.sources.records import SourceBatch, as_events, join_quarantined, quarantine

CONVERTERS: dict[str, Callable[[pl.DataFrame, Known], Converted]] = {
    "Condition": people.condition,
    "Encounter": people.encounter,
    "MedicationAdministration": clinical.administration,
    "MedicationDispense": clinical.dispense,
    "MedicationRequest": clinical.request,
    "MedicationStatement": clinical.statement,
    "Observation": clinical.observation,
    "Patient": people.patient,
    "Procedure": people.procedure,
    "Specimen": people.specimen,
}
"""Type of resource -> what its resources become."""


class Fhir:
    """The source ``fhir``."""

    name = "fhir"

    def read(self, raw: Path, *, site: str | None, warn: Callable[[str], None]) -> Iterator[SourceBatch]:
        """Yield the batches of all files; see `sojourn.sources.records.Source`."""
        files = find_files(raw)
        known = look_up(files, site, warn)
        for file in files:
            if file.kind not in CONVERTERS and file.kind not in DICTIONARIES:
                warn(f"{file.name} holds resources of a type that is not read: what they say will be missing")
            yield from _batches(file, known)

    def codes(self, raw: Path) -> pl.DataFrame:
        """Descriptions that the resources show beside their codes."""
        return describe(find_files(raw))

    def finish(self, out: Path) -> None:
        """There is nothing beside the events."""


def _batches(file: BulkFile, known: Known) -> Iterator[SourceBatch]:
    for num_lines, parts, bad in decode(file):
        converted = [_convert(part, known) for part in parts]
        events = as_events(*(events for events, _ in converted))
        yield SourceBatch(file.name, num_lines, events, join_quarantined(bad, *(aside for _, aside in converted)))


def _convert(part: Decoded, known: Known) -> Converted:
    """Events of resources of one type, or all of them set aside with the reason."""
    if part.kind in CONVERTERS:
        return CONVERTERS[part.kind](part.frame, known)
    reason = "describes_no_patient" if part.kind in DICTIONARIES else "type_is_not_read"
    return as_events(), quarantine(part.frame.select("row", "resource"), reason)


SOURCE = Fhir()
