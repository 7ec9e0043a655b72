"""The grammar of codes: `//` separates levels from general to special."""

from collections.abc import Iterator

import polars as pl

BIRTH = "MEDS_BIRTH"
DEATH = "MEDS_DEATH"
DISCHARGE = "HOSPITAL_DISCHARGE"
OUTCOME = "OUTCOME"
CONCEPT = "CONCEPT"
UNKNOWN = "//unknown"
SEPARATOR = "//"


def parent(code: str) -> str | None:
    """Drop the last level of a code; None for a code of one level.

    Examples
    --------
    >>> parent("LAB//50813//mmol/L"), parent("LAB")
    ('LAB//50813', None)
    """
    head, separator, _ = code.rpartition(SEPARATOR)
    return head if separator and head else None


def ancestors(code: str) -> Iterator[str]:
    """All levels above a code, nearest first.

    Examples
    --------
    >>> list(ancestors("LAB//50813//mmol/L"))
    ['LAB//50813', 'LAB']
    """
    above = parent(code)
    while above is not None:
        yield above
        above = parent(above)


def parent_expr(code: str = "code") -> pl.Expr:
    """`parent` as a polars expression (null for a code of one level)."""
    return pl.col(code).str.extract(r"^(.+)//.*$", 1)


def family_expr(code: str = "code") -> pl.Expr:
    """First level of every code."""
    return pl.col(code).str.split(SEPARATOR).list.first()


def kind_expr() -> pl.Expr:
    """From `code`, `target_only` and `is_static`: 0 for `//unknown`, 1 static, 2 timed, 3 target-only."""
    return pl.when(pl.col("code") == UNKNOWN).then(0).when("target_only").then(3).when("is_static").then(1).otherwise(2)


def is_terminal_expr(code: str = "code") -> pl.Expr:
    """Whether nothing can follow the event: death, or leaving the hospital."""
    name = pl.col(code)
    return (name == DEATH) | (name == DISCHARGE) | name.str.starts_with(DISCHARGE + SEPARATOR)


def is_outcome_expr(code: str = "code") -> pl.Expr:
    """Whether the code is a label by its name alone."""
    return pl.col(code).str.starts_with(OUTCOME + SEPARATOR)
