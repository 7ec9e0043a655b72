"""What stands beside the events of a MEDS data set: codes, splits, what it is, and what was set aside."""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pa_parquet

from sojourn.events.codes import ancestors
from sojourn.events.splits import assign_splits
from sojourn.files import atomic_file, read_json, write_json
from sojourn.sources.accounting import IngestReport
from sojourn.sources.describing import inherit
from sojourn.sources.records import Source, SplitSource, as_codes


def write_metadata(origin: Source, raw: Path, part: Path, work: Path, report: IngestReport) -> None:
    """Write ``metadata/`` and ``quarantine/`` of the unfinished data set `part` from the scratch folder `work`."""
    metadata = part / "metadata"
    metadata.mkdir(exist_ok=True)
    observed = {code for path in (work / "summaries").glob("*.json") for code in read_json(path)["codes"]}
    _write_table(complete_codes(observed, origin.codes(raw)), metadata / "codes.parquet")
    subject_ids = pl.Series("subject_id", read_json(work / "subjects.json"), pl.Int64)
    _write_table(_splits(origin, raw, subject_ids), metadata / "subject_splits.parquet")
    write_json(
        metadata / "dataset.json",
        {
            "dataset_name": report.source,
            "etl_name": "sojourn",
            "etl_version": version("sojourn"),
            "meds_version": version("meds"),
            "site_id_columns": ["site"],
            "other_extension_columns": ["bound", "flag"],
        },
    )
    for table in report.tables:
        target = part / "quarantine" / f"{table.table}.parquet"
        with atomic_file(target) as unfinished:
            _join_quarantine(work / "batches" / "quarantine" / table.table, table.table, unfinished)
    write_json(metadata / "ingest.json", report.to_json())


def complete_codes(observed: set[str], described: pl.DataFrame) -> pl.DataFrame:
    """Rows (`CODES_SCHEMA`) for every observed code; described codes are kept if they or a descendant occur.

    An observed code without a description takes that of the nearest code above it.

    Parameters
    ----------
    observed : codes that occur in the data.
    described : codes that the source knows, `CODES_SCHEMA`.
    """
    levels = {level for code in observed for level in ancestors(code)}
    known = as_codes(described).unique("code", keep="first", maintain_order=True)
    known = known.filter(pl.col("code").is_in(sorted(observed | levels)))
    missing = inherit(sorted(observed - set(known["code"])), known)
    return pl.concat([known, as_codes(missing)]).sort("code")


def _splits(origin: Source, raw: Path, subject_ids: pl.Series) -> pl.DataFrame:
    """Split of each subject: the source's where it has one, else a hash of the subject id."""
    hashed = pl.DataFrame({"subject_id": subject_ids, "split": assign_splits(subject_ids.to_numpy())})
    given = origin.splits(raw) if isinstance(origin, SplitSource) else None
    if given is None:
        return hashed
    given = given.select(pl.col("subject_id").cast(pl.Int64), given_split=pl.col("split").cast(pl.String)).unique(
        "subject_id", keep="first", maintain_order=True
    )
    both = hashed.join(given, on="subject_id", how="left", maintain_order="left")
    return both.select("subject_id", split=pl.coalesce("given_split", "split"))


def _write_table(frame: pl.DataFrame, path: Path) -> None:
    """Write a metadata table with the string type that the MEDS schemas ask for."""
    table = frame.to_arrow()
    types = [_plain(field.type) for field in table.schema]
    schema = pa.schema([pa.field(name, kind) for name, kind in zip(table.schema.names, types, strict=True)])
    with atomic_file(path) as part:
        pa_parquet.write_table(table.cast(schema), part)


def _plain(kind: pa.DataType) -> pa.DataType:
    """`string` for large strings, `list` for large lists."""
    if pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_large_list(kind):
        return pa.list_(_plain(kind.value_type))
    return kind


def _join_quarantine(folder: Path, table: str, path: Path) -> None:
    """Join the quarantined rows of all batches of one table, one row group for each batch."""
    schema = pa.schema([("table", pa.string()), ("row", pa.uint64()), ("reason", pa.string()), ("record", pa.string())])
    with pa_parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for rows in _quarantine_batches(folder):
            full = rows.select(table=pl.lit(table), row="row", reason="reason", record="record").sort("row")
            writer.write_table(full.to_arrow().cast(schema))


def _quarantine_batches(folder: Path) -> Iterator[pl.DataFrame]:
    for path in sorted(folder.glob("*.parquet")):
        rows = pl.read_parquet(path, glob=False)
        if rows.height:
            yield rows
