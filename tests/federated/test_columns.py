"""Tables travel as arrays and come back as they were; whatever else a stranger sends is refused, and ends nothing."""

from collections.abc import Callable
from datetime import datetime

import numpy as np
import polars as pl
import pytest

from sojourn.errors import UpdateRefusedError
from sojourn.federated.columns import Form
from sojourn.federated.messages import Message, Tensors, pack, unpack

FORM = Form(
    "t",
    {
        "code": pl.String(),
        "unit": pl.String(),
        "is_static": pl.Boolean(),
        "place": pl.UInt32(),
        "count": pl.Int64(),
        "time": pl.Datetime("us"),
        "value": pl.Float32(),
        "tick": pl.Float64(),
    },
    ("unit", "place", "time"),
)


def table() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "code": ["LAB//K", "", "Körpergewicht", "LAB//K"],
            "unit": ["mmol/l", None, "kg", None],
            "is_static": [True, False, False, True],
            "place": [None, 2**32 - 1, 0, 1],
            "count": [-(2**63), 2**63 - 1, 0, 1],
            "time": [datetime(1900, 1, 1), None, datetime(2100, 1, 1), datetime(2020, 2, 29, 1, 2, 3, 4)],
            "value": [0.1, -0.0, float("nan"), float("inf")],
            "tick": [1e300, 5e-324, 0.0, 1.0],
        },
        schema=dict(FORM.schema),
    )


@pytest.mark.parametrize(
    "rows", [table(), table()[:1], table()[:0], table().with_columns(unit=pl.lit(None, pl.String))]
)
def test_a_table_comes_back_as_it_was(rows: pl.DataFrame) -> None:
    arrays = unpack(pack(Message("t", 0, FORM.pack(rows)))).tensors
    assert arrays.keys() == FORM.names
    read = FORM.read(arrays)
    assert read.schema == rows.schema
    assert read.equals(rows, null_equal=True)


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Tensors:
    arrays = FORM.pack(table())
    return arrays | {f"t.{name}": change(arrays[f"t.{name}"])}


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        changed("count", lambda a: a[1:]),
        changed("count", lambda a: a[:, None]),
        changed("count", lambda a: a.astype(np.float64)),
        changed("code", lambda a: a + np.uint32(2)),
        changed("code", lambda a: a.astype(np.int32) - 1),
        changed("code.ends", lambda a: a - 1),
        changed("code.ends", lambda a: a + 1),
        changed("code.ends", lambda a: a[::-1].copy()),
        changed("code.ends", lambda a: np.array([-1, 0, a[-1]])),
        changed("code.ends", lambda a: a[:0]),
        changed("code.words", lambda a: a | np.uint8(128)),
        changed("code.words", lambda a: a[:-1]),
        changed("unit.is_missing", lambda a: a + np.uint8(1)),
        changed("unit.is_missing", lambda a: a[1:]),
        changed("is_static", lambda a: a + np.uint8(1)),
        changed("time", lambda a: a + 2**62),
        changed("time", lambda a: np.full_like(a, -(2**63))),
    ],
    ids=range(18),
)
def test_what_is_no_table_is_refused(arrays: Tensors) -> None:
    with pytest.raises(UpdateRefusedError) as error:
        FORM.read(arrays)
    assert error.value.reason == "malformed"


def test_no_flipped_bit_ends_the_process() -> None:
    """Of files of columns, such bits ended polars and the process with it."""
    content = pack(Message("t", 0, FORM.pack(table())))
    refused = 0
    for at in range(8 * len(content)):
        spoilt = bytearray(content)
        spoilt[at // 8] ^= 1 << at % 8
        try:
            read = FORM.read(unpack(bytes(spoilt)).tensors)
        except UpdateRefusedError:
            refused += 1
        else:
            assert read.schema == pl.Schema(FORM.schema)
            assert len(read) == len(table())
    assert refused > 4 * len(content)  # half of all
