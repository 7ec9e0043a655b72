"""What a concept is, and what a row of a code table is: validated models of the registry's rows."""

import re
from functools import cache
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sojourn.concepts.tables import concept_table

__all__ = ["MEASURED", "CodeRule", "Concept", "base_name", "concepts"]

MEASURED = ("vital", "lab", "blood gas", "output", "score", "body")
"""Kinds of concepts that are observed; a setting, a limit or a target is never one of these."""

Kind = Literal[
    "vital",
    "lab",
    "blood gas",
    "output",
    "score",
    "body",
    "setting",
    "drug rate",
    "drug",
    "procedure",
    "demographic",
    "outcome",
]
Aggregation = Literal["last", "first", "mean", "sum", "rate", "event"]
Specimen = Literal["arterial", "venous", "central venous", "mixed venous", "capillary", "unknown"]
Role = Literal["measurement", "setting", "limit", "target", "event"]


class _Row(BaseModel):
    """A row of a CSV file: no other columns, empty cells are None."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class Concept(_Row):
    """One shared clinical concept.

    Examples
    --------
    >>> Concept.model_validate({"name": "lactate", "kind": "lab", "aggregation": "last", "description": "lactate",
    ...                         "unit": "mmol/L", "ucum": "mmol/L", "min": 0.1, "max": 35}).name
    'lactate'
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*(//[a-z0-9_]+)?$")
    """What stands behind ``CONCEPT//``; a second level such as ``//start`` or ``//blood`` is a concept of its own."""
    unit: str | None = None
    """Unit of its values, as people write it; None for pure numbers and events."""
    ucum: str | None = None
    """The same unit in UCUM."""
    loinc: str | None = None
    """LOINC code of the commonest form, where one exists."""
    kind: Kind
    aggregation: Aggregation
    """How values within a time cell become one: the last or first, the mean, the sum, a rate that holds until it
    changes, or whether it happened."""
    yaib: str | None = None
    """Abbreviation in ricu and YAIB."""
    min: float | None = None
    max: float | None = None
    """Wide limits in `unit`: what is outside is an error of measurement or of unit."""
    description: str = Field(min_length=1)
    label_has: str | None = None
    """Pattern that the words of a source for this concept must hold, in any case."""
    label_lacks: str | None = None
    """Pattern that they must not hold."""

    @field_validator("label_has", "label_lacks")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        return _regular(pattern)

    @field_validator("loinc")
    @classmethod
    def _has_check_digit(cls, code: str | None) -> str | None:
        """LOINC's own guard against typing errors: the digit behind the hyphen (Luhn)."""
        if code is not None and not (re.fullmatch(r"\d{1,7}-\d", code) and _luhn(code.replace("-", ""))):
            msg = "must be a LOINC code whose check digit is right, such as 2160-0"
            raise ValueError(msg)
        return code

    @model_validator(mode="after")
    def _sane_limits(self) -> "Concept":
        if (self.min is None) != (self.max is None) or (
            self.min is not None and self.max is not None and self.min >= self.max
        ):
            msg = "min and max must both be there, min below max, or both be empty"
            raise ValueError(msg)
        if self.kind in MEASURED and self.min is None:
            msg = f"a concept of kind {self.kind} must have min and max"
            raise ValueError(msg)
        return self


class CodeRule(_Row):
    """One row of a code table: which codes of a source stand for a concept, in which unit and with which attributes.

    Examples
    --------
    >>> rule = CodeRule.model_validate({"source": "ours", "code": "LAB//CREA//umol/L", "concept": "creatinine",
    ...                                 "scale": 0.01131})
    >>> rule.match, rule.role
    ('exact', 'measurement')
    """

    source: str = Field(min_length=1)
    """Name of the source; ``any`` for codes that mean the same everywhere, such as LOINC."""
    match: Literal["exact", "prefix", "regex"] = "exact"
    code: str = Field(min_length=1)
    concept: str = Field(min_length=1)
    scale: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    offset: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    """In the unit of the concept a value is ``value * scale + offset``."""
    unit: str | None = None
    """Unit of the source's numbers."""
    label: str | None = None
    """The source's own words."""
    specimen: Specimen | None = None
    role: Role = "measurement"
    method: str | None = None
    """Device, site or manner of measuring."""
    count: Annotated[int, Field(ge=0)] | None = None
    """How many events of the open demo data have this code; None where there is no demo."""
    note: str | None = None

    @field_validator("scale")
    @classmethod
    def _is_not_zero(cls, scale: float) -> float:
        if scale == 0:
            msg = "must not be 0, which would make every value the same"
            raise ValueError(msg)
        return scale

    @model_validator(mode="after")
    def _is_pattern(self) -> "CodeRule":
        if self.match == "regex":
            _regular(self.code)
        return self


def base_name(concept: str) -> str:
    """The concept that a name stands below: ``norepinephrine//start//ml/hr`` is a ``norepinephrine//start``.

    Examples
    --------
    >>> base_name("norepinephrine//start//ml/hr"), base_name("lactate")
    ('norepinephrine//start', 'lactate')
    """
    return "//".join(concept.split("//")[:2])


@cache
def concepts() -> dict[str, Concept]:
    """The concepts that come with the package, by name."""
    return {row["name"]: Concept.model_validate(row) for row in concept_table().iter_rows(named=True)}


def _regular(pattern: str | None) -> str | None:
    if pattern is not None:
        try:
            re.compile(pattern)
        except re.error as error:
            msg = f"must be a regular expression: {error}"
            raise ValueError(msg) from error
    return pattern


def _luhn(digits: str) -> bool:
    """Whether the last digit checks the others."""
    values = [int(d) for d in reversed(digits)]
    doubled = (sum(divmod(2 * d, 10)) for d in values[1::2])
    return (sum(values[::2]) + sum(doubled)) % 10 == 0
