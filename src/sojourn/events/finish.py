"""The second half of a build: one vocabulary and one subject table for all shards, and their codes renumbered."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from sojourn.events import codes as grammar
from sojourn.events.pieces import SHARDS, WORK, read_marker, read_sketch, read_table, shard_name
from sojourn.events.plan import Plan
from sojourn.events.records import ACCOUNTS, NOTES
from sojourn.events.sketch import QUANTILES, ValueSketch, convert, merge_sketches, summarise
from sojourn.events.units import describe_units, read_rules, read_units
from sojourn.files import atomic_file, read_json, sha256, write_json

_MERGED_AT_ONCE = 8
_INGEST = "metadata/ingest.json"
_COUNTS = ("count", "num_static", "num_values", "num_subjects")


def finish(part: Path, plan: Plan) -> dict[str, Any]:
    """Write vocabulary, subjects, quarantine and final codes into `part`; return the manifest's content."""
    num = len(plan.pieces)
    counts = _merge_counts(part, num)
    sources = _merge_sources(part, num)
    about = pl.concat([read_rules(folder).codes.with_columns(dataset=pl.lit(name)) for name, folder in _folders(plan)])
    vocabulary = _vocabulary(counts, sources, about, _values(part, num, counts["code"], sources))
    _write_parquet(vocabulary, part / "vocabulary.parquet")
    subjects = _subjects(part, num)
    _write_parquet(subjects, part / "subjects.parquet")
    quarantine = pl.concat([read_table(part, index, "quarantine") for index in range(num)])
    _write_parquet(quarantine.select("dataset", "file", "row", "subject_id", "reason"), part / "quarantine.parquet")
    for name, folder in _folders(plan):
        account = read_json(folder / _INGEST) if (folder / _INGEST).exists() else {}
        units = read_units(folder)
        if units is not None:
            account["units"] = describe_units(units, Path(name)).to_dict()
        if account:
            write_json(part / "datasets" / f"{name}.json", account)
    dtype = np.dtype(np.uint16 if len(vocabulary) < 1 << 16 else np.uint32)
    for index in range(num):
        _renumber(part, index, vocabulary["code"], dtype)
    return {
        "inputs": plan.inputs,
        "code_dtype": dtype.name,
        "num_shards": num,
        "num_subjects": len(subjects),
        "num_events": int(subjects["num_events"].sum()),
        "num_static": int(subjects["num_static"].sum()),
        "num_codes": len(vocabulary),
        "accounts": _accounts(part, num, quarantine),
        "files": _files(part, num),
    }


def _folders(plan: Plan) -> list[tuple[str, Path]]:
    """Data sets of a plan with their folders, in order."""
    return list(dict.fromkeys((piece.dataset, piece.folder) for piece in plan.pieces))


def _write_parquet(table: pl.DataFrame, path: Path) -> None:
    """Write atomically, with the same bytes for the same table."""
    with atomic_file(path) as beside:
        table.write_parquet(beside, compression="zstd", statistics=False)


def _merge_counts(part: Path, num: int) -> pl.DataFrame:
    """Codes of all shards by name, with summed counts."""
    total = read_table(part, 0, "codes")
    for index in range(1, num):
        total = (
            pl.concat([total, read_table(part, index, "codes")])
            .group_by("code")
            .agg(pl.col("target_only").any(), pl.col(*_COUNTS).sum())
        )
    return total.sort("code")


def _merge_sources(part: Path, num: int) -> pl.DataFrame:
    """Codes as they are in the data sets, by (dataset, source); row number = group."""
    total = read_table(part, 0, "sources")
    for index in range(1, num):
        total = pl.concat([total, read_table(part, index, "sources")]).unique()
    return total.sort("dataset", "source")


def _values(part: Path, num: int, names: pl.Series, sources: pl.DataFrame) -> pl.DataFrame:
    """Value statistics by code, from the sketches of the shards in shard order."""
    keys = sources.select("dataset", "source").with_row_index("group")
    waiting: list[ValueSketch] = []
    for index in range(num):
        here = read_table(part, index, "sources").join(keys, on=["dataset", "source"], maintain_order="left")
        group = here["group"].to_numpy()
        sketch = read_sketch(part, index)
        waiting.append(ValueSketch(*(_regroup(table, group) for table in sketch)))
        if len(waiting) > _MERGED_AT_ONCE:
            waiting = [merge_sketches(waiting)]
    place = names.search_sorted(sources["code"]).to_numpy().astype(np.uint32)
    converted = convert(merge_sketches(waiting), place, sources["scale"].to_numpy(), sources["offset"].to_numpy())
    return summarise(converted)


def _regroup(table: pl.DataFrame, group: npt.NDArray[np.uint32]) -> pl.DataFrame:
    """Groups of a shard to groups of the store."""
    return table.with_columns(group=pl.Series(group[table["group"].to_numpy()], dtype=pl.UInt32))


def _vocabulary(counts: pl.DataFrame, sources: pl.DataFrame, about: pl.DataFrame, values: pl.DataFrame) -> pl.DataFrame:
    """All that is known of each code, in order of name."""
    facts = sources.join(about, left_on=["dataset", "source"], right_on=["dataset", "code"], how="left").sort(
        "dataset", "source"
    )
    # A code that stands for a concept elsewhere, or in another store, is here but itself.
    is_concept = pl.col("code").str.starts_with(grammar.CONCEPT + grammar.SEPARATOR)
    about_concept = ("concept", "concept_unit", "concept_description")
    facts = facts.with_columns(pl.when(is_concept).then(name).alias(name) for name in about_concept)
    is_own = (pl.col("scale") == 1) & (pl.col("offset") == 0)
    facts = facts.group_by("code").agg(
        pl.col("concept").drop_nulls().first(),
        pl.coalesce(
            pl.col("concept_description").drop_nulls().first(),
            pl.col("description").filter(pl.col("concept").is_null()).drop_nulls().first(),
            pl.col("concept").drop_nulls().first().str.replace_all("_", " ").str.replace_all("//", " "),
        ).alias("description"),
        # A concept's unit is that of the members that need no conversion, where the data set does not say.
        pl.coalesce(
            pl.col("concept_unit").drop_nulls().first(), pl.col("unit").filter(is_own).drop_nulls().first()
        ).alias("unit"),
    )
    columns = [*QUANTILES, "min", "max", "mean", "std", "resolution"]
    return (
        counts.with_row_index("index")
        .join(facts, on="code", how="left", maintain_order="left")
        .join(values, left_on="index", right_on="group", how="left", maintain_order="left")
        .select(
            pl.col("index").cast(pl.UInt32),
            "code",
            "description",
            "unit",
            "concept",
            grammar.parent_expr().alias("parent"),
            "target_only",
            grammar.is_terminal_expr().alias("terminal"),
            (pl.col("num_static") == pl.col("count")).alias("is_static"),
            pl.col("count", "num_values", "num_subjects").cast(pl.Int64),
            *columns,
        )
    )


def _subjects(part: Path, num: int) -> pl.DataFrame:
    """All subjects in store order, with their place and the time resolution of their data set and site."""
    table = pl.concat([read_table(part, index, "subjects") for index in range(num)])
    all_gaps = pl.col("num_gaps").sum()
    tick = (
        pl.when(all_gaps == 0)
        .then(1)
        .when(pl.col("num_hour_gaps").sum() >= 0.999 * all_gaps)
        .then(3600)
        .when(pl.col("num_minute_gaps").sum() >= 0.999 * all_gaps)
        .then(60)
        .otherwise(1)
        .cast(pl.UInt32)
    )
    return table.with_row_index("row").select(
        pl.col("row").cast(pl.UInt32),
        "subject_id",
        "site",
        "dataset",
        "split",
        "origin",
        "birth",
        "follow_up_s",
        pl.col("num_events", "num_instants").cast(pl.Int64),
        tick.over("dataset", "site").alias("time_tick_s"),
        "shard",
        (pl.col("num_events").cum_sum().over("shard") - pl.col("num_events")).cast(pl.Int64).alias("begin"),
        pl.col("num_static").cast(pl.Int64),
        (pl.col("num_static").cum_sum().over("shard") - pl.col("num_static")).cast(pl.Int64).alias("static_begin"),
    )


def _renumber(part: Path, index: int, names: pl.Series, dtype: np.dtype[Any]) -> None:
    """Local codes of a shard to codes of the store; both are ordered by name, so the events stay in order."""
    local = read_table(part, index, "codes")["code"]
    place = names.search_sorted(local).to_numpy().astype(dtype)
    for name in ("code.npy", "static_code.npy"):
        codes = np.load(part / WORK / shard_name(index) / name)
        with atomic_file(part / SHARDS / shard_name(index) / name) as beside, beside.open("wb") as file:
            np.save(file, place[codes] if len(codes) else codes.astype(dtype))


def _accounts(part: Path, num: int, quarantine: pl.DataFrame) -> dict[str, Any]:
    """Rows by fate, notes and quarantine over all shards."""
    rows, notes = Counter[str](), Counter[str]()
    without = 0
    for index in range(num):
        marker = read_marker(part, index)
        rows.update(marker["rows"])
        notes.update(marker["notes"])
        without += marker["subjects_without_time"]
    reasons = dict(quarantine.group_by("reason").len().sort("reason").iter_rows())
    return {
        "rows": {name: rows[name] for name in ACCOUNTS},
        "notes": {name: notes[name] for name in NOTES},
        "quarantined": reasons,
        "subjects_without_time": without,
    }


def _files(part: Path, num: int) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file of the store but the manifest; what the pieces have hashed is not read again."""
    digests: dict[str, str] = {}
    for index in range(num):
        marked = read_marker(part, index)["files"]
        digests |= {name: digest for name, digest in marked.items() if name.startswith(SHARDS)}
    paths = [part / name for name in ("vocabulary.parquet", "subjects.parquet", "quarantine.parquet")]
    for index in range(num):
        paths += sorted((part / SHARDS / shard_name(index)).glob("*.npy"))
    return {
        name: {"bytes": path.stat().st_size, "sha256": digests.get(name) or sha256(path)}
        for path in paths
        for name in [path.relative_to(part).as_posix()]
    }
