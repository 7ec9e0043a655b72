"""From a mapping to expressions over batches, with every column looked for in the files before anything is read."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl

from sojourn.errors import MissingTableError
from sojourn.sources.csv_mapping import expressions as say
from sojourn.sources.csv_mapping.events import emits_of, times_of
from sojourn.sources.csv_mapping.loading import Located, Place, suggest
from sojourn.sources.csv_mapping.mapping import FileFormat, Table
from sojourn.sources.frames import TextFormat, columns_of
from sojourn.sources.recipes import Emit

_SEPARATORS = {".tsv": "\t", ".tab": "\t"}


class Dialect(NamedTuple):
    """How the files of one table are written."""

    paths: tuple[Path, ...]
    text: TextFormat
    nulls: tuple[str, ...]
    writing: say.Writing


class Join(NamedTuple):
    """Columns that rows of another table bring."""

    table: str
    dialect: Dialect
    key: str
    """Column of the other table."""
    by: str
    """Column of this table."""
    columns: tuple[str, ...]
    """Columns of the other table."""


class Compiled(NamedTuple):
    """One table, ready to be read."""

    name: str
    dialect: Dialect
    columns: tuple[str, ...]
    """Own columns to read."""
    joins: tuple[Join, ...]
    subject: pl.Expr
    """Cleaned text of the patient's id."""
    site: pl.Expr | None
    """Hospital; None where there is one for all rows."""
    emits: tuple[Emit, ...]
    written_times: tuple[pl.Expr, ...]
    """Texts of the columns with times, to tell an unreadable time from none."""


def joined(table: str, column: str) -> str:
    """Name of another table's column in the batches of this one; ``_`` keeps it out of the quarantine's records."""
    return f"_{table}.{column}"


def compile_mapping(located: Located) -> list[Compiled]:
    """All tables of a mapping that give events.

    Raises
    ------
    ConfigError
        If a table, column, format or zone is not there; the message says where it stands and what is near.
    MissingTableError
        If a file is not there.
    """
    mapping = located.mapping
    if mapping.time_zone is not None and (wrong := say.check_zone(mapping.time_zone)):
        raise located.error(("time_zone",), wrong)
    dialects = {name: _dialect(located, name, table) for name, table in mapping.tables.items()}
    found = [_compile(located, name, table, dialects) for name, table in mapping.tables.items()]
    compiled = [table for table in found if table is not None]
    if not compiled:
        raise located.error(("tables",), "no table says what its rows are. Give one of them events.")
    return compiled


def _dialect(located: Located, name: str, table: Table) -> Dialect:
    """Files of a table and how they are written: by itself, by the defaults, by their names."""
    paths = tuple(sorted(path for path in located.folder.glob(table.file) if path.is_file()))
    if not paths:
        there = [path.relative_to(located.folder).as_posix() for path in located.folder.rglob("*") if path.is_file()]
        place = ("tables", name, "file")
        said = f"{located.folder} has no file {table.file}.{suggest(table.file, there)}"
        raise MissingTableError(str(located.error(place, said)))
    chosen = _merged(table, located.mapping.defaults)
    is_parquet = paths[0].suffix.lower() == ".parquet"
    suffix = Path(paths[0].name.lower().removesuffix(".gz")).suffix
    formats = chosen.time_format or ()
    for form in formats:
        if wrong := say.check_format(form):
            own = ("tables", name, "time_format") if table.time_format else ("defaults", "time_format")
            raise located.error(own, wrong)
    return Dialect(
        paths,
        TextFormat(
            chosen.separator or _SEPARATORS.get(suffix, ","),
            chosen.encoding or "utf-8",
            None if chosen.quote == "none" else chosen.quote or '"',
        ),
        chosen.nulls or (),
        say.Writing("." if is_parquet else chosen.decimal or ".", formats, located.mapping.time_zone),
    )


def _merged(table: Table, defaults: FileFormat) -> FileFormat:
    """The table's own format where it has one, else the defaults."""
    names = FileFormat.model_fields
    own = {name: getattr(table, name) for name in names if getattr(table, name) is not None}
    return defaults.model_copy(update=own)


class Names:
    """The columns that one table's mapping may name; notes those that it does."""

    def __init__(self, located: Located, name: str, table: Table, dialects: dict[str, Dialect]) -> None:
        self._located, self._name, self._table, self._dialects = located, name, table, dialects
        self._own = _header(dialects[name])
        self.used: dict[str, dict[str, None]] = {other: {} for other in (name, *table.join)}
        for other, column in table.join.items():
            place: Place = ("tables", name, "join", other)
            if other not in dialects:
                raise located.error(place, f"there is no table {other!r}.{suggest(other, dialects)}")
            if located.mapping.tables[other].key is None:
                raise located.error(place, f"table {other} must say which column is its key, to be joined.")
            self.at(place)(column)

    def at(self, place: Place) -> say.Column:
        """Look columns up for one place of the mapping."""
        return lambda name: self._cells(name, place)

    def _cells(self, name: str, place: Place) -> say.Cells:
        if name in self._own:
            self.used[self._name][name] = None
            return say.Cells(pl.col(name), self._dialects[self._name].writing)
        other, _, column = name.partition(".")
        if other in self._table.join and column in (header := _header(self._dialects[other])):
            self.used[other][column] = None
            return say.Cells(pl.col(joined(other, column)), self._dialects[other].writing)
        if other in self._table.join and column:
            said = f"{self._dialects[other].paths[0].name} has no column {column!r}.{suggest(column, header)}"
            raise self._located.error(place, said)
        known = [*self._own, *(f"{t}.{c}" for t in self._table.join for c in _header(self._dialects[t]))]
        file = self._dialects[self._name].paths[0].name
        raise self._located.error(place, f"{file} has no column {name!r}.{suggest(name, known)}")


def _header(dialect: Dialect) -> list[str]:
    """Columns that all files of a table have."""
    first, *others = (columns_of(path, dialect.text) for path in dialect.paths)
    return [column for column in first if all(column in other for other in others)]


def _compile(located: Located, name: str, table: Table, dialects: dict[str, Dialect]) -> Compiled | None:
    """One table; None if its rows give no event and other tables only join it."""
    mapping, names = located.mapping, Names(located, name, table, dialects)
    top: Place = ("tables", name)
    if table.key is not None:
        names.at((*top, "key"))(table.key)
    _check_times(located, table, top)
    emits = tuple(emits_of(table, names.at, top))
    if not emits:
        return None
    subject = names.at((*top, "subject") if table.subject else ("subject", "column"))(
        table.subject or mapping.subject.column
    )
    site_column = table.site or mapping.site_column
    site = names.at((*top, "site") if table.site else ("site_column",))(site_column).text if site_column else None
    written = tuple(names.at(top)(spec.column).text for spec, _ in times_of(table, top) if spec.column is not None)
    joins = tuple(
        Join(other, dialects[other], key, by, tuple(names.used[other]))
        for other, by in table.join.items()
        if (key := mapping.tables[other].key) is not None
    )
    return Compiled(name, dialects[name], tuple(names.used[name]), joins, subject.text, site, emits, written)


def _check_times(located: Located, table: Table, top: Place) -> None:
    """Refuse formats and zones that are none."""
    for spec, place in times_of(table, top):
        problems: Iterator[str | None] = (say.check_format(form) for form in spec.format or ())
        zone = say.check_zone(spec.zone) if spec.zone is not None else None
        for wrong in (*problems, zone):
            if wrong:
                raise located.error(place, wrong)
        if spec.zone is not None and located.mapping.time_zone is None:
            said = "zone needs time_zone at the top of the mapping: the zone that all times are brought to."
            raise located.error(place, said)
