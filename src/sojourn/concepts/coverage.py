"""Which concepts each site records: how often, in what unit, around which value."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sojourn.concepts.tables import concept_table
from sojourn.events.arrange import first_of_run
from sojourn.events.codes import BIRTH, CONCEPT, SEPARATOR
from sojourn.events.pieces import read_columns
from sojourn.events.store import MANIFEST, EventStore
from sojourn.events.units import DECISIONS, REFUSED, marked_shards, read_rules, read_units
from sojourn.files import read_json

FEWEST_SUBJECTS = 5
"""A median of fewer subjects is not told: it would be somebody's own value."""

COVERAGE_SCHEMA: dict[str, Any] = {
    "concept": pl.String,
    "site": pl.String,
    "unit": pl.String,
    "num_events": pl.Int64,
    "num_values": pl.Int64,
    "num_subjects": pl.Int64,
    "rate": pl.Float64,
    "median": pl.Float64,
    "decision": pl.String,
    "num_refused": pl.Int64,
}
"""Columns of `coverage`."""

_PREFIX = CONCEPT + SEPARATOR
_BINS_PER_DOUBLING = 48
_DAY_S = 86_400


def coverage(path: Path) -> pl.DataFrame:
    """Rate, unit and median of every concept at every site of a MEDS data set or an event store.

    Parameters
    ----------
    path : MEDS data set or event store.

    Returns
    -------
    DataFrame with `concept`, `site`, `unit` (of the concept, null for none), `num_events` (timed), `num_values` (of
    these), `num_subjects`, `rate` (events per subject and day, of the days since the subject's first event that have
    any event at all), `median` (in `unit`, to 1.5 %; null where fewer than `FEWEST_SUBJECTS` subjects have a value),
    `decision` (the most remarkable one on the unit of a code of that concept at that site, see
    `sojourn.events.units.DECISIONS`; null where nobody looked) and `num_refused` (values that are not among the
    concept's because their unit could not be told).

    Raises
    ------
    SchemaError, StoreError
        If `path` is neither or is damaged.
    """
    is_store = (path / MANIFEST).exists()
    days = pl.DataFrame(schema={"site": pl.String, "days": pl.Int64})
    bins = pl.DataFrame(schema={**_KEYS, "bin": pl.Int32, "count": pl.Int64, "low": pl.Float64, "high": pl.Float64})
    sizes = pl.DataFrame(schema={**_KEYS, "num_events": pl.Int64, "num_subjects": pl.Int64, "num_measured": pl.Int64})
    for more_days, events in _store_parts(path) if is_store else _meds_parts(path):
        days = pl.concat([days, more_days]).group_by("site").agg(pl.col("days").sum()).sort("site")
        counted = events.group_by("site", "concept").agg(
            num_events=pl.len().cast(pl.Int64),
            num_subjects=pl.col("subject").n_unique().cast(pl.Int64),
            num_measured=pl.col("subject").filter(pl.col("value").is_finite()).n_unique().cast(pl.Int64),
        )
        sizes = pl.concat([sizes, counted]).group_by(list(_KEYS)).agg(pl.exclude(*_KEYS).sum())
        bins = _merge(bins, events.filter(pl.col("value").is_finite()))
    table = sizes.join(_medians(bins), on=list(_KEYS), how="left").join(days, on="site", how="left")
    decided = _decisions(_store_units(path) if is_store else _meds_units(path))
    units = concept_table().select(concept="name", unit="unit")
    told = table.join(decided, on=list(_KEYS), how="full", coalesce=True).join(units, on="concept", how="left")
    is_told = pl.col("num_measured") >= FEWEST_SUBJECTS
    return told.select(
        "concept",
        "site",
        "unit",
        pl.col("num_events", "num_values", "num_subjects").fill_null(0).cast(pl.Int64),
        rate=(pl.col("num_events") / pl.col("days")).fill_null(0.0),
        median=pl.when(is_told).then("median"),
        decision=pl.col("decision"),
        num_refused=pl.col("num_refused").fill_null(0).cast(pl.Int64),
    ).sort("concept", "site")


_KEYS: dict[str, Any] = {"site": pl.String, "concept": pl.String}


def _merge(bins: pl.DataFrame, valued: pl.DataFrame) -> pl.DataFrame:
    """Count the values of a part on a logarithmic grid."""
    size = (pl.col("value").abs().log(2) * _BINS_PER_DOUBLING).floor().clip(-20000, 20000) + 20001
    bin_ = pl.when(pl.col("value") == 0).then(0).otherwise(pl.col("value").sign() * size).cast(pl.Int32)
    found = valued.group_by("site", "concept", bin=bin_).agg(
        count=pl.len().cast(pl.Int64), low=pl.col("value").min(), high=pl.col("value").max()
    )
    merged = pl.concat([bins, found]).group_by("site", "concept", "bin")
    return merged.agg(pl.col("count").sum(), pl.col("low").min(), pl.col("high").max())


def _medians(bins: pl.DataFrame) -> pl.DataFrame:
    """Count and median of the values of each site and concept."""
    by_pair = pl.col("count").cum_sum().over("site", "concept") / pl.col("count").sum().over("site", "concept")
    ranked = bins.sort("site", "concept", "bin").with_columns(share=by_pair)
    middle = ((pl.col("low") + pl.col("high")) / 2).filter(pl.col("share") >= 0.5).first()
    return ranked.group_by("site", "concept").agg(num_values=pl.col("count").sum(), median=middle)


def _meds_parts(path: Path) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Days by site, and timed events of concepts (site, concept, subject, value), of each shard."""
    rules = read_rules(path)
    about = rules.codes.filter(pl.col("concept").is_not_null()).select("code", "concept", "scale", "offset")
    own = path.resolve().name
    for shard, scan in marked_shards(path, rules):
        columns = {column.meta.output_name(): column for column in read_columns(shard, path)}
        rows = scan.select(list(columns.values())).filter(pl.col("time").is_not_null() & (pl.col("code") != BIRTH))
        rows = rows.with_columns(pl.col("site").fill_null(own))
        day = (pl.col("time") - pl.col("time").min()).dt.total_seconds() // _DAY_S
        each = rows.group_by("subject_id").agg(pl.col("site").first(), days=day.n_unique())
        days = each.group_by("site").agg(pl.col("days").sum().cast(pl.Int64)).collect()
        value = pl.when(~pl.col("is_flagged")).then(pl.col("numeric_value").cast(pl.Float64))
        events = rows.join(about.lazy(), on="code", how="inner").select(
            "site", "concept", subject=pl.col("subject_id"), value=value * pl.col("scale") + pl.col("offset")
        )
        yield days, events.collect()


def _store_parts(path: Path) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Days by site, and timed events of concepts (site, concept, subject, value), of each shard."""
    store = EventStore.open(path)
    names = store.vocabulary["code"]
    is_concept = names.str.starts_with(_PREFIX).to_numpy()
    concepts = names.str.strip_prefix(_PREFIX)
    for shard in store.subjects["shard"].unique().sort():
        subjects, arrays = store.subjects.filter(pl.col("shard") == shard).sort("begin"), store.shard(shard)
        owner = np.repeat(np.arange(len(subjects)), subjects["num_events"].to_numpy())
        is_new = first_of_run(owner, arrays.seconds // _DAY_S)
        days = subjects.select("site", days=pl.Series(np.bincount(owner[is_new], minlength=len(subjects))))
        days = days.group_by("site").agg(pl.col("days").sum())
        kept = np.flatnonzero(is_concept[arrays.code])
        owner = owner[kept]
        events = pl.DataFrame(
            {
                "site": subjects["site"].gather(owner),
                "concept": concepts.gather(arrays.code[kept]),
                "subject": owner,
                "value": pl.Series(arrays.value[kept].astype(np.float64)).fill_nan(None),
            }
        )
        yield days, events


_UNIT_COLUMNS = ("site", "concept", "decision", "num_values")


def _meds_units(path: Path) -> pl.DataFrame:
    """Decisions on units of a data set: site, concept, decision, num_values."""
    units = read_units(path)
    if units is None:
        return pl.DataFrame(schema=_UNIT_SCHEMA)
    return units.select(_UNIT_COLUMNS).with_columns(pl.col("site").fill_null(path.resolve().name))


_UNIT_SCHEMA: dict[str, Any] = {**_KEYS, "decision": pl.String, "num_values": pl.Int64}


def _store_units(path: Path) -> pl.DataFrame:
    """Decisions on units that the data sets of a store left there; declared ones are not told."""
    parts = [pl.DataFrame(schema=_UNIT_SCHEMA)]
    for account in sorted((path / "datasets").rglob("*.json")):
        rows = read_json(account).get("units", {}).get("table", [])
        part = pl.DataFrame([{name: row[name] for name in _UNIT_COLUMNS} for row in rows], schema=_UNIT_SCHEMA)
        name = account.relative_to(path / "datasets").with_suffix("").as_posix()
        parts.append(part.with_columns(pl.col("site").fill_null(name)))
    return pl.concat(parts)


def _decisions(units: pl.DataFrame) -> pl.DataFrame:
    """The most remarkable decision of each site and concept, and the values that were refused."""
    order = {kind: rank for rank, kind in enumerate(DECISIONS)}
    by_rank = pl.col("decision").sort_by(pl.col("decision").replace_strict(order, return_dtype=pl.Int32))
    is_refused = pl.col("decision") == REFUSED
    return (
        units.filter(pl.col("num_values") > 0)
        .group_by(list(_KEYS))
        .agg(decision=by_rank.last(), num_refused=pl.col("num_values").filter(is_refused).sum())
    )
