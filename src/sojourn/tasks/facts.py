"""What is known of a stay and its patient beside the course: site, birth, sex, age, height and weight."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from sojourn.events import meds
from sojourn.events.codes import BIRTH
from sojourn.events.store import EventStore
from sojourn.tasks.reading import is_store

__all__ = ["FACTS_SCHEMA", "SIZES", "describe_stays", "iterate_facts"]

FACTS_SCHEMA = {"subject_id": pl.Int64, "site": pl.String, "birth": pl.Datetime("us"), "sex": pl.String}
"""One row per subject; null: unknown."""
SIZES = ("CONCEPT//height", "CONCEPT//weight")
"""What `describe_stays` reads of the events."""
_SEX = "GENDER//"
_STAY_KEYS = ["subject_id", "stay"]
_YEAR_US = 365.25 * 86_400e6


def iterate_facts(dataset: Path) -> Iterator[pl.DataFrame]:
    """Yield the facts of a MEDS data set or an event store in the parts of `sojourn.tasks.reading.iterate_records`.

    Raises
    ------
    DataError
        If `dataset` is neither.
    """
    if is_store(dataset):
        store = EventStore.open(dataset)
        for shard in store.subjects["shard"].unique().sort():
            yield _of_store(store, shard)
    else:
        column = None
        for _, shard in meds.iterate_shards(dataset):
            column = column or meds.site_column(dataset, shard.collect_schema().names())
            yield _of_shard(shard, column)


def _of_shard(shard: pl.LazyFrame, site: str | None) -> pl.DataFrame:
    """Facts of the subjects of a MEDS shard; the first of several counts."""
    code, time = pl.col("code").cast(pl.String), pl.col("time").cast(pl.Datetime("us"))
    found = shard.group_by("subject_id", maintain_order=True).agg(
        (pl.col(site).cast(pl.String).drop_nulls().first() if site else pl.lit(None, pl.String)).alias("site"),
        time.filter(code == BIRTH).first().alias("birth"),
        code.filter(code.str.starts_with(_SEX)).first().str.strip_prefix(_SEX).alias("sex"),
    )
    return found.collect().cast(FACTS_SCHEMA)  # type: ignore[arg-type]


def _of_store(store: EventStore, shard: int) -> pl.DataFrame:
    """Facts of the subjects of one shard of a store."""
    subjects, arrays = store.subjects.filter(pl.col("shard") == shard), store.shard(shard)
    vocabulary = store.vocabulary["code"]
    sizes = subjects["num_static"].to_numpy()
    owner = np.repeat(np.arange(len(subjects)), sizes)
    begin = subjects["static_begin"].to_numpy()
    position = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes) + np.repeat(begin, sizes)
    code = pl.Series("sex", vocabulary.gather(arrays.static_code[position]))
    sexes = (
        pl.DataFrame({"row_of_shard": owner, "sex": code})
        .filter(pl.col("sex").str.starts_with(_SEX))
        .with_columns(pl.col("sex").str.strip_prefix(_SEX))
        .unique("row_of_shard", keep="first", maintain_order=True)
    )
    numbered = subjects.select("subject_id", "site", "birth").with_columns(row_of_shard=np.arange(len(subjects)))
    found = numbered.join(sexes, on="row_of_shard", how="left", maintain_order="left")
    return found.select(FACTS_SCHEMA.keys()).cast(FACTS_SCHEMA)  # type: ignore[arg-type]


def describe_stays(stays: pl.DataFrame, events: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
    """Say of each stay what does not change.

    Parameters
    ----------
    stays
        As `sojourn.tasks.cells.number_stays` returns them.
    events
        `subject_id, time, code, numeric_value`.
    facts
        One part of `iterate_facts`.

    Returns
    -------
    DataFrame
        `subject_id, stay, site, admission, discharge, num_cells, age` (years at admission), `sex`, and `height` in cm
        and `weight` in kg: the last value up to the admission, else the first of the stay.
    """
    described = stays.select(*_STAY_KEYS, "anchor", "stay_end", "num_cells").join(facts, on="subject_id", how="left")
    for code in SIZES:
        described = _with_size(described, events.filter(pl.col("code") == code), code.removeprefix("CONCEPT//"))
    age = (pl.col("anchor") - pl.col("birth")).dt.total_microseconds() / _YEAR_US
    return described.select(
        *_STAY_KEYS,
        "site",
        pl.col("anchor").alias("admission"),
        pl.col("stay_end").alias("discharge"),
        "num_cells",
        age.alias("age"),
        "sex",
        "height",
        "weight",
    )


def _with_size(stays: pl.DataFrame, events: pl.DataFrame, name: str) -> pl.DataFrame:
    """Add the last of some values up to the admission, else the first of the stay."""
    values = events.drop_nulls("numeric_value").select("subject_id", at="time", value="numeric_value")
    values, stays = values.sort("at", "value"), stays.sort("anchor")
    before, after = (
        stays.join_asof(
            values, left_on="anchor", right_on="at", by="subject_id", strategy=strategy, check_sortedness=False
        )
        for strategy in ("backward", "forward")
    )
    in_stay = after.select(pl.when(pl.col("at") <= pl.col("stay_end")).then("value"))["value"]
    return stays.with_columns(pl.coalesce(before["value"], in_stay).alias(name))
