"""What a data set itself says about the unit of each code that stands for a concept."""

from typing import NamedTuple

import polars as pl

from sojourn.concepts.annotate import annotate_codes
from sojourn.concepts.units.known import Unit, find_unit, unit_of_conversion, units_of


class Declared(NamedTuple):
    """A code that stands for a concept, and its unit as declared."""

    code: str
    concept: str
    unit: Unit | None
    """None: nobody says."""
    as_written: Unit
    """The conversion that stands in ``metadata/codes.parquet``: what a store does without unit inference."""


def declared_units(codes: pl.DataFrame, source: str | None = None) -> list[Declared]:
    """The declared units of all codes with a concept, in order of the code.

    A conversion of the package's tables, or any that changes the value, is a declaration; else the code's own unit is,
    where it names one of the concept's. A concept that is recorded in one unit only needs no declaration.

    Parameters
    ----------
    codes : DataFrame with `code`, `concept`, `unit`, `scale` and `offset`.
    source : name of the source that the data set was made from.

    Examples
    --------
    >>> codes = {"code": ["LAB//1//umol/L"], "concept": ["creatinine"], "unit": ["umol/L"], "scale": 1.0, "offset": 0.0}
    >>> declared_units(pl.DataFrame(codes))[0].unit
    Unit(name='µmol/L', scale=0.0113096, offset=0.0)
    """
    told = codes.filter(pl.col("concept").is_not_null()).sort("code")
    is_tabled = _tabled(told, source)
    return [
        Declared(row["code"], row["concept"], _declared(row, tabled), Unit(_name(row), row["scale"], row["offset"]))
        for row, tabled in zip(told.iter_rows(named=True), is_tabled, strict=True)
    ]


def _tabled(told: pl.DataFrame, source: str | None) -> pl.Series:
    """Whether the package's tables give these codes their conversion."""
    if source is None:
        return pl.repeat(pl.lit(value=False), len(told), eager=True)
    bare = told.select("code", concept=pl.lit(None, pl.String), scale=pl.lit(1.0), offset=pl.lit(0.0))
    return annotate_codes(bare, source)["concept"].is_not_null()


def _name(row: dict[str, object]) -> str:
    """What to call the unit of a code: as the concept calls it, else as the code does."""
    concept, unit = str(row["concept"]), row["unit"]
    known = unit_of_conversion(concept, float(str(row["scale"])), float(str(row["offset"])))
    return known.name if known is not None else str(unit or "")


def _declared(row: dict[str, object], is_tabled: bool) -> Unit | None:
    concept, scale, offset = str(row["concept"]), float(str(row["scale"])), float(str(row["offset"]))
    if is_tabled or scale != 1 or offset != 0:
        return Unit(_name(row), scale, offset)
    own = find_unit(concept, None if row["unit"] is None else str(row["unit"]))
    if own is not None:
        return own
    return Unit(_name(row), scale, offset) if len(units_of(concept)) < 2 else None
