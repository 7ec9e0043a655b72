"""Messages name kinds and places, never what a patient's record holds."""

import polars as pl
import pyarrow as pa
import pytest

from sojourn.errors import describe


def test_texts_that_may_quote_values_are_left_out() -> None:
    with pytest.raises(pl.exceptions.InvalidOperationError) as from_polars:
        pl.Series(["secret-137"]).cast(pl.Int64)
    with pytest.raises(pa.ArrowInvalid) as from_arrow:
        pa.array(["secret-137"]).cast(pa.int64())
    for caught, name in ((from_polars, "InvalidOperationError"), (from_arrow, "ArrowInvalid")):
        assert "secret-137" in str(caught.value)
        assert describe(caught.value) == name
