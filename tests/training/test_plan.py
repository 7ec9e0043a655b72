"""The plan of an epoch: everything once, and the same again from the same seed."""

from itertools import chain, islice
from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sojourn.training.batches import collate, pack
from sojourn.training.plan import Step, cut, epoch_steps, steps
from sojourn.training.records import RecordReader

sizes = st.lists(st.integers(0, 60), min_size=1, max_size=12)


def plan(num_instants: list[int], *, context: int = 8, seed: int = 0, epoch: int = 0) -> list[Step]:
    rows = 100 + np.arange(len(num_instants))
    return epoch_steps(rows, np.array(num_instants), context=context, instants_per_batch=40, seed=seed, epoch=epoch)


@settings(max_examples=100, deadline=None)
@given(sizes, st.integers(8, 20), st.integers(0, 1000), st.integers(0, 3))
def test_every_instant_is_scored_once_in_an_epoch(num_instants: list[int], context: int, seed: int, epoch: int) -> None:
    scored = [np.zeros(n, dtype=int) for n in num_instants]
    for step in plan(num_instants, context=context, seed=seed, epoch=epoch):
        count = np.array(num_instants)[step.rows - 100]
        first = np.cumsum(count) - count
        windows = cut(SimpleNamespace(subject_start=np.append(first, count.sum())), step, context)  # type: ignore[arg-type]
        assert (windows.end - windows.start <= context + 1).all()
        for w, (start, end) in enumerate(zip(windows.start - first, windows.end - first, strict=True)):
            # A window's first instant is scored only where the record starts (see `collate`).
            scored[step.rows[w] - 100][start + (start > 0) : end] += 1
    assert all((n == 1).all() for n in scored)


@given(st.integers(1, 200), st.integers(1, 200), st.integers(8, 20), st.integers(0, 1000), st.integers(0, 3))
def test_where_a_window_begins_tells_nothing_of_how_long_the_record_goes_on(
    short: int, more: int, context: int, seed: int, epoch: int
) -> None:
    known = []
    for count in (short, short + more):
        steps = plan([count], context=context, seed=seed, epoch=epoch)
        windows = [cut(SimpleNamespace(subject_start=np.array([0, count])), s, context) for s in steps]  # type: ignore[arg-type]
        spans = [(int(a), int(b)) for w in windows for a, b in zip(w.start, w.end, strict=True)]
        # A window of the longer record that adds one instant before what is new holds nothing of its own.
        known.append(sorted((a, min(b, short)) for a, b in spans if a + (a > 0) < short))
    assert known[0] == known[1]


def test_every_event_of_real_batches_is_scored_once(toy_reader: RecordReader) -> None:
    store = toy_reader.store
    rows = np.arange(100)
    num_instants = store.subjects["num_instants"].to_numpy().astype(np.int64)[rows]
    assert num_instants.max() > 24
    num_events = num_survivals = num_ends = 0
    for step in epoch_steps(rows, num_instants, context=8, instants_per_batch=128, seed=1, epoch=0):
        records = toy_reader.read(step.rows)
        windows = cut(records, step, 8)
        batch = collate(records, windows, pack(windows))
        num_events += batch.num_events
        num_survivals += int(((batch.survival > 0) & batch.survival.isfinite()).sum())
        num_ends += int(batch.survival.isinf().sum())
    whole = toy_reader.read(rows)
    assert num_events == len(whole.events.code)
    assert num_survivals == np.isfinite(whole.follow_up).sum()
    assert num_ends == np.isinf(whole.follow_up).sum()


@given(sizes, st.integers(0, 1000))
def test_the_same_seed_gives_the_same_plan(num_instants: list[int], seed: int) -> None:
    one, two = plan(num_instants, seed=seed), plan(num_instants, seed=seed)
    assert [tuple(map(list, step[1:5])) for step in one] == [tuple(map(list, step[1:5])) for step in two]


def test_epochs_and_seeds_differ() -> None:
    sizes = [5, 30, 12, 7, 3, 50]
    orders = [
        np.concatenate([s.rows for s in plan(sizes, seed=s, epoch=e)]).tolist() for s, e in ((0, 0), (0, 1), (1, 0))
    ]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]


def test_steps_go_on_over_the_epochs() -> None:
    rows, sizes = np.arange(6), np.array([5, 30, 12, 7, 3, 50])
    settings = {"context": 8, "instants_per_batch": 40, "seed": 3}
    first, second = (epoch_steps(rows, sizes, **settings, epoch=epoch) for epoch in (0, 1))
    endless = list(islice(steps(rows, sizes, **settings), len(first) + len(second)))
    assert [step.epoch for step in endless] == [0] * len(first) + [1] * len(second)
    np.testing.assert_array_equal(endless[len(first)].rows, second[0].rows)


def test_no_batch_is_much_larger_than_asked() -> None:
    sizes = [40] * 30
    for step in plan(sizes, context=8):
        assert len(step.rows) * 9 <= 40 + 9


@given(sizes, st.integers(1, 5))
def test_shares_of_a_step_hold_each_window_once(num_instants: list[int], count: int) -> None:
    for step in plan(num_instants):
        shares = step.shares(count)
        assert [share.share for share in shares] == list(range(count))
        own = [list(zip(s.rows, s.part, s.shift, s.size, strict=True)) for s in shares if s.is_counted]
        assert list(chain.from_iterable(own)) == list(zip(step.rows, step.part, step.shift, step.size, strict=True))
        assert all(len(share.rows) for share in shares)  # an empty one stands in with a window that does not count
        assert sum(share.own(10) for share in shares) == 10
        half = max(step.size) / 2
        assert all(abs(s.size.sum() - step.size.sum() / count) <= 2 * half for s in shares if s.is_counted)
