"""Raw tables as streams of row-numbered frames, whatever they are stored as."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import polars as pl

from sojourn.errors import MissingTableError
from sojourn.sources.frames import PLAIN, TextFormat, columns_of, frames_of, regroup
from sojourn.sources.records import SourceBatch, as_events
from sojourn.sources.unclosed import Malformed, describe_unclosed, quarantine_malformed

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
        why: str = "",
        batch_rows: int = 500_000,
    ) -> Iterator[pl.DataFrame]:
        """Yield the table in frames of about `batch_rows` rows.

        The first column, `row` (u64), counts the raw rows from 0. Columns of CSV files are text, those of Parquet
        files are as they are; text of length 0 is null. Rows with a wrong number of fields are left out here:
        `stream` sets them aside. Rows that an unclosed quotation mark has swallowed are left out with a warning.

        Parameters
        ----------
        name : official name, such as ``hosp/labevents``.
        required, optional : columns to read; an absent optional one is null, with a warning, and a table without a
            required one is lost as one that is not there.
        lost : what goes missing without this table, for the warning.
        why : what does not work without this table, if nothing does; then it is not lost with a warning but needed.

        Raises
        ------
        MissingTableError
            If a table that is needed is missing, or one of its required columns.
        SchemaError
            If the file cannot be read (truncated, not what its name says).
        """
        return self._frames(name, required, optional, lost, why, batch_rows, [])

    def stream(
        self,
        name: str,
        transform: Callable[[pl.DataFrame], tuple[pl.DataFrame, pl.DataFrame]],
        required: Sequence[str] = (),
        optional: Sequence[str] = (),
        *,
        lost: str = "",
        why: str = "",
        batch_rows: int = 500_000,
    ) -> Iterator[SourceBatch]:
        """Yield the table as `SourceBatch`: `transform` maps each frame to (events, quarantined).

        Rows with a wrong number of fields come at the end, quarantined as ``malformed_row``, and those that have
        swallowed others as ``unclosed_quote``.
        """
        malformed: list[Malformed] = []
        for frame in self._frames(name, required, optional, lost, why, batch_rows, malformed):
            events, quarantined = transform(frame)
            yield SourceBatch(name, frame.height, events, quarantined)
        if malformed:
            yield SourceBatch(name, len(malformed), as_events(), quarantine_malformed(malformed))

    def read(
        self, name: str, required: Sequence[str] = (), optional: Sequence[str] = (), *, lost: str = ""
    ) -> pl.DataFrame | None:
        """Read a small table (a dictionary of items) whole; None, with a warning, if it or a column is missing."""
        frames = list(self.batches(name, required, optional, lost=lost))
        return pl.concat(frames, how="vertical_relaxed") if frames else None

    def read_needed(
        self, name: str, required: Sequence[str] = (), optional: Sequence[str] = (), *, why: str
    ) -> pl.DataFrame:
        """Read a small table without which nothing works (the stays) whole; see `batches` for what is raised."""
        empty = pl.DataFrame(schema={"row": pl.UInt64, **dict.fromkeys((*required, *optional), pl.String)})
        frames = list(self.batches(name, required, optional, why=why))
        return pl.concat(frames, how="vertical_relaxed") if frames else empty

    def need(self, name: str, required: Sequence[str] = (), *, why: str) -> None:
        """Raise a `MissingTableError` now if a table that is read later, and without which nothing works, is lost."""
        self._is_lost(name, required, "", why)

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
        """Frames of one table; rows that are no rows are appended to `malformed`, and said where they hide others."""
        path = self.find(name)
        if self._is_lost(name, required, lost, why) or path is None:
            return
        have = {column.lower(): column for column in columns_of(path, self._text)}
        for column in optional:
            if column.lower() not in have:
                self._warn(f"column {column} of {name} is missing: it is taken as unknown")
        wanted = {have[c.lower()]: c for c in (*required, *optional) if c.lower() in have}
        nulls = [c for c in optional if c.lower() not in have]
        for frame in regroup(frames_of(path, list(wanted), malformed, self._text), batch_rows):
            absent_columns = (pl.lit(None, pl.String).alias(column) for column in nulls)
            yield frame.rename(wanted).with_columns(*absent_columns).select("row", *required, *optional)
        if said := describe_unclosed(path.name, malformed, "Mend the quotation mark and ingest again."):
            self._warn(said)

    def _is_lost(self, name: str, required: Sequence[str], lost: str, why: str) -> bool:
        """Whether a table is missing or lacks a required column; said as a warning, or raised if it is needed."""
        have = {column.lower() for column in self.columns(name)}
        absent = ", ".join(column for column in required if column.lower() not in have)
        is_there = self.find(name) is not None
        if is_there and not absent:
            return False
        if why and is_there:
            msg = f"{name} in {self.raw} must have the column(s) {absent}; it does not, and without this table {why}. "
            raise MissingTableError(msg + "Restore the official table.")
        if why:
            msg = f"raw must hold {name}, without which {why}; {self.raw} does not. Add the table."
            raise MissingTableError(msg)
        what = f"table {name} lacks the column(s) {absent}" if is_there else f"table {name} is missing"
        self._warn(f"{what}: {lost or 'its events'} will be missing")
        return True


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
