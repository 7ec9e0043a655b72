"""States of the network at the moments that somebody asks about: nothing later than the moment is ever read."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from sojourn.errors import RunError, TaskError
from sojourn.events.store import EventStore
from sojourn.model import Batch, Network
from sojourn.model.summary import CodeStatistics
from sojourn.progress import console
from sojourn.tasks.outcomes import matching_codes, outcomes
from sojourn.training.at_risk import starts, wait_hours
from sojourn.training.batches import Layout, Windows, collate, pack
from sojourn.training.records import Floats, Ints, RecordReader, Records, age_years
from sojourn.training.statistics import code_statistics

_DAY_S = 86400
_LONG_AGO_HOURS = 24.0


class Moments(NamedTuple):
    """N moments of subjects, in seconds since each subject's origin."""

    row: Ints
    """(N,) row of the subject in the store."""
    seconds: Ints
    """(N,)"""


class Waits(NamedTuple):
    """For how long the outcomes that are starts of treatments cannot come at n moments: see `training.at_risk`."""

    code: Ints
    """(S,)"""
    hours: Floats
    """(n, S)"""

    def of(self, codes: Sequence[int]) -> Floats:
        """Hours for each of some codes, shape (n, C); 0 for those that can always come."""
        out = np.zeros((len(self.hours), len(codes)), np.float32)
        for column, code in enumerate(codes):
            out[:, column] = self.hours[:, self.code == code].sum(1)
        return out


class Asked(NamedTuple):
    """Some of the moments, and where in a batch their states are."""

    which: Ints
    """(n,) which of the moments."""
    batch: Batch
    position: Tensor
    """(n,) int64, flattened position of the last instant that is not later than the moment."""
    gap: Tensor
    """(n,) float32, seconds since that instant."""
    time: Tensor
    """(n,) float64, seconds since the origin."""
    clock: Tensor
    """(n,) float32, seconds since midnight."""
    age: Tensor
    """(n,) float32, years."""
    past: CodeStatistics | None = None
    """What the records hold of each code at the moments; None where nobody looks."""
    waits: Waits | None = None
    """How long starts of treatments cannot come yet; None where nobody knows."""

    def to(self, device: torch.device | str) -> "Asked":
        """Copy with all tensors on `device`."""
        position, gap, time, clock, age = (field.to(device) for field in self[2:7])
        past = None if self.past is None else self.past.to(device)
        return Asked(self.which, self.batch.to(device), position, gap, time, clock, age, past, self.waits)


def moments(store: EventStore, subject_id: Ints, prediction_time: np.ndarray) -> Moments:
    """Find subjects and turn dates into seconds since their origins; fractions of a second are dropped.

    Raises
    ------
    StoreError
        If the store lacks a subject.
    """
    unique, inverse = np.unique(subject_id, return_inverse=True)
    row = store.find(unique)[inverse]
    origin = store.subjects["origin"].to_numpy()[row].astype("datetime64[us]").astype(np.int64)
    microseconds = prediction_time.astype("datetime64[us]").astype(np.int64) - origin
    return Moments(row, np.floor_divide(microseconds, 1_000_000))


def moment_of(store: EventStore, subject_id: int, at: datetime) -> Moments:
    """One moment of one subject, at which there is something to be asked; says so where its last record is long ago.

    Raises
    ------
    TaskError
        If the subject has no record before, or has died by then.
    """
    found = moments(store, np.array([subject_id]), np.array([at], dtype="datetime64[us]"))
    now, record = int(found.seconds[0]), store.subject(int(found.row[0]))
    if now < 0:
        msg = "at must not lie before the subject's first event; it does. Choose a later moment."
        raise TaskError(msg)
    # Outcomes that no history shows, such as the end of the follow-up, are no records: they may come after the end.
    shown = ~store.vocabulary["target_only"].to_numpy()[record.code]
    seconds, code = record.seconds.astype(np.int64)[shown], record.code[shown]
    seconds, code = seconds[seconds <= now], code[seconds <= now]
    last = int(seconds.max(initial=0))
    # What is charted late does not bring back the dead; after a discharge a record may go on with another stay.
    dead = np.isin(code, _deaths(store))
    if dead.any():
        hours = (now - int(seconds[dead].min())) / 3600
        msg = f"at must lie before the end of the record; it had ended {hours:,.1f} h before, with a death."
        raise TaskError(msg)
    hours = (now - last) / 3600
    if store.vocabulary["terminal"].to_numpy()[code[seconds == last]].any():
        console.print(f"the subject was discharged {hours:,.1f} h before that moment: its record may be over")
    if hours > _LONG_AGO_HOURS:
        console.print(f"the subject's last record lies {hours:,.0f} h before that moment")
    return found


def _deaths(store: EventStore) -> Ints:
    """The store's codes of a death that ends the record."""
    names = store.vocabulary["code"]
    codes = matching_codes(names.to_list(), outcomes()["death"].roots())
    return store.vocabulary.filter(names.is_in(codes) & ~pl.col("target_only"))["index"].to_numpy().astype(np.int64)


def ask(
    reader: RecordReader, asked: Moments, *, context: int, instants_per_batch: int = 8192, with_past: bool = False
) -> Iterator[Asked]:
    """Batches of windows that hold the histories of all moments, each moment once.

    A record longer than `context` is read in windows that overlap by half, so that every state has seen at least
    half of the context. `with_past` adds the statistics of the codes, which a network with a summary looks at.
    """
    rows, inverse = np.unique(asked.row, return_inverse=True)
    size = np.minimum(reader.store.subjects["num_instants"].to_numpy().astype(np.int64)[rows], 4 * context) + 1
    group = (np.cumsum(size) - 1) // instants_per_batch
    known = starts(reader)
    code_S = np.array([one.outcome for one in known], dtype=np.int64)
    order = np.argsort(inverse, kind="stable")
    start = np.searchsorted(inverse[order], np.arange(len(rows) + 1))
    for g in np.unique(group):
        chosen = np.flatnonzero(group == g)
        index = order[start[chosen[0]] : start[chosen[-1] + 1]]
        records = reader.read(rows[chosen])
        subject, seconds = inverse[index] - chosen[0], asked.seconds[index]
        past = code_statistics(records, subject, seconds) if with_past else None
        waits = Waits(code_S, wait_hours(records, subject, seconds, code_S, known))
        yield _windows(records, subject, seconds, index, context)._replace(past=past, waits=waits)


def _windows(records: Records, subject: Ints, seconds: Ints, index: Ints, context: int) -> Asked:
    key = (records.instant_subject << 34) + records.instant_time
    instant = np.searchsorted(key, (subject << 34) + seconds, side="right") - 1
    first = records.subject_start[subject]
    place = np.where(instant >= first, instant - first, -1)
    stride = max(context // 2, 1)
    number = np.maximum(np.floor_divide(place - context, stride) + 1, 0)
    pair, which = np.unique(subject * 2**31 + number, return_inverse=True)
    owner, begin = pair >> 31, (pair % 2**31) * stride
    subject_first, subject_last = records.subject_start[owner], records.subject_start[owner + 1]
    # A window ends with the last moment asked in it: what comes later is not even read.
    furthest = np.full(len(pair), -1)
    np.maximum.at(furthest, which, place)
    start = np.minimum(subject_first + begin, subject_last)
    end = np.clip(subject_first + furthest + 1, start, subject_last)
    windows = Windows(owner, start, end)
    layout = pack(windows)
    return _locate(records, windows, layout, Moments(subject, seconds), index, which, place - begin[which])


def _locate(
    records: Records, windows: Windows, layout: Layout, at: Moments, index: Ints, which: Ints, inside: Ints
) -> Asked:
    position = layout.position[which] + np.maximum(inside, -1) + 1
    instant = windows.start[which] + inside
    since = np.where(inside >= 0, records.instant_time[np.maximum(instant, 0)] if len(records.instant_time) else 0, 0)
    age: Floats = age_years(records, at.row, at.seconds.astype(np.float64))
    return Asked(
        which=index,
        batch=collate(records, windows, layout, with_survival=False, is_scored=False),
        position=torch.from_numpy(position),
        gap=torch.from_numpy(np.maximum(at.seconds - since, 0).astype(np.float32)),
        time=torch.from_numpy(np.maximum(at.seconds, 0).astype(np.float64)),
        clock=torch.from_numpy(((records.clock[at.row] + at.seconds) % _DAY_S).astype(np.float32)),
        age=torch.from_numpy(age),
    )


@torch.inference_mode()
def states(network: Network, asked: Asked) -> Tensor:
    """The network's states at the asked moments, shape (n, D) float32, on the network's device."""
    if network.training:
        msg = "network must be in evaluation mode to be asked; call `.eval()` first."
        raise RunError(msg)
    asked = asked.to(network.device)
    with torch.autocast(network.device.type, torch.bfloat16):
        h = network.states(asked.batch)
    return h.flatten(0, 1)[asked.position].float()


@torch.inference_mode()
def representations(network: Network, asked: Asked) -> Tensor:
    """The states, and beside each what its past comes to where the network looks at that, shape (n, `d_known`).

    What a network sees in the summary it need not remember in its states: for a reader of its own both belong together.
    """
    asked = asked.to(network.device)
    return network.known(states(network, asked), asked.past)
