"""Raw tables of a database: streamed in the order of their keys, with no password in any message."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

import polars as pl

from sojourn.errors import ConfigError
from sojourn.sources.frames import regroup
from sojourn.sources.tables import RawTables
from sojourn.sources.unclosed import Malformed

_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.\-]*://")
_FILES = {".duckdb": "duckdb", ".ddb": "duckdb", ".sqlite": "sqlite", ".sqlite3": "sqlite"}
_ROWS = 50_000
_SYSTEM_SCHEMAS = ("information_schema", "sys")


def database_url(raw: Path | str) -> str | None:
    """URL of the database that `raw` names: a SQLAlchemy URL, or a DuckDB or SQLite file; None if it names none.

    Examples
    --------
    >>> database_url("postgresql://reader@host/omop"), database_url(Path("omop.duckdb")), database_url(Path("folder"))
    ('postgresql://reader@host/omop', 'duckdb:///omop.duckdb', None)
    """
    if isinstance(raw, str) and _URL.match(raw):
        return raw
    dialect = _FILES.get(Path(raw).suffix.lower())
    return None if dialect is None or Path(raw).is_dir() else f"{dialect}:///{raw}"


def without_secrets(url: str) -> str:
    """The URL as it may be shown: without password and without options.

    Examples
    --------
    >>> without_secrets("postgresql://reader:secret@host:5432/omop?sslpassword=hidden")
    'postgresql://reader@host:5432/omop'
    """
    plain = url.split("?", 1)[0]
    # A password may hold an @ that nobody escaped: what matters is the last one.
    head, at, host = plain.rpartition("@")
    scheme, _, user = head.partition("://")
    return f"{scheme}://{user.partition(':')[0]}@{host}" if at else plain


class _Connection(Protocol):
    """What is asked of a database."""

    def tables(self) -> dict[str, str]:
        """Lower-case name -> how the table is written in a query."""

    def columns(self, table: str) -> list[str]:
        """Names of the columns of a table."""

    def count(self, table: str) -> int:
        """Number of rows."""

    def rows(self, table: str, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Frames with the columns, in an order that is the same each time."""


class DatabaseTables(RawTables):
    """The raw tables of a database.

    Parameters
    ----------
    url : SQLAlchemy URL, or ``duckdb:///<file>``.
    warn : called with one sentence for everything that is lost because a table or column is missing.

    Raises
    ------
    ConfigError
        If what reads the database is not installed, or it cannot be opened.
    """

    def __init__(self, url: str, warn: Callable[[str], None]) -> None:
        self.shown = without_secrets(url)
        self.raw, self._warn = Path(self.shown), warn
        self._connection: _Connection = _DuckDb(url) if url.startswith("duckdb:") else _Sql(url)
        self._names = self._connection.tables()

    def find(self, name: str) -> Path | None:
        """Place of a table, for messages; None if it is missing. Case does not matter."""
        return self.raw / name.lower() if name.lower() in self._names else None

    def names(self) -> list[str]:
        """Names of all tables, sorted."""
        return sorted(self._names)

    def columns(self, name: str) -> list[str]:
        """Names of the columns of a table; none for a table that is missing."""
        if name.lower() not in self._names:
            return []
        with _said_plainly(self.shown):
            return self._connection.columns(self._names[name.lower()])

    def fingerprint(self) -> str:
        """Digest of the names, columns and numbers of rows of the tables."""
        with _said_plainly(self.shown):
            found = [(name, self._connection.count(self._names[name])) for name in sorted(self._names)]
        return hashlib.sha256(repr(found).encode()).hexdigest()

    def _frames(
        self,
        name: str,
        required: Sequence[str],
        optional: Sequence[str],
        lost: str,
        why: str,
        batch_rows: int,
        malformed: list[Malformed],
    ) -> Iterator[pl.DataFrame]:
        if self._is_lost(name, required, lost, why):
            return
        have = {column.lower(): column for column in self.columns(name)}
        for column in optional:
            if column.lower() not in have:
                self._warn(f"column {column} of {name} is missing: it is taken as unknown")
        asked = [c for c in (*required, *optional) if c.lower() in have]
        nulls = [pl.lit(None, pl.String).alias(c) for c in optional if c.lower() not in have]
        start = 0
        with _said_plainly(self.shown):
            frames = self._connection.rows(self._names[name.lower()], [have[c.lower()] for c in asked])
            for frame in regroup(frames, batch_rows):
                named = frame.rename(dict(zip(frame.columns, asked, strict=True))).with_columns(*nulls)
                yield (
                    named.with_row_index("row", start)
                    .with_columns(pl.col("row").cast(pl.UInt64))
                    .select("row", *required, *optional)
                )
                start += frame.height


class _DuckDb:
    """A DuckDB file, read through its own client."""

    def __init__(self, url: str) -> None:
        duckdb = _needed("duckdb")
        path = url.removeprefix("duckdb:///").removeprefix("duckdb://")
        with _said_plainly(without_secrets(url)):
            self._client: Any = duckdb.connect(path, read_only=True)

    def tables(self) -> dict[str, str]:
        query = "SELECT table_schema, table_name FROM information_schema.tables ORDER BY table_schema <> 'main', 1, 2"
        return _by_name(self._client.execute(query).fetchall(), _quoted)

    def columns(self, table: str) -> list[str]:
        return [column[0] for column in self._client.execute(f"SELECT * FROM {table} LIMIT 0").description]

    def count(self, table: str) -> int:
        return int(self._client.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def rows(self, table: str, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        chosen = ", ".join(_quoted(column) for column in columns)
        # DuckDB keeps the order in which rows were inserted.
        reader = self._client.sql(f"SELECT {chosen} FROM {table}").to_arrow_reader(_ROWS)
        for batch in reader:
            yield cast(pl.DataFrame, pl.from_arrow(batch))


class _Sql:
    """Any other database, read through SQLAlchemy with a cursor on the server, in one read-only transaction."""

    def __init__(self, url: str) -> None:
        self._sql: Any = _needed("sqlalchemy")
        # Without a driver in the URL the one that comes with the extra is taken.
        named = re.sub(r"^postgres(?:ql)?://", "postgresql+psycopg://", url)
        try:
            address = self._sql.make_url(named)
        except (ValueError, self._sql.exc.ArgumentError):
            # What the parser says may quote a password.
            msg = "raw must be a URL that SQLAlchemy understands, such as postgresql://reader@host/omop; it is not one."
            raise ConfigError(msg) from None
        _must_exist(address)
        with _said_plainly(without_secrets(url)):
            # No pool: one connection is all that is used. Parameters of queries stay out of messages.
            engine = self._sql.create_engine(address, hide_parameters=True, poolclass=self._sql.NullPool)
            self._client: Any = engine.connect()
            if engine.dialect.name == "postgresql":
                # One view of the data for all tables, whatever others write meanwhile.
                options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
                self._client = self._client.execution_options(**options)
        self._quote = engine.dialect.identifier_preparer.quote
        self._inspector: Any = self._sql.inspect(self._client)
        self._places: dict[str, tuple[str | None, str]] = {}

    def tables(self) -> dict[str, str]:
        default = self._inspector.default_schema_name
        schemas = [default, *sorted(s for s in self._inspector.get_schema_names() if s != default)]
        schemas = [s for s in schemas if s is None or not (s in _SYSTEM_SCHEMAS or s.startswith("pg_"))]
        found = [
            (schema, name)
            for schema in schemas
            for name in sorted([*self._inspector.get_table_names(schema), *self._inspector.get_view_names(schema)])
        ]
        written = _by_name(found, self._quote)
        for schema, name in reversed(found):
            self._places[written[name.lower()]] = (schema, name)
        return written

    def columns(self, table: str) -> list[str]:
        return list(self._client.execute(self._sql.text(f"SELECT * FROM {table} WHERE 1 = 0")).keys())

    def count(self, table: str) -> int:
        return int(self._client.execute(self._sql.text(f"SELECT count(*) FROM {table}")).scalar_one())

    def rows(self, table: str, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        chosen = ", ".join(self._quote(column) for column in columns)
        order = ", ".join(self._quote(column) for column in self._key(table))
        query = self._sql.text(f"SELECT {chosen} FROM {table} ORDER BY {order}")
        result = self._client.execution_options(stream_results=True, max_row_buffer=_ROWS).execute(query)
        while rows := result.fetchmany(_ROWS):
            yield pl.DataFrame([_as_text(f"{i}", cells) for i, cells in enumerate(zip(*rows, strict=True))])

    def _key(self, table: str) -> list[str]:
        """Columns of the primary key, else all columns, so that an interrupted reading finds the same rows again."""
        schema, name = self._places[table]
        key = self._inspector.get_pk_constraint(name, schema)["constrained_columns"]
        return list(key) or self.columns(table)


def _as_text(name: str, cells: Sequence[Any]) -> pl.Series:
    """Cells as text, as a CSV file would have them; numbers that are all whole or all real stay numbers."""
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds <= {int} or kinds == {float}:
        try:
            return pl.Series(name, cells, pl.Float64 if kinds == {float} else pl.Int64)
        except (OverflowError, TypeError):
            pass
    return pl.Series(name, [None if cell is None else str(cell) for cell in cells], pl.String)


def _by_name(found: Sequence[Sequence[Any]], quote: Callable[[str], str]) -> dict[str, str]:
    """Lower-case table name -> schema and name for a query; of several schemas the first counts."""
    names: dict[str, str] = {}
    for schema, name in found:
        names.setdefault(name.lower(), quote(name) if schema is None else f"{quote(schema)}.{quote(name)}")
    return names


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _must_exist(url: Any) -> None:
    """SQLite would make the file that is not there."""
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        msg = f"raw must be a database; {url.database} does not exist. Give the place of the file."
        raise ConfigError(msg)


def _needed(name: str) -> ModuleType:
    """Import what only databases need."""
    try:
        return __import__(name)
    except ImportError as error:
        msg = f"reading a database must have {name}; it is not installed. Install it: pip install 'sojourn[sql]'."
        raise ConfigError(msg) from error


@contextmanager
def _said_plainly(shown: str) -> Iterator[None]:
    """Errors of a database without what they quote: connection strings hold passwords, and rows hold patients."""
    try:
        yield
    except Exception as error:
        kind = type(error)
        if kind.__module__.split(".")[0] not in ("sqlalchemy", "duckdb", "_duckdb", "psycopg", "sqlite3"):
            raise
        reason = type(getattr(error, "orig", None) or error).__name__
        msg = f"raw must be a database that can be read; {shown} is not ({reason}). Check the URL and the rights."
        raise ConfigError(msg) from None
