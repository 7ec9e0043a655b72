"""MEDS data sets on disk: shards, metadata, validation."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from sojourn.errors import MissingTableError, SchemaError, describe
from sojourn.events import codes as grammar
from sojourn.events.splits import assign_splits
from sojourn.files import atomic_file, read_json

CODES_SCHEMA: dict[str, pl.DataType] = {
    "code": pl.String(),
    "description": pl.String(),
    "unit": pl.String(),
    "concept": pl.String(),
    "scale": pl.Float64(),
    "offset": pl.Float64(),
    "target_only": pl.Boolean(),
    "concept_unit": pl.String(),
    "concept_description": pl.String(),
    "concept_min": pl.Float64(),
    "concept_max": pl.Float64(),
}
"""Columns of `metadata/codes.parquet` that Sojourn reads; all but `code` may be absent."""

_SPLIT_ALIASES = {"validation": "tuning", "valid": "tuning", "val": "tuning", "dev": "tuning", "test": "held_out"}


def is_meds(path: Path) -> bool:
    """Whether `path` looks like a MEDS data set: a folder with parquet files under `data/`."""
    return (path / "data").is_dir() and next((path / "data").rglob("*.parquet"), None) is not None


def shard_paths(dataset: Path) -> list[Path]:
    """The data shards of a MEDS data set, ordered by their path.

    Raises
    ------
    MissingTableError
        If there is none.
    """
    paths = sorted((dataset / "data").rglob("*.parquet"), key=lambda path: path.relative_to(dataset).as_posix())
    if not paths:
        msg = f"{dataset} must be a MEDS data set; it has no data/**/*.parquet. Make one with `sojourn ingest`."
        raise MissingTableError(msg)
    return paths


def read_codes(dataset: Path) -> pl.DataFrame:
    """`metadata/codes.parquet` with the columns of `CODES_SCHEMA`, defaults filled in, one row per code.

    A data set without that file gives an empty table: its vocabulary comes from the data.
    """
    path = dataset / "metadata" / "codes.parquet"
    if not path.exists():
        return pl.DataFrame(schema=CODES_SCHEMA)
    table = pl.read_parquet(path, glob=False)
    if "code" not in table.columns:
        msg = f"{path} must have a column `code`; got {table.columns}."
        raise SchemaError(msg)
    columns = [
        (pl.col(name) if name in table.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in CODES_SCHEMA.items()
    ]
    return (
        table.select(columns)
        .drop_nulls("code")
        .unique("code", keep="first", maintain_order=True)
        .with_columns(
            pl.col("scale").fill_null(1.0),
            pl.col("offset").fill_null(0.0),
            target_only=pl.col("target_only").fill_null(value=False) | grammar.is_outcome_expr(),
        )
    )


def read_splits(dataset: Path) -> pl.DataFrame | None:
    """The data set's own `subject_id, split`, with common names of the splits mapped to MEDS's; None if it has none.

    Raises
    ------
    SchemaError
        If a subject is in two splits, or the columns are not there.
    """
    path = dataset / "metadata" / "subject_splits.parquet"
    if not path.exists():
        return None
    table = pl.read_parquet(path, glob=False)
    if not {"subject_id", "split"} <= set(table.columns):
        msg = f"{path} must have the columns subject_id and split; got {table.columns}."
        raise SchemaError(msg)
    table = table.select(pl.col("subject_id").cast(pl.Int64), pl.col("split").cast(pl.String).replace(_SPLIT_ALIASES))
    table = table.unique(maintain_order=True)
    num_twice = len(table) - table["subject_id"].n_unique()
    if num_twice:
        msg = f"{path} must give each subject one split; {num_twice} subjects have several. Mend the file."
        raise SchemaError(msg)
    return table


def subjects_of(dataset: Path) -> pl.DataFrame:
    """`subject_id, site, split` as a store of the data set has them: the first site, and the data set's own splits, or
    those that a hash of the id gives where it has none.
    """
    parts = []
    for _, frame in iterate_shards(dataset):
        column = site_column(dataset, frame.collect_schema().names())
        site = (pl.lit(None, pl.String) if column is None else pl.col(column).cast(pl.String)).drop_nulls().first()
        parts.append(frame.group_by(pl.col("subject_id").cast(pl.Int64)).agg(site=site).collect())
    table = pl.concat(parts).unique("subject_id", keep="first", maintain_order=True).sort("subject_id")
    own = read_splits(dataset)
    hashed = pl.Series("split", assign_splits(table["subject_id"].to_numpy()))
    if own is None:
        return table.with_columns(hashed)
    return table.join(own, on="subject_id", how="left", maintain_order="left").with_columns(
        pl.col("split").fill_null(hashed)
    )


def read_metadata(dataset: Path) -> dict[str, Any]:
    """`metadata/dataset.json`, or an empty dictionary."""
    path = dataset / "metadata" / "dataset.json"
    content: dict[str, Any] = read_json(path) if path.exists() else {}
    return content


def site_column(dataset: Path, columns: list[str]) -> str | None:
    """Which column tells the site: `site`, or the first that the metadata names; None if there is none."""
    named = ["site", *(read_metadata(dataset).get("site_id_columns") or [])]
    return next((name for name in named if name in columns), None)


def iterate_shards(dataset: Path) -> Iterator[tuple[Path, pl.LazyFrame]]:
    """Each shard's path and its lazy table, in order.

    Raises
    ------
    SchemaError
        If a shard is no parquet file.
    """
    for path in shard_paths(dataset):
        scan = pl.scan_parquet(path, glob=False)
        try:
            scan.collect_schema()
        except pl.exceptions.PolarsError as error:
            msg = f"{path} must be a whole parquet file; it is not. Fetch or make it again."
            raise SchemaError(msg) from error
        yield path, scan


def write_table(table: pl.DataFrame, path: Path) -> None:
    """Write a table of a MEDS data set atomically, with the Arrow types that MEDS wants.

    MEDS asks for plain strings and lists, where polars writes large ones; only `text_value` is a large string.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    plain = {pa.large_string(): pa.string(), pa.large_list(pa.large_string()): pa.list_(pa.string())}
    arrow = table.to_arrow(compat_level=pl.CompatLevel.oldest())
    fields = [
        pa.field(field.name, field.type if field.name == "text_value" else plain.get(field.type, field.type))
        for field in arrow.schema
    ]
    with atomic_file(path) as part:
        pq.write_table(arrow.cast(pa.schema(fields)), part)


def validate(dataset: Path) -> None:
    """Check a data set against the `meds` package's own schemas and MEDS's ordering rules.

    Raises
    ------
    SchemaError
        Naming the file and what is wrong with it.
    """
    import pyarrow.parquet as pq
    from meds import CodeMetadataSchema, DataSchema, SubjectSplitSchema

    seen: set[int] = set()
    for path in shard_paths(dataset):
        table = pq.read_table(path)
        _check(DataSchema, table, path)
        frame = pl.from_arrow(table.select(["subject_id", "time"]))
        assert isinstance(frame, pl.DataFrame)
        _check_order(frame, path, seen)
    for name, schema in (("codes", CodeMetadataSchema), ("subject_splits", SubjectSplitSchema)):
        path = dataset / "metadata" / f"{name}.parquet"
        if path.exists():
            _check(schema, pq.read_table(path), path)


def _check_order(frame: pl.DataFrame, path: Path, seen: set[int]) -> None:
    """A subject is in one run of rows, in time order with static facts first; `seen` holds those of other shards."""
    runs = frame["subject_id"].rle().struct.field("value")
    if runs.n_unique() != len(runs) or not seen.isdisjoint(runs):
        msg = f"{path} must hold each subject in one run of rows, and in no other shard. Sort by subject_id."
        raise SchemaError(msg)
    seen.update(runs)
    before = pl.col("time").shift()
    back = (pl.col("time") < before) | (pl.col("time").is_null() & before.is_not_null())
    same = pl.col("subject_id") == pl.col("subject_id").shift()
    rows = frame.select((same & back).fill_null(value=False).arg_true()).to_series()
    if len(rows):
        msg = f"time must not decrease within a subject; it does at row {rows[0]} of {path}. Sort by subject_id, time."
        raise SchemaError(msg)


def _check(schema: Any, table: Any, path: Path) -> None:
    """Let the `meds` package judge a table; say which file it was."""
    try:
        schema.validate(table)
    except Exception as error:
        msg = f"{path} must follow MEDS's {schema.__name__}; {describe(error)}"
        raise SchemaError(msg) from error
