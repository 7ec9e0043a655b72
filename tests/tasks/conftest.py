"""Small MEDS data sets for the tests of tasks."""

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pytest

from helpers.task_records import Row, table


@pytest.fixture
def write_meds(tmp_path: Path) -> Callable[..., Path]:
    """Write rows as a MEDS data set with one shard per given list; returns its folder."""

    def write(*shards: Sequence[Row], codes: pl.DataFrame | None = None, name: str = "meds") -> Path:
        folder = tmp_path / name
        (folder / "data").mkdir(parents=True)
        (folder / "metadata").mkdir()
        for index, rows in enumerate(shards):
            frame = table(rows).with_columns(site=pl.lit(f"hospital_{index}"))
            frame = frame.sort("subject_id", "time", "code", nulls_last=False)
            frame.write_parquet(folder / "data" / f"{index}.parquet")
        if codes is None:
            used = sorted({row[2] for rows in shards for row in rows})
            codes = pl.DataFrame({"code": used}, schema={"code": pl.String})
        codes = codes.with_columns(
            pl.lit(None, pl.String).alias(column) for column in ("description",) if column not in codes.columns
        ).with_columns(parent_codes=pl.lit(None, pl.List(pl.String)))
        codes.write_parquet(folder / "metadata" / "codes.parquet")
        return folder

    return write
