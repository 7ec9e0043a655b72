"""Windows of records packed into the network's batches.

A window is a run of instants of one subject, behind a position with the subject's static events. Windows are packed
first-fit into rows, so that little is padding.
"""

from typing import NamedTuple

import numpy as np
import torch

from sojourn.model import Batch
from sojourn.training.recency import Where, seen_before
from sojourn.training.records import Ints, Records, age_years

_DAY_S = 86400


class Windows(NamedTuple):
    """W windows of a `Records`."""

    subject: Ints
    """(W,)"""
    start: Ints
    """(W,) first instant, counted over all subjects."""
    end: Ints
    """(W,) one past the last instant."""

    @property
    def length(self) -> Ints:
        """Positions of each window, the static one included."""
        return self.end - self.start + 1


class Layout(NamedTuple):
    """Where the windows lie in the rows."""

    num_rows: int
    row_length: int
    position: Ints
    """(W,) index of each window's static position in the flattened rows."""


def whole_records(records: Records, max_instants: int) -> Windows:
    """One window per subject: its last `max_instants` instants."""
    end = records.subject_start[1:]
    start = np.maximum(records.subject_start[:-1], end - max_instants)
    return Windows(np.arange(len(end)), start, end)


def pack(windows: Windows) -> Layout:
    """First-fit decreasing into rows as long as the longest window."""
    length = windows.length
    row_length = int(length.max(initial=1))
    free: list[int] = []
    position = np.empty(len(length), dtype=np.int64)
    for window in np.argsort(-length, kind="stable"):
        need = int(length[window])
        row = next((i for i, space in enumerate(free) if space >= need), len(free))
        if row == len(free):
            free.append(row_length)
        position[window] = row * row_length + row_length - free[row]
        free[row] -= need
    return Layout(len(free), row_length, position)


class PositionMap(NamedTuple):
    """Which instant each used position of the rows holds."""

    flat: Ints
    """(P,) index in the flattened rows."""
    window: Ints
    """(P,)"""
    instant: Ints
    """(P,) instant of the records; -1 for the static position."""


def positions(windows: Windows, layout: Layout) -> PositionMap:
    """All positions of all windows, window after window."""
    length = windows.length
    window = np.repeat(np.arange(len(length)), length)
    inside = np.arange(len(window)) - np.repeat(np.cumsum(length) - length, length)
    instant = np.where(inside == 0, -1, windows.start[window] + inside - 1)
    return PositionMap(layout.position[window] + inside, window, instant)


def collate(
    records: Records, windows: Windows, layout: Layout, *, with_survival: bool = True, is_scored: bool = True
) -> Batch:
    """Tensors of the windows, laid out in rows; what only a likelihood needs is left out where nothing is scored.

    Without survival, a likelihood is that of the recorded cells alone: it says nothing of how long a record goes on.
    """
    where = positions(windows, layout)
    subject = windows.subject[where.window]
    is_static = where.instant < 0
    instant = np.where(is_static, 0, where.instant)
    has_instants = len(records.instant_time) > 0
    seconds = np.where(is_static, 0, records.instant_time[instant]) if has_instants else np.zeros(len(instant), int)
    start_of_subject = records.subject_start[subject]
    is_first = instant == start_of_subject
    before = np.clip(instant - 1, 0, None)
    gap = np.where(is_static | is_first, np.nan, seconds - (records.instant_time[before] if has_instants else 0))
    follows = instant > windows.start[where.window]
    is_predicted = ~is_static & (follows | is_first)
    survival = np.where(
        ~is_static & (where.instant + 1 == records.subject_start[subject + 1]),
        records.follow_up[subject] - seconds,
        0.0,
    )
    may_end = ~is_static & (records.may_end[instant] if has_instants else False) & (with_survival | (not is_scored))
    # What is charted after a death is the last of it, and no end that could have been another.
    is_known = with_survival & (np.isfinite(survival) | may_end)
    survival = np.where(is_known, np.maximum(survival, 0.0), 0.0)
    events = _events(records, where, windows, layout)
    size = layout.num_rows * layout.row_length

    def spread(content: np.ndarray, empty: float, dtype: torch.dtype) -> torch.Tensor:
        flat = torch.full((size,), empty, dtype=dtype)
        flat[torch.from_numpy(where.flat)] = torch.as_tensor(content, dtype=dtype)
        return flat.view(layout.num_rows, layout.row_length)

    return Batch(
        segment=spread(where.window, -1, torch.int64),
        order=spread(np.where(is_static, 0, instant - start_of_subject + 1), 0, torch.int64),
        time=spread(seconds, 0.0, torch.float64),
        gap=spread(gap, np.nan, torch.float32),
        clock=spread((records.clock[subject] + seconds) % _DAY_S, 0.0, torch.float32),
        age=spread(age_years(records, subject, seconds.astype(np.float64)), np.nan, torch.float32),
        tick=spread(records.tick[subject], 1.0, torch.float32),
        site=spread(records.site[subject], 0, torch.int64),
        is_predicted=spread(is_predicted, 0, torch.bool),
        is_gap_predicted=spread(is_predicted & ~is_first, 0, torch.bool),
        survival=spread(survival, 0.0, torch.float32),
        may_end=spread(may_end, 0, torch.bool),
        **events,
        **(seen_before(records, Where(*windows, where.flat, size)) if is_scored else {}),
    )


def _events(records: Records, where: PositionMap, windows: Windows, layout: Layout) -> dict[str, torch.Tensor]:
    """Events of all positions, the static ones too, in the order of the flattened rows."""
    is_timed = where.instant >= 0
    # An instant may lie in several overlapping windows: each copy of its events goes with its own position.
    count = records.event_start[where.instant[is_timed] + 1] - records.event_start[where.instant[is_timed]]
    timed_flat = np.repeat(where.flat[is_timed], count)
    first = np.repeat(records.event_start[where.instant[is_timed]], count)
    timed = first + np.arange(len(first)) - np.repeat(np.cumsum(count) - count, count)
    static_count = np.bincount(records.static.subject, minlength=len(records.rows))
    static_start = np.cumsum(static_count) - static_count
    per_window = static_count[windows.subject]
    static_flat = np.repeat(layout.position, per_window)
    static_rank = np.arange(len(static_flat)) - np.repeat(np.cumsum(per_window) - per_window, per_window)
    static = np.repeat(static_start[windows.subject], per_window) + static_rank
    flat = np.concatenate([timed_flat, static_flat])
    rank = np.concatenate([records.rank[timed], static_rank])
    order = np.lexsort((rank, flat))
    none = np.full(len(static), np.nan, dtype=np.float32)

    def column(of_timed: np.ndarray, of_static: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([of_timed, of_static])[order])

    return {
        "event_position": torch.from_numpy(flat[order]),
        "event_rank": torch.from_numpy(rank[order]),
        "code": column(records.events.code[timed], records.static.code[static]),
        "value": column(records.events.value[timed], records.static.value[static]),
        "previous_value": column(records.previous_value[timed], none),
        "previous_delay": column(records.previous_delay[timed], none),
        "previous_interval": column(records.previous_interval[timed], none),
        "times_left": column(records.times_left[timed], none),
    }
