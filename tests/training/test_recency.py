"""When codes were last recorded, against the definition, read off event by event."""

import numpy as np
import pytest
import torch

from sojourn.model.recency import LONGEST_S
from sojourn.training.batches import Windows, collate, pack, positions, whole_records
from sojourn.training.records import RecordReader, Records


def by_definition(records: Records, subject: int, instant: int) -> dict[int, tuple[float, float]]:
    """Delay and interval by code at an instant, counted over all subjects, of one subject."""
    begin = records.subject_start[subject]
    first, last = records.event_start[[begin, instant]]
    times: dict[int, list[int]] = {}
    for code, seconds in zip(records.events.code[first:last], records.events.seconds[first:last], strict=True):
        seen = times.setdefault(int(code), [])
        if not seen or seen[-1] != seconds:
            seen.append(int(seconds))
    now = int(records.instant_time[instant])
    return {
        code: (float(now - seen[-1]), float(seen[-1] - seen[-2]) if len(seen) > 1 else float("nan"))
        for code, seen in times.items()
        if now - seen[-1] <= LONGEST_S
    }


def check(records: Records, windows: Windows) -> int:
    """Compare every position of some windows; returns how many figures were compared."""
    layout, compared = pack(windows), 0
    batch, where = collate(records, windows, layout), positions(windows, layout)
    for flat, window, instant in zip(where.flat, where.window, where.instant, strict=True):
        delay, interval = batch.seen_delay[flat], batch.seen_interval[flat]
        if instant < 0:
            assert bool(delay.isnan().all())
            continue
        codes = batch.seen_code[window]
        assert codes[codes >= 0].unique().numel() == int((codes >= 0).sum())
        found = {
            c: (d, i)
            for c, d, i in zip(codes.tolist(), delay.tolist(), interval.tolist(), strict=True)
            if not np.isnan(d) and d <= LONGEST_S
        }
        expected = by_definition(records, int(windows.subject[window]), int(instant))
        assert found.keys() == expected.keys()
        for code, figures in expected.items():
            np.testing.assert_allclose(found[code], figures)
        compared += len(expected)
    return compared


def test_whole_records(toy_reader: RecordReader) -> None:
    records = toy_reader.read(toy_reader.store.rows(split="train")[:9])
    assert check(records, whole_records(records, 1000)) > 300


@pytest.mark.parametrize("seed", range(3))
def test_windows_that_overlap_in_any_order(toy_reader: RecordReader, seed: int) -> None:
    records = toy_reader.read(toy_reader.store.rows(split="train")[:9])
    rng = np.random.default_rng(seed)
    subject = rng.integers(0, 9, 14)
    begin, end = records.subject_start[subject], records.subject_start[subject + 1]
    start = rng.integers(begin, end)
    windows = Windows(subject, start, np.minimum(start + rng.integers(1, 8, 14), end))
    assert check(records, windows) > 50


def test_what_is_long_ago_is_not_carried(toy_reader: RecordReader) -> None:
    records = toy_reader.read(toy_reader.store.rows(split="train")[:4])
    late = records.instant_time.copy()
    late[records.subject_start[1] - 1] += 2 * LONGEST_S
    records = records._replace(instant_time=late)
    last = records.subject_start[1]
    batch = collate(records, one := Windows(np.array([0]), np.array([last - 1]), np.array([last])), pack(one))
    assert batch.seen_delay.isnan().all()


def test_nothing_is_said_where_nothing_is_scored(toy_reader: RecordReader) -> None:
    records = toy_reader.read(toy_reader.store.rows(split="train")[:2])
    windows = whole_records(records, 100)
    assert collate(records, windows, pack(windows), is_scored=False).seen_delay.numel() == 0
    empty = collate(records, windows._replace(end=windows.start), pack(windows._replace(end=windows.start)))
    assert torch.isnan(empty.seen_delay).all()
