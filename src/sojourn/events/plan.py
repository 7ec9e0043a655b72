"""What a build reads, cut into pieces of whole subjects, and the fingerprint of all of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from sojourn.errors import DataError, SchemaError
from sojourn.events import meds
from sojourn.events.derive import Derive
from sojourn.files import sha256

FORMAT = 1
"""Version of the store's layout; a store of another version is refused."""

PIECE_ROWS = 1 << 20
"""A piece ends with the subject that reaches this many rows, so memory does not grow with the data set."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of rows of one shard that holds whole subjects; it becomes one shard of the store."""

    index: int
    """Position in the store, from 0."""
    dataset: str
    """Name of the data set."""
    folder: Path
    """Folder of the data set."""
    path: Path
    """The MEDS shard."""
    offset: int
    """First row."""
    num_rows: int
    """Rows to read."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides the store's bytes."""

    pieces: tuple[Piece, ...]
    """In store order."""
    inputs: dict[str, Any]
    """What goes into the manifest: data sets with the SHA-256 of each file, seed, derivation, format."""


def dataset_names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell the data sets apart.

    Raises
    ------
    DataError
        If there is none, or one is given twice.

    Examples
    --------
    >>> dataset_names([Path("/a/mimic"), Path("/a/eicu")]), dataset_names([Path("/x/meds"), Path("/y/meds")])
    (['mimic', 'eicu'], ['x/meds', 'y/meds'])
    """
    resolved = [folder.resolve() for folder in folders]
    if not resolved or len(set(resolved)) < len(resolved):
        msg = f"datasets must name at least one folder, each once; got {[str(folder) for folder in folders]}."
        raise DataError(msg)
    for depth in range(1, max(len(path.parts) for path in resolved) + 1):
        names = ["/".join(path.parts[-depth:]) for path in resolved]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("different paths differ in some part")


def cut(path: Path) -> tuple[list[tuple[int, int]], npt.NDArray[np.int64]]:
    """Cut a shard into (offset, rows) of whole subjects; also give its subjects in order.

    Raises
    ------
    SchemaError
        If the shard cannot be read or the rows of a subject are not together.
    """
    try:
        runs = pl.scan_parquet(path).select(pl.col("subject_id").cast(pl.Int64).rle()).unnest("subject_id").collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        msg = f"{path} must be a parquet file with a column subject_id; reading it gave {type(error).__name__}."
        raise SchemaError(msg) from error
    subjects = runs["value"].drop_nulls().to_numpy()
    if len(np.unique(subjects)) < len(subjects):
        num = len(subjects) - len(np.unique(subjects))
        msg = f"{path} must hold the rows of a subject together; {num} subjects come back later. Sort by subject_id."
        raise SchemaError(msg)
    ends = np.cumsum(runs["len"].to_numpy().astype(np.int64))
    pieces, begin = [], 0
    for end in ends.tolist():
        if end - begin >= PIECE_ROWS or end == ends[-1]:
            pieces.append((begin, end - begin))
            begin = end
    return pieces, subjects


def make_plan(folders: Sequence[Path], *, derive: Derive | None, splits_seed: int) -> Plan:
    """List the pieces of all data sets, check that no subject is in two places, and fingerprint the input.

    Raises
    ------
    DataError
        If two data sets share subject ids, or two shards of one share a subject.
    """
    pieces: list[Piece] = []
    subjects: dict[str, npt.NDArray[np.int64]] = {}
    datasets = []
    for name, folder in zip(dataset_names(folders), folders, strict=True):
        shards = meds.shard_paths(folder)
        held = []
        for path in shards:
            cuts, ids = cut(path)
            held.append(ids)
            pieces += [Piece(len(pieces) + k, name, folder, path, *at) for k, at in enumerate(cuts)]
        subjects[name] = np.concatenate(held)
        datasets.append({"name": name, "files": _fingerprint(folder, shards)})
    _check_apart(subjects)
    inputs = {
        "format": FORMAT,
        "piece_rows": PIECE_ROWS,
        "datasets": datasets,
        "splits_seed": splits_seed,
        "derive": None if derive is None else _name(derive),
    }
    return Plan(tuple(pieces), inputs)


def _fingerprint(folder: Path, shards: Sequence[Path]) -> dict[str, str]:
    """SHA-256 of every file of a data set that a build reads."""
    metadata = [folder / "metadata" / name for name in ("codes.parquet", "dataset.json", "subject_splits.parquet")]
    paths = [*shards, *(path for path in metadata if path.exists())]
    return {path.relative_to(folder).as_posix(): sha256(path) for path in paths}


def _name(derive: Derive) -> str:
    """Name of the derivation, as it goes into the fingerprint."""
    return f"{derive.__module__}.{getattr(derive, '__qualname__', type(derive).__qualname__)}"


def _check_apart(subjects: dict[str, npt.NDArray[np.int64]]) -> None:
    """No subject may be in two shards or two data sets."""
    for name, ids in subjects.items():
        twice = len(ids) - len(np.unique(ids))
        if twice:
            msg = f"{name} must hold each subject in one shard only; {twice} are in several. Write it again by subject."
            raise SchemaError(msg)
    names = list(subjects)
    for k, first in enumerate(names):
        for second in names[k + 1 :]:
            clash = len(np.intersect1d(subjects[first], subjects[second]))
            if clash:
                msg = (
                    f"subject_id must be unique over the data sets of a store; {clash} ids are in both {first} and "
                    f"{second}. Give one of them other ids (add an offset to subject_id) and build again."
                )
                raise DataError(msg)
