"""Hand features against a plain loop, and blind to what comes later."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from helpers.task_records import Row, at
from sojourn.events.build import build_store
from sojourn.events.store import EventStore
from sojourn.tasks.features import hand_features

WriteMeds = Callable[..., Path]


def drawn(seed: int, num_subjects: int = 12, num_events: int = 60) -> list[Row]:
    """Subjects with two lab codes, an event without value, a static fact and an admission."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for subject in range(1, num_subjects + 1):
        rows += [(subject, -40 * 8766, "MEDS_BIRTH"), (subject, 0, "ICU_ADMISSION//A")]
        rows += [(subject, None, "WEIGHT", 50.0 + subject)] if subject % 2 else [(subject, None, "GENDER//F")]
        for _ in range(num_events):
            hour = float(rng.integers(0, 100)) + float(rng.choice([0, 0.5]))
            code = str(rng.choice(["LAB//a", "LAB//b", "PROCEDURE"]))
            value = None if code == "PROCEDURE" or rng.random() < 0.2 else float(np.float32(rng.normal()))
            rows.append((subject, hour, code, value))
        rows.append((subject, 101, "OUTCOME//sepsis"))
    return rows


def labels_at(pairs: list[tuple[int, float]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "subject_id": [subject for subject, _ in pairs],
            "prediction_time": pl.Series([at(hour) for _, hour in pairs], dtype=pl.Datetime("us")),
            "boolean_value": [False] * len(pairs),
        }
    )


@pytest.fixture
def make_store(write_meds: WriteMeds, tmp_path: Path) -> Callable[..., EventStore]:
    def make(rows: list[Row], name: str = "one") -> EventStore:
        build_store(tmp_path / f"{name}_store", [write_meds(rows, name=name)])
        return EventStore.open(tmp_path / f"{name}_store")

    return make


def expected(rows: list[Row], subject: int, hour: float, code: str) -> dict[str, float]:
    past = sorted(
        (r[1], r[3] if len(r) > 3 else None) for r in rows if r[0] == subject and r[2] == code and r[1] <= hour
    )
    value = [v for _, v in past if v is not None]
    recent = [v for h, v in past if v is not None and h > hour - 24]
    nan = float("nan")
    return {
        "count": len(past),
        "count_24h": sum(h > hour - 24 for h, _ in past),
        "hours_since": hour - past[-1][0] if past else nan,
        "mean": float(np.mean(value)) if value else nan,
        "min": min(value, default=nan),
        "max": max(value, default=nan),
        "mean_24h": float(np.mean(recent)) if recent else nan,
        "min_24h": min(recent, default=nan),
        "max_24h": max(recent, default=nan),
    }


def test_features_agree_with_a_plain_loop(make_store: Callable[..., EventStore]) -> None:
    # One value per time: which of two simultaneous values is the last is the store's choice.
    rows = list({(r[0], r[1], r[2]): r for r in drawn(0)}.values())
    pairs = [(subject, hour) for subject in range(12, 0, -1) for hour in (0, 10, 33.5, 60, 99.5)]
    table = hand_features(make_store(rows), labels_at(pairs))
    where = {name: column for column, name in enumerate(table.names)}
    assert table.matrix.shape == (len(pairs), len(table.names))
    for row, (subject, hour) in enumerate(pairs):
        for code in ("LAB//a", "LAB//b"):
            for feature, value in expected(rows, subject, hour, code).items():
                got = table.matrix[row, where[f"{code} {feature}"]]
                np.testing.assert_allclose(got, value, rtol=1e-5, atol=1e-6, err_msg=f"{subject} {hour} {feature}")
            values = [
                (r[1], r[3]) for r in rows if r[0] == subject and r[2] == code and r[1] <= hour and r[3] is not None
            ]
            last = max(values, default=(0, np.nan))[1]
            np.testing.assert_allclose(table.matrix[row, where[f"{code} last"]], last, rtol=1e-6)
        assert table.matrix[row, where["age_years"]] == pytest.approx(40 + hour / 8766, rel=1e-5)
        assert table.matrix[row, where["hours_since_admission"]] == hour
        assert table.matrix[row, where["hour_of_day"]] == hour % 24
    assert "PROCEDURE mean" not in where
    assert "PROCEDURE count" in where


def test_statics_hold_value_or_presence(make_store: Callable[..., EventStore]) -> None:
    table = hand_features(make_store(drawn(1)), labels_at([(3, 5), (4, 5)]))
    weight, female = (table.matrix[:, table.names.index(name)] for name in ("WEIGHT", "GENDER//F"))
    np.testing.assert_array_equal(weight, [53, np.nan])
    np.testing.assert_array_equal(female, [np.nan, 1])


def test_labels_and_outcomes_make_no_feature(make_store: Callable[..., EventStore]) -> None:
    table = hand_features(make_store(drawn(2)), labels_at([(1, 200)]))
    assert not [name for name in table.names if "OUTCOME" in name or "DISCHARGE" in name]


def test_the_future_changes_nothing(make_store: Callable[..., EventStore]) -> None:
    rows, hour = drawn(3), 50.0
    pairs = [(subject, hour) for subject in range(1, 13)]
    whole = hand_features(make_store(rows, "whole"), labels_at(pairs))
    past = [row for row in rows if row[1] is None or row[1] <= hour]
    cut = hand_features(make_store(past, "cut"), labels_at(pairs), sources=whole.sources)
    assert cut.names == whole.names
    np.testing.assert_array_equal(cut.matrix, whole.matrix)


def test_an_event_at_the_prediction_time_is_seen_and_one_a_second_later_is_not(
    make_store: Callable[..., EventStore],
) -> None:
    store = make_store([(1, 0, "LAB//a", 1.0), (1, 10, "LAB//a", 2.0), (1, 10 + 1 / 3600, "LAB//a", 3.0)])
    table = hand_features(store, labels_at([(1, 10), (1, 11), (1, -1)]))
    np.testing.assert_array_equal(table.matrix[:, table.names.index("LAB//a last")], [2, 3, np.nan])
    np.testing.assert_array_equal(table.matrix[:, table.names.index("LAB//a count")], [2, 3, 0])


def test_another_store_gives_the_same_columns_with_unknown_codes_as_nan(
    make_store: Callable[..., EventStore],
) -> None:
    train = hand_features(make_store(drawn(4), "train"), labels_at([(1, 50)]))
    other = make_store([(7, 0, "LAB//b", 4.0), (7, 1, "LAB//new", 1.0)], "other")
    test = hand_features(other, labels_at([(7, 2)]), sources=train.sources)
    assert test.names == train.names
    by_name = dict(zip(test.names, test.matrix[0], strict=True))
    assert by_name["LAB//b last"] == 4
    assert np.isnan(by_name["LAB//a last"])
    assert np.isnan(by_name["LAB//a count"])


def test_only_the_most_frequent_codes_are_used(make_store: Callable[..., EventStore]) -> None:
    table = hand_features(make_store(drawn(5)), labels_at([(1, 5)]), max_codes=2)
    assert len(table.sources) == 2


def test_no_labels_give_no_rows(make_store: Callable[..., EventStore]) -> None:
    table = hand_features(make_store(drawn(6)), labels_at([(1, 1)]).clear())
    assert table.matrix.shape == (0, len(table.names))
