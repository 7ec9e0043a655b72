"""A derivation that other processes can import: they find `tests/` on their path, not the test modules in it."""

import polars as pl


def high_lab(events: pl.DataFrame) -> pl.DataFrame:
    """OUTCOME//high wherever lab 3 is above 90."""
    is_high = (pl.col("code") == "LAB//3//u") & (pl.col("numeric_value") > 90)
    return events.filter(is_high).select("subject_id", "time", code=pl.lit("OUTCOME//high"))
