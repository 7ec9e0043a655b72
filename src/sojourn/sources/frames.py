"""Table files as streams of row-numbered frames: Parquet as it is, delimited text in any dialect and encoding."""

import csv
import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from sojourn.errors import SchemaError
from sojourn.sources.replaced import ReplacedBytes
from sojourn.sources.unclosed import Malformed, RowLines

_BLOCK_BYTES = 8 << 20
_PARQUET_ROWS = 65_536


class TextFormat(NamedTuple):
    """How a delimited text file is written."""

    separator: str = ","
    """One character between the fields."""
    encoding: str = "utf-8"
    """Any encoding that Python knows. Bytes that are no UTF-8 become replacement characters."""
    quote: str | None = '"'
    """Character around fields that hold a separator; None: a quotation mark is a character like others."""

    @property
    def is_utf8(self) -> bool:
        """Whether no other encoding was said."""
        return self.encoding.lower().replace("_", "-") in ("utf-8", "utf8")

    @property
    def dialect(self) -> dict[str, Any]:
        """The same for the `csv` module."""
        quoting = csv.QUOTE_NONE if self.quote is None else csv.QUOTE_MINIMAL
        return {"delimiter": self.separator, "quotechar": self.quote, "quoting": quoting}


PLAIN = TextFormat()
"""Comma, UTF-8, double quotes: what archives publish."""


def columns_of(path: Path, text: TextFormat = PLAIN) -> list[str]:
    """Column names of a table file; none for an empty file."""
    if path.suffix.lower() == ".parquet":
        with readable(path):
            return list(pa_parquet.read_schema(path).names)
    return _read_header(path, text)[0]


def _read_header(path: Path, text: TextFormat) -> tuple[list[str], bool]:
    """Column names of delimited text, and whether anything follows them."""
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    encoding, errors = ("utf-8-sig", "replace") if text.is_utf8 else (text.encoding, "strict")
    with readable(path), opener(path, "rt", encoding=encoding, errors=errors, newline="") as file:
        header = next(csv.reader(file, **text.dialect), [])
        return header, bool(file.read(1))


def frames_of(
    path: Path, columns: Sequence[str], malformed: list[Malformed], text: TextFormat = PLAIN
) -> Iterator[pl.DataFrame]:
    """Yield a table file in frames of some ten thousand rows.

    Parameters
    ----------
    path : a Parquet file, or delimited text, gzipped or not.
    columns : names as the file has them.
    malformed : rows with a wrong number of fields, or that have swallowed others, are appended to it.
    text : how the file is written, if it is text.

    Returns
    -------
    Frames with `row` (u64, raw rows from 0) and the columns: text for delimited text (length 0 is null), else as
    they are.

    Raises
    ------
    SchemaError
        If the file cannot be read (truncated, not what its name says, another encoding).
    """
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path, list(columns))
    return _read_csv(path, list(columns), malformed, text)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what a reader says about a damaged file into a `SchemaError` with its place."""
    try:
        yield
    except (UnicodeError, LookupError) as error:
        msg = f"{path} must be text in the encoding that was said; it is not ({type(error).__name__}). Say another one."
        raise SchemaError(msg) from error
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        if "straddling object" in str(error):  # a row that is longer than a block
            msg = (
                f"{path} must have rows of less than {_BLOCK_BYTES >> 20} MiB; one is longer, probably because a "
                "quotation mark is never closed. Mend the mark; a mapping of your own can say quote: none."
            )
            raise SchemaError(msg) from error
        # What stands in quotes, or after a count of columns, may be a cell or a row.
        reason = re.split(r"'|(?<=\d): ", str(error))[0].partition("\n")[0][:120].strip() or type(error).__name__
        msg = f"{path} must be a whole, readable table; it is not ({reason}). Fetch or unpack it again."
        raise SchemaError(msg) from error


def _read_parquet(path: Path, columns: list[str]) -> Iterator[pl.DataFrame]:
    """Row-numbered frames of a Parquet file; it has no malformed rows."""
    start = 0
    with readable(path), pa_parquet.ParquetFile(path, pre_buffer=False) as file:
        for batch in file.iter_batches(_PARQUET_ROWS, columns=columns):
            frame = pl.DataFrame({}, height=0) if not columns else cast(pl.DataFrame, pl.from_arrow(batch))
            numbers = pl.Series("row", np.arange(start, start + batch.num_rows, dtype=np.uint64))
            start += batch.num_rows
            yield pl.DataFrame([numbers, *frame.get_columns()])


def _read_csv(path: Path, columns: list[str], malformed: list[Malformed], text: TextFormat) -> Iterator[pl.DataFrame]:
    """Row-numbered frames of text columns; a row that is none of the table keeps its number in `malformed`."""
    header, has_more = _read_header(path, text)
    if not has_more:
        return  # a header that no newline ends is no table to PyArrow
    lines = RowLines(header, text.separator, text.quote)
    # All columns are looked at: a mark may be open in one that nobody asks for.
    read = [*columns, *(name for name in dict.fromkeys(header) if name not in columns)]

    def set_aside(row: pa_csv.InvalidRow) -> str:
        # `number` counts from 1 and includes the header.
        malformed.append(Malformed(row.number - 2, row.text, lines.in_text(row.text)))
        return "skip"

    convert = pa_csv.ConvertOptions(  # numbers and times are parsed by the source
        column_types=dict.fromkeys(read, pa.large_string()),
        include_columns=read,
        null_values=[""],
        strings_can_be_null=True,
    )
    start = 0
    with (
        readable(path),
        pa.input_stream(str(path), compression="gzip" if path.suffix.lower() == ".gz" else None) as stream,
        pa_csv.open_csv(
            ReplacedBytes(stream) if text.is_utf8 else stream,
            read_options=pa_csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False, encoding=text.encoding),
            parse_options=pa_csv.ParseOptions(
                delimiter=text.separator,
                quote_char=text.quote or False,
                invalid_row_handler=set_aside,
                newlines_in_values=text.quote is not None,
            ),
            convert_options=convert,
        ) as reader,
    ):
        for batch in reader:
            skipped = {odd.row for odd in malformed}
            numbers = _number(start, batch.num_rows, skipped)
            start = int(numbers[-1]) + 1 if len(numbers) else start
            fields = [cast(pl.Series, pl.from_arrow(column)) for column in batch.columns[: len(columns)]]
            named = [field.alias(name) for name, field in zip(columns, fields, strict=True)]
            frame = pl.DataFrame([pl.Series("row", numbers), *named])
            swallowing = lines.in_batch(batch)
            malformed += [Malformed(int(numbers[i]), lines.text_of(batch, i), n) for i, n in swallowing.items()]
            yield frame.filter(~pl.int_range(pl.len()).is_in(list(swallowing))) if swallowing else frame


def _number(start: int, count: int, skipped: set[int]) -> np.ndarray:
    """The next `count` row numbers from `start` on that are not in `skipped`."""
    numbers = np.arange(start, start + count + len(skipped), dtype=np.uint64)
    if skipped:
        numbers = numbers[~np.isin(numbers, np.fromiter(skipped, np.uint64))]
    return numbers[:count]


def regroup(frames: Iterator[pl.DataFrame], batch_rows: int) -> Iterator[pl.DataFrame]:
    """Join small frames up to about `batch_rows` rows.

    Parts of a column that a database gives as other types (a part without a value has none) are brought together.
    """
    held: list[pl.DataFrame] = []
    for frame in frames:
        held.append(frame)
        if sum(part.height for part in held) >= batch_rows:
            yield pl.concat(held, how="vertical_relaxed")
            held = []
    if held:
        yield pl.concat(held, how="vertical_relaxed")
