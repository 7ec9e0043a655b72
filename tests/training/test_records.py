"""Records: what the history shows, what came before, and what is hidden from it."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.toy_process import HEART_RATE, START, build_toy_store
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.training.records import (
    EventTable,
    RecordReader,
    Records,
    TimeIndex,
    _canonical,
    _drawn,
    age_years,
)
from sojourn.training.run import code_table

HOUR = 3600
NAN = np.nan


def read(reader: RecordReader, *subjects: int, **changes: object) -> Records:
    return reader.read(reader.store.find(np.array(subjects)), **changes)  # type: ignore[arg-type]


def names(reader: RecordReader, code: np.ndarray) -> list[str]:
    return reader.vocabulary.table["code"].gather(code).to_list()


def test_instants_ranks_and_previous_records_of_a_worked_example(worked: RecordReader) -> None:
    records = read(worked, 1, 2)
    hr, lactate = "CONCEPT//heart_rate", "CONCEPT//lactate"
    shown = [hr, hr, lactate, hr, hr, lactate, "HOSPITAL_DISCHARGE//ALIVE", hr, hr]
    assert names(worked, records.events.code) == shown
    np.testing.assert_array_equal(records.events.value, np.float32([80, 82, 2.0, 90, NAN, 4.5, NAN, 70, 75]))
    np.testing.assert_array_equal(records.instant, [0, 0, 0, 1, 2, 2, 3, 4, 5])
    np.testing.assert_array_equal(records.rank, [0, 1, 2, 0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(records.instant_time, np.array([0, 1, 3, 5, 0, 2]) * HOUR)
    np.testing.assert_array_equal(records.event_start, [0, 3, 4, 6, 7, 8, 9])
    np.testing.assert_array_equal(records.subject_start, [0, 4, 6])
    # Of two values at once the last in canonical order is the previous one; a record without a value counts too.
    np.testing.assert_array_equal(records.previous_value, np.float32([NAN, NAN, NAN, 82, 90, 2.0, NAN, NAN, 70]))
    hours_ago = np.float32([NAN, NAN, NAN, 1, 2, 3, NAN, NAN, 2])
    np.testing.assert_array_equal(records.previous_delay, hours_ago * HOUR)
    np.testing.assert_array_equal(records.previous_interval, HOUR * np.float32([NAN] * 4 + [1] + [NAN] * 4))
    # The heart rate came twice at first: it is expected once more an hour later, and not two hours after that.
    np.testing.assert_array_equal(records.times_left, np.float32([NAN, NAN, NAN, 1, 0, 0, NAN, NAN, 0]))


def test_facts_about_the_subjects(worked: RecordReader) -> None:
    records = read(worked, 1, 2)
    np.testing.assert_array_equal(records.site, [0, 1])  # only `south` is a site of the run
    np.testing.assert_array_equal(records.follow_up, [np.inf, 8 * HOUR])
    np.testing.assert_array_equal(records.clock, [8 * HOUR, 8 * HOUR])
    assert names(worked, records.static.code) == ["GENDER//F", "GENDER//M"]
    age = age_years(records, np.array([0, 1]), np.array([HOUR, HOUR], dtype=np.float64))
    assert age[0] == pytest.approx(50.0, abs=1e-3)
    assert np.isnan(age[1])


def test_outcomes_are_asked_for_and_never_shown(worked: RecordReader) -> None:
    records = read(worked, 1, 2)
    everything = names(worked, records.all_events.code)
    assert {"OUTCOME//sepsis", "OUTCOME//lactate_gt_4", "OUTCOME//follow_up_end"} <= set(everything)
    assert not any(name.startswith("OUTCOME") for name in names(worked, records.events.code))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 1), st.floats(0, 1))
def test_no_change_in_training_shows_an_outcome(toy_reader: RecordReader, seed: int, thin: float, lost: float) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(toy_reader.store), 12, replace=False)
    records = toy_reader.read(rows, rng=rng, thin_share=thin, unknown_share=lost)
    is_target = toy_reader.vocabulary.table["target_only"].to_numpy()
    for shown in (records.events, records.hidden, records.static):
        assert not is_target[shown.code].any()
    assert is_target[records.all_events.code].sum() == is_target[toy_reader.read(rows).all_events.code].sum()


def as_set(events: EventTable) -> list[tuple[float, ...]]:
    return sorted(zip(*(np.nan_to_num(column, nan=-1.0).tolist() for column in events), strict=True))


def test_thinning_hides_values_of_chosen_subjects_and_loses_nothing(toy_reader: RecordReader) -> None:
    rows = np.arange(60)
    whole = toy_reader.read(rows)
    thinned = toy_reader.read(rows, rng=np.random.default_rng(1), thin_share=0.5)
    together = EventTable(*map(np.concatenate, zip(thinned.events, thinned.hidden, strict=True)))
    assert as_set(together) == as_set(whole.events)
    assert len(thinned.hidden.code) > 50
    assert not np.isnan(thinned.hidden.value).any()
    assert thinned.is_thinned[thinned.hidden.subject].all()
    assert 15 < thinned.is_thinned.sum() < 45
    assert (thinned.site[thinned.is_thinned] == 0).all()
    np.testing.assert_array_equal(thinned.site[~thinned.is_thinned], whole.site[~thinned.is_thinned])
    assert not len(whole.hidden.code)


def test_forgetting_codes_makes_them_the_unknown_of_a_level_above(toy_reader: RecordReader) -> None:
    rows = np.arange(80)
    whole = toy_reader.read(rows)
    forgotten = toy_reader.read(rows, rng=np.random.default_rng(2), unknown_share=1.0)
    is_target = toy_reader.vocabulary.table["target_only"].to_numpy()
    count = len(whole.all_events.code)
    # What is asked about comes under its own name, and behind it under the name that the history gives it.
    np.testing.assert_array_equal(forgotten.all_events.code[:count], whole.all_events.code)
    after = names(toy_reader, forgotten.all_events.code[count:])
    before = names(toy_reader, whole.all_events.code[~is_target[whole.all_events.code]])
    for name, now in zip(before, after, strict=True):
        assert now.endswith("//unknown")
        assert name.startswith(now.removesuffix("unknown")) or now == "//unknown"
    assert all(name.endswith("//unknown") for name in names(toy_reader, forgotten.events.code))
    some = toy_reader.read(rows, rng=np.random.default_rng(2), unknown_share=0.3)
    hidden = {(s, c) for s, c in zip(whole.events.subject, whole.events.code, strict=True)}
    kept = {(s, c) for s, c in zip(some.events.subject, some.events.code, strict=True)} & hidden
    assert 0.6 < len(kept) / len(hidden) < 0.8
    shown = [(s, c) in kept for s, c in zip(whole.events.subject, whole.events.code, strict=True)]
    assert sum(shown) == sum((s, c) in kept for s, c in zip(some.events.subject, some.events.code, strict=True))
    np.testing.assert_array_equal(toy_reader.read(rows).events.code, whole.events.code)


def test_subjects_without_events_are_read(worked: RecordReader) -> None:
    assert len(worked.read(np.empty(0, np.int64)).events.code) == 0


events = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 20)), max_size=25)


@settings(max_examples=200, deadline=None)
@given(events, st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 21)))
def test_time_index_equals_a_search_by_definition(
    rows: list[tuple[int, int, int]], asked: tuple[int, int, int]
) -> None:
    rows = sorted(rows, key=lambda row: (row[0], row[2], row[1]))
    subject, code, seconds = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    index = TimeIndex(EventTable(subject, seconds, code, np.zeros(len(rows), np.float32)), num_codes=4)
    s, c, t = asked
    mine = [(row[2], i) for i, row in enumerate(rows) if row[:2] == (s, c)]
    earlier, later = [x for x in mine if x[0] < t], [x for x in mine if x[0] > t]
    query = tuple(np.array([x]) for x in asked)
    assert index.last_before(*query)[0] == (max(earlier)[1] if earlier else -1)
    assert index.first_after(*query)[0] == (min(later)[1] if later else -1)


def test_what_training_knew_as_a_fact_can_come_at_a_time_elsewhere(tmp_path: Path) -> None:
    """A static code has no probability in a history; the unknown code of its level has."""
    there = [
        (1, None, "WEIGHT//kg", 70.0, "north"),
        (1, START, HEART_RATE, 80.0, "north"),
        (1, START + timedelta(hours=1), HEART_RATE, 80.0, "north"),
    ]
    here = [
        (1, START, "WEIGHT//kg", 71.0, "south"),
        (1, START, "WEIGHT//lb", 156.0, "south"),
        (1, START + timedelta(hours=1), HEART_RATE, 80.0, "south"),
    ]
    trained = EventStore.open(build_toy_store(tmp_path / "there", num_subjects=1, rows=there))
    vocabulary = ModelVocabulary.fit(trained, trained.rows(), min_count=1)
    reader = RecordReader(
        EventStore.open(build_toy_store(tmp_path / "here", num_subjects=1, rows=here)), vocabulary, []
    )
    shown = reader.read(np.array([0])).events.code
    can_emit = code_table(vocabulary, torch.zeros(len(vocabulary), 19)).can_emit
    assert vocabulary.table["is_static"][vocabulary.index["WEIGHT//kg"]]
    assert can_emit[shown].all()
    assert names(reader, shown) == ["WEIGHT//unknown", "WEIGHT//unknown", "CONCEPT//heart_rate"]


@given(st.integers(0, 10_000))
def test_the_canonical_order_is_by_subject_time_code_and_value(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num = int(rng.integers(0, 60))
    subject, seconds, code = (rng.integers(0, most, num) for most in (3, 4, 5))
    value = rng.choice(np.array([np.nan, -1.0, 0.0, 2.5], np.float32), num)
    found = _canonical(EventTable(subject, seconds * 2**29, code, value), 5)
    order = np.lexsort((value, code, seconds, subject))
    for mine, wanted in zip(found, (subject, seconds * 2**29, code, value), strict=True):
        np.testing.assert_array_equal(mine, wanted[order])


def test_equal_keys_are_drawn_alike_and_others_independently() -> None:
    rng = np.random.default_rng(0)
    key = np.arange(20_000)
    drawn, again = _drawn(np.concatenate([key, key]), rng).reshape(2, -1)
    np.testing.assert_array_equal(drawn, again)
    assert 0 <= drawn.min() < drawn.max() < 1
    for values in (drawn, drawn[1:] * drawn[:-1]):
        expected = 0.5 if values is drawn else 0.25
        assert values.mean() == pytest.approx(expected, abs=0.01)
    assert abs(np.corrcoef(drawn, _drawn(key, rng))[0, 1]) < 0.03  # another time, other numbers
