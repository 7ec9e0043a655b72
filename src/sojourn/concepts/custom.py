"""A user's own tables: concepts and codes in CSV files of the same layout as those of the package."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import polars as pl
from pydantic import BaseModel, ValidationError

from sojourn.concepts.check import Problem, check_dictionary, check_rules, fill_conversion
from sojourn.concepts.registry import CodeRule, Concept, concepts
from sojourn.concepts.tables import CODE_SCHEMA, CONCEPT_SCHEMA
from sojourn.errors import SchemaError

__all__ = ["OwnTables", "read_dictionary", "read_tables"]

_SHOWN = 20
_RowT = TypeVar("_RowT", bound=BaseModel)


class OwnTables(NamedTuple):
    """What a user adds to the registry."""

    concepts: pl.DataFrame
    """Columns of `sojourn.concepts.tables.CONCEPT_SCHEMA`."""
    codes: pl.DataFrame
    """Columns of `sojourn.concepts.tables.CODE_SCHEMA`."""


def read_tables(place: Path, *, source: str | None = None, dictionary: Path | None = None) -> OwnTables:
    """Read and check a user's tables.

    A file with a column `name` holds concepts, one with a column `code` holds codes. Only `code` and `concept` are
    needed there; of a concept `name, kind, aggregation, description`, and `min` and `max` where it is measured. A row
    that names a unit and no scale gets the conversion of that unit.

    Parameters
    ----------
    place : CSV file, or folder of CSV files.
    source : source of the rows that name none.
    dictionary : CSV file of the source's own words (an id and a label) that the codes are checked against.

    Raises
    ------
    SchemaError
        If anything is wrong; the message names file, line and column of every problem, and says what to do.
    """
    files = _files(place)
    headers = {path: _header(path) for path in files}
    own_concepts = [path for path in files if "name" in headers[path]]
    problems: list[str] = []
    added: dict[str, Concept] = {}
    for path in own_concepts:
        added |= {concept.name: concept for _, concept in _rows(path, Concept, {}, problems)}
    known = concepts() | added
    codes: list[CodeRule] = []
    for path in files:
        if path in own_concepts:
            continue
        rows = _rows(path, CodeRule, {"source": source} if source else {}, problems)
        rules = [(line, fill_conversion(rule, known)) for line, rule in rows]
        found = check_rules(rules, known)
        if dictionary is not None:
            found += check_dictionary(rules, read_dictionary(dictionary))
        problems += [_said(path, problem) for problem in found]
        codes += [rule for _, rule in rules]
    if problems:
        rest = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        msg = f"{place} must hold tables of concepts:\n  " + "\n  ".join(problems[:_SHOWN]) + rest
        raise SchemaError(msg)
    return OwnTables(_frame(list(added.values()), CONCEPT_SCHEMA), _frame(codes, CODE_SCHEMA))


def read_dictionary(path: Path) -> pl.DataFrame:
    """Read a source's own words for its ids, such as ``d_labitems.csv``.

    Returns
    -------
    DataFrame with `id` and `label`, both strings; the id is the column `id`, `itemid` or `code`.

    Raises
    ------
    SchemaError
        If there is no such column, or none called `label`.
    """
    names = {name.lower(): name for name in _header(path)}
    key = next((names[name] for name in ("id", "itemid", "code") if name in names), None)
    if key is None or "label" not in names:
        msg = f"{path} must have the columns id (or itemid, or code) and label; got {', '.join(names.values())}."
        raise SchemaError(msg)
    frame = pl.read_csv(path, infer_schema=False, glob=False)
    return frame.select(id=pl.col(key).str.strip_chars(), label=pl.col(names["label"]).str.strip_chars())


def _files(place: Path) -> list[Path]:
    found = sorted(place.glob("*.csv")) if place.is_dir() else [place] if place.is_file() else []
    if not found:
        msg = f"concepts must be a CSV file or a folder of them; {place} is none. Give the place of your tables."
        raise SchemaError(msg)
    return found


def _header(path: Path) -> list[str]:
    """Names of the columns."""
    try:
        return pl.read_csv(path, n_rows=0, infer_schema=False, glob=False).columns
    except pl.exceptions.PolarsError as error:
        msg = f"{path} must be a CSV file with a header in its first line; it cannot be read as one."
        raise SchemaError(msg) from error


def _rows(path: Path, kind: type[_RowT], defaults: dict[str, str], problems: list[str]) -> list[tuple[int, _RowT]]:
    """(line, row) of all rows that are right; what is wrong is added to `problems`."""
    missing = [name for name, field in kind.model_fields.items() if field.is_required()]
    missing = [name for name in missing if name not in [*_header(path), *defaults]]
    if missing:
        have = f"must have the columns {', '.join(missing)}"
        problems.append(f"{path.name} line 1: {have}. Add them, or give the source on the command line.")
        return []
    good: list[tuple[int, _RowT]] = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)  # which knows the lines; polars does not tell them
        for row in reader:
            cells = {name: text.strip() for name, text in row.items() if isinstance(text, str) and text.strip()}
            try:
                good.append((reader.line_num, kind.model_validate(defaults | cells)))
            except ValidationError as error:
                problems += [_said(path, _problem(reader.line_num, dict(found))) for found in error.errors()]
    return good


def _problem(line: int, error: dict[str, object]) -> Problem:
    """A validation error as one of our own."""
    place = error["loc"]
    column = ", ".join(map(str, place)) if isinstance(place, tuple) else str(place)
    message = str(error["msg"]).removeprefix("Value error, ")
    got = f"; got {error['input']!r}" if isinstance(error.get("input"), str) else ""
    if error["type"] == "extra_forbidden":
        message, got = "is no column of this table. Remove it or correct its name", ""
    return Problem(line, column or "the row", f"{message}{got}.")


def _said(path: Path, problem: Problem) -> str:
    return f"{path.name} line {problem.line}, column {problem.column}: {problem.message}"


def _frame(rows: Sequence[BaseModel], schema: dict[str, type[pl.DataType]]) -> pl.DataFrame:
    return pl.DataFrame([row.model_dump() for row in rows], schema=schema)
