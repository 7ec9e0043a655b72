"""Small MEDS data sets of hospitals that record in different units."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from sojourn.events import meds

START = datetime(2150, 1, 1)


def write_hospitals(
    folder: Path,
    recorded: Mapping[tuple[str | None, str], Sequence[float]],
    codes: Mapping[str, tuple[str, str | None, float, float]],
    *,
    per_subject: int = 1,
) -> Path:
    """Write a data set.

    Parameters
    ----------
    recorded : (site, code) -> values, `per_subject` of each subject, an hour apart.
    codes : code -> concept, declared unit, scale, offset.
    """
    rows: list[tuple[Any, ...]] = []
    subject = 0
    for (site, code), values in recorded.items():
        for k, value in enumerate(values):
            subject += k % per_subject == 0
            rows.append((subject, START + timedelta(hours=k % per_subject), code, value, site))
    schema = {
        "subject_id": pl.Int64,
        "time": pl.Datetime("us"),
        "code": pl.String,
        "numeric_value": pl.Float32,
        "site": pl.String,
    }
    table = pl.DataFrame(rows, schema=schema, orient="row").sort("subject_id", "time")
    meds.write_table(table, folder / "data" / "0.parquet")
    about = [
        {"code": code, "concept": concept, "unit": unit, "scale": scale, "offset": offset, "description": code.lower()}
        for code, (concept, unit, scale, offset) in codes.items()
    ]
    meds.write_table(pl.DataFrame(about, infer_schema_length=None), folder / "metadata" / "codes.parquet")
    return folder
