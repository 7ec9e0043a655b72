"""A derivation that other processes can import: they find `tests/` on their path, not the test modules in it."""

import os
import signal
from pathlib import Path

import polars as pl

KILLED = "SOJOURN_TEST_KILLED"
"""Environment variable with the file that says whether `fatal_once` has killed its process."""


def high_lab(events: pl.DataFrame) -> pl.DataFrame:
    """OUTCOME//high wherever lab 3 is above 90."""
    is_high = (pl.col("code") == "LAB//3//u") & (pl.col("numeric_value") > 90)
    return events.filter(is_high).select("subject_id", "time", code=pl.lit("OUTCOME//high"))


def fatal_once(events: pl.DataFrame) -> pl.DataFrame:
    """`high_lab`, but the first process that comes here dies as if for want of memory."""
    killed = Path(os.environ[KILLED])
    try:
        killed.touch(exist_ok=False)
    except FileExistsError:
        return high_lab(events)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("dead")
