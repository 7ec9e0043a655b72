"""Statistics of codes by their definition, code by code and moment by moment."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sojourn.training.records import RecordReader, Records
from sojourn.training.statistics import code_statistics, num_pairs

DAY = 86400


def by_definition(records: Records, subject: int, seconds: int) -> dict[int, list[float]]:
    """Statistics of each code that one subject's record holds up to a moment, by a loop."""
    told: dict[int, list[float]] = {}
    past = records.past(subject, seconds)
    for code in np.unique(past.code):
        mine = past.take(past.code == code)
        order = np.argsort(mine.seconds, kind="stable")
        at, value = mine.seconds[order], mine.value[order]
        is_recent = at > seconds - DAY
        row = []
        for some, with_last in ((value, True), (value[is_recent], False)):
            some = some[~np.isnan(some)]
            row += [some[-1] if len(some) else np.nan] if with_last else []
            row += [float(some.astype(np.float64).mean()), some.min(), some.max()] if len(some) else [np.nan] * 3
        told[int(code)] = [*row, len(at), is_recent.sum(), seconds - at[-1]]
    for code, value in zip(
        records.static.code[records.static.subject == subject],
        records.static.value[records.static.subject == subject],
        strict=True,
    ):
        told[int(code)] = [*[value] * 4, np.nan, np.nan, np.nan, 1, 0, np.nan]
    return told


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_statistics_equal_a_loop(toy_reader: RecordReader, seed: int) -> None:
    rng = np.random.default_rng(seed)
    records = toy_reader.read(rng.choice(len(toy_reader.store), 6, replace=False), rng=rng, thin_share=0.5)
    subject = rng.integers(0, 6, 20)
    seconds = np.where(rng.random(20) < 0.5, rng.integers(0, 3 * DAY, 20), rng.choice(records.events.seconds, 20))
    past = code_statistics(records, subject, seconds)
    assert (np.diff(past.question) >= 0).all()
    np.testing.assert_array_equal(num_pairs(records, subject, seconds), np.bincount(past.question, minlength=20))
    for question in range(20):
        mine = past.question.numpy() == question
        rows = np.column_stack([past.values[mine], past.counts[mine], past.delay[mine]])
        wanted = by_definition(records, int(subject[question]), int(seconds[question]))
        assert sorted(past.code[mine].tolist()) == sorted(wanted)
        for code, row in zip(past.code[mine].tolist(), rows, strict=True):
            np.testing.assert_allclose(row, wanted[code], rtol=1e-5, atol=1e-5)


def test_nobody_asked_gives_nothing(toy_reader: RecordReader) -> None:
    nothing = np.empty(0, np.int64)
    past = code_statistics(toy_reader.read(np.arange(3)), nothing, nothing)
    assert past.values.shape == (0, 7)
    past = code_statistics(toy_reader.read(nothing), nothing, nothing)
    assert len(past.code) == 0
    assert len(num_pairs(toy_reader.read(nothing), nothing, nothing)) == 0


def test_the_future_changes_no_statistic(toy_reader: RecordReader) -> None:
    records = toy_reader.read(np.arange(4))
    at = int(np.median(records.events.seconds))
    cut = records.events.seconds <= at
    blanked = records.events._replace(value=np.where(cut, records.events.value, np.float32(-1e6)))
    subject, seconds = np.arange(4), np.full(4, at)
    before, after = (code_statistics(r, subject, seconds) for r in (records, records._replace(events=blanked)))
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
