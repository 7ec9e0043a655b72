"""FHIR: what the codes mean, from the words that the resources show beside them."""

from collections.abc import Iterable

import polars as pl

from sojourn.sources.fhir.codings import coded, displayed, one_row_each, reference_id
from sojourn.sources.fhir.files import BulkFile, decode
from sojourn.sources.recipes import code_for
from sojourn.sources.records import as_codes

_FAMILIES: dict[str, tuple[str, ...]] = {
    "Condition": ("DIAGNOSIS",),
    "MedicationAdministration": ("INFUSION_START", "INFUSION_END", "MEDICATION_ADMINISTRATION"),
    "MedicationDispense": ("MEDICATION_DISPENSE",),
    "MedicationRequest": ("MEDICATION_ORDER_START", "MEDICATION_ORDER_END"),
    "MedicationStatement": ("HOME_MEDICATION",),
    "Observation": ("",),
    "Procedure": ("PROCEDURE", "PROCEDURE_START", "PROCEDURE_END"),
    "Specimen": ("SPECIMEN",),
}
"""Type of resource -> families of its codes; the codes of observations have none."""


_EMPTY = pl.DataFrame(schema={"code": pl.String, "description": pl.String})


def _f(name: str) -> pl.Expr:
    return pl.col("_r").struct.field(name)


def describe(files: Iterable[BulkFile]) -> pl.DataFrame:
    """Descriptions (`CODES_SCHEMA`) of the codes of all resources, without units and answers."""
    listed = list(files)
    drugs = pl.concat([_EMPTY.with_columns(_name="code"), *(_drugs(part) for part in _parts(listed, "Medication"))])
    found = _EMPTY
    for kind, families in _FAMILIES.items():
        for frame in _parts(listed, kind):
            pairs = pl.concat([_pairs(frame, kind), *([_referred(frame, drugs)] if kind.startswith("Medic") else [])])
            named = [
                pairs.with_columns(code=code_for(family, pl.col("code")) if family else "code") for family in families
            ]
            found = pl.concat([found, *named]).drop_nulls().unique("code", keep="first", maintain_order=True)
    return as_codes(found)


def _parts(files: list[BulkFile], kind: str) -> Iterable[pl.DataFrame]:
    """Frames of the resources of one type in the files that begin with one."""
    return (
        part.frame
        for file in files
        if file.kind == kind
        for _, parts, _ in decode(file)
        for part in parts
        if part.kind == kind
    )


def _pairs(frame: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Codes and words of the resources' own concepts."""
    field = {"Specimen": "type"}.get(kind, "medicationCodeableConcept" if kind.startswith("Medic") else "code")
    concept = frame.select(_c=_f(field))
    if kind == "Observation":
        parts = frame.select(_c=_f("component").list.eval(pl.element().struct.field("code")))
        inner = one_row_each(parts, "_c")
        concept = pl.concat([concept, inner])
    return _named(concept)


def _named(concepts: pl.DataFrame) -> pl.DataFrame:
    pairs = concepts.select(code=coded(pl.col("_c")), description=displayed(pl.col("_c")))
    return pairs.drop_nulls().unique("code", keep="first", maintain_order=True)


def _drugs(frame: pl.DataFrame) -> pl.DataFrame:
    """Ids and words of medications: ``code`` is the id here."""
    words = _f("identifier").list.eval(
        pl.when(pl.element().struct.field("system").str.ends_with("name")).then(pl.element().struct.field("value"))
    )
    shown = pl.coalesce(displayed(_f("code")), words.list.drop_nulls().list.first())
    return frame.select(code=_f("id"), description=shown, _name=coded(_f("code"))).drop_nulls("description")


def _referred(frame: pl.DataFrame, drugs: pl.DataFrame) -> pl.DataFrame:
    """Codes and words of medications that resources refer to."""
    ids = frame.select(code=reference_id(_f("medicationReference"))).drop_nulls().unique()
    joined = ids.join(drugs, on="code", how="inner")
    return joined.select(code="_name", description="description").drop_nulls()
