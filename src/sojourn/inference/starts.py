"""What futures start from: the end of each history, read up to its moment and no further.

Shape letters: G histories (one for each moment), L positions, V codes.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sojourn.inference.histories import Moments
from sojourn.model import Batch
from sojourn.training.batches import Layout, Windows, collate
from sojourn.training.records import EventTable, Ints, RecordReader, Records

_MOMENTS_PER_READ = 256


class Starts(NamedTuple):
    """G histories, each in a row of its own."""

    which: Ints
    """(G,) which of the moments."""
    subject_id: Ints
    """(G,)"""
    batch: Batch
    """Rows of the last instants of each history behind its static position; padding comes last."""
    length: Tensor
    """(G,) int64, positions of each row, at least 1."""
    now: Tensor
    """(G,) float64, the moment, in seconds since the subject's origin; not before the last position."""
    last_value: Tensor
    """(G, V) float32, last value of each code in the whole record up to the moment; NaN for none."""
    last_time: Tensor
    """(G, V) float64, when; NaN for never."""
    last_interval: Tensor
    """(G, V) float32, seconds between that record of the code and the one before; NaN for none."""
    last_count: Tensor
    """(G, V) float32, how many times the code came then; NaN for never."""
    pasts: list[EventTable]
    """The whole record up to each moment."""


def starts(reader: RecordReader, moments: Moments, *, context: int, per_batch: int) -> Iterator[Starts]:
    """Histories of all moments in batches of at most `per_batch`, those of like length together.

    What is batched together depends on nothing that comes after the moments.
    """
    for first in range(0, len(moments.row), _MOMENTS_PER_READ):
        index = np.arange(first, min(first + _MOMENTS_PER_READ, len(moments.row)))
        rows, subject = np.unique(moments.row[index], return_inverse=True)
        records = reader.read(rows)
        key = (records.instant_subject << 34) + records.instant_time
        begin = records.subject_start[subject]
        end = np.maximum(np.searchsorted(key, (subject << 34) + moments.seconds[index], side="right"), begin)
        order = np.argsort(np.minimum(end - begin, context), kind="stable")
        for at in range(0, len(index), per_batch):
            chosen = order[at : at + per_batch]
            windows = Windows(subject[chosen], np.maximum(begin, end - context)[chosen], end[chosen])
            yield _starts(reader, records, windows, index[chosen], moments.seconds[index[chosen]])


def _starts(reader: RecordReader, records: Records, windows: Windows, which: Ints, seconds: Ints) -> Starts:
    length, num_codes = windows.length, reader.num_codes
    width = int(length.max())
    layout = Layout(len(length), width, np.arange(len(length)) * width)
    batch = collate(records, windows, layout, with_survival=False, is_scored=False)
    pasts = [_past(records, int(s), int(e)) for s, e in zip(windows.subject, windows.end, strict=True)]
    last = [last_known(past, num_codes) for past in pasts]
    last_time = batch.time[torch.arange(len(length)), torch.from_numpy(length) - 1]
    return Starts(
        which=which,
        subject_id=reader.store.subjects["subject_id"].to_numpy()[records.rows[windows.subject]],
        batch=batch,
        length=torch.from_numpy(length),
        now=torch.maximum(torch.from_numpy(seconds.astype(np.float64)), last_time),
        last_value=torch.stack([known.value for known in last]),
        last_time=torch.stack([known.time for known in last]),
        last_interval=torch.stack([known.interval for known in last]),
        last_count=torch.stack([known.times for known in last]),
        pasts=pasts,
    )


def _past(records: Records, subject: int, end: int) -> EventTable:
    """Events of a subject's instants before instant `end`."""
    first, last = records.event_start[[records.subject_start[subject], end]]
    return records.events.take(np.arange(first, last))


class LastKnown(NamedTuple):
    """What a past last said of each code, (V,) each."""

    value: Tensor
    """float32, last value; NaN for none."""
    time: Tensor
    """float64, when the code was last recorded; NaN for never."""
    interval: Tensor
    """float32, seconds between that record and the one before; NaN for none."""
    times: Tensor
    """float32, how many times the code came in that record's instant; NaN for never."""


def last_known(past: EventTable, num_codes: int) -> LastKnown:
    """What a past, which lies in the order of time, last said of each code."""
    value, time = np.full(num_codes, np.nan, np.float32), np.full(num_codes, np.nan)
    # Of several writes to one place the last one stays.
    value[past.code], time[past.code] = past.value, past.seconds
    before = np.full(num_codes, np.nan)
    is_earlier = past.seconds < time[past.code]
    before[past.code[is_earlier]] = past.seconds[is_earlier]
    times = np.bincount(past.code[~is_earlier], minlength=num_codes).astype(np.float32)
    times[times == 0] = np.nan
    return LastKnown(*map(torch.from_numpy, (value, time, (time - before).astype(np.float32), times)))
