"""The exceptions that Sojourn raises for what its user can mend.

SojournError
├── DataError                 raw tables, MEDS data sets, stores
│   ├── MissingTableError     nothing works without this table or column
│   ├── SchemaError           a file is not what its name says
│   └── StoreError            an event store is damaged, unfinished or of another version
├── TaskError                 an outcome or cohort definition cannot be used
├── ConfigError               a setting contradicts another one
├── RunError                  a run folder is damaged, unfinished or does not fit the store
├── FetchError                a download failed, and how to go on
└── FederationError           training across sites
    ├── UpdateRefusedError    what a site sent cannot be used, with the reason in a word
    ├── BudgetError           a site's privacy budget would be overdrawn
    └── JobRefusedError       a site does not take part in a job, with the reason in a word

Messages read ``<argument> must <contract>; got <value or shape> at <place>. <next step>.`` and show
rows, shapes and column names, never a patient's values.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class SojournError(Exception):
    """Base of everything that Sojourn raises on purpose."""


class DataError(SojournError):
    """Raw tables, MEDS data sets or stores cannot be used as they are."""


class MissingTableError(DataError):
    """A table or column without which nothing works is not there."""


class SchemaError(DataError):
    """A file is not what its name says it is."""


class StoreError(DataError):
    """An event store is damaged, unfinished or of another version."""


class TaskError(SojournError):
    """An outcome or cohort definition cannot be used."""


class ConfigError(SojournError):
    """A setting is out of range or contradicts another one."""


class RunError(SojournError):
    """A run folder is damaged, unfinished or does not fit the store."""


class FetchError(SojournError):
    """A download failed; the message says why and how to go on."""


class FederationError(SojournError):
    """A training across sites cannot go on, or a site does not take part."""


class UpdateRefusedError(FederationError):
    """What a site sent cannot be used.

    Parameters
    ----------
    reason : one word, for counting, such as ``not_finite``.
    message : the whole sentence.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class BudgetError(FederationError):
    """A release would overdraw a site's privacy budget."""


class JobRefusedError(FederationError):
    """A job, or a question of it, is not what a site agreed to.

    Parameters
    ----------
    reason : one word, for counting, such as ``not_approved``.
    message : the whole sentence.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def describe(error: Exception) -> str:
    """Kind and text of another library's exception; without the text where it may quote a patient's values.

    Examples
    --------
    >>> describe(ValueError("no such column"))
    'ValueError: no such column'
    """
    quotes_data = any(kind.__module__.split(".")[0] in ("polars", "pyarrow") for kind in type(error).__mro__)
    return type(error).__name__ if quotes_data else f"{type(error).__name__}: {error}"


_SAID = {
    "extra_forbidden": "there is no such setting",
    "missing": "is missing",
    "model_type": "must be names with values",
}
"""Kinds of problems that pydantic tells in words of Python."""


def problems(error: "ValidationError") -> str:
    """What is wrong with settings or definitions: place and reason of each problem, without what was given.

    Examples
    --------
    >>> from pydantic import BaseModel, Field, ValidationError
    >>> class Size(BaseModel, extra="forbid"):
    ...     width: int = Field(ge=1)
    >>> try:
    ...     Size.model_validate({"width": 0, "widht": 3})
    ... except ValidationError as error:
    ...     problems(error)
    'width: Input should be greater than or equal to 1; widht: there is no such setting'
    """
    found = []
    for problem in error.errors():
        place = ".".join(map(str, problem["loc"]))
        said = _SAID.get(problem["type"], problem["msg"].removeprefix("Value error, ").rstrip("."))
        found.append(f"{place}: {said}" if place else said)
    return "; ".join(found)
