"""Made-up patients that can only be learnt by heart: planted in a site, they tell how much a training remembers.

A canary looks like a record of its site, with the site's codes and recorded values; what is its own is their order, one
code at a time, drawn at random. Nothing about other patients helps to guess it, so a model that finds a canary
likelier than a canary that stayed out has seen it. Whether canaries or patients are remembered better depends on the
network and the training; both are looked at.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from sojourn.errors import ConfigError
from sojourn.events import codes as grammar
from sojourn.events.meds import iterate_shards, read_codes, site_column, write_table
from sojourn.events.units import UNITS
from sojourn.files import atomic_folder, write_json

NUM_EVENTS = 16
"""Events of a canary after its admission."""
_APART = timedelta(minutes=30)
_MIN_CODES = NUM_EVENTS + 8
"""Codes with values that a site must have, so that their order says something."""
_MIN_ROWS = 20
"""Recorded values of a code that may occur in a canary."""


def plant(datasets: Sequence[Path], out: Path, *, site: str, num: int = 100, seed: int = 0) -> list[int]:
    """Write canaries of a site as a MEDS data set of training subjects.

    Parameters
    ----------
    datasets : MEDS data sets that hold the site's records.
    out : folder to make.
    site : whose codes, values, static facts and admissions they have.
    num : how many.
    seed : of their orders and values.

    Returns
    -------
    list of int
        Their subject ids, beyond all others.

    Raises
    ------
    ConfigError
        If the site is in none of the data sets, or records too few codes with values.
    """
    rng = np.random.default_rng(seed)
    rows, last_id = _rows_of(datasets, site)
    timed = rows.drop_nulls(["time", "numeric_value"]).filter(~grammar.is_outcome_expr())
    values = timed.group_by("code").agg("numeric_value").filter(pl.col("numeric_value").list.len() >= _MIN_ROWS)
    values = values.sort("code")
    if len(values) < _MIN_CODES:
        msg = f"canaries need {_MIN_CODES} codes with {_MIN_ROWS} values at {site}; it has {len(values)}. Take another."
        raise ConfigError(msg)
    begun = _beginnings(rows)
    # A record of facts alone begins nowhere.
    donors = begun.drop_nulls("first")["subject_id"].unique().sort().to_numpy()
    ids = [last_id + 1 + k for k in range(num)]
    parts = [_canary(begun, int(rng.choice(donors)), values, rng, subject) for subject in ids]
    table = pl.concat(parts).with_columns(pl.col("numeric_value").cast(pl.Float32), site=pl.lit(site))
    with atomic_folder(out) as part:
        (part / "data").mkdir(parents=True)
        (part / "metadata").mkdir()
        write_table(table, part / "data" / "0.parquet")
        known = pl.concat([read_codes(dataset) for dataset in datasets]).unique("code", maintain_order=True)
        write_table(known.filter(pl.col("code").is_in(table["code"].implode())), part / "metadata" / "codes.parquet")
        write_table(pl.DataFrame({"subject_id": ids, "split": "train"}), part / "metadata" / "subject_splits.parquet")
        if units := [
            pl.read_parquet(dataset / UNITS, glob=False) for dataset in datasets if (dataset / UNITS).exists()
        ]:
            own = pl.concat(units).filter(pl.col("site") == site, pl.col("code").is_in(table["code"].implode()))
            write_table(own, part / UNITS)
        named = {"dataset_name": "canaries", "site_id_columns": ["site"], "seed": seed}
        write_json(part / "metadata" / "dataset.json", named)
    return ids


def _rows_of(datasets: Sequence[Path], site: str) -> tuple[pl.DataFrame, int]:
    """Rows of a site, and the largest subject id of all data sets."""
    parts, last = [], 0
    for dataset in datasets:
        for _, frame in iterate_shards(dataset):
            column = site_column(dataset, frame.collect_schema().names())
            mine = pl.lit(dataset.resolve().name) if column is None else pl.col(column).cast(pl.String)
            columns = (pl.col("subject_id").cast(pl.Int64), "time", "code", pl.col("numeric_value").cast(pl.Float64))
            parts.append(frame.filter(mine == site).select(columns).collect())
            last = max(last, int(frame.select(pl.col("subject_id").max()).collect().item() or 0))
    rows = pl.concat(parts)
    if not len(rows):
        msg = f"site must be in the data sets; {site!r} is not. See `sojourn inspect`."
        raise ConfigError(msg)
    return rows, last


def _beginnings(rows: pl.DataFrame) -> pl.DataFrame:
    """Static facts, birth and first timed instant of each subject."""
    born = pl.col("code") == grammar.BIRTH
    first = pl.col("time").filter(~born).min().over("subject_id")
    return rows.filter(pl.col("time").is_null() | born | (pl.col("time") == first)).with_columns(first=first)


def _canary(
    begun: pl.DataFrame, donor: int, values: pl.DataFrame, rng: np.random.Generator, subject: int
) -> pl.DataFrame:
    """One canary: how a donor's record begins, then codes in an order of its own with values that the site recorded."""
    head = begun.filter(pl.col("subject_id") == donor)
    start: datetime = head["first"].drop_nulls()[0]
    chosen = rng.choice(len(values), NUM_EVENTS, replace=False)
    drawn = [float(rng.choice(values["numeric_value"][int(k)].to_numpy())) for k in chosen]
    body = {
        "time": [start + (k + 1) * _APART for k in range(NUM_EVENTS)],
        "code": values["code"].gather(chosen).to_list(),
        "numeric_value": drawn,
    }
    columns = ("time", "code", "numeric_value")
    table = pl.concat([head.select(columns), pl.DataFrame(body, schema=head.select(columns).schema)])
    ordered = table.sort("time", nulls_last=False, maintain_order=True)
    return ordered.select(pl.lit(subject, pl.Int64).alias("subject_id"), *columns)
