"""What a build reads, cut into pieces of whole subjects, and the fingerprint of all of it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from sojourn.errors import DataError, SchemaError
from sojourn.events import meds
from sojourn.events.arrange import first_of_run
from sojourn.events.derive import Derive
from sojourn.events.lineage import read_lineage
from sojourn.events.units import UNITS
from sojourn.files import sha256

FORMAT = 1
"""Version of the store's layout; a store of another version is refused."""

PIECE_ROWS = 1 << 20
"""A piece ends with the subject that reaches this many rows, so memory does not grow with the data set."""


class Span(NamedTuple):
    """A run of rows of one MEDS shard."""

    path: Path
    """The MEDS shard."""
    offset: int
    """First row."""
    num_rows: int
    """Number of rows."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of whole subjects, from one or several shards; it becomes one shard of the store."""

    index: int
    """Position in the store, from 0."""
    dataset: str
    """Name of the data set."""
    folder: Path
    """Folder of the data set."""
    spans: tuple[Span, ...]
    """What to read, in order."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides the store's bytes."""

    pieces: tuple[Piece, ...]
    """In store order."""
    inputs: dict[str, Any]
    """What goes into the manifest: data sets with the SHA-256 of each file, and of the shards that they were made from,
    seed, derivation, format."""


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


def read_subjects(path: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Subjects of a shard in order, and the row at which each run of a subject (or of rows without one) ends.

    Raises
    ------
    SchemaError
        If the shard cannot be read or the rows of a subject are not together.
    """
    try:
        column = pl.scan_parquet(path, glob=False).select(pl.col("subject_id").cast(pl.Int64)).collect().to_series()
    except (pl.exceptions.PolarsError, OSError) as error:
        msg = f"{path} must be a parquet file with a column subject_id; reading it gave {type(error).__name__}."
        raise SchemaError(msg) from error
    is_told, ids = column.is_not_null().to_numpy(), column.fill_null(0).to_numpy()
    begin = np.flatnonzero(first_of_run(ids, is_told))
    subjects = ids[begin[is_told[begin]]]
    num_again = num_twice(subjects)
    if num_again:
        msg = f"{path} must hold the rows of a subject together; {num_again} come back later. Sort by subject_id."
        raise SchemaError(msg)
    return subjects, np.append(begin, len(ids))[1:]


def num_twice(ids: npt.NDArray[np.int64]) -> int:
    """How many entries repeat another one."""
    ordered = np.sort(ids)
    return int(np.count_nonzero(ordered[1:] == ordered[:-1]))


def pack(shards: Iterable[tuple[Path, npt.NDArray[np.int64]]]) -> Iterator[tuple[Span, ...]]:
    """Fill pieces with subjects until each has `PIECE_ROWS` rows, across shards.

    Parameters
    ----------
    shards : iterable of (path, ends)
        `ends`: row after the last of each subject, as `read_subjects` gives it.
    """
    spans: list[Span] = []
    room = PIECE_ROWS
    for path, ends in shards:
        begin, size = 0, int(ends[-1]) if len(ends) else 0
        while begin < size:
            last = min(int(np.searchsorted(ends, begin + room)), len(ends) - 1)
            end = int(ends[last])
            spans.append(Span(path, begin, end - begin))
            room -= end - begin
            begin = end
            if room <= 0:
                yield tuple(spans)
                spans, room = [], PIECE_ROWS
    if spans:
        yield tuple(spans)


def make_plan(folders: Sequence[Path], *, derive: Derive | None, splits_seed: int, use_concepts: bool = True) -> Plan:
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
        held, ends = zip(*map(read_subjects, shards), strict=True)
        subjects[name] = np.concatenate(held)
        for spans in pack(zip(shards, ends, strict=True)):
            pieces.append(Piece(len(pieces), name, folder, spans))
        datasets.append({"name": name, "files": _fingerprint(folder, shards)} | _lineage(folder))
    if not pieces:
        msg = f"datasets must hold rows; there are none in {', '.join(subjects)}. Check what wrote them."
        raise DataError(msg)
    _check_apart(subjects)
    inputs = {
        "format": FORMAT,
        "piece_rows": PIECE_ROWS,
        "datasets": datasets,
        "splits_seed": splits_seed,
        "derive": None if derive is None else _name(derive),
    }
    if not use_concepts:  # not told otherwise, so that stores of earlier versions are known again
        inputs["use_concepts"] = False
    return Plan(tuple(pieces), inputs)


def _fingerprint(folder: Path, shards: Sequence[Path]) -> dict[str, str]:
    """SHA-256 of every file of a data set that a build reads."""
    metadata = [folder / "metadata" / name for name in ("codes.parquet", "dataset.json", "subject_splits.parquet")]
    paths = [*shards, *(path for path in (*metadata, folder / UNITS) if path.exists())]
    return {path.relative_to(folder).as_posix(): sha256(path) for path in paths}


def _lineage(folder: Path) -> dict[str, list[str]]:
    """Shards that a data set was made from; nothing, as ever, where it was made from no other."""
    shards = read_lineage(folder)
    return {"made_from": shards} if shards else {}


def _name(derive: Derive) -> str:
    """Name of the derivation, and its own fingerprint if it has one, as they go into the fingerprint of the input."""
    name = f"{derive.__module__}.{getattr(derive, '__qualname__', type(derive).__qualname__)}"
    own = getattr(derive, "fingerprint", None)
    return name if own is None else f"{name} {own}"


def _check_apart(subjects: dict[str, npt.NDArray[np.int64]]) -> None:
    """No subject may be in two shards or two data sets."""
    for name, ids in subjects.items():
        twice = num_twice(ids)
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
