"""Local codes of a hospital and what they mean in shared concepts."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from sojourn.sources.records import as_codes
from sojourn.sources.simulator.catalogue import CONCEPTS, TYPE_OF_KIND, UNIT_OF_KIND, UNITS, Unit
from sojourn.sources.simulator.config import SiteConfig
from sojourn.sources.simulator.treatments import Actions

MEASURED = (*CONCEPTS, "bedside_glucose")
"""Series that have a code of their own: every concept, and glucose by the bedside device."""

_ACTIONS = {
    "vasopressor_start": ("INFUSION_START", 4001, "mcg/kg/min", "norepinephrine//start", "Norepinephrine begins; rate"),
    "vasopressor_end": ("INFUSION_END", 4001, None, "norepinephrine//end", "Norepinephrine ends"),
    "ventilation_start": ("PROCEDURE_START", 5001, None, "ventilation//start", "Invasive ventilation begins"),
    "ventilation_end": ("PROCEDURE_END", 5001, None, "ventilation//end", "Invasive ventilation ends"),
    "rrt_start": ("PROCEDURE_START", 5002, None, "rrt//start", "Renal replacement begins"),
    "rrt_end": ("PROCEDURE_END", 5002, None, "rrt//end", "Renal replacement ends"),
    "antibiotic_start": ("MEDICATION_START", 6001, None, "antibiotic//start", "Antibiotic course begins"),
    "fluids": ("INFUSION_START", 4002, "mL", None, "Crystalloid bolus; volume"),
    "red_cells": ("INFUSION_START", 4003, "mL", None, "Red cells; volume"),
}
assert tuple(_ACTIONS) == Actions._fields


class CodeBook(NamedTuple):
    """The codes of one hospital as a table, and where to find each meaning in it."""

    codes: pl.Series
    """Code strings; an event holds the index of its code."""
    place: dict[str, int]
    """Series, action or administrative name -> index in `codes`."""

    def indices(self, names: tuple[str, ...]) -> npt.NDArray[np.int32]:
        """Indices of several names."""
        return np.array([self.place[name] for name in names], np.int32)


def unit_of(site: SiteConfig, series: str) -> tuple[str, Unit]:
    """Name and conversion of the unit in which a hospital records a series."""
    concept = concept_of(series)
    name = site.charting.units.get(concept, CONCEPTS[concept].unit)
    return name, UNITS[concept][name]


def concept_of(series: str) -> str:
    """Concept of a series (`MEASURED`)."""
    return "glucose" if series == "bedside_glucose" else series


def is_measured(site: SiteConfig, series: str) -> bool:
    """Whether anybody ever measures it there."""
    return series not in site.policy.never_measured and concept_of(series) not in site.policy.never_measured


def code_book(site: SiteConfig) -> CodeBook:
    """All codes that a hospital can write."""
    names = [str(row["name"]) for row in _rows(site)]
    codes = pl.Series("code", [row["code"] for row in _rows(site)], pl.String)
    return CodeBook(codes, {name: place for place, name in enumerate(names)})


def describe(sites: tuple[SiteConfig, ...]) -> pl.DataFrame:
    """The codes of several hospitals with concept, scale and offset (`records.CODES_SCHEMA`)."""
    rows = [{key: value for key, value in row.items() if key != "name"} for site in sites for row in _rows(site)]
    return as_codes(pl.DataFrame(rows, infer_schema_length=None).unique("code", keep="first", maintain_order=True))


def _rows(site: SiteConfig) -> list[dict[str, str | float | None]]:
    prefix = f"H{site.index}"
    rows: list[dict[str, str | float | None]] = []
    for series in MEASURED:
        concept = CONCEPTS[concept_of(series)]
        # item numbers differ between hospitals, as they do between record systems
        number = (2099 if series == "bedside_glucose" else concept.number) + 7 * site.index
        unit, conversion = unit_of(site, series)
        rows.append({
            "name": series, "code": f"{concept.kind}//{prefix}-{number}//{unit}", "concept": concept_of(series),
            "description": series.replace("_", " "), "unit": unit,
            "scale": conversion.scale, "offset": conversion.shift,
        })  # fmt: skip
    for action, (kind, number, unit_name, concept_name, text) in _ACTIONS.items():
        code = f"{kind}//{prefix}-{number + 7 * site.index}" + (f"//{unit_name}" if unit_name else "")
        rows.append({"name": action, "code": code, "description": text, "unit": unit_name, "concept": concept_name})
    number = 4001 + 7 * site.index
    rows.append({
        "name": "vasopressor_rate", "code": f"INFUSION_RATE//{prefix}-{number}//mcg/kg/min", "unit": "mcg/kg/min",
        "concept": "norepinephrine//rate", "description": "Norepinephrine rate while it runs",
    })  # fmt: skip
    rows.append({"name": "culture", "code": f"LAB//{prefix}-{2200 + 7 * site.index}", "description": "Culture taken"})
    return rows + [{"name": code, "code": code, "description": text} for code, text in _administrative().items()]


def _administrative() -> dict[str, str]:
    admissions = {f"HOSPITAL_ADMISSION//{kind}": "Hospital admission" for kind in dict.fromkeys(TYPE_OF_KIND)}
    units = {f"ICU_ADMISSION//{unit}": "ICU admission" for unit in UNIT_OF_KIND}
    ends = {f"{place}_DISCHARGE//{how}": f"{place.title()} discharge, {how.lower()}"
            for place in ("ICU", "HOSPITAL") for how in ("ALIVE", "DIED")}  # fmt: skip
    return {
        "MEDS_BIRTH": "Birth",
        "MEDS_DEATH": "Death",
        "GENDER//F": "Female",
        "GENDER//M": "Male",
        "COMORBIDITY//COUNT": "Number of chronic diseases known at admission",
        **admissions,
        **units,
        **ends,
    }
