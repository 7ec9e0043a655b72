"""The event store: memory-mapped arrays of each subject's record, found in constant time."""

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from sojourn.errors import StoreError
from sojourn.events.pieces import SHARDS, shard_name
from sojourn.events.plan import FORMAT
from sojourn.events.records import CodeArray, Subject
from sojourn.files import read_json, sha256

MANIFEST = "manifest.json"
_MICROS = 1_000_000
_MAX_MAPPED = 4096
"""Shards mapped at a time: an operating system allows some 65,000 maps, and a shard takes five."""


class Shard(NamedTuple):
    """The memory-mapped arrays of one shard; see `Subject` for their meaning."""

    code: CodeArray
    value: npt.NDArray[np.float32]
    seconds: npt.NDArray[np.uint32]
    static_code: CodeArray
    static_value: npt.NDArray[np.float32]


class EventStore:
    """Random access to the records of an event store, without loading it.

    Made by `build_store`, opened with `EventStore.open`. It can be sent to other processes: they map the same files.

    Attributes
    ----------
    path : Path
    manifest : dict
        Inputs with checksums, counts, accounts of all rows, files with checksums.
    vocabulary : pl.DataFrame
        One row per code, in order of name: index u32, code, description, unit, concept, parent, target_only,
        terminal, is_static, count, num_values, num_subjects (all subjects), q05, q25, q50, q75, q95, min, max, mean,
        std, resolution (values of training subjects; null: none).
    subjects : pl.DataFrame
        One row per subject: row u32, subject_id, site, dataset, split, origin, birth, follow_up_s, num_events,
        num_instants (instants with an event that is not target-only), time_tick_s, and its place in the shards.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], vocabulary: pl.DataFrame, subjects: pl.DataFrame) -> None:
        self.path, self.manifest, self.vocabulary, self.subjects = path, manifest, vocabulary, subjects
        self._shards: dict[int, Shard] = {}

    @classmethod
    def open(cls, path: Path | str) -> "EventStore":
        """Open a store.

        Raises
        ------
        StoreError
            If `path` is not a finished store of this version.
        """
        path = Path(path)
        if not (path / MANIFEST).exists():
            msg = f"{path} must be an event store; it has no {MANIFEST}. Make one with `sojourn build`."
            raise StoreError(msg)
        manifest = read_json(path / MANIFEST)
        version = manifest.get("inputs", {}).get("format")
        if version != FORMAT:
            msg = f"{path} must be a store of format {FORMAT}; got {version}. Build it again."
            raise StoreError(msg)
        try:
            tables = [pl.read_parquet(path / f"{name}.parquet", glob=False) for name in ("vocabulary", "subjects")]
        except (pl.exceptions.PolarsError, OSError) as error:
            msg = f"{path} must hold readable vocabulary.parquet and subjects.parquet; got {type(error).__name__}."
            raise StoreError(msg) from error
        return cls(path, manifest, tables[0], tables[1])

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return EventStore.open, (self.path,)

    def __len__(self) -> int:
        return len(self.subjects)

    def __repr__(self) -> str:
        return f"EventStore({str(self.path)!r}, num_subjects={len(self)}, num_events={self.manifest['num_events']})"

    def subject(self, row: int) -> Subject:
        """The whole record of the subject in `row`.

        Raises
        ------
        IndexError
            If there is no such row.
        """
        table = self._columns
        if not 0 <= row < len(self):
            msg = f"row must be in [0, {len(self)}); got {row}."
            raise IndexError(msg)
        shard = self.shard(int(table["shard"][row]))
        begin, size = int(table["begin"][row]), int(table["num_events"][row])
        static_begin, num_static = int(table["static_begin"][row]), int(table["num_static"][row])
        events, static = slice(begin, begin + size), slice(static_begin, static_begin + num_static)
        return Subject(
            subject_id=int(table["subject_id"][row]),
            site=self._sites[row],
            origin=table["origin"][row],
            birth_s=float(table["birth_s"][row]),
            follow_up_s=float(table["follow_up_s"][row]),
            static_code=shard.static_code[static],
            static_value=shard.static_value[static],
            code=shard.code[events],
            value=shard.value[events],
            seconds=shard.seconds[events],
        )

    def window(self, row: int, start_s: float, end_s: float) -> Subject:
        """The record with only the events of start_s <= seconds < end_s.

        Found by bisection on the memory map, so the cost does not grow with the store.
        """
        whole = self.subject(row)
        begin, end = np.searchsorted(whole.seconds, [start_s, end_s])
        events = slice(int(begin), int(end))
        return whole._replace(code=whole.code[events], value=whole.value[events], seconds=whole.seconds[events])

    def rows(
        self,
        split: str | None = None,
        sites: Collection[str] | None = None,
        exclude_sites: Collection[str] | None = None,
    ) -> npt.NDArray[np.int64]:
        """Rows of the subjects of a split and of some sites, in store order."""
        chosen = pl.lit(value=True)
        if split is not None:
            chosen = chosen & (pl.col("split") == split)
        if sites is not None:
            chosen = chosen & pl.col("site").is_in(list(sites))
        if exclude_sites is not None:
            chosen = chosen & ~pl.col("site").is_in(list(exclude_sites))
        return self.subjects.filter(chosen)["row"].to_numpy().astype(np.int64)

    def find(self, subject_ids: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Rows of subjects by their ids, in the order asked for.

        Raises
        ------
        StoreError
            If the store lacks some of them.
        """
        asked = pl.DataFrame({"subject_id": pl.Series(subject_ids, dtype=pl.Int64)})
        found = asked.join(
            self.subjects.select("subject_id", "row"), on="subject_id", how="left", maintain_order="left"
        )
        lacking = found["row"].null_count()
        if lacking:
            msg = f"subject_ids must be in {self.path}; {lacking} of {len(asked)} are not. Build it from their data."
            raise StoreError(msg)
        return found["row"].to_numpy().astype(np.int64)

    def shard(self, index: int) -> Shard:
        """The arrays of one shard, mapped at first use."""
        if index not in self._shards:
            if len(self._shards) >= _MAX_MAPPED:
                self._shards.pop(next(iter(self._shards)))
            folder = self.path / SHARDS / shard_name(index)
            try:
                arrays = [_map(folder / f"{name}.npy") for name in Shard._fields]
            except (OSError, ValueError) as error:
                msg = f"{folder} must hold the arrays of a shard; got {type(error).__name__}. Build it again."
                raise StoreError(msg) from error
            self._shards[index] = Shard(*arrays)
        return self._shards[index]

    def blocks(self, rows: npt.NDArray[np.int64]) -> Iterator[Shard]:
        """The arrays of many subjects together, one block for each shard that holds some of `rows`.

        Memory is that of one shard. The subjects of a block are in the order of `rows`; use it for counting.
        """
        table = self._columns
        shard = table["shard"][rows]
        cuts = np.flatnonzero(np.diff(shard, prepend=-1))
        for begin, end in zip(cuts.tolist(), [*cuts[1:].tolist(), len(rows)], strict=True):
            chosen = rows[begin:end]
            arrays = self.shard(int(shard[begin]))
            timed = _runs(table["begin"][chosen], table["num_events"][chosen])
            static = _runs(table["static_begin"][chosen], table["num_static"][chosen])
            yield Shard(
                *(_take(array, timed) for array in arrays[:3]),  # type: ignore[arg-type]
                *(_take(array, static) for array in arrays[3:]),  # type: ignore[arg-type]
            )

    def accounts(self) -> list[dict[str, Any]]:
        """What the ingestion of each data set told, with the data set's name: tables, reasons, warnings, units."""
        folder = self.path / "datasets"
        # Data sets whose folders have the same name are called by the folder above too.
        return [
            read_json(path) | {"name": path.relative_to(folder).as_posix().removesuffix(".json")}
            for path in sorted(folder.rglob("*.json"))
        ]

    def verify(self) -> None:
        """Compare every file with its checksum in the manifest.

        Raises
        ------
        StoreError
            Naming the files that are missing or changed.
        """
        bad = [
            name
            for name, entry in self.manifest["files"].items()
            if not (self.path / name).exists() or sha256(self.path / name) != entry["sha256"]
        ]
        if bad:
            msg = f"{self.path} must be as it was built; {len(bad)} files are not, such as {bad[0]}. Build it again."
            raise StoreError(msg)

    @cached_property
    def _columns(self) -> dict[str, npt.NDArray[Any]]:
        """Columns of the subject table as arrays: single rows of a data frame are slow to reach."""
        birth = (pl.col("birth") - pl.col("origin")).dt.total_microseconds() / _MICROS
        table = self.subjects.with_columns(birth_s=birth.fill_null(float("nan")))
        names = ("subject_id", "origin", "birth_s", "follow_up_s", "shard", "begin", "num_events")
        return {name: table[name].to_numpy() for name in (*names, "static_begin", "num_static")}

    @cached_property
    def _sites(self) -> list[str]:
        return self.subjects["site"].to_list()


def _runs(begin: npt.NDArray[np.int64], size: npt.NDArray[np.int64]) -> list[slice]:
    """Slices that cover [begin, begin + size) of each subject, neighbours joined."""
    end = begin + size
    is_new = np.ones(len(begin), np.bool_)
    is_new[1:] = begin[1:] != end[:-1]
    first = np.flatnonzero(is_new)
    last = np.append(first[1:], len(begin)) - 1
    return [slice(a, b) for a, b in zip(begin[first].tolist(), end[last].tolist(), strict=True)]


def _take(array: npt.NDArray[Any], slices: list[slice]) -> npt.NDArray[Any]:
    """Concatenate slices; a single one stays a view."""
    return array[slices[0]] if len(slices) == 1 else np.concatenate([array[part] for part in slices])


def _map(path: Path) -> npt.NDArray[Any]:
    """Map an array read-only; an empty one cannot be mapped and is read."""
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r")
    # A plain view: indexing np.memmap itself costs microseconds for every slice.
    return array.view(np.ndarray)
