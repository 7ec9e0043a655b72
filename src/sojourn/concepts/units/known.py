"""Units that the concepts are recorded in somewhere in the world, and how the values of adults in ICUs lie."""

import math
import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import polars as pl

from sojourn.concepts.tables import concept_table

_SAME_SCALE = 0.005
"""Conversions that differ by less are one unit: 88.4 and 88.42 µmol/L are the same milligram."""
_ROUNDING = 1e-4
"""Limits give way by so much: single precision makes 0.21 a little less than 21 %."""
_Z95 = 1.6448536269514722
"""95 % quantile of the standard normal distribution."""


class Unit(NamedTuple):
    """A unit of a concept; ``value * scale + offset`` is in the concept's own."""

    name: str
    scale: float
    offset: float

    def is_as(self, scale: float, offset: float) -> bool:
        """Whether this is the conversion of a unit."""
        return math.isclose(self.scale, scale, rel_tol=_SAME_SCALE) and math.isclose(
            self.offset, offset, rel_tol=_SAME_SCALE, abs_tol=1e-9
        )


class Expected(NamedTuple):
    """How the natural logarithms of a concept's values lie: a normal distribution with a spread for each side."""

    middle: float
    """Median."""
    left: float
    """Standard deviation below the median."""
    right: float
    """Standard deviation above the median."""
    site_sd: float
    """Standard deviation of the sites' medians."""
    low: float
    """Least plausible value in the concept's unit (not its logarithm)."""
    high: float
    """Greatest plausible value."""


@cache
def unit_table() -> pl.DataFrame:
    """`concept`, `unit`, `names` (other spellings, ``|`` between them), `scale`, `offset`; the concept's own first."""
    return _read("units.csv").with_columns(pl.col("scale", "offset").cast(pl.Float64), pl.col("names").fill_null(""))


@cache
def expected_table() -> pl.DataFrame:
    """`concept`, quantiles `q05`, `q50`, `q95` in its own unit, and `site_sd` of the logarithm of a site's median."""
    return _read("expected_values.csv").with_columns(pl.col("q05", "q50", "q95", "site_sd").cast(pl.Float64))


def _read(name: str) -> pl.DataFrame:
    with (files("sojourn.concepts") / "data" / name).open("rb") as file:
        return pl.read_csv(file.read())


@cache
def units_of(concept: str) -> tuple[Unit, ...]:
    """Units of a concept, its own first; none for a concept that the table lacks.

    Examples
    --------
    >>> [unit.name for unit in units_of("fio2")]
    ['%', 'fraction', '% x 100']
    """
    rows = unit_table().filter(pl.col("concept") == concept).select("unit", "scale", "offset")
    return tuple(Unit(*row) for row in rows.iter_rows())


@cache
def expected_of(concept: str) -> Expected | None:
    """The expected distribution of a concept; None where the table has none.

    Examples
    --------
    >>> round(expected_of("ionized_calcium").middle, 3)  # log 1.12
    0.113
    """
    rows = expected_table().filter(pl.col("concept") == concept)
    if not len(rows):
        return None
    low, middle, high = (math.log(rows[name][0]) for name in ("q05", "q50", "q95"))
    limits = concept_table().filter(pl.col("name") == concept).select("min", "max")
    least, most = limits.row(0) if len(limits) else (None, None)
    return Expected(
        middle,
        (middle - low) / _Z95,
        (high - middle) / _Z95,
        rows["site_sd"][0],
        -math.inf if least is None else least - abs(least) * _ROUNDING,
        math.inf if most is None else most + abs(most) * _ROUNDING,
    )


def plain(text: str) -> str:
    """A unit's spelling without what does not matter: case, spaces, which letter is used for micro.

    Examples
    --------
    >>> plain("MG/DL") == plain(" mg/dl"), plain("μmol/L") == plain("umol/l"), plain("mm Hg") == plain("mmHg")
    (True, True, True)
    """
    return re.sub(r"\s+", "", text).replace("μ", "u").replace("µ", "u").lower()


@cache
def _spellings(concept: str) -> dict[str, Unit]:
    rows = unit_table().filter(pl.col("concept") == concept).select("unit", "names", "scale", "offset")
    found: dict[str, Unit] = {}
    for name, others, scale, offset in rows.iter_rows():
        for spelling in (name, *others.split("|")):
            found.setdefault(plain(spelling), Unit(name, scale, offset))
    found.pop("", None)
    return found


def find_unit(concept: str, text: str | None) -> Unit | None:
    """The unit that a text names, if it is one of the concept's.

    Examples
    --------
    >>> find_unit("creatinine", "umol/L").name, find_unit("sodium", "mEq/L").name, find_unit("sodium", "furlong")
    ('µmol/L', 'mmol/L', None)
    """
    return None if text is None else _spellings(concept).get(plain(text))


def unit_of_conversion(concept: str, scale: float, offset: float) -> Unit | None:
    """The unit of a concept that has this conversion.

    Examples
    --------
    >>> unit_of_conversion("weight", 0.4536, 0.0).name
    'lb'
    """
    return next((unit for unit in units_of(concept) if unit.is_as(scale, offset)), None)
