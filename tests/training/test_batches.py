"""Windows and how they are packed."""

import math
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.toy_process import START, build_toy_store
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.training.batches import Windows, collate, pack, positions, whole_records
from sojourn.training.records import RecordReader

HOUR = 3600
NAN = float("nan")


def test_a_worked_batch(worked: RecordReader) -> None:
    records = worked.read(worked.store.find(np.array([1, 2])))
    windows = whole_records(records, 10)
    batch = collate(records, windows, pack(windows))
    # The shorter record does not fit beside the longer one (5 + 3 positions in rows of 5), and is padded.
    assert batch.segment.tolist() == [[0, 0, 0, 0, 0], [1, 1, 1, -1, -1]]
    assert batch.order.tolist() == [[0, 1, 2, 3, 4], [0, 1, 2, 0, 0]]
    assert (batch.time[0] / HOUR).tolist() == [0, 0, 1, 3, 5]
    expected = torch.tensor([[NAN, NAN, 1, 2, 2], [NAN, NAN, 2, NAN, NAN]]) * HOUR
    torch.testing.assert_close(batch.gap, expected, equal_nan=True)
    assert (batch.clock[0] / HOUR).tolist() == [8, 8, 9, 11, 13]
    assert batch.site.tolist() == [[0, 0, 0, 0, 0], [1, 1, 1, 0, 0]]
    assert batch.is_predicted.tolist() == [[False, True, True, True, True], [False, True, True, False, False]]
    assert batch.is_gap_predicted.tolist() == [[False, False, True, True, True], [False, False, True, False, False]]
    # The record ends with the discharge; the lost patient was watched for six hours after the last instant.
    assert (batch.survival / HOUR).tolist() == [[0, 0, 0, 0, math.inf], [0, 0, 6, 0, 0]]
    assert batch.may_end.tolist() == [[False, False, False, False, True], [False] * 5]
    assert batch.event_position.tolist() == [0, 1, 1, 1, 2, 3, 3, 4, 5, 6, 7]
    assert batch.event_rank.tolist() == [0, 0, 1, 2, 0, 0, 1, 0, 0, 0, 0]
    assert batch.num_events == 9  # static facts are not scored
    without = collate(records, windows, pack(windows), with_survival=False)
    assert not without.survival.any()


def test_what_is_charted_after_a_death_is_no_end_and_a_discharge_in_between_may_have_been(tmp_path: Path) -> None:
    def at(hour: int) -> datetime:
        return START + timedelta(hours=hour)

    rows = [
        *((1, at(h), code, None, "north") for h, code in enumerate(["A//1", "HOSPITAL_DISCHARGE//ALIVE", "A//1"])),
        *((2, at(h), code, None, "north") for h, code in enumerate(["A//1", "MEDS_DEATH", "A//1"])),
    ]
    store = EventStore.open(build_toy_store(tmp_path, num_subjects=2, rows=rows))
    records = RecordReader(store, ModelVocabulary.fit(store, store.rows(), min_count=1), []).read(
        store.find(np.array([1, 2]))
    )
    windows = whole_records(records, 10)
    batch = collate(records, windows, pack(windows))
    assert batch.may_end[:, 1:].tolist() == [[False, True, False]] * 2
    assert np.isinf(records.follow_up).tolist() == [False, True]
    assert not batch.survival.any()  # the first goes on as long as anybody knows, and nobody could tell the second end


def test_a_window_of_a_long_record_knows_what_came_before_it(worked: RecordReader) -> None:
    records = worked.read(worked.store.find(np.array([1])))
    windows = whole_records(records, 2)
    batch = collate(records, windows, pack(windows))
    assert batch.order.tolist() == [[0, 3, 4]]
    assert batch.is_predicted.tolist() == [[False, False, True]]  # the first instant only carries the state
    assert batch.gap[0, 1].item() == 2 * HOUR
    hr_before = batch.previous_value[batch.event_position == 1][0]
    assert hr_before.item() == 90.0  # measured before the window


def test_overlapping_windows_hold_their_own_copies(worked: RecordReader) -> None:
    records = worked.read(worked.store.find(np.array([1])))
    windows = Windows(np.array([0, 0]), np.array([0, 1]), np.array([3, 4]))
    batch = collate(records, windows, pack(windows))
    per_position = np.bincount(batch.event_position.numpy(), minlength=batch.segment.numel())
    assert per_position.tolist() == [1, 3, 1, 2, 1, 1, 2, 1]


def test_a_subject_without_instants_still_has_its_static_position(worked: RecordReader) -> None:
    records = worked.read(worked.store.find(np.array([2])))
    windows = Windows(np.array([0]), np.array([0]), np.array([0]))
    batch = collate(records, windows, pack(windows))
    assert batch.segment.tolist() == [[0]]
    assert len(batch.code) == 1
    assert batch.num_events == 0


@given(st.lists(st.integers(0, 12), min_size=1, max_size=30))
def test_packed_windows_never_overlap_and_waste_little(lengths: list[int]) -> None:
    length = np.array(lengths)
    windows = Windows(np.arange(len(length)), np.cumsum(length) - length, np.cumsum(length))
    layout = pack(windows)
    where = positions(windows, layout)
    assert len(np.unique(where.flat)) == len(where.flat) == (length + 1).sum()
    assert where.flat.max() < layout.num_rows * layout.row_length
    row = where.flat // layout.row_length
    for window in range(len(length)):
        assert len(np.unique(row[where.window == window])) == 1
    used = np.bincount(row, minlength=layout.num_rows)
    assert (np.sort(used)[1:] * 2 > layout.row_length).all() or layout.num_rows == 1
