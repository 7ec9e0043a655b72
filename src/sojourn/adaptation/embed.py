"""States of subjects at times, as a table for any other tool: what the network knows of a patient then.

Nothing later than a time is read. The table is made in parts; a part that is there is not made again.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from sojourn.adaptation.identity import file_identity, run_identity, store_identity
from sojourn.errors import ConfigError, DataError
from sojourn.events.store import EventStore
from sojourn.files import atomic_file, read_json, write_json
from sojourn.inference.histories import Moments, ask, moments, representations
from sojourn.model import Network
from sojourn.progress import progress_bar
from sojourn.tasks.files import check_out, read_labels
from sojourn.training.records import Ints, RecordReader
from sojourn.training.run import Run

_METADATA = b"sojourn_embedding"
_SUBJECTS_PER_PART, _LABELS_PER_PART = 512, 8192
_MICROS, _HOUR_S = 1_000_000, 3600


@dataclass(frozen=True, slots=True)
class EmbedReport:
    """What an embedding did."""

    path: str
    num_states: int
    num_subjects: int
    width: int
    """Numbers in a state."""
    was_finished: bool
    """Whether there was nothing left to do."""


class Asked(NamedTuple):
    """N times at which states are read."""

    row: Ints
    """(N,) row of the subject in the store."""
    micros: Ints
    """(N,) microseconds since 1970."""
    seconds: Ints
    """(N,) since the subject's origin."""


def embed(
    run: Path,
    store: Path,
    out: Path,
    *,
    labels: Path | None = None,
    every_hours: float | None = None,
    end: bool = False,
) -> EmbedReport:
    """Write the network's state of subjects at times.

    Exactly one of `labels`, `every_hours` and `end` says which times.

    Parameters
    ----------
    run : a run made by `pretrain`, `finetune` or `adapt`.
    store : event store with the subjects; it need not be the one that the run was trained on.
    out : parquet file to write: subject_id i64, time timestamp[us], site, state (float32 numbers: d_model of the state,
        and as many of the summary of the past where the network has one).
    labels : label file; a state at every prediction time, in the order of the file.
    every_hours : a state every so many hours after the start of each record, as long as it goes on.
    end : the state at the last instant of each record. It knows how the stay ended: for describing finished stays,
        not for predicting them.

    Returns
    -------
    EmbedReport

    Raises
    ------
    ConfigError
        If not exactly one of the three is given, the hours are not positive, or `out` cannot be written or is read.
    DataError
        If `out` holds states of another run, store or choice of times.

    Notes
    -----
    A state holds the instants up to the last one that is not later than the time, at most `context` of them; how long
    ago that one was is not in the state. The summary is of the whole record up to the time. An interrupted call goes on
    from the parts that it has finished.
    """
    if (labels is not None) + (every_hours is not None) + end != 1 or (every_hours is not None and every_hours <= 0):
        msg = f"one of labels, every_hours > 0 and end must be given; got {labels=}, {every_hours=}, {end=}."
        raise ConfigError(msg)
    check_out(out, run, store, *([] if labels is None else [labels]))
    trained, opened = Run(run), EventStore.open(store)
    what: dict[str, Any] = {
        "run": run_identity(trained),
        "store": store_identity(opened),
        "labels": None if labels is None else file_identity(labels),
        "every_hours": every_hours,
        "end": end,
    }
    if out.exists():
        return _finished(out, what)
    times = _label_times(opened, labels) if labels is not None else _regular_times(opened, every_hours)
    folder = _part_folder(out, what)
    network, reader = trained.network(), trained.reader(opened)
    files, num_states, seen = [], 0, set[int]()
    with progress_bar("reading states", None) as bar:
        for number, asked in enumerate(times):
            files.append(folder / f"{number:06d}.parquet")
            if not files[-1].exists():
                with atomic_file(files[-1]) as part:
                    pq.write_table(_table(network, reader, asked, trained.config.context), part)
            num_states += len(asked.row)
            seen.update(asked.row.tolist())
            bar.advance(len(asked.row))
    width = network.config.d_known
    _join(files, out, _schema(width).with_metadata({_METADATA: json.dumps(what, sort_keys=True)}))
    shutil.rmtree(folder)
    return EmbedReport(str(out), num_states, len(seen), width, was_finished=False)


def _finished(out: Path, what: dict[str, Any]) -> EmbedReport:
    """The report of what is there already."""
    try:
        schema = pq.read_schema(out)
        made_from = json.loads((schema.metadata or {}).get(_METADATA, b"null"))
    except (OSError, pa.ArrowInvalid):
        made_from = None
    if made_from != what:
        msg = f"out must not exist yet or hold the same states; {out} holds others. Remove it or choose another file."
        raise DataError(msg)
    ids = pq.read_table(out, columns=["subject_id"])["subject_id"]
    width = schema.field("state").type.list_size
    return EmbedReport(str(out), len(ids), len(ids.unique()), width, was_finished=True)


def _part_folder(out: Path, what: dict[str, Any]) -> Path:
    """Folder of the parts, emptied if an interrupted call made others there."""
    folder = out.with_name(f".{out.name}.parts")
    said = folder / "what.json"
    if folder.exists() and not (said.exists() and read_json(said) == what):
        shutil.rmtree(folder)
    if not folder.exists():
        folder.mkdir(parents=True)
        write_json(said, what)
    return folder


def _label_times(store: EventStore, labels: Path) -> Iterator[Asked]:
    """The prediction times of a label file, part by part."""
    table = read_labels(labels).table
    for begin in range(0, table.height, _LABELS_PER_PART):
        part = table[begin : begin + _LABELS_PER_PART]
        times = part["prediction_time"].to_numpy()
        at = moments(store, part["subject_id"].to_numpy(), times)
        yield Asked(at.row, times.astype("datetime64[us]").astype(np.int64), at.seconds)


def _regular_times(store: EventStore, every_hours: float | None) -> Iterator[Asked]:
    """Times every so many hours (None: at the end) of all records that have an instant, part by part."""
    rows = store.subjects.filter(pl.col("num_instants") > 0)["row"].to_numpy().astype(np.int64)
    origin = store.subjects["origin"].cast(pl.Datetime("us")).to_physical().to_numpy()
    is_shown = ~store.vocabulary["target_only"].to_numpy()
    for begin in range(0, len(rows), _SUBJECTS_PER_PART):
        part = rows[begin : begin + _SUBJECTS_PER_PART]
        last = np.array([_last_shown(store, row, is_shown) for row in part.tolist()])
        if every_hours is None:
            row, seconds = part, last
        else:
            step = every_hours * _HOUR_S
            count = (last // step).astype(np.int64)
            row = np.repeat(part, count)
            nth = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + 1
            seconds = np.floor(nth * step).astype(np.int64)
        yield Asked(row, origin[row] + seconds * _MICROS, seconds)


def _last_shown(store: EventStore, row: int, is_shown: np.ndarray) -> int:
    """Second of the last event that is not target-only."""
    subject = store.subject(row)
    return int(subject.seconds[is_shown[subject.code]][-1])


def _table(network: Network, reader: RecordReader, asked: Asked, context: int) -> pa.Table:
    """States of one part."""
    width = network.config.d_known
    state = np.empty((len(asked.row), width), dtype=np.float32)
    for some in ask(reader, Moments(asked.row, asked.seconds), context=context, with_past=network.config.use_summary):
        state[some.which] = representations(network, some).numpy()
    subjects = reader.store.subjects
    columns = [
        pa.array(subjects["subject_id"].to_numpy()[asked.row], pa.int64()),
        pa.array(asked.micros, pa.int64()).cast(pa.timestamp("us")),
        pa.array(subjects["site"].gather(asked.row).to_list(), pa.string()),
        pa.FixedSizeListArray.from_arrays(
            pa.array(state.reshape(-1), pa.float32()), type=_schema(width).field("state").type
        ),
    ]
    return pa.Table.from_arrays(columns, schema=_schema(width))


def _schema(width: int) -> pa.Schema:
    state = pa.list_(pa.field("element", pa.float32()), width)
    return pa.schema(
        [("subject_id", pa.int64()), ("time", pa.timestamp("us")), ("site", pa.string()), ("state", state)]
    )


def _join(files: Sequence[Path], out: Path, schema: pa.Schema) -> None:
    """One file of all parts, with the memory of one."""
    with atomic_file(out) as part, pq.ParquetWriter(part, schema) as writer:
        for file in files:
            writer.write_table(pq.read_table(file).replace_schema_metadata(schema.metadata))
