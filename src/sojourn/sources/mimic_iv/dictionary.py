"""MIMIC-IV: what the codes mean, from the dictionaries that come with the tables."""

import polars as pl

from sojourn.sources.recipes import code_of, label
from sojourn.sources.records import as_codes
from sojourn.sources.tables import RawTables

_ITEM_FAMILIES = {
    "chartevents": ("CHART",),
    "datetimeevents": ("DATETIME",),
    "ingredientevents": ("INGREDIENT",),
    "inputevents": ("INFUSION_START", "INFUSION_END"),
    "outputevents": ("OUTPUT",),
    "procedureevents": ("PROCEDURE_START", "PROCEDURE_END"),
}
"""Table that an item of ``icu/d_items`` belongs to -> families of its codes."""


def describe(tables: RawTables) -> pl.DataFrame:
    """Descriptions of items, tests, diagnoses and procedures (`CODES_SCHEMA`), without the units in the codes."""
    parts = [_items(tables), _tests(tables), *(_coded(tables, *row) for row in _CODED), _hcpcs(tables), _drg(tables)]
    return as_codes(pl.concat([part for part in parts if part is not None] or [_EMPTY]).unique("code", keep="first"))


_EMPTY = pl.DataFrame(schema={"code": pl.String, "description": pl.String})
_CODED = (
    ("hosp/d_icd_diagnoses", "DIAGNOSIS", "CM", "descriptions of diagnoses"),
    ("hosp/d_icd_procedures", "PROCEDURE", "PCS", "descriptions of coded procedures"),
)


def _items(tables: RawTables) -> pl.DataFrame | None:
    frame = tables.read("icu/d_items", ("itemid", "label", "linksto"), lost="descriptions of charted items")
    if frame is None:
        return None
    families = pl.DataFrame(
        [(table, family) for table, names in _ITEM_FAMILIES.items() for family in names],
        schema=["linksto", "family"],
        orient="row",
    )
    joined = frame.join(families, on="linksto", how="inner", maintain_order="left")
    return joined.select(code=code_of(pl.col("family"), pl.col("itemid")), description=label(pl.col("label")))


def _tests(tables: RawTables) -> pl.DataFrame | None:
    lost = "descriptions of laboratory tests"
    frame = tables.read("hosp/d_labitems", ("itemid", "label"), ("fluid", "category"), lost=lost)
    if frame is None:
        return None
    detail = pl.concat_str(label(pl.col("fluid")), label(pl.col("category")), separator=", ", ignore_nulls=True)
    name = pl.format("{} ({})", label(pl.col("label")), detail)
    return frame.select(code=code_of("LAB", pl.col("itemid")), description=pl.coalesce(name, label(pl.col("label"))))


def _coded(tables: RawTables, table: str, family: str, suffix: str, lost: str) -> pl.DataFrame | None:
    frame = tables.read(table, ("icd_code", "icd_version", "long_title"), lost=lost)
    if frame is None:
        return None
    system = pl.format("ICD{}{}", pl.col("icd_version").cast(pl.String), pl.lit(suffix))
    code = code_of(family, system, label(pl.col("icd_code")))
    return frame.select(code=code, description=label(pl.col("long_title")))


def _hcpcs(tables: RawTables) -> pl.DataFrame | None:
    frame = tables.read("hosp/d_hcpcs", ("code", "short_description"), lost="descriptions of billed services")
    if frame is None:
        return None
    return frame.select(code=code_of("HCPCS", label(pl.col("code"))), description=label(pl.col("short_description")))


def _drg(tables: RawTables) -> pl.DataFrame | None:
    if tables.find("hosp/drgcodes") is None:
        return None
    frame = tables.read("hosp/drgcodes", ("drg_type", "drg_code"), ("description",))
    if frame is None:
        return None
    code = code_of("DRG", label(pl.col("drg_type")), label(pl.col("drg_code")))
    return frame.select(code=code, description=label(pl.col("description")))
