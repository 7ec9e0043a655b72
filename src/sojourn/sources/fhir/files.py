"""FHIR bulk files: one resource a line, decoded by the thousands, and what is no resource set aside."""

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

import polars as pl

from sojourn.errors import MissingTableError, SchemaError
from sojourn.sources.fhir.layout import decoded_as
from sojourn.sources.records import QUARANTINE_SCHEMA, quarantine

_NAMES = re.compile(r"(?i)^(.+)\.(?:ndjson|jsonl)(?:\.gz)?$")
_LINES = 20_000
_MAX_DEPTH = 4


class BulkFile(NamedTuple):
    """One file of resources."""

    path: Path
    name: str
    """Path inside the folder without its endings: the name of the table."""
    kind: str | None
    """Type of its first resource; the bulk export puts one type into a file."""


class Decoded(NamedTuple):
    """Lines of one file that hold resources of one type, and the lines that are none."""

    kind: str
    """Type of the resources."""
    frame: pl.DataFrame
    """`row` (u64), `resource` (the line), and `_r`: the elements that are read (see `decoded_as`)."""


def find_files(raw: Path) -> list[BulkFile]:
    """Files ``*.ndjson`` and ``*.jsonl``, gzipped or not, at any depth up to four, by name.

    Raises
    ------
    MissingTableError
        If there are none.
    """
    paths = [raw] if raw.is_file() else [p for d in range(_MAX_DEPTH) for p in sorted(raw.glob("*/" * d + "*"))]
    files = []
    for path in paths:
        found = _NAMES.match(path.name if path == raw else path.relative_to(raw).as_posix())
        if found and path.is_file() and not path.name.startswith("."):
            files.append(BulkFile(path, found[1], _first_kind(path)))
    if not files:
        msg = (
            f"raw must hold files *.ndjson or *.ndjson.gz of a FHIR bulk export; {raw} holds none. Give another folder."
        )
        raise MissingTableError(msg)
    return files


def _first_kind(path: Path) -> str | None:
    """Type of the first resource of a file; None if its first line is no resource."""
    for line in islice(_lines(path), 1):
        try:
            resource = json.loads(line)
        except ValueError:
            return None
        kind = resource.get("resourceType") if isinstance(resource, dict) else None
        return kind if isinstance(kind, str) else None
    return None


def _lines(path: Path) -> Iterator[str]:
    """Lines of a file that are not blank; bytes that are no UTF-8 are replaced."""
    try:
        with _open(path) as file:
            for line in file:
                text = line.strip()
                if text:
                    yield text
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{path} must be whole; reading it failed ({type(error).__name__}). Fetch it again."
        raise SchemaError(msg) from error


def _open(path: Path) -> IO[str]:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="replace")
    return path.open("rt", encoding="utf-8-sig", errors="replace")


def decode(file: BulkFile) -> Iterator[tuple[int, list[Decoded], pl.DataFrame]]:
    """Yield a file in pieces: the number of lines, their resources by type, and the quarantined lines."""
    lines, start = _lines(file.path), 0
    while piece := list(islice(lines, _LINES)):
        rows = pl.Series("row", range(start, start + len(piece)), dtype=pl.UInt64)
        frame = pl.DataFrame([rows, pl.Series("resource", piece, dtype=pl.String)])
        start += len(piece)
        parts, bad = _decode(frame, file.kind or "")
        yield frame.height, parts, bad


def _decode(frame: pl.DataFrame, kind: str) -> tuple[list[Decoded], pl.DataFrame]:
    """Decode lines that should hold `kind`; those of another type are decoded again as that."""
    good, bad = _as_kind(frame, kind)
    types = good["_r"].struct.field("resourceType") if good.height else pl.Series([], dtype=pl.String)
    fits = (types == kind).fill_null(value=False)
    parts = [Decoded(kind, good.filter(fits))] if fits.any() else []
    others = good.filter(~fits).with_columns(_kind=types.filter(~fits))
    aside = [bad, quarantine(others.filter(pl.col("_kind").is_null()).select("row", "resource"), "no_resource_type")]
    for (other,), rows in others.drop_nulls("_kind").partition_by("_kind", as_dict=True, maintain_order=True).items():
        again, worse = _as_kind(rows.select("row", "resource"), str(other))
        aside.append(worse)
        parts.append(Decoded(str(other), again))
    return parts, pl.concat(aside)


def _as_kind(frame: pl.DataFrame, kind: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Lines with `_r`, and the lines that cannot be decoded as `kind`, quarantined."""
    good: list[pl.DataFrame] = []
    bad: list[pl.DataFrame] = []
    _bisect(frame, kind, good, bad)
    empty = frame.clear().with_columns(_r=pl.Series([], dtype=decoded_as(kind)))
    return pl.concat([empty, *good]), pl.concat([pl.DataFrame(schema=QUARANTINE_SCHEMA), *bad])


def _bisect(frame: pl.DataFrame, kind: str, good: list[pl.DataFrame], bad: list[pl.DataFrame]) -> None:
    """Decode all lines at once; where that fails, each half, until the lines that cannot be decoded stand alone."""
    if frame.height == 0:
        return
    try:
        good.append(frame.with_columns(_r=pl.col("resource").str.json_decode(decoded_as(kind))))
    except pl.exceptions.ComputeError:
        if frame.height == 1:
            bad.append(quarantine(frame, _why(frame["resource"][0], kind)))
            return
        half = frame.height // 2
        _bisect(frame.head(half), kind, good, bad)
        _bisect(frame.tail(frame.height - half), kind, good, bad)


def _why(line: str, kind: str) -> str:
    """Reason for setting one line aside that cannot be decoded as `kind`."""
    try:
        resource = json.loads(line)
    except ValueError:
        return "malformed_json"
    if not isinstance(resource, dict):
        return "no_resource_type"
    other = resource.get("resourceType")
    return "unexpected_layout" if other == kind else "type_unlike_its_file" if other else "no_resource_type"
