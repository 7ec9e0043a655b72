"""What labelling reads: the few events that a task needs, from a MEDS data set or an event store, part by part."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from sojourn.errors import DataError
from sojourn.events import meds
from sojourn.events.codes import BIRTH, is_terminal_expr
from sojourn.events.store import MANIFEST, EventStore
from sojourn.events.units import marked_shards, read_rules, unmarked
from sojourn.tasks.cohort import Records
from sojourn.tasks.outcomes import OUTCOME_PREFIX, derive_outcomes, matching_codes

__all__ = ["codes_of", "is_store", "iterate_records", "mapped_events"]

_COLUMNS = ["subject_id", "time", "code", "numeric_value"]


def is_store(path: Path) -> bool:
    """Whether `path` is an event store; raises `DataError` if it is no MEDS data set either."""
    if (path / MANIFEST).exists():
        return True
    if not meds.is_meds(path):
        msg = f"dataset must be a MEDS data set or an event store; got {path}. Make one with `sojourn ingest`."
        raise DataError(msg)
    return False


def iterate_records(dataset: Path, roots: Sequence[str]) -> Iterator[Records]:
    """Yield the records of a data set or store, whole subjects at a time, with the events below `roots` only."""
    if is_store(dataset):
        store = EventStore.open(dataset)
        for shard in store.subjects["shard"].unique().sort():
            yield _store_records(store, shard, roots)
    else:
        rules = read_rules(dataset)
        for _, shard in marked_shards(dataset, rules):
            yield _meds_records(mapped_events(shard, rules.codes), rules.codes, roots)


def codes_of(dataset: Path) -> set[str]:
    """Every code that a data set or store lists, shared concepts in place of the local codes that map to them."""
    if is_store(dataset):
        return set(EventStore.open(dataset).vocabulary["code"])
    table = meds.read_codes(dataset)
    if table.is_empty():
        seen = [
            shard.select(pl.col("code").cast(pl.String).unique()).collect() for _, shard in meds.iterate_shards(dataset)
        ]
        return set(pl.concat(seen)["code"])
    shared = pl.when(pl.col("concept").is_null()).then("code").otherwise("CONCEPT//" + pl.col("concept"))
    return set(table.select(shared).to_series())


def mapped_events(shard: pl.LazyFrame, table: pl.DataFrame) -> pl.DataFrame:
    """Events of a MEDS shard in concept codes and units, `subject_id, time, code, numeric_value`; births are left out.

    A value that the source flagged as implausible, or that is outside the limits of its concept, is null, as in the
    event store.
    """
    have = shard.collect_schema().names()
    value = pl.col("numeric_value").cast(pl.Float32) if "numeric_value" in have else pl.lit(None, pl.Float32)
    if "flag" in have:
        value = pl.when(pl.col("flag").is_null()).then(value)
    concepts = table.filter(pl.col("concept").is_not_null()).select(
        "code", "concept", "scale", "offset", pl.col("concept_min", "concept_max").cast(pl.Float32)
    )
    is_mapped = pl.col("concept").is_not_null()
    scaled = (pl.col("numeric_value") * pl.col("scale") + pl.col("offset")).cast(pl.Float32)
    is_low, is_high = scaled < pl.col("concept_min"), scaled > pl.col("concept_max")
    plausible = pl.when(~(is_low.fill_null(value=False) | is_high.fill_null(value=False))).then(scaled)
    return (
        shard.filter(pl.col("code") != BIRTH)
        .select(
            "subject_id", pl.col("time").cast(pl.Datetime("us")), pl.col("code").cast(pl.String), numeric_value=value
        )
        .join(concepts.lazy(), on="code", how="left")
        .with_columns(
            code=pl.when(is_mapped).then("CONCEPT//" + pl.col("concept")).otherwise(unmarked()),
            numeric_value=pl.when(is_mapped).then(plausible).otherwise("numeric_value"),
        )
        .select(_COLUMNS)
        .collect()
    )


def _meds_records(events: pl.DataFrame, table: pl.DataFrame, roots: Sequence[str]) -> Records:
    """Derive the outcomes of a shard's mapped events and keep what is needed."""
    timed = events.drop_nulls("time")
    labels = table.filter(pl.col("target_only"))["code"].to_list()
    is_label = pl.col("code").str.starts_with(OUTCOME_PREFIX) | pl.col("code").is_in(labels)
    shown, last = timed.filter(~is_label), pl.col("time").max()
    ends = shown.filter((pl.col("time") == last.over("subject_id")) & is_terminal_expr())
    extents = (
        timed.group_by("subject_id")
        .agg(start=pl.col("time").min(), known_until=last)
        .join(shown.group_by("subject_id").agg(end=last), on="subject_id", how="left")
        .join(ends.select("subject_id", is_closed=pl.lit(value=True)).unique(), on="subject_id", how="left")
        .with_columns(known_until=pl.when(pl.col("is_closed").is_null()).then("known_until"))
        .select("subject_id", "start", pl.coalesce("end", "start").alias("end"), "known_until")
        .sort("subject_id")
    )
    timed = pl.concat([timed, derive_outcomes(timed)])
    codes = matching_codes(timed["code"].unique().to_list(), roots)
    return Records(timed.filter(pl.col("code").is_in(codes)), extents)


def _store_records(store: EventStore, shard: int, roots: Sequence[str]) -> Records:
    """The needed events of one shard of a store, by whole arrays."""
    subjects, arrays = store.subjects.filter(pl.col("shard") == shard), store.shard(shard)
    vocabulary = store.vocabulary["code"]
    wanted = np.isin(vocabulary.to_numpy(), matching_codes(vocabulary.to_list(), roots))
    is_shown = ~store.vocabulary["target_only"].to_numpy()
    begin, size = subjects["begin"].to_numpy(), subjects["num_events"].to_numpy()
    owner = np.repeat(np.arange(len(subjects)), size)
    position = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size) + np.repeat(begin, size)
    code, seconds = arrays.code[position], arrays.seconds[position].astype(np.int64)
    last_s = np.zeros(len(subjects), dtype=np.int64)
    np.maximum.at(last_s, owner, np.where(is_shown[code], seconds, 0))
    kept = np.flatnonzero(wanted[code])
    who = subjects.select("subject_id", "origin")[owner[kept]].with_columns(seconds=pl.Series(seconds[kept]))
    events = who.select(
        "subject_id",
        time=pl.col("origin") + pl.duration(seconds="seconds"),
        code=vocabulary.gather(code[kept]),
        numeric_value=pl.Series(arrays.value[position[kept]]).fill_nan(None),
    )
    is_finite = pl.col("follow_up_s").is_finite()
    follow_up = pl.when(is_finite).then("follow_up_s").cast(pl.Int64)
    extents = subjects.with_columns(last_s=pl.Series(last_s), follow_up_s=follow_up).select(
        "subject_id",
        start="origin",
        end=pl.col("origin") + pl.duration(seconds="last_s"),
        known_until=pl.col("origin") + pl.duration(seconds="follow_up_s"),
    )
    return Records(events, extents)
