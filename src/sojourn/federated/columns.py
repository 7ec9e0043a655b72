"""Tables as named arrays: what a stranger sends is checked by type and length, and no parser of files reads it.

A column is one array, ``<table>.<column>``. A column of words holds for each row the place of its word among those that
lie beside it: the UTF-8 bytes of all of them, and where each ends. Where a row may have nothing, flags say so.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from sojourn.errors import UpdateRefusedError
from sojourn.federated.messages import Tensors

_WORDS, _ENDS, _MISSING = ".words", ".ends", ".is_missing"
_STORED: dict[pl.DataType, type[np.generic]] = {
    pl.String(): np.uint32,
    pl.Boolean(): np.uint8,
    pl.UInt32(): np.uint32,
    pl.Int64(): np.int64,
    pl.Datetime("us"): np.int64,
    pl.Float32(): np.float32,
    pl.Float64(): np.float64,
}
_FARTHEST_US = 2**53
"""From 1970: 285 years."""


class Form(NamedTuple):
    """What a table that travels looks like."""

    name: str
    """Beginning of the names of its arrays."""
    schema: Mapping[str, pl.DataType]
    nullable: Collection[str] = ()
    """Columns in which a row may have nothing."""

    @property
    def names(self) -> set[str]:
        """Names of its arrays."""
        names = {f"{self.name}.{column}" for column in self.schema}
        names |= {f"{self.name}.{column}{_MISSING}" for column in self.nullable}
        words = [column for column, dtype in self.schema.items() if dtype == pl.String()]
        return names | {f"{self.name}.{column}{ending}" for column in words for ending in (_WORDS, _ENDS)}

    def pack(self, table: pl.DataFrame) -> Tensors:
        """The columns of a table as arrays.

        Examples
        --------
        >>> form = Form("t", {"code": pl.String(), "count": pl.Int64()})
        >>> arrays = form.pack(pl.DataFrame({"code": ["b", "ä", "b"], "count": [1, 2, 3]}))
        >>> arrays["t.code"].tolist(), arrays["t.code.words"].tobytes().decode(), arrays["t.code.ends"].tolist()
        ([0, 1, 0], 'bä', [1, 3])
        >>> form.read(arrays).rows()
        [('b', 1), ('ä', 2), ('b', 3)]
        """
        arrays: Tensors = {}
        for column, dtype in self.schema.items():
            full, series = f"{self.name}.{column}", table[column].cast(dtype)
            assert column in self.nullable or not series.null_count(), f"{full} has a value in each row"
            if column in self.nullable:
                arrays[full + _MISSING] = series.is_null().to_numpy().astype(np.uint8)
            if dtype == pl.String():
                words = series.drop_nulls().unique().sort()
                packed = [word.encode() for word in words]
                arrays[full + _WORDS] = np.frombuffer(b"".join(packed), np.uint8)
                arrays[full + _ENDS] = np.cumsum([len(word) for word in packed], dtype=np.int64)
                series = series.cast(pl.Enum(words))
            nothing = False if dtype == pl.Boolean() else 0
            arrays[full] = series.to_physical().fill_null(nothing).to_numpy().astype(_STORED[dtype])
        return arrays

    def read(self, arrays: Tensors) -> pl.DataFrame:
        """The table whose columns are among some arrays.

        Raises
        ------
        UpdateRefusedError
            If one is not there, or is not as `pack` makes it (``malformed``).
        """
        table = {column: self._column(column, dtype, arrays) for column, dtype in self.schema.items()}
        if len({len(series) for series in table.values()}) > 1:
            raise UpdateRefusedError("malformed", f"columns of {self.name} must have one length; they differ.")
        return pl.DataFrame(table)

    def _column(self, column: str, dtype: pl.DataType, arrays: Tensors) -> pl.Series:
        full = f"{self.name}.{column}"
        stored = _array(arrays, full, _STORED[dtype])
        is_there = np.ones(len(stored), np.bool_)
        if column in self.nullable:
            flags = _array(arrays, full + _MISSING, np.uint8)
            if len(flags) != len(stored) or flags.max(initial=0) > 1:
                raise UpdateRefusedError("malformed", f"{full} must say of each row whether it is there; it does not.")
            is_there = flags == 0
        words = _words(full, arrays) if dtype == pl.String() else None
        low, high = _range(dtype, 0 if words is None else len(words))
        if ((stored < low) | (stored > high))[is_there].any():
            raise UpdateRefusedError("malformed", f"{full} must lie between {low} and {high}; it does not.")
        plain = pl.select(pl.when(pl.Series(is_there)).then(pl.Series(stored))).to_series()
        return plain.cast(dtype) if words is None else words.gather(plain)


def _range(dtype: pl.DataType, num_words: int) -> tuple[float, float]:
    """What the stored numbers of a column may be."""
    if dtype == pl.String():
        return 0, num_words - 1
    if dtype == pl.Datetime("us"):
        return -_FARTHEST_US, _FARTHEST_US
    return (0, 1) if dtype == pl.Boolean() else (-np.inf, np.inf)


def _array(arrays: Tensors, name: str, stored: type[np.generic]) -> npt.NDArray[Any]:
    """An array of one axis and of a type."""
    array = arrays.get(name)
    if array is None or array.ndim != 1 or array.dtype != stored:
        got = "none" if array is None else f"{array.dtype} of {array.ndim} axes"
        msg = f"{name} must be an array of {stored.__name__} with one axis; got {got}."
        raise UpdateRefusedError("malformed", msg)
    return array


def _words(full: str, arrays: Tensors) -> pl.Series:
    """The words of a column."""
    text, ends = _array(arrays, full + _WORDS, np.uint8), _array(arrays, full + _ENDS, np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])[: len(ends)]
    if (ends < starts).any() or ends[-1:].sum() != len(text):
        raise UpdateRefusedError("malformed", f"words of {full} must follow each other to the end; they do not.")
    packed = text.tobytes()
    try:
        words = [packed[start:end].decode() for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    except UnicodeDecodeError as error:
        raise UpdateRefusedError("malformed", f"words of {full} must be UTF-8; they are not.") from error
    return pl.Series(words, dtype=pl.String)
