"""Raw tables as streams of row-numbered frames, whatever they are stored as."""

import csv
import gzip
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from sojourn.errors import MissingTableError, SchemaError
from sojourn.sources.records import SourceBatch, as_events, quarantine

_SUFFIXES = (".parquet", ".csv", ".csv.gz")
_BLOCK_BYTES = 8 << 20
_PARQUET_ROWS = 65_536
_MAX_DEPTH = 4


class RawTables:
    """The raw tables of one folder, found by their official names.

    Parameters
    ----------
    raw : folder that holds the tables, at any depth up to four.
    warn : called with one sentence for everything that is lost because a table or column is missing.
    """

    def __init__(self, raw: Path, warn: Callable[[str], None]) -> None:
        if not raw.is_dir():
            msg = f"raw must be a folder of tables; got {raw}. Give the folder that holds them."
            raise MissingTableError(msg)
        self.raw, self._warn = raw, warn
        self._paths = _index(raw)

    def find(self, name: str) -> Path | None:
        """Path of the table called `name` (such as ``icu/chartevents``), or None.

        ``.parquet`` is preferred to ``.csv`` and that to ``.csv.gz``; case does not matter, nor does the folder
        above, nor (if only one such file exists) the folder in the name.
        """
        wanted = name.lower()
        for test in (wanted, wanted.rsplit("/", 1)[-1]):
            keys = [key for key in self._paths if key == test or key.endswith("/" + test)]
            if len(keys) > 1:
                keys = [key for key in keys if key == test]
            if keys:
                return self._paths[keys[0]]
        return None

    def names(self) -> list[str]:
        """Names of all tables as their files have them, sorted."""
        paths = (path.relative_to(self.raw).as_posix() for path in self._paths.values())
        return sorted(re.sub(r"(?i)(\.parquet|\.csv|\.csv\.gz)$", "", path) for path in paths)

    def columns(self, name: str) -> list[str]:
        """Names of the columns of a table as the file has them; none for a table that is missing."""
        path = self.find(name)
        return [] if path is None else _columns(path)

    def batches(
        self,
        name: str,
        required: Sequence[str] = (),
        optional: Sequence[str] = (),
        *,
        lost: str = "",
        batch_rows: int = 500_000,
    ) -> Iterator[pl.DataFrame]:
        """Yield the table in frames of about `batch_rows` rows.

        The first column, `row` (u64), counts the raw rows from 0. Columns of CSV files are text, those of Parquet
        files are as they are; text of length 0 is null. Rows with a wrong number of fields are left out here:
        `stream` sets them aside.

        Parameters
        ----------
        name : official name, such as ``hosp/labevents``.
        required, optional : columns to read; an absent optional one is null, with a warning.
        lost : what goes missing without this table, for the warning.

        Raises
        ------
        MissingTableError
            If a required column is missing from a table that is there.
        SchemaError
            If the file cannot be read (truncated, not what its name says).
        """
        return self._frames(name, required, optional, lost, batch_rows, [])

    def stream(
        self,
        name: str,
        transform: Callable[[pl.DataFrame], tuple[pl.DataFrame, pl.DataFrame]],
        required: Sequence[str] = (),
        optional: Sequence[str] = (),
        *,
        lost: str = "",
        batch_rows: int = 500_000,
    ) -> Iterator[SourceBatch]:
        """Yield the table as `SourceBatch`: `transform` maps each frame to (events, quarantined).

        Rows with a wrong number of fields come at the end, quarantined as ``malformed_row``.
        """
        malformed: list[tuple[int, str]] = []
        for frame in self._frames(name, required, optional, lost, batch_rows, malformed):
            events, quarantined = transform(frame)
            yield SourceBatch(name, frame.height, events, quarantined)
        if malformed:
            rows = pl.DataFrame(malformed, schema={"row": pl.UInt64, "text": pl.String}, orient="row")
            yield SourceBatch(name, rows.height, as_events(), quarantine(rows, "malformed_row"))

    def read(
        self, name: str, required: Sequence[str] = (), optional: Sequence[str] = (), *, lost: str = ""
    ) -> pl.DataFrame | None:
        """Read a small table (a dictionary of items, the stays) whole; None, with a warning, if it is missing."""
        frames = list(self.batches(name, required, optional, lost=lost))
        return pl.concat(frames) if frames else None

    def _frames(
        self,
        name: str,
        required: Sequence[str],
        optional: Sequence[str],
        lost: str,
        batch_rows: int,
        malformed: list[tuple[int, str]],
    ) -> Iterator[pl.DataFrame]:
        """Frames of one table; rows that are no rows are appended to `malformed` as (row, text)."""
        path = self.find(name)
        if path is None:
            self._warn(f"table {name} is missing: {lost or 'its events'} will be missing")
            return
        have = {column.lower(): column for column in _columns(path)}
        absent = [column for column in required if column.lower() not in have]
        if absent:
            msg = f"{path} must have the column(s) {', '.join(absent)}; it does not. Restore the official table."
            raise MissingTableError(msg)
        for column in optional:
            if column.lower() not in have:
                self._warn(f"column {column} of {name} is missing: it is taken as unknown")
        wanted = {have[c.lower()]: c for c in (*required, *optional) if c.lower() in have}
        nulls = [c for c in optional if c.lower() not in have]
        reader = _read_parquet if path.suffix == ".parquet" else _read_csv
        for frame in _regroup(reader(path, list(wanted), malformed), batch_rows):
            absent_columns = (pl.lit(None, pl.String).alias(column) for column in nulls)
            yield frame.rename(wanted).with_columns(*absent_columns).select("row", *required, *optional)


def _index(raw: Path) -> dict[str, Path]:
    """Lower-case relative name without suffix -> best file."""
    found: dict[str, Path] = {}
    for depth in range(_MAX_DEPTH):
        for path in sorted(raw.glob("*/" * depth + "*")):
            name = path.relative_to(raw).as_posix().lower()
            suffix = next((s for s in reversed(_SUFFIXES) if name.endswith(s)), None)
            if suffix is None or path.name.startswith("."):
                continue
            key = name.removesuffix(suffix)
            old = found.get(key)
            if old is None or _SUFFIXES.index(suffix) < _rank(old):
                found[key] = path
    return found


def _rank(path: Path) -> int:
    return next(rank for rank, suffix in enumerate(_SUFFIXES) if path.name.lower().endswith(suffix))


def _columns(path: Path) -> list[str]:
    """Column names of a table file."""
    with _readable(path):
        if path.suffix.lower() == ".parquet":
            return list(pa_parquet.read_schema(path).names)
        opener = gzip.open if path.suffix.lower() == ".gz" else open
        with opener(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as file:
            return next(csv.reader(file), [])


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what a reader says about a damaged file into a `SchemaError` with its place."""
    try:
        yield
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        # What stands in quotes, or after a count of columns, may be a cell or a row.
        reason = re.split(r"'|(?<=\d): ", str(error))[0].partition("\n")[0][:120].strip() or type(error).__name__
        msg = f"{path} must be a whole, readable table; it is not ({reason}). Fetch or unpack it again."
        raise SchemaError(msg) from error


def _read_parquet(path: Path, columns: list[str], malformed: list[tuple[int, str]]) -> Iterator[pl.DataFrame]:
    """Row-numbered frames of a Parquet file; it has no malformed rows."""
    start = 0
    with _readable(path), pa_parquet.ParquetFile(path, pre_buffer=False) as file:
        for batch in file.iter_batches(_PARQUET_ROWS, columns=columns):
            frame = pl.DataFrame({}, height=0) if not columns else cast(pl.DataFrame, pl.from_arrow(batch))
            numbers = pl.Series("row", np.arange(start, start + batch.num_rows, dtype=np.uint64))
            start += batch.num_rows
            yield pl.DataFrame([numbers, *frame.get_columns()])


def _read_csv(path: Path, columns: list[str], malformed: list[tuple[int, str]]) -> Iterator[pl.DataFrame]:
    """Row-numbered frames of text columns; a row with a wrong number of fields keeps its number in `malformed`."""

    def set_aside(row: pa_csv.InvalidRow) -> str:
        malformed.append((row.number - 2, row.text))  # `number` counts from 1 and includes the header
        return "skip"

    # Binary, because one wrong byte must not stop a table; whole numbers and times are parsed by the source.
    convert = pa_csv.ConvertOptions(
        column_types=dict.fromkeys(columns, pa.binary()),
        include_columns=columns,
        null_values=[""],
        strings_can_be_null=True,
    )
    start = 0
    with (
        _readable(path),
        pa.input_stream(str(path), compression="gzip" if path.suffix.lower() == ".gz" else None) as stream,
        pa_csv.open_csv(
            stream,
            read_options=pa_csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),
            parse_options=pa_csv.ParseOptions(invalid_row_handler=set_aside, newlines_in_values=True),
            convert_options=convert,
        ) as reader,
    ):
        for batch in reader:
            skipped = {number for number, _ in malformed}
            numbers = _number(start, batch.num_rows, skipped)
            start = int(numbers[-1]) + 1 if len(numbers) else start
            text = [_decode(column).alias(name) for name, column in zip(columns, batch.columns, strict=True)]
            yield pl.DataFrame([pl.Series("row", numbers), *text])


def _number(start: int, count: int, skipped: set[int]) -> np.ndarray:
    """The next `count` row numbers from `start` on that are not in `skipped`."""
    numbers = np.arange(start, start + count + len(skipped), dtype=np.uint64)
    if skipped:
        numbers = numbers[~np.isin(numbers, np.fromiter(skipped, np.uint64))]
    return numbers[:count]


def _decode(column: pa.Array) -> pl.Series:
    """Bytes to text; a byte that is no UTF-8 becomes a replacement character."""
    try:
        return cast(pl.Series, pl.from_arrow(column.cast(pa.large_string())))
    except pa.ArrowInvalid:
        values = (None if value is None else value.decode(errors="replace") for value in column.to_pylist())
        return pl.Series(values, dtype=pl.String)


def _regroup(frames: Iterator[pl.DataFrame], batch_rows: int) -> Iterator[pl.DataFrame]:
    """Join small frames up to about `batch_rows` rows."""
    held: list[pl.DataFrame] = []
    for frame in frames:
        held.append(frame)
        if sum(part.height for part in held) >= batch_rows:
            yield pl.concat(held)
            held = []
    if held:
        yield pl.concat(held)
