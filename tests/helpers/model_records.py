"""Random records, and batches of them made by the definition of each field."""

from typing import NamedTuple

import numpy as np
import torch

from sojourn.model import Batch

NUM_CODES = 12
NAN = float("nan")


class Event(NamedTuple):
    code: int
    value: float


class Record(NamedTuple):
    """One subject: times in minutes from the origin, and the events at each of them."""

    minutes: list[int]
    events: list[list[Event]]
    static: list[Event]


def random_record(seed: int, num_instants: int = 9) -> Record:
    rng = np.random.default_rng(seed)
    minutes = np.cumsum(rng.integers(1, 90, num_instants)).tolist()
    events = []
    for _ in range(num_instants):
        codes = sorted(rng.integers(1, 9, rng.integers(1, 6)).tolist())
        events.append([Event(c, float(np.round(rng.normal(50 + c, 10))) if c < 7 else NAN) for c in codes])
    return Record(minutes, events, [Event(10, float(rng.integers(0, 3))), Event(11, NAN)])


def canonical(events: list[Event]) -> list[Event]:
    return sorted(events, key=lambda e: (e.code, np.inf if np.isnan(e.value) else e.value))


def make_batch(rows: list[list[Record]], *, site: int = 1, survival_s: float = 0.0, padding: int = 0) -> Batch:
    """Pack records into rows, by the definition of each field and without the code under test."""
    length = max(sum(len(r.minutes) + 1 for r in row) for row in rows) + padding
    shape = (len(rows), length)
    grid = {
        "segment": torch.full(shape, -1),
        "order": torch.zeros(shape, dtype=torch.int64),
        "time": torch.zeros(shape, dtype=torch.float64),
        "gap": torch.full(shape, NAN),
        "clock": torch.zeros(shape),
        "age": torch.full(shape, NAN),
        "tick": torch.full(shape, 60.0),
        "site": torch.full(shape, site),
        "is_predicted": torch.zeros(shape, dtype=torch.bool),
        "is_gap_predicted": torch.zeros(shape, dtype=torch.bool),
        "survival": torch.zeros(shape),
        "may_end": torch.zeros(shape, dtype=torch.bool),
    }
    flat: list[tuple[int, int, int, float, float, float, float, float]] = []
    delays, intervals = (torch.full((len(rows) * length, NUM_CODES), NAN) for _ in range(2))
    segment = 0
    for b, row in enumerate(rows):
        at = 0
        for record in row:
            seen: dict[int, tuple[int, float]] = {}
            interval: dict[int, float] = {}
            times: dict[int, int] = {}
            for k in range(len(record.minutes) + 1):
                seconds = 60 * (record.minutes[k - 1] if k else 0)
                place = (b, at)
                grid["segment"][place] = segment
                grid["order"][place] = k
                grid["time"][place] = seconds
                grid["clock"][place] = (8 * 3600 + seconds) % 86400
                grid["age"][place] = 60.0
                grid["is_predicted"][place] = k > 0
                grid["is_gap_predicted"][place] = k > 1
                if k > 1:
                    grid["gap"][place] = 60.0 * (record.minutes[k - 1] - record.minutes[k - 2])
                if k == len(record.minutes):
                    grid["survival"][place] = survival_s
                events = canonical(record.events[k - 1] if k else record.static)
                for rank, (code, value) in enumerate(events):
                    before = seen.get(code)
                    delay = float(seconds - before[0]) if before else NAN
                    so_far = [event.code for event in events[: rank + 1]].count(code)
                    left = float(times[code] - so_far) if before else NAN
                    earlier = interval[code] if before else NAN
                    flat.append(
                        (b * length + at, rank, code, value, before[1] if before else NAN, delay, earlier, left)
                    )
                for code, (then, _) in seen.items() if k else ():
                    delays[b * length + at, code] = seconds - then
                    intervals[b * length + at, code] = interval[code]
                for code in {event.code for event in events} if k else ():
                    interval[code] = seconds - seen[code][0] if code in seen else NAN
                    times[code] = [event.code for event in events].count(code)
                for code, value in events if k else []:
                    seen[code] = (seconds, value)
                at += 1
            segment += 1
    position, rank_, code_, value_, previous, delay_, earlier_, left_ = (
        np.array(column) for column in zip(*flat, strict=True)
    )
    return Batch(
        **grid,
        event_position=torch.from_numpy(position),
        event_rank=torch.from_numpy(rank_),
        code=torch.from_numpy(code_),
        value=torch.from_numpy(value_).float(),
        previous_value=torch.from_numpy(previous).float(),
        previous_delay=torch.from_numpy(delay_).float(),
        previous_interval=torch.from_numpy(earlier_).float(),
        times_left=torch.from_numpy(left_).float(),
        seen_code=torch.arange(NUM_CODES).repeat(segment, 1),
        seen_delay=delays,
        seen_interval=intervals,
    )
