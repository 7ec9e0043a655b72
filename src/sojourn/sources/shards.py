"""Scatter events by subject over scratch files, then gather them, sorted, into the shards of a MEDS data set."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from math import ceil
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pa_parquet

from sojourn.events.splits import splitmix64
from sojourn.files import atomic_file, read_json, write_json

SLOTS = 1 << 16
"""Subjects are hashed to this many slots; a shard is a range of slots."""
_SALT = np.uint64(0x5108_5EED_0F_5107)  # so that shards have nothing to do with splits
_SCRATCH_ROWS = 16_384
_MIN_SHARD_EVENTS, _MAX_SHARD_EVENTS, _USUAL_SHARDS = 1_000_000, 2_000_000, 256

MEDS_SCHEMA = pa.schema(
    [
        pa.field("subject_id", pa.int64(), nullable=False),
        pa.field("time", pa.timestamp("us")),
        pa.field("code", pa.string(), nullable=False),
        pa.field("numeric_value", pa.float32()),
        pa.field("text_value", pa.large_string()),
        pa.field("site", pa.string()),
        pa.field("bound", pa.string()),
        pa.field("flag", pa.string()),
    ]
)
_ORDER = list(MEDS_SCHEMA.names)


class ShardJob(NamedTuple):
    """All that is needed to make one shard, in any process."""

    scratch: Path
    """Folder of scratch files."""
    target: Path
    """Parquet file to write; its summary goes beside the scratch files."""
    summary: Path
    """JSON file to write."""
    first_slot: int
    """First slot of the shard."""
    end_slot: int
    """First slot of the next shard."""


def slots(subject_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
    """Slot (u16) of each subject id (i64, shape [N]): the upper bits of a hash, the same on every machine."""
    salted = np.ascontiguousarray(subject_ids, dtype=np.int64).view(np.uint64) ^ _SALT
    return (splitmix64(salted) >> np.uint64(48)).astype(np.uint16)


def scatter(events: pl.DataFrame, path: Path) -> None:
    """Write checked events to a scratch file, ordered by slot so that a range of slots is read without the rest."""
    slotted = events.select(_ORDER).with_columns(slot=pl.Series(slots(events["subject_id"].to_numpy())))
    with atomic_file(path) as part:
        slotted.sort("slot", maintain_order=True).write_parquet(
            part, compression="lz4", row_group_size=_SCRATCH_ROWS, statistics=True
        )


def plan(num_events: int) -> list[tuple[int, int]]:
    """Ranges of slots, one for each shard; they depend on the number of events alone.

    Examples
    --------
    >>> plan(900_000)
    [(0, 65536)]
    >>> len(plan(20_000_000))
    20
    """
    size = min(max(num_events // _USUAL_SHARDS, _MIN_SHARD_EVENTS), _MAX_SHARD_EVENTS)
    num_shards = min(max(ceil(num_events / size), 1), SLOTS)
    borders = [round(SLOTS * i / num_shards) for i in range(num_shards + 1)]
    return list(pairwise(borders))


def make_shard(job: ShardJob) -> None:
    """Gather the events of a range of slots, sort them totally and write them with a summary of codes and sites.

    The order is total (all columns), so the bytes do not depend on how the events were batched.
    """
    in_shard = pl.col("slot").is_between(job.first_slot, job.end_slot - 1)
    # A folder may have a name such as data[1], which is no pattern.
    events = (
        pl.scan_parquet(sorted(job.scratch.glob("*.parquet")), glob=False).filter(in_shard).select(_ORDER).collect()
    )
    events = events.sort(_ORDER, nulls_last=False)
    with atomic_file(job.target) as part:
        write_meds(events, part)
    per_site = events.group_by("site").agg(pl.col("subject_id").n_unique()).sort("site")
    summary = {
        "events": events.height,
        "subjects": events["subject_id"].unique().sort().to_list(),
        "codes": events["code"].unique().sort().to_list(),
        "sites": dict(per_site.iter_rows()),
    }
    write_json(job.summary, summary)


def write_meds(events: pl.DataFrame, path: Path) -> None:
    """Write events as a MEDS data file (`MEDS_SCHEMA`), the same bytes for the same events."""
    table = events.select(_ORDER).to_arrow().cast(MEDS_SCHEMA)
    pa_parquet.write_table(table, path, compression="zstd", row_group_size=1 << 17)


def run_jobs(jobs: Sequence[ShardJob], workers: int) -> Iterator[dict[str, Any]]:
    """Make the shards that are not there yet, in `workers` processes; yield all summaries in order."""
    todo = [job for job in jobs if not job.summary.exists()]
    if workers <= 1 or len(todo) <= 1:
        for job in jobs:
            if not job.summary.exists():
                make_shard(job)
            yield read_json(job.summary)
        return
    threads = max((os.cpu_count() or 1) // workers, 1)
    with (
        _environment("POLARS_MAX_THREADS", str(threads)),
        ProcessPoolExecutor(min(workers, len(todo)), mp_context=get_context("spawn")) as pool,
    ):
        running = {job.target: pool.submit(make_shard, job) for job in todo}
        try:
            for job in jobs:
                if job.target in running:
                    running[job.target].result()
                yield read_json(job.summary)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set a variable for the processes started in the block."""
    old = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if old is None:
            del os.environ[name]
        else:
            os.environ[name] = old
