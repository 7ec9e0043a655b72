"""Challenges come as one text file for each patient: in folders, in a tar archive or in a zip archive."""

import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import polars as pl

from sojourn.errors import MissingTableError, SchemaError

_ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")


class PatientFile(NamedTuple):
    """One text file."""

    path: str
    """Place inside the folder or archive, with forward slashes."""
    text: str
    """Whole content; bytes that are no UTF-8 are replaced."""


def is_archive(path: Path) -> bool:
    """Whether a file is an archive by its name."""
    return path.is_file() and path.name.lower().endswith(_ARCHIVES)


def iterate_files(raw: Path, pattern: str) -> Iterator[PatientFile]:
    """Yield the text files of a folder (at any depth, by name) or of an archive (in its own order).

    Parameters
    ----------
    raw : folder, or archive (.tar, .tar.gz, .tgz, .zip).
    pattern : regular expression that a file's whole name (without folders) matches.

    Yields
    ------
    PatientFile
        With the name of the archive, if it is one, as the first part of the path.

    Raises
    ------
    SchemaError
        If the archive is damaged.
    """
    if raw.is_dir():
        for path in sorted(raw.rglob("*")):
            if re.fullmatch(pattern, path.name) and path.is_file():
                yield PatientFile(path.relative_to(raw).as_posix(), path.read_text("utf-8-sig", "replace"))
        return
    reader = _iterate_zip if raw.name.lower().endswith(".zip") else _iterate_tar
    try:
        yield from reader(raw, pattern)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        msg = f"{raw} must be a whole archive; reading it failed ({type(error).__name__}). Fetch it again."
        raise SchemaError(msg) from error


def _iterate_tar(raw: Path, pattern: str) -> Iterator[PatientFile]:
    with tarfile.open(raw, "r|*") as archive:
        for member in archive:
            if member.isfile() and re.fullmatch(pattern, Path(member.name).name):
                content = archive.extractfile(member)
                assert content is not None
                yield PatientFile(f"{raw.name}/{member.name}", content.read().decode("utf-8-sig", "replace"))


def _iterate_zip(raw: Path, pattern: str) -> Iterator[PatientFile]:
    with zipfile.ZipFile(raw) as archive:
        for name in archive.namelist():
            if re.fullmatch(pattern, Path(name).name):
                yield PatientFile(f"{raw.name}/{name}", archive.read(name).decode("utf-8-sig", "replace"))


def stack_files(
    files: Iterator[PatientFile],
    *,
    separator: str,
    required: Sequence[str],
    keys: Callable[[str], Sequence[str | None]],
    key_names: Sequence[str],
    files_per_frame: int = 500,
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Stack the rows of many files.

    Parameters
    ----------
    files : what `iterate_files` yields; each begins with a header, not all with the same columns.
    separator : between the fields of a line; fields are not quoted.
    required : columns that each file must have.
    keys, key_names : columns made from the path of the file.
    files_per_frame : a frame holds whole files only.

    Yields
    ------
    rows : `row` (u64, counted from 0 over all files), the key columns, the files' columns as text, null where empty.
    malformed : `row`, the key columns and `text`: lines with a wrong number of fields.

    Raises
    ------
    SchemaError
        If a file has no header with the required columns.
    """
    row = 0
    while group := list(islice(files, files_per_frame)):
        frames: dict[str, list[str]] = {}
        malformed: list[tuple[str | None, ...]] = []
        for file in group:
            header, _, body = file.text.partition("\n")
            header = header.strip()
            absent = set(required) - set(header.split(separator))
            if absent:
                msg = f"{file.path} must begin with a header with {', '.join(sorted(absent))}. Fetch the file again."
                raise SchemaError(msg)
            prefix = [key or "" for key in keys(file.path)]
            width = header.count(separator)
            lines = frames.setdefault(header, [])
            for line in body.splitlines():
                if not line.strip():
                    continue
                if line.count(separator) == width:
                    lines.append("\x1f".join((str(row), *prefix, *line.split(separator))))
                else:
                    malformed.append((str(row), *prefix, line))
                row += 1
        names = ("row", *key_names)
        parts = [_parse(lines, [*names, *header.split(separator)]) for header, lines in frames.items() if lines]
        schema = dict.fromkeys((*names, *required), pl.String)
        rows = pl.concat([pl.DataFrame(schema=schema), *parts], how="diagonal")
        odd = pl.DataFrame(malformed, schema=dict.fromkeys((*names, "text"), pl.String), orient="row")
        to_number = pl.col("row").cast(pl.UInt64)
        yield rows.with_columns(to_number).sort("row"), odd.with_columns(to_number)


def _parse(lines: list[str], names: list[str]) -> pl.DataFrame:
    """Columns of text from lines with one separator that no file holds."""
    return pl.read_csv(
        "\n".join(lines).encode(),
        has_header=False,
        new_columns=names,
        separator="\x1f",
        quote_char=None,
        infer_schema=False,
        null_values=[""],
    )


def find_archives(folder: Path) -> list[Path]:
    """Archives that lie directly in a folder, by name."""
    return [path for path in sorted(folder.iterdir()) if is_archive(path)]


def find_inputs(raw: Path, pattern: str) -> list[Path]:
    """Say where the patient files are: in `raw` itself (a folder or archive), else in the archives in it.

    Raises
    ------
    MissingTableError
        If there are none.
    """
    if is_archive(raw) or (raw.is_dir() and any(re.fullmatch(pattern, path.name) for path in raw.rglob("*"))):
        return [raw]
    archives = find_archives(raw) if raw.is_dir() else []
    if not archives:
        kinds = f"files named {pattern}, an archive of them or a table"
        msg = f"raw must hold {kinds}; {raw} holds none. Give another folder."
        raise MissingTableError(msg)
    return archives


def last_number(text: pl.Expr) -> pl.Expr:
    """Number (i64) at the end of a patient's name such as ``p000123``; null if there is none."""
    return text.cast(pl.String).str.extract(r"^\D*(\d{1,18})$").cast(pl.Int64, strict=False)


def set_letter(path: str, pattern: str) -> str | None:
    """First group of `pattern` in a path, as a capital; None where there is none."""
    found = re.search(pattern, path, re.IGNORECASE)
    return found.group(1).upper() if found else None
