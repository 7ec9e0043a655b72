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
