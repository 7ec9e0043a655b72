"""What codes with a unit or an answer at their end mean, from what is known of the codes above them."""

from functools import cache
from importlib.resources import files

import polars as pl

from sojourn.events.codes import SEPARATOR, ancestors

_MEASURED = {
    "CHART",
    "DATETIME",
    "DIALYSIS_BALANCE",
    "INFUSION_START",
    "INGREDIENT",
    "INTAKE",
    "LAB",
    "MEDICATION_ORDER_START",
    "OUTPUT",
    "RESPIRATORY",
    "VITAL",
}
"""Families of codes that may end with a unit."""


@cache
def _units() -> frozenset[str]:
    """Units as sources write them."""
    return frozenset(files("sojourn.sources").joinpath("data/units.txt").read_text(encoding="utf-8").splitlines())


def unit_in(code: str) -> str | None:
    """Unit that a code ends with, or None.

    Examples
    --------
    >>> unit_in("LAB//50813//mmol/L"), unit_in("LAB//51487//NEG"), unit_in("SUSCEPTIBILITY//E. COLI//CEFEPIME//g")
    ('mmol/L', None, None)
    """
    family, *levels = code.split(SEPARATOR)
    return levels[-1] if family in _MEASURED and len(levels) > 1 and levels[-1] in _units() else None


def inherit(codes: list[str], described: pl.DataFrame) -> pl.DataFrame:
    """Describe codes by the nearest code above them that has a description.

    Parameters
    ----------
    codes : codes without a description of their own.
    described : rows with `code` and `description`.

    Returns
    -------
    DataFrame with `code`, `description` (null if no code above has one) and `unit` (null if the code names none), in
    the order of `codes`.

    Examples
    --------
    >>> described = pl.DataFrame({"code": ["LAB//51487"], "description": ["Nitrite (Urine)"]})
    >>> inherit(["LAB//51487//NEG", "LAB//9//mg/dL"], described).rows()
    [('LAB//51487//NEG', 'Nitrite (Urine): NEG', None), ('LAB//9//mg/dL', None, 'mg/dL')]
    """
    known = {code: text for code, text in described.select("code", "description").iter_rows() if text is not None}
    rows = [(code, _description(code, known), unit_in(code)) for code in codes]
    schema = {"code": pl.String, "description": pl.String, "unit": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _description(code: str, known: dict[str, str]) -> str | None:
    """Description of the nearest code above, with the levels in between except the unit."""
    above = next((level for level in ancestors(code) if level in known), None)
    if above is None:
        return None
    between = code.removeprefix(above + SEPARATOR).split(SEPARATOR)
    detail = ", ".join(level for level in between if level not in _units())
    return f"{known[above]}: {detail}" if detail else known[above]
