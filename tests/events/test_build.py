"""Building: every row is accounted for, bytes do not depend on how, a killed build goes on."""

from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sojourn.errors import DataError
from sojourn.events.build import build_store
from sojourn.events.store import EventStore


def test_worked_example(two_stays: Path, tmp_path: Path) -> None:
    report = build_store(tmp_path / "store", [two_stays])
    assert report.rows == {"events": 11, "static": 3, "births": 1, "quarantined": 0, "of_subjects_without_time": 1}
    assert (report.num_subjects, report.subjects_without_time, report.num_static) == (2, 1, 3)
    assert {name: count for name, count in report.notes.items() if count} == {"values_hidden": 1}
    store = EventStore.open(tmp_path / "store")
    names = store.vocabulary["code"]
    first = store.subject(0)
    assert [names[int(code)] for code in first.code] == [
        "CONCEPT//creatinine",
        "CONCEPT//lactate",
        "HOSPITAL_ADMISSION//EMERGENCY",
        "VITAL//hr//bpm",
        "VITAL//hr//bpm",
        "CONCEPT//lactate",
        "HOSPITAL_DISCHARGE//ALIVE",
        "OUTCOME//follow_up_end",
    ]
    np.testing.assert_allclose(first.value, [1, 2.5, np.nan, 80, 90, np.nan, np.nan, np.nan])
    assert first.seconds.tolist() == [0, 0, 0, 3600, 3600, 9000, 10800, 32400]
    assert first.origin == np.datetime64("2150-03-01T08:00:00")
    assert first.birth_s == -(datetime(2150, 3, 1) - datetime(2090, 3, 1)).total_seconds()
    assert first.follow_up_s == np.inf
    second = store.subject(1)
    assert (second.subject_id, second.site, second.follow_up_s) == (2, "south", 8 * 3600)
    assert np.isnan(second.birth_s)
    assert [names[int(code)] for code in second.static_code] == ["GENDER//M", "WEIGHT//kg"]
    np.testing.assert_array_equal(second.static_value, np.array([np.nan, 70.5], np.float32))


def test_second_run_says_what_is_there(two_stays: Path, tmp_path: Path) -> None:
    build_store(tmp_path / "store", [two_stays])
    assert build_store(tmp_path / "store", [two_stays]).already_built
    with pytest.raises(DataError, match="splits_seed"):
        build_store(tmp_path / "store", [two_stays], splits_seed=1)


def test_vocabulary_facts(two_stays: Path, tmp_path: Path) -> None:
    build_store(tmp_path / "store", [two_stays])
    table = {row["code"]: row for row in EventStore.open(tmp_path / "store").vocabulary.iter_rows(named=True)}
    lactate = table["CONCEPT//lactate"]
    # Counts are over all subjects; values only of subject 1, who is in train, without the implausible one.
    assert (lactate["count"], lactate["num_values"], lactate["num_subjects"]) == (3, 2, 2)
    assert (lactate["q50"], lactate["resolution"], lactate["unit"]) == (2.5, 0.1, "mmol/L")
    assert table["HOSPITAL_DISCHARGE//ALIVE"]["terminal"]
    assert table["OUTCOME//follow_up_end"]["target_only"]
    assert table["GENDER//M"]["is_static"]
    assert not table["VITAL//hr//bpm"]["is_static"]
    assert pl.Series(list(table)).is_sorted()
