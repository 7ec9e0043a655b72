"""What a person says about units, which goes before everything that is inferred."""

from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import yaml

from sojourn.concepts.units.known import Unit, find_unit, units_of
from sojourn.errors import ConfigError

RAW = "raw"
"""In place of a unit: do not convert, keep the local code."""

_SCHEMA = {"site": pl.String, "concept": pl.String, "code": pl.String, "unit": pl.String}


class Override(NamedTuple):
    """One line of an override file; None fits everything."""

    site: str | None
    concept: str | None
    code: str | None
    unit: str

    def fits(self, site: str | None, concept: str, code: str) -> bool:
        """Whether the line speaks of a code at a site."""
        wanted = (self.site, self.concept, self.code)
        return all(want is None or want == have for want, have in zip(wanted, (site, concept, code), strict=True))

    def __str__(self) -> str:
        named = {"site": self.site, "concept": self.concept, "code": self.code}
        return ", ".join(f"{name} {value}" for name, value in named.items() if value is not None) + f": {self.unit}"

    @property
    def weight(self) -> tuple[bool, bool]:
        """The line that says most counts: one for a code before one for a concept, then one for a site."""
        return self.code is not None, self.site is not None


def read_overrides(path: Path) -> pl.DataFrame:
    """Read `site, concept, code, unit` from a CSV file or a YAML list; an empty cell fits everything.

    Raises
    ------
    ConfigError
        If the file cannot be read, a line names neither concept nor code, or a unit is missing.
    """
    try:
        if path.suffix.lower() in (".yaml", ".yml"):
            rows: Any = yaml.safe_load(path.read_text(encoding="utf-8")) or []
        else:
            rows = pl.read_csv(path, infer_schema=False, glob=False).to_dicts()
    except (OSError, UnicodeDecodeError, yaml.YAMLError, pl.exceptions.PolarsError) as error:
        msg = f"overrides must be a CSV file or a YAML list; reading {path} gave {type(error).__name__}."
        raise ConfigError(msg) from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        msg = f"overrides must be a list of lines with {', '.join(_SCHEMA)}; {path} holds something else."
        raise ConfigError(msg)
    for number, row in enumerate(rows, 1):
        if set(row) - set(_SCHEMA) or not row.get("unit") or not (row.get("concept") or row.get("code")):
            msg = (
                f"overrides must have a unit and a concept or code in each line, and no columns but "
                f"{', '.join(_SCHEMA)}; line {number} of {path} has {sorted(k for k, v in row.items() if v)}."
            )
            raise ConfigError(msg)
    told = [{name: (None if row.get(name) in (None, "") else str(row[name])) for name in _SCHEMA} for row in rows]
    return pl.DataFrame(told, schema=_SCHEMA)


def as_overrides(table: pl.DataFrame) -> list[Override]:
    """The lines of `read_overrides`, those that say most first, later ones before earlier ones."""
    lines = [Override(*row) for row in table.reverse().select(list(_SCHEMA)).iter_rows()]
    return sorted(lines, key=lambda line: line.weight, reverse=True)


def overridden(overrides: list[Override], site: str | None, concept: str, code: str) -> tuple[bool, Unit | None]:
    """Whether a line speaks of a code at a site, and the unit that it names (None: raw).

    Raises
    ------
    ConfigError
        If the unit is none of the concept's.
    """
    line = next((line for line in overrides if line.fits(site, concept, code)), None)
    if line is None or line.unit == RAW:
        return line is not None, None
    unit = find_unit(concept, line.unit)
    if unit is None:
        known = ", ".join(unit.name for unit in units_of(concept)) or "none"
        msg = f"overrides must name a unit of {concept} ({known}) or {RAW}; got {line.unit!r}."
        raise ConfigError(msg)
    return True, unit


def unused(overrides: list[Override], table: pl.DataFrame) -> tuple[str, ...]:
    """The lines that speak of no pair of a table of units: a name in them may be misspelt."""
    pairs = table.select("site", "concept", "code").unique().rows()
    return tuple(str(line) for line in overrides if not any(line.fits(*pair) for pair in pairs))
