"""Rows that a quotation mark which is never closed has swallowed: the lines of one cell are rows of the table.

A note may hold line breaks too, and commas. Its lines do not all have as many fields as the table, with something like
the row's own first field in front.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from sojourn.sources.records import quarantine

__all__ = ["Malformed", "RowLines", "describe_unclosed", "quarantine_malformed"]

_MOST = 0.9
"""Share of the lines of a cell that must be rows; some rows of a damaged file are malformed themselves."""
_MIN_SEPARATORS = 2
"""So many separators there must be in these lines: ``1,5 mg`` in a table of two columns is no row."""


class Malformed(NamedTuple):
    """What stands in a text file as a row but is none."""

    row: int
    """Raw row, from 0."""
    text: str
    """All of it."""
    num_swallowed: int = 0
    """Further rows in it, as a quotation mark before them is never closed; 0 where its length is wrong."""

    @property
    def reason(self) -> str:
        """Word for the quarantine."""
        return "unclosed_quote" if self.num_swallowed else "malformed_row"


class RowLines:
    """Knows lines that are rows of one table.

    Parameters
    ----------
    header : names of all columns of the table.
    separator : between the fields.
    quote : around fields; None: nothing is, so nothing can be swallowed.
    """

    def __init__(self, header: Sequence[str], separator: str, quote: str | None) -> None:
        self._header, self._separator, self._quote = list(header), separator, quote

    def in_text(self, text: str) -> int:
        """How many rows follow the first in the text of a row of a wrong length.

        Examples
        --------
        >>> RowLines(["id", "note", "unit"], ",", '"').in_text('1,"see,mg\\n2,ok,mg\\n3,ok,mg')
        2
        """
        first, _, rest = text.partition("\n")
        if self._quote is None or not rest:
            return 0
        return self._num_rows(rest, self._fields(first)[0], {len(self._header)})

    def in_batch(self, batch: pa.RecordBatch) -> dict[int, int]:
        """Rows of a batch, as their places in it, that hold further rows in a cell, and how many.

        Parameters
        ----------
        batch : columns of text, all of the table; looked at are cells with a line break only.
        """
        found: Counter[int] = Counter()
        names = batch.schema.names
        for name, column in zip(names, batch.columns, strict=True):
            if self._quote is None or not _has_line_break(column):
                continue
            at = self._header.index(name)
            cells = pl.Series(pl.from_arrow(column))
            for index in cells.str.contains("\n", literal=True).fill_null(value=False).arg_true():
                start, _, rest = cells[index].partition("\n")
                first = batch.column(self._header[0])[index].as_py() if at else self._fields(start)[0]
                # The last line ends where the mark is closed, at the beginning of the same field; or with the file.
                found[index] += self._num_rows(rest, first or "", {len(self._header), at + 1})
        return dict(+found)

    def text_of(self, batch: pa.RecordBatch, index: int) -> str:
        """A row of a batch as it may have been written."""
        names = batch.schema.names
        cells = [batch.column(name)[index].as_py() if name in names else None for name in self._header]
        line = io.StringIO()
        csv.writer(line, delimiter=self._separator, quotechar=self._quote, lineterminator="\n").writerow(cells)
        return line.getvalue().removesuffix("\n")

    def _num_rows(self, text: str, first: str, last: set[int]) -> int:
        """The number of lines, if they are rows; `last` is how many fields the last of them may have."""
        lines = [line.rstrip("\r") for line in text.split("\n") if line.strip()]
        size, shape = len(self._header), _shape(first)
        if (len(lines) - 1) * (size - 1) + min(last) - 1 < _MIN_SEPARATORS:
            return 0
        left = int(len(lines) * (1 - _MOST))
        for number, line in enumerate(lines, start=1):
            left -= not self._is_row(line, last if number == len(lines) else {size}, shape)
            if left < 0:
                return 0
        return len(lines)

    def _is_row(self, line: str, sizes: set[int], shape: str) -> bool:
        """Whether a line has as many fields as a row, and its first one a shape."""
        if line.count(self._separator) < min(sizes) - 1:  # by far the most lines of notes
            return False
        # Marks are doubled in a cell that is closed, and single in the cell as it was read.
        parted = (self._fields(line), line.split(self._separator))
        return any(len(fields) in sizes and _shape(fields[0]) == shape for fields in parted)

    def _fields(self, line: str) -> list[str]:
        """The fields of a line; one empty one where it has none that can be read."""
        try:
            return next(csv.reader([line], delimiter=self._separator, quotechar=self._quote), []) or [""]
        except csv.Error:  # longer than any field may be
            return [""]


def quarantine_malformed(malformed: Sequence[Malformed], *, start: int = 0) -> pl.DataFrame:
    """Set them aside (`QUARANTINE_SCHEMA`); `start` is the number of raw rows in earlier files of the table."""
    found = [(odd.row + start, odd.reason, odd.text) for odd in malformed]
    rows = pl.DataFrame(found, schema={"row": pl.UInt64, "_reason": pl.String, "text": pl.String}, orient="row")
    return quarantine(rows, pl.col("_reason"))


def describe_unclosed(name: str, malformed: Sequence[Malformed], advice: str) -> str | None:
    """What to warn of after a file was read; None if no mark swallowed anything.

    Parameters
    ----------
    name : of the file.
    malformed : what was set aside of it.
    advice : what to do, as a sentence without its end.
    """
    found = sorted(odd for odd in malformed if odd.num_swallowed)
    if not found:
        return None
    rows = ", ".join(str(odd.row) for odd in found[:3]) + (f" and {len(found) - 3:,} more" if len(found) > 3 else "")
    lines = sum(odd.num_swallowed for odd in found)
    return (
        f"{name}: a quotation mark in row {rows} (from 0) is never closed, so that the {lines:,} lines after it were "
        f"read as part of it; they give no events and are kept in the quarantine as unclosed_quote. {advice}"
    )


def _has_line_break(column: pa.Array) -> bool:
    """Whether any cell of a column of text has one, without looking at each."""
    data = column.buffers()[2]
    return data is not None and data.to_pybytes().find(b"\n") >= 0


def _shape(text: str) -> str:
    """Text with 9 for digits, a for letters and x for a mixture, so that ids of a kind are alike."""
    return re.sub(r"\w+", lambda word: "9" if word[0].isdigit() else "a" if word[0].isalpha() else "x", text.strip())
