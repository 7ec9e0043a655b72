"""Look at the beginning of a file: its separator and encoding, and what its columns hold."""

import csv
import gzip
import re
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import polars as pl

from sojourn.sources.csv_mapping.expressions import Cells, Writing, time, value_of
from sojourn.sources.csv_mapping.mapping import Time
from sojourn.sources.frames import TextFormat, columns_of, frames_of

_BYTES = 1 << 16
_ROWS = 2_000
_SEPARATORS = ",;\t|"
_FORMATS = (
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%Y/%m/%d %H:%M",
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
)
"""Formats that are tried after ISO 8601; day before month, unless a day stands second."""
NULLS = ("NULL", "null", "n/a", "NA", "NaN", "-")
"""Words that are taken for empty cells."""
_MOST = 0.8
"""Share of the filled cells that must be readable."""


class Look(NamedTuple):
    """What the first rows of a file show."""

    columns: list[str]
    separator: str | None
    """None for Parquet."""
    encoding: str
    """``ascii`` where any would do."""
    decimal: str | None
    """None where no number has a fraction."""
    times: dict[str, str]
    """Columns of times -> their format; empty for ISO 8601."""
    numbers: list[str]
    """Columns of numbers."""
    frame: pl.DataFrame
    """The rows, as text."""

    def is_key(self, column: str) -> bool:
        """Whether no row repeats another's value."""
        filled = self.frame[column].drop_nulls()
        return len(filled) > 0 and filled.n_unique() == len(filled)

    def is_whole(self, column: str) -> bool:
        """Whether all values are whole numbers without a zero before them."""
        return bool(self.frame[column].drop_nulls().str.contains(r"^(?:0|[1-9]\d{0,17})$").all())


def look_at(path: Path) -> Look:
    """Look at the first rows of a table file.

    Raises
    ------
    SchemaError
        If the file cannot be read.
    """
    if path.suffix.lower() == ".parquet":
        text, separator, encoding = TextFormat(), None, "ascii"
    else:
        beginning = _beginning(path)
        encoding = _encoding(beginning)
        separator = _separator(beginning.decode(encoding, errors="replace"))
        text = TextFormat(separator, "utf-8" if encoding == "ascii" else encoding)
    columns = columns_of(path, text)
    parts = list(islice(frames_of(path, columns, [], text), 1)) if columns else []
    schema = dict.fromkeys(columns, pl.String)
    frame = parts[0].head(_ROWS).drop("row").cast(pl.String) if parts else pl.DataFrame(schema=schema)
    frame = frame.with_columns(pl.when(~pl.all().str.strip_chars().is_in(NULLS)).then(pl.all()).name.keep())
    decimal = None if separator is None else _decimal(frame)
    times = {column: form for column in columns if (form := _time_format(frame[column])) is not None}
    numbers = [column for column in columns if column not in times and _is_number(frame[column], decimal or ".")]
    return Look(columns, separator, encoding, decimal, times, numbers, frame)


def _beginning(path: Path) -> bytes:
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    with opener(path, "rb") as file:
        return bytes(file.read(_BYTES))


def _encoding(beginning: bytes) -> str:
    """ASCII or UTF-8 if it is, else Latin-1, in which every byte is a character."""
    if beginning.isascii():
        return "ascii"
    try:
        beginning[: beginning.rfind(b"\n") + 1].decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _separator(text: str) -> str:
    """The separator that parts the first line into most fields."""
    first = next(csv.reader([text.partition("\n")[0]]), [""])
    line = ",".join(first)
    return max(_SEPARATORS, key=line.count)


def _decimal(frame: pl.DataFrame) -> str | None:
    """Whether more cells look like 1,5 than like 1.5; None where none looks like either."""
    filled = [column.drop_nulls().rename("") for column in frame.get_columns()]
    cells = pl.concat([pl.Series([], dtype=pl.String), *filled])
    commas, points = (int(cells.str.contains(rf"^-?\d+{sign}\d+$").sum()) for sign in (",", r"\."))
    return "," if commas > points else "." if points else None


def _time_format(column: pl.Series) -> str | None:
    """Format of a column of times, "" for ISO 8601; None if it holds none."""
    filled = column.drop_nulls()
    if len(filled) == 0 or not filled.str.contains(r"\d\d?[-/.]\d\d?[-/.]\d\d").mean() >= _MOST:  # type: ignore[operator]
        return None
    for form in ("", *_FORMATS):
        read = _read_as(filled, form)
        if 1 - read.null_count() / len(filled) >= _MOST and not (re.search("^%d/", form) and read.null_count()):
            return form
    return None


def _read_as(filled: pl.Series, form: str) -> pl.Series:
    """Times in one format."""
    cells = Cells(pl.col("t"), Writing(".", (form,) if form else (), None))
    return filled.to_frame("t").select(time(Time(column="t"), lambda _: cells)).to_series()


def _is_number(column: pl.Series, decimal: str) -> bool:
    """Whether most filled cells are numbers."""
    filled = column.drop_nulls()
    if len(filled) == 0:
        return False
    cells = Cells(pl.col("v"), Writing(decimal, (), None))
    return 1 - filled.to_frame("v").select(value_of(cells)).to_series().null_count() / len(filled) >= _MOST
