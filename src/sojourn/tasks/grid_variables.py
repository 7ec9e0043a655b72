"""The columns of a grid: which concepts stand in each, how the values of an hour become one, and what is left out."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import polars as pl

from sojourn.concepts import concept_table
from sojourn.errors import ConfigError

__all__ = ["AGGREGATIONS", "YAIB", "GridVariable", "concept_variables", "grid_variables", "yaib_variables"]

AGGREGATIONS = {
    "median": pl.col("value").median(),
    "mean": pl.col("value").mean(),
    "last": pl.col("value").last(),
    "first": pl.col("value").first(),
    "min": pl.col("value").min(),
    "max": pl.col("value").max(),
    "sum": pl.col("value").sum(),
}
"""How several values of one cell become one; the expressions see them in the order of time."""
YAIB = "yaib"
_UNMEASURED_KINDS = ("drug rate", "drug", "procedure", "demographic", "outcome")


class GridVariable(NamedTuple):
    """One column of a grid."""

    name: str
    """Name of the column."""
    concepts: tuple[str, ...]
    """Shared concepts whose values stand in it together."""
    aggregation: str
    """Key of `AGGREGATIONS`."""
    low: float | None
    """Values below it are left out; None: no limit."""
    high: float | None
    """Values above it are left out; None: no limit."""

    def codes(self) -> list[str]:
        """The codes of the events that are read."""
        return [f"CONCEPT//{concept}" for concept in self.concepts]

    def is_output(self) -> bool:
        """Whether its concepts add up over time, such as urine, however the values of one cell become one."""
        return any(concept_variables()[concept].aggregation == "sum" for concept in self.concepts)


@cache
def concept_variables() -> dict[str, GridVariable]:
    """A column for every shared concept that is measured or set, with its wide limits of what is plausible.

    Examples
    --------
    >>> concept_variables()["lactate"].high, concept_variables()["urine_output"].aggregation
    (35.0, 'sum')
    """
    # Rates and starts of treatments last, and need an end; they are no single values of an hour.
    is_measured = pl.col("aggregation").is_in(list(AGGREGATIONS)) & (pl.col("kind") != "demographic")
    table = concept_table().filter(is_measured)
    return {
        name: GridVariable(name, (name,), aggregation, low, high)
        for name, aggregation, low, high in table.select("name", "aggregation", "min", "max").iter_rows()
    }


@cache
def yaib_variables() -> dict[str, GridVariable]:
    """The 48 variables of the benchmark YAIB by their abbreviations, by its rules: medians, within `ricu`'s limits.

    Examples
    --------
    >>> len(yaib_variables()), yaib_variables()["o2sat"].concepts, yaib_variables()["na"][3:]
    (48, ('spo2', 'sao2'), (110.0, 165.0))
    """
    schema = {"variable": pl.String, "concepts": pl.String, "aggregation": pl.String, "min": pl.Float64}
    with (files("sojourn.tasks") / "yaib_variables.csv").open("rb") as file:
        table = pl.read_csv(file.read(), schema=schema | {"max": pl.Float64})
    return {
        name: GridVariable(name, tuple(concepts.split(";")), aggregation, low, high)
        for name, concepts, aggregation, low, high in table.iter_rows()
    }


def grid_variables(
    names: Sequence[str] | str | None, *, yaib_rules: bool = False, aggregate: str | None = None
) -> list[GridVariable]:
    """Look up the columns of a grid.

    Parameters
    ----------
    names
        Shared concepts or abbreviations of YAIB, in the order of the columns; ``"yaib"``: YAIB's 48 variables; None:
        every concept that is measured.
    yaib_rules
        An abbreviation of YAIB stands for YAIB's variable, with its aggregation and limits; otherwise for the same
        concepts with the aggregation and wide limits that they have with us.
    aggregate
        The same aggregation for every column, instead of its own.

    Returns
    -------
    list of GridVariable

    Raises
    ------
    ConfigError
        If a name is none of these, or comes twice, or there is no such aggregation.
    """
    ours, theirs = concept_variables(), yaib_variables()
    if not yaib_rules:
        theirs = {name: _by_our_rules(variable) for name, variable in theirs.items()}
    known = ours | theirs if yaib_rules else theirs | ours
    asked = list(theirs if names == YAIB else ours) if names is None or isinstance(names, str) else list(names)
    wrong = sorted({name for name in asked if name not in known}) or sorted({n for n in asked if asked.count(n) > 1})
    if wrong or (isinstance(names, str) and names != YAIB):
        msg = (
            f"concepts must be shared concepts or abbreviations of YAIB, each once; got {', '.join(wrong) or names}. "
            f"Known are {', '.join(known)}."
        )
        raise ConfigError(msg)
    if aggregate is not None and aggregate not in AGGREGATIONS:
        msg = f"aggregate must be one of {', '.join(AGGREGATIONS)}; got {aggregate!r}."
        raise ConfigError(msg)
    chosen = [known[name] for name in asked]
    return chosen if aggregate is None else [variable._replace(aggregation=aggregate) for variable in chosen]


def _by_our_rules(variable: GridVariable) -> GridVariable:
    """A variable of YAIB with the aggregation of its first concept and the widest limits of all of them."""
    parts = [concept_variables()[name] for name in variable.concepts]
    lows, highs = [part.low for part in parts], [part.high for part in parts]
    return variable._replace(
        aggregation=parts[0].aggregation,
        low=None if None in lows else min(low for low in lows if low is not None),
        high=None if None in highs else max(high for high in highs if high is not None),
    )
