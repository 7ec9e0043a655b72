"""Numbers and names as a reader wants them: sensible digits, intervals in brackets, plain outcome names."""

import math
import re
from typing import Any

from markupsafe import Markup

NONE = "–"
"""What stands where there is no number."""

_COMPARISONS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
_ABBREVIATIONS = {"icu", "map", "rrt", "pit", "aki", "kdigo", "sofa"}


def number(value: Any) -> float:
    """Read a number from free-form JSON or YAML; anything that is not a finite number gives NaN.

    Examples
    --------
    >>> number(3), number("much"), number(None), number(True)
    (3.0, nan, nan, nan)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value) if math.isfinite(value) else math.nan


def fixed(value: Any, digits: int = 2) -> str:
    """Write a number with a fixed count of decimals, with a real minus sign; NaN gives a dash.

    Examples
    --------
    >>> fixed(0.8149), fixed(-1.5, 1), fixed(None)
    ('0.81', '−1.5', '–')
    """
    x = number(value)
    if math.isnan(x):
        return NONE
    text = f"{x:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def interval(value: Any, lower: Any, upper: Any, digits: int = 2) -> str:
    """Write an estimate with its interval; without bounds, the estimate alone.

    Examples
    --------
    >>> interval(0.812, 0.781, 0.842)
    '0.81 (0.78–0.84)'
    >>> interval(-0.2, -0.31, 0.01)
    '−0.20 (−0.31 to 0.01)'
    >>> interval(0.5, None, None)
    '0.50'
    """
    text = fixed(value, digits)
    bounds = [number(lower), number(upper)]
    if text == NONE or any(math.isnan(bound) for bound in bounds):
        return text
    # an en dash beside a minus sign cannot be read, so negative bounds are joined by a word
    low, high = (fixed(bound, digits) for bound in bounds)
    joint = " to " if "−" in low + high else "–"
    return f"{text} ({low}{joint}{high})"


def interval_cell(value: Any, lower: Any, upper: Any, digits: int = 2) -> Markup:
    """Write an estimate with its interval for a table cell, where the interval may wrap below the estimate.

    Examples
    --------
    >>> interval_cell(0.812, 0.781, 0.842)
    Markup('0.81 <span class="iv">(0.78–0.84)</span>')
    """
    estimate, _, bounds = interval(value, lower, upper, digits).partition(" ")
    return Markup('{} <span class="iv">{}</span>').format(estimate, bounds) if bounds else Markup(estimate)


def count(value: Any) -> str:
    """Write a whole number with thousands separators.

    Examples
    --------
    >>> count(790215)
    '790,215'
    """
    x = number(value)
    return NONE if math.isnan(x) else f"{round(x):,}".replace("-", "−")


def percent(value: Any) -> str:
    r"""Write a share as a percentage with about two significant digits.

    Examples
    --------
    >>> [percent(share).replace("\xa0", " ") for share in (0.0812, 0.426, 0.0004, 0.00001, 1)]
    ['8.1 %', '43 %', '0.04 %', '< 0.01 %', '100 %']
    """
    x = number(value) * 100
    if math.isnan(x):
        return NONE
    if 0 < x < 0.01:
        return "<\N{NO-BREAK SPACE}0.01\N{NO-BREAK SPACE}%"
    digits = 0 if abs(x) >= 10 or x == 0 else 1 if abs(x) >= 1 else 2
    return f"{fixed(x, digits)}\N{NO-BREAK SPACE}%"


def significant(value: Any, digits: int = 3) -> str:
    """Write a number with a count of significant digits; large ones with thousands separators.

    Examples
    --------
    >>> significant(0.00012345), significant(7.0), significant(1234567), significant(0.125)
    ('0.000123', '7', '1,234,567', '0.125')
    """
    x = number(value)
    if math.isnan(x):
        return NONE
    if abs(x) >= 10**digits:
        return f"{x:,.0f}".replace("-", "−")
    if x != 0 and abs(x) < 1e-6:
        return f"{x:.{digits - 1}e}".replace("-", "−")
    decimals = digits - 1 - math.floor(math.log10(abs(x))) if x else 0
    text = f"{x:.{max(decimals, 0)}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", "−")


def plain_outcome(name: Any) -> str:
    r"""Turn the name of a task or outcome into words.

    Examples
    --------
    >>> plain_outcome("OUTCOME//lactate_gt_4")
    'Lactate > 4'
    >>> plain_outcome("creatinine_ge_1p5x_first")
    'Creatinine ≥ 1.5× first'
    >>> plain_outcome("icu_death_24h").replace("\xa0", " ")
    'ICU death, 24 h'
    """
    text = str(name).removeprefix("OUTCOME//")
    words = []
    for word in re.split(r"[_\s]+", text):
        if word in _COMPARISONS:
            words.append(_COMPARISONS[word])
        elif re.fullmatch(r"\d+p\d+x?", word):
            words.append(word.replace("p", ".").replace("x", "×"))
        elif match := re.fullmatch(r"(\d+)(h|d)", word):
            if words:
                words[-1] += ","
            words.append(f"{match[1]}\N{NO-BREAK SPACE}{match[2]}")
        elif word in _ABBREVIATIONS:
            words.append(word.upper())
        else:
            words.append(word)
    plain = " ".join(words).strip()
    return plain[:1].upper() + plain[1:]


def plain_code(code: Any, description: Any = None) -> str:
    """Give the reader's name of a code: its description where there is one, else the code without its prefix.

    Examples
    --------
    >>> plain_code("CONCEPT//heart_rate"), plain_code("LAB//50813//mmol/L", "Lactate")
    ('Heart rate', 'Lactate')
    """
    if isinstance(description, str) and description.strip():
        return description.strip()
    text = str(code)
    if text.startswith("CONCEPT//"):
        plain = text.removeprefix("CONCEPT//").replace("//", " ").replace("_", " ")
        return plain[:1].upper() + plain[1:]
    return plain_outcome(text) if text.startswith("OUTCOME//") else text
