"""Raw tables as streams of row-numbered frames, whatever they are stored as."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import polars as pl

from sojourn.errors import MissingTableError
from sojourn.sources.frames import PLAIN, TextFormat, columns_of, frames_of, regroup
from sojourn.sources.records import SourceBatch, as_events, quarantine

_SUFFIXES = (".parquet", ".csv", ".csv.gz")
_MAX_DEPTH = 4


class RawTables:
    """The raw tables of one folder, found by their official names.

    Parameters
    ----------
    raw : folder that holds the tables, at any depth up to four.
    warn : called with one sentence for everything that is lost because a table or column is missing.
    text : how the text files are written.
    """

    def __init__(self, raw: Path, warn: Callable[[str], None], text: TextFormat = PLAIN) -> None:
        if not raw.is_dir():
            msg = f"raw must be a folder of tables; got {raw}. Give the folder that holds them."
            raise MissingTableError(msg)
        self.raw, self._warn, self._text = raw, warn, text
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
        return [] if path is None else columns_of(path, self._text)

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
        have = {column.lower(): column for column in columns_of(path, self._text)}
        absent = [column for column in required if column.lower() not in have]
        if absent:
            msg = f"{path} must have the column(s) {', '.join(absent)}; it does not. Restore the official table."
            raise MissingTableError(msg)
        for column in optional:
            if column.lower() not in have:
                self._warn(f"column {column} of {name} is missing: it is taken as unknown")
        wanted = {have[c.lower()]: c for c in (*required, *optional) if c.lower() in have}
        nulls = [c for c in optional if c.lower() not in have]
        for frame in regroup(frames_of(path, list(wanted), malformed, self._text), batch_rows):
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
