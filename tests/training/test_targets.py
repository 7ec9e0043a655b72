"""What the query heads are taught: worked times with their censoring, and searches by definition."""

from datetime import timedelta

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.toy_process import HEART_RATE, START, build_toy_store
from sojourn.adaptation.unlabelled import UnlabelledReader
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.training.batches import pack, positions, whole_records
from sojourn.training.records import RecordReader, Records
from sojourn.training.targets import (
    FirstTargets,
    Moments,
    bootstrap_weights,
    draw_moments,
    first_targets,
    value_targets,
)

HOUR = 3600
INF = float("inf")
ASKED = ["OUTCOME//lactate_gt_4", "OUTCOME//sepsis", "CONCEPT//heart_rate", "HOSPITAL_DISCHARGE//ALIVE"]


def ask(
    reader: RecordReader,
    records: Records,
    codes: list[str],
    seed: int,
    max_queries: int = 100,
    *,
    with_past: bool = False,
) -> tuple[Moments, FirstTargets]:
    windows, rng = whole_records(records, 1000), np.random.default_rng(seed)
    moments = draw_moments(
        records, windows, pack(windows), rng=rng, num_heads=3, max_queries=max_queries, with_past=with_past
    )
    return moments, first_targets(records, moments, np.array([reader.vocabulary.index[code] for code in codes]))


@pytest.mark.parametrize(
    ("subject", "hour", "hours", "is_event"),
    [
        (1, 0, [3, 2, 1, 5], [True, True, True, True]),
        (1, 1, [2, 1, 2, 4], [True, True, True, True]),
        # An outcome at the very moment of asking does not count; the discharge ends all doubt about it.
        (1, 3, [INF, INF, INF, 2], [False, False, False, True]),
        (1, 5, [INF, INF, INF, INF], [False, False, False, False]),
        # Follow-up ends at 8 h: until then outcomes are known, and what was not recorded did not come.
        (2, 0, [8, 8, 2, 8], [False, False, True, False]),
        (2, 2, [6, 6, 6, 6], [False, False, False, False]),
    ],
)
def test_times_and_censoring_of_a_worked_example(
    worked: RecordReader, subject: int, hour: int, hours: list[float], is_event: list[bool]
) -> None:
    records = worked.read(worked.store.find(np.array([subject])))
    for seed in range(100):
        moments, targets = ask(worked, records, ASKED, seed)
        asked = ((moments.time == hour * HOUR) & (moments.gap == 0)).nonzero()[:, 0]
        if len(asked):
            np.testing.assert_allclose(targets.hours[asked[0]], hours, rtol=1e-6)
            assert targets.is_event[asked[0]].tolist() == is_event
            assert float(moments.known[asked[0]]) == (INF if subject == 1 else 8 - hour)
            return
    pytest.fail("no query was asked at once")


def test_what_is_watched_ends_with_the_last_instant_for_known_and_new_hospitals_alike(worked: RecordReader) -> None:
    """A new hospital is read without its outcomes, so that its follow-up ends there."""
    without = UnlabelledReader(worked.store, worked.vocabulary, [])
    rows = worked.store.find(np.array([1, 2]))
    for reader in (worked, without):
        records, told = reader.read(rows), {}
        for seed in range(30):
            asked, _ = ask(reader, records, ASKED[2:], seed)
            at_once = asked.gap == 0
            told |= dict(zip((asked.time / HOUR)[at_once].tolist(), asked.watched[at_once].tolist(), strict=True))
        assert {told[hour] for hour in (1, 3)} == {INF}  # a discharge ends all doubt
        assert told[2] == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_times_equal_a_search_by_definition(toy_reader: RecordReader, seed: int) -> None:
    rows = np.random.default_rng(seed).choice(len(toy_reader.store), 8, replace=False)
    records = toy_reader.read(rows)
    codes = ["OUTCOME//death", "OUTCOME//lactate_gt_4", "CONCEPT//lactate", "HOSPITAL_DISCHARGE//ALIVE"]
    moments, targets = ask(toy_reader, records, codes, seed, max_queries=40)
    windows = whole_records(records, 1000)
    where = positions(windows, pack(windows))
    of_flat = {int(flat): i for i, flat in enumerate(where.flat)}
    events = records.all_events
    assert len(moments.time) == min(40, len(records.instant_time))
    assert targets.moment.tolist() == list(range(len(moments.time)))
    for q, flat in enumerate(moments.position.tolist()):
        i = of_flat[flat]
        s, instant, now = int(where.window[i]), int(where.instant[i]), float(moments.time[q])
        last = records.instant_time[records.subject_start[s + 1] - 1]
        assert int(moments.subject[q]) == s
        assert now == records.instant_time[instant] + float(moments.gap[q])
        is_last = instant + 1 == records.subject_start[s + 1]
        # Nothing was recorded between the asked state and the moment of asking.
        assert is_last or now < records.instant_time[instant + 1]
        assert now <= max(records.follow_up[s], last) or np.isinf(records.follow_up[s])
        assert float(moments.gap[q]) % records.tick[s] == 0
        for c, code in enumerate(targets.code.tolist()):
            mine = (events.subject == s) & (events.code == code) & (events.seconds > now)
            seconds = events.seconds[mine].min() - now if mine.any() else max(records.follow_up[s] - now, 0)
            assert bool(targets.is_event[q, c]) == mine.any()
            assert float(targets.hours[q, c]) == pytest.approx(seconds / HOUR, rel=1e-6)


def test_fewer_are_asked_where_the_past_holds_many_codes(
    toy_reader: RecordReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every field is of the same questions, and the past is that of the moments that are left."""
    records = toy_reader.read(np.arange(30))
    every, of_all = ask(toy_reader, records, ASKED[:1], seed=3, with_past=True)
    assert every.past is not None
    most = len(every.past.code) // 3
    monkeypatch.setattr("sojourn.training.targets._MAX_PAIRS", most)
    some, of_some = ask(toy_reader, records, ASKED[:1], seed=3, with_past=True)
    assert some.past is not None
    assert 0.8 * most < len(some.past.code) <= most
    fields = (some.subject, some.gap, some.time, some.weight, of_some.hours)
    assert {len(field) for field in fields} == {len(some.position)}
    moments = list(zip(every.position.tolist(), every.time.tolist(), strict=True))
    for k, moment in enumerate(zip(some.position.tolist(), some.time.tolist(), strict=True)):
        place = moments.index(moment)
        assert torch.equal(of_some.hours[k], of_all.hours[place])
        for ours, all_of_it in zip(some.past[1:], every.past[1:], strict=True):
            mine, same = ours[some.past.question == k], all_of_it[every.past.question == place]
            assert torch.equal(torch.nan_to_num(mine.float(), -1.0), torch.nan_to_num(same.float(), -1.0))


def test_some_of_the_moments_can_be_asked_about_other_codes(toy_reader: RecordReader) -> None:
    """The rows of the questions about all moments, with the same codes."""
    records = toy_reader.read(np.arange(30))
    codes = ["OUTCOME//death", "OUTCOME//lactate_gt_4", "CONCEPT//lactate", "HOSPITAL_DISCHARGE//ALIVE"]
    moments, every = ask(toy_reader, records, codes, seed=4)
    asked_at = np.array([3, 17, 60])
    some = first_targets(records, moments, every.code.numpy()[1:3], moment_R=asked_at)
    assert some.moment.tolist() == asked_at.tolist()
    assert torch.equal(some.hours, every.hours[asked_at][:, 1:3])
    assert torch.equal(some.is_event, every.is_event[asked_at][:, 1:3])


def test_half_of_the_questions_wait_for_less_than_the_next_instant(worked: RecordReader) -> None:
    records = worked.read(worked.store.find(np.array([1, 2])))
    moments = [ask(worked, records, ASKED, seed)[0] for seed in range(300)]
    gap = np.stack([m.gap.numpy() for m in moments]) / HOUR  # instants at 0, 1, 3, 5 h and at 0, 2 h
    assert ((gap == 0).sum(1) == 3).all()
    place = np.stack([m.position.numpy() for m in moments])
    windows = whole_records(records, 1000)
    flat = positions(windows, pack(windows)).flat[positions(windows, pack(windows)).instant >= 0]
    longest = [gap[place == p].max() for p in flat]
    # Whole hours: both sites chart by the hour. After a discharge nobody is asked about later.
    assert longest == pytest.approx([0, 1, 1, 0, 1, 5])


@pytest.fixture(scope="module")
def renewals(tmp_path_factory: pytest.TempPathFactory) -> RecordReader:
    """One patient whose heart rate is charted after 4 or after 24 hours, as a coin says."""
    gaps = np.random.default_rng(0).choice([4, 24], 8000)
    hours = np.cumsum([0, *gaps.tolist()])
    rows = [(1, START + timedelta(hours=int(hour)), HEART_RATE, 80.0, "north") for hour in hours]
    store = EventStore.open(build_toy_store(tmp_path_factory.mktemp("renewals"), num_subjects=1, rows=rows))
    return RecordReader(store, ModelVocabulary.fit(store, store.rows(), min_count=1), [])


def test_who_is_asked_after_a_wait_has_the_gaps_of_all_who_waited_so_long(renewals: RecordReader) -> None:
    records = renewals.read(np.array([0]))
    windows = whole_records(records, 10_000)
    code = np.array([renewals.vocabulary.index["CONCEPT//heart_rate"]])
    rng = np.random.default_rng(1)
    moments = draw_moments(records, windows, pack(windows), rng=rng, num_heads=1, max_queries=10_000)
    wait, left = moments.gap.numpy() / HOUR, first_targets(records, moments, code).hours[:, 0].numpy()
    for low, high in ((0, 0), (1, 3)):
        is_mine = (wait >= low) & (wait <= high)
        assert is_mine.sum() > 1500
        assert (wait + left)[is_mine].mean() == pytest.approx(14, abs=0.8)  # either gap, half of the time
    assert ((wait + left)[wait > 3] == 24).all()


def test_bootstrap_weights_are_poisson_and_belong_to_the_subject() -> None:
    rows = np.arange(20_000)
    weights = bootstrap_weights(rows, 4, seed=0)
    assert weights.mean() == pytest.approx(1.0, abs=0.02)
    assert weights.var() == pytest.approx(1.0, abs=0.03)
    assert (weights == 0).mean() == pytest.approx(np.exp(-1), abs=0.01)
    assert abs(np.corrcoef(weights.T)[0, 1:]).max() < 0.03
    np.testing.assert_array_equal(bootstrap_weights(rows[::-1][:5], 4, seed=0), weights[::-1][:5])
    assert (bootstrap_weights(rows, 4, seed=1) != weights).any()


def test_hidden_values_are_asked_from_the_last_shown_instant(toy_reader: RecordReader) -> None:
    records = toy_reader.read(np.arange(40), rng=np.random.default_rng(3), thin_share=1.0)
    windows = whole_records(records, 1000)
    layout = pack(windows)
    targets = value_targets(records, windows, layout, rng=np.random.default_rng(0), num_queries=0)
    where = positions(windows, layout)
    flat_of = {int(k): int(f) for k, f in zip(where.instant, where.flat, strict=True) if k >= 0}
    expected = []
    for s, seconds, code, value in zip(*records.hidden, strict=True):
        mine = (records.instant_subject == s) & (records.instant_time <= seconds)
        if mine.any():
            instant = np.flatnonzero(mine)[-1]
            at = records.instant_time[instant]
            seen = (records.events.subject == s) & (records.events.code == code) & (records.events.seconds <= at)
            last = np.flatnonzero(seen)[-1] if seen.any() else None
            previous = -1.0 if last is None else float(records.events.value[last])
            age = -1.0 if last is None else float(at - records.events.seconds[last])
            expected.append((flat_of[instant], float(seconds - at), int(code), float(value), previous, age))
    got = zip(*(np.nan_to_num(field.numpy(), nan=-1.0).tolist() for field in targets), strict=True)
    assert sorted(got) == sorted(expected)
    assert len(expected) > 100


def test_later_values_are_asked_for_with_what_was_known_then(toy_reader: RecordReader) -> None:
    records = toy_reader.read(np.arange(40))
    windows = whole_records(records, 12)
    layout = pack(windows)
    targets = value_targets(records, windows, layout, rng=np.random.default_rng(0), num_queries=300)
    where = positions(windows, layout)
    of_flat = {int(flat): i for i, flat in enumerate(where.flat)}
    assert len(targets.code) > 100
    shown = set(zip(*(column.tolist() for column in records.events), strict=True))
    for flat, delay, code, value, previous, age in zip(*(field.tolist() for field in targets), strict=True):
        i = of_flat[flat]
        s, at = int(where.window[i]), int(records.instant_time[where.instant[i]])
        assert delay > 0
        assert (s, at + int(delay), code, value) in shown
        seen = (records.events.subject == s) & (records.events.code == code) & (records.events.seconds <= at)
        if seen.any():
            last = np.flatnonzero(seen)[-1]
            assert (previous, age) == (float(records.events.value[last]), float(at - records.events.seconds[last]))
        else:
            assert np.isnan([previous, age]).all()
