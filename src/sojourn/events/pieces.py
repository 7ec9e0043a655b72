"""The unit of work of a build: read a piece, encode it, leave its files and a marker that they are whole."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from sojourn.errors import SchemaError
from sojourn.events import meds
from sojourn.events.derive import Derive, Reads
from sojourn.events.encode import Encoded, encode
from sojourn.events.plan import Piece
from sojourn.events.rows import PIECE_SCHEMA, QUARANTINE_SCHEMA
from sojourn.events.sketch import ValueSketch
from sojourn.events.splits import assign_splits
from sojourn.events.units import mark, read_rules
from sojourn.files import read_json, sha256, write_json

WORK = "work"
SHARDS = "shards"
MARKER = "done.json"

_TABLES = ("codes", "sources", "subjects", "bins", "moments", "ticks", "quarantine")


def shard_name(index: int) -> str:
    """Folder name of a shard."""
    return f"{index:05d}"


def read_piece(piece: Piece) -> pl.DataFrame:
    """The rows of a piece with the columns of `PIECE_SCHEMA`; `row` counts within the piece.

    Raises
    ------
    SchemaError
        If the file cannot be read or lacks a column.
    """
    try:
        parts = [
            pl.scan_parquet(span.path, glob=False)
            .slice(span.offset, span.num_rows)
            .select(read_columns(span.path, piece.folder))
            .collect()
            for span in piece.spans
        ]
    except (pl.exceptions.PolarsError, OSError) as error:
        names = ", ".join(sorted({span.path.name for span in piece.spans}))
        msg = f"{names} in {piece.folder} must be readable MEDS shards; reading them gave {type(error).__name__}."
        raise SchemaError(msg) from error
    return pl.concat(parts).with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))


def read_columns(path: Path, dataset: Path) -> list[pl.Expr]:
    """The columns of `PIECE_SCHEMA` but `row`, for a shard of a data set that may lack the optional ones."""
    have = pl.scan_parquet(path, glob=False).collect_schema().names()
    missing = [name for name in ("subject_id", "time", "code") if name not in have]
    if missing:
        msg = f"{path} must have the columns subject_id, time, code; {missing} are missing."
        raise SchemaError(msg)
    site = meds.site_column(dataset, have)
    columns = {
        "subject_id": pl.col("subject_id"),
        "time": pl.col("time"),
        "code": pl.col("code"),
        "numeric_value": pl.col("numeric_value") if "numeric_value" in have else pl.lit(None),
        "site": pl.lit(None) if site is None else pl.col(site),
        "is_flagged": pl.col("flag").is_not_null() if "flag" in have else pl.lit(value=False),
    }
    return [column.cast(PIECE_SCHEMA[name]).alias(name) for name, column in columns.items()]


def encode_piece(
    part: Path,
    piece: Piece,
    *,
    derive: Derive | None,
    splits_seed: int,
    reads: Reads | None = None,
    use_concepts: bool = True,
) -> None:
    """Encode one piece into `part`, unless its marker says that this is done and the files are as it says."""
    folder = part / WORK / shard_name(piece.index)
    shard = part / SHARDS / shard_name(piece.index)
    if is_done(part, piece.index):
        return
    folder.mkdir(parents=True, exist_ok=True)
    shard.mkdir(parents=True, exist_ok=True)
    own = meds.read_splits(piece.folder)

    def split_of(ids: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.str_], int]:
        return _splits(ids, own, seed=splits_seed)

    rules = read_rules(piece.folder)
    rows = mark(read_piece(piece), rules.marks)
    encoded = encode(rows, rules.codes, split_of=split_of, derive=derive, reads=reads, use_concepts=use_concepts)
    _write(encoded, piece, folder=folder, shard=shard)
    files = sorted(path for place in (folder, shard) for path in place.iterdir() if path.suffix in (".npy", ".parquet"))
    marker = {
        "files": {path.relative_to(part).as_posix(): sha256(path) for path in files},
        "rows": dict(encoded.accounts.rows),
        "notes": dict(encoded.accounts.notes),
        "subjects_without_time": encoded.accounts.subjects_without_time,
    }
    write_json(folder / MARKER, marker)


def is_done(part: Path, index: int) -> bool:
    """Whether a shard's marker is there and its files are as the marker says."""
    marker = part / WORK / shard_name(index) / MARKER
    if not marker.exists():
        return False
    try:
        files = read_json(marker)["files"]
    except (json.JSONDecodeError, KeyError):
        return False
    return all((part / name).exists() and sha256(part / name) == digest for name, digest in files.items())


def _splits(ids: npt.NDArray[np.int64], own: pl.DataFrame | None, *, seed: int) -> tuple[npt.NDArray[np.str_], int]:
    """The data set's own split of each subject; a hash of the id where it has none."""
    hashed = assign_splits(ids, seed=seed)
    if own is None:
        return hashed, len(ids)
    found = pl.DataFrame({"subject_id": ids}).join(own, on="subject_id", how="left", maintain_order="left")["split"]
    split = found.fill_null(pl.Series(hashed.tolist(), dtype=pl.String))
    return np.array(split.to_list(), dtype=np.str_), found.null_count()


def _write(encoded: Encoded, piece: Piece, *, folder: Path, shard: Path) -> None:
    """Arrays that are final go to the shard; those that await the vocabulary, and all tables, to the work folder."""
    narrow = np.uint16 if len(encoded.codes) <= 1 << 16 else np.uint32
    np.save(folder / "code.npy", encoded.events.code.astype(narrow))
    np.save(folder / "static_code.npy", encoded.static.code.astype(narrow))
    np.save(shard / "value.npy", encoded.events.value)
    np.save(shard / "seconds.npy", encoded.events.seconds.astype(np.uint32))
    np.save(shard / "static_value.npy", encoded.static.value)
    quarantine = pl.concat([pl.DataFrame(schema=QUARANTINE_SCHEMA), *encoded.accounts.quarantine]).sort("row", "reason")
    tables = {
        "codes": encoded.codes,
        "sources": encoded.sources.with_columns(dataset=pl.lit(piece.dataset)),
        "subjects": encoded.subjects.with_columns(
            pl.col("site").fill_null(piece.dataset), dataset=pl.lit(piece.dataset), shard=pl.lit(piece.index, pl.UInt32)
        ),
        "quarantine": _place(quarantine, piece),
        **encoded.sketch._asdict(),
    }
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet", compression="lz4")


def _place(quarantine: pl.DataFrame, piece: Piece) -> pl.DataFrame:
    """Rows of a piece to rows of its data set's files."""
    start = np.cumsum([0, *(span.num_rows for span in piece.spans)])
    span = np.searchsorted(start, quarantine["row"].to_numpy(), side="right") - 1
    shift = np.array([of.offset for of in piece.spans]) - start[:-1]
    names = pl.Series([of.path.relative_to(piece.folder).as_posix() for of in piece.spans], dtype=pl.String)
    return quarantine.with_columns(
        dataset=pl.lit(piece.dataset), file=names.gather(span), row=pl.col("row") + pl.Series(shift[span])
    )


def read_table(part: Path, index: int, name: str) -> pl.DataFrame:
    """A table that `encode_piece` left."""
    assert name in _TABLES, name
    return pl.read_parquet(part / WORK / shard_name(index) / f"{name}.parquet", glob=False)


def read_sketch(part: Path, index: int) -> ValueSketch:
    """The value sketch that `encode_piece` left."""
    return ValueSketch(*(read_table(part, index, name) for name in ValueSketch._fields))


def read_marker(part: Path, index: int) -> dict[str, Any]:
    """The marker that `encode_piece` left."""
    content: dict[str, Any] = read_json(part / WORK / shard_name(index) / MARKER)
    return content
