"""Building: every row is accounted for, bytes do not depend on how, a killed build goes on."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from events.conftest import write_meds
from sojourn.errors import ConfigError, DataError, SchemaError, StoreError
from sojourn.events import plan
from sojourn.events.build import build_store
from sojourn.events.records import ACCOUNTS
from sojourn.events.store import EventStore
from sojourn.tasks.reading import iterate_records

MakeMeds = Callable[..., Path]
MakeRows = Callable[..., pl.DataFrame]


def contents(store: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in store.rglob("*") if path.is_file()}


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


def test_values_outside_the_limits_of_their_concept_are_not_shown(tmp_path: Path) -> None:
    """Limits hold after the conversion, and a value at a limit that no float32 hits exactly is inside."""
    start = datetime(2150, 3, 1, 8)
    given = [("umol", 88.4), ("umol", 8_840_000.0), ("U/min", 0.4), ("U/min", 0.41), ("mine", 1e9), ("umol", 2_000.0)]
    rows = [(1, start, f"LAB//{code}", value, "north") for code, value in given]
    codes = {
        "code": ["LAB//umol", "LAB//U/min", "LAB//mine"],
        "concept": ["creatinine", "vasopressin//start", "none_with_limits"],
        "scale": [1 / 88.4, 1.0, 1.0],
        "concept_min": [0.1, 0.0, None],
        "concept_max": [25.0, 0.4, None],
    }
    dataset = write_meds(tmp_path / "meds", [rows], codes=codes)
    report = build_store(tmp_path / "store", [dataset])
    assert report.notes["values_implausible"] == 2
    store = EventStore.open(tmp_path / "store")
    record = store.subject(0)
    shown = [(store.vocabulary["code"][int(c)], float(v)) for c, v in zip(record.code, record.value, strict=True)]
    numbers = [(code, value) for code, value in shown if not np.isnan(value)]
    assert len(shown) == 6  # the events stay
    assert numbers == [
        ("CONCEPT//creatinine", 1.0),
        ("CONCEPT//creatinine", pytest.approx(2000 / 88.4)),
        ("CONCEPT//none_with_limits", 1e9),
        ("CONCEPT//vasopressin//start", pytest.approx(0.4)),
    ]
    facts = dict(store.vocabulary.select("code", "num_values").iter_rows())
    assert facts["CONCEPT//creatinine"] == 2
    (records,) = iterate_records(dataset, ["CONCEPT"])
    labelled = records.events.filter(pl.col("numeric_value").is_not_null())
    assert sorted(labelled["numeric_value"]) == pytest.approx(sorted(value for _, value in numbers))
    raw = build_store(tmp_path / "raw", [dataset], use_concepts=False)
    assert raw.notes["values_implausible"] == 0


def test_vocabulary_facts(two_stays: Path, tmp_path: Path) -> None:
    build_store(tmp_path / "store", [two_stays])
    table = {row["code"]: row for row in EventStore.open(tmp_path / "store").vocabulary.iter_rows(named=True)}
    lactate = table["CONCEPT//lactate"]
    # Counts are over all subjects; values only of subject 1, who is in train, without the implausible one.
    assert (lactate["count"], lactate["num_values"], lactate["num_subjects"]) == (3, 2, 2)
    assert (lactate["q50"], lactate["resolution"], lactate["unit"]) == (2.5, 0.1, "mmol/L")
    # Recorded to 0.1 umol/L; the concept's unit is not told, as no member of it needs no conversion.
    assert table["CONCEPT//creatinine"]["resolution"] == pytest.approx(0.1 / 88.4)
    assert table["CONCEPT//creatinine"]["unit"] is None
    assert table["CONCEPT//lactate"]["parent"] == "CONCEPT"
    assert table["HOSPITAL_DISCHARGE//ALIVE"]["terminal"]
    assert table["OUTCOME//follow_up_end"]["target_only"]
    assert table["GENDER//M"]["is_static"]
    assert not table["VITAL//hr//bpm"]["is_static"]
    assert table["WEIGHT//kg"]["q50"] is None  # only a held-out subject has it
    assert pl.Series(list(table)).is_sorted()


def test_second_run_says_what_is_there(two_stays: Path, tmp_path: Path) -> None:
    first = build_store(tmp_path / "store", [two_stays])
    again = build_store(tmp_path / "store", [two_stays])
    assert again.already_built
    assert again.rows == first.rows
    with pytest.raises(DataError, match="splits_seed"):
        build_store(tmp_path / "store", [two_stays], splits_seed=1)


def test_a_folder_with_something_else_is_left_alone(two_stays: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no manifest\.json"):
        build_store(two_stays, [two_stays])


def test_workers_and_repetition_give_the_same_bytes(
    many_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "PIECE_ROWS", 2000)
    for name, workers in (("a", 1), ("b", 1), ("c", 2)):
        build_store(tmp_path / name, [many_shards], workers=workers)
    first = contents(tmp_path / "a")
    assert first == contents(tmp_path / "b") == contents(tmp_path / "c")
    assert not any(name.startswith("work") for name in first)
    EventStore.open(tmp_path / "c").verify()


def test_cutting_into_pieces_keeps_every_record(
    many_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build_store(tmp_path / "whole", [many_shards])
    monkeypatch.setattr(plan, "PIECE_ROWS", 150)
    cut = build_store(tmp_path / "cut", [many_shards])
    assert whole.num_shards == 1
    assert cut.num_shards == 6 * 20 // 3  # 60 rows a subject: three subjects to a piece, some from two files
    assert whole.rows == cut.rows
    a, b = EventStore.open(tmp_path / "whole"), EventStore.open(tmp_path / "cut")
    place = ["shard", "begin", "static_begin"]
    assert a.subjects.drop(place).equals(b.subjects.drop(place))
    inexact = ["mean", "std"]
    assert a.vocabulary.drop(inexact).equals(b.vocabulary.drop(inexact))
    for name in inexact:
        np.testing.assert_allclose(a.vocabulary[name].to_numpy(), b.vocabulary[name].to_numpy(), rtol=1e-9)
    for row in range(len(a)):
        for got, expected in zip(b.subject(row), a.subject(row), strict=True):
            np.testing.assert_array_equal(got, expected)


def test_every_row_is_accounted_for(many_shards: Path, tmp_path: Path) -> None:
    report = build_store(tmp_path / "store", [many_shards])
    assert sum(report.rows[name] for name in ACCOUNTS) == 6 * 20 * 60
    assert report.num_events == report.rows["events"]
    assert report.num_static == report.rows["static"] == 120
    assert report.bytes_per_event < 10.7  # ten and the headers of 18 small files
    store = EventStore.open(tmp_path / "store")
    assert store.subjects["num_events"].sum() == report.num_events


def test_value_statistics_agree_with_the_data(many_shards: Path, tmp_path: Path) -> None:
    build_store(tmp_path / "store", [many_shards])
    store = EventStore.open(tmp_path / "store")
    train = store.subjects.filter(pl.col("split") == "train")["subject_id"].implode()
    rows = pl.read_parquet(many_shards / "data/*.parquet").filter(pl.col("subject_id").is_in(train))
    for code in ("LAB//0//u", "LAB//11//u"):
        values = rows.filter(pl.col("code") == code)["numeric_value"].to_numpy()
        found = store.vocabulary.row(by_predicate=pl.col("code") == code, named=True)
        for name, q in (("q05", 0.05), ("q50", 0.5), ("q95", 0.95)):
            assert found[name] == pytest.approx(np.quantile(values, q, method="inverted_cdf"), rel=1e-3)
        assert found["mean"] == pytest.approx(values.mean(dtype=np.float64))
        assert found["std"] == pytest.approx(values.std(dtype=np.float64))
        assert found["resolution"] == 0.1


def test_recorded_time_resolution_of_each_site(
    make_meds: MakeMeds, tmp_path: Path, at_hour: Callable[[float], datetime]
) -> None:
    steps = {"hourly": 1.0, "by minute": 7 / 60, "by second": 11 / 3600}
    rows = [
        (number, at_hour(k * step), "LAB//1", 1.0, site)
        for number, (site, step) in enumerate(steps.items())
        for k in range(5)
    ]
    build_store(tmp_path / "store", [make_meds(tmp_path / "meds", [rows])])
    table = EventStore.open(tmp_path / "store").subjects
    assert dict(table.select("site", "time_tick_s").iter_rows()) == {"hourly": 3600, "by minute": 60, "by second": 1}


def test_follow_up(make_meds: MakeMeds, tmp_path: Path, at_hour: Callable[[float], datetime]) -> None:
    rows = [
        (1, at_hour(0), "LAB//1", 1.0),
        (1, at_hour(5), "MEDS_DEATH", None),
        (1, at_hour(5), "LAB//1", 1.0),  # at the same instant: the record still ends with death
        (2, at_hour(0), "HOSPITAL_DISCHARGE//ALIVE", None),
        (2, at_hour(4), "LAB//1", 1.0),  # a record that goes on after a discharge is known to its last event
        (3, at_hour(0), "LAB//1", 1.0),
        (3, at_hour(6), "OUTCOME//follow_up_end", None),
    ]
    build_store(tmp_path / "store", [make_meds(tmp_path / "meds", [rows])])
    table = EventStore.open(tmp_path / "store").subjects
    assert table["follow_up_s"].to_list() == [np.inf, 4 * 3600, 6 * 3600]
    assert table["num_instants"].to_list() == [2, 2, 1]


def test_foreign_data_set_without_metadata(
    make_meds: MakeMeds, tmp_path: Path, at_hour: Callable[[float], datetime]
) -> None:
    table = pl.DataFrame({"subject_id": [7, 7], "time": [at_hour(0), at_hour(1)], "code": ["A", "B//1"]})
    build_store(tmp_path / "store", [make_meds(tmp_path / "elsewhere", [table])])
    store = EventStore.open(tmp_path / "store")
    assert store.subject(0).site == "elsewhere"
    assert store.vocabulary["code"].to_list() == ["A", "B//1"]
    assert np.isnan(store.subject(0).value).all()


def test_several_data_sets_share_concepts(
    make_meds: MakeMeds, two_stays: Path, tmp_path: Path, at_hour: Callable[[float], datetime]
) -> None:
    codes = {"code": ["lac"], "concept": ["lactate"], "scale": [1 / 9], "unit": ["mg/dL"]}
    other = make_meds(tmp_path / "other", [[(9, at_hour(0), "lac", 18.0, "west")]], codes=codes)
    build_store(tmp_path / "store", [two_stays, other])
    store = EventStore.open(tmp_path / "store")
    lactate = store.vocabulary.row(by_predicate=pl.col("code") == "CONCEPT//lactate", named=True)
    assert (lactate["count"], lactate["unit"]) == (4, "mmol/L")
    assert "lac" not in store.vocabulary["code"]
    np.testing.assert_allclose(store.subject(2).value, [2.0], rtol=1e-6)
    assert store.subjects["dataset"].to_list() == ["stays", "stays", "other"]


def test_clashing_subjects_are_refused(two_stays: Path, make_meds: MakeMeds, tmp_path: Path) -> None:
    rows = [(1, datetime(2150, 1, 1), "LAB//1", 1.0)]
    with pytest.raises(DataError, match="1 ids are in both"):
        build_store(tmp_path / "store", [two_stays, make_meds(tmp_path / "other", [rows])])
    with pytest.raises(SchemaError, match="one shard only"):
        build_store(tmp_path / "store", [make_meds(tmp_path / "third", [rows, rows])])
    assert not (tmp_path / "store").exists()


def test_scattered_rows_of_a_subject_are_refused(make_meds: MakeMeds, tmp_path: Path) -> None:
    rows = [(who, datetime(2150, 1, 1), "LAB//1", 1.0) for who in (1, 2, 1)]
    with pytest.raises(SchemaError, match="together"):
        build_store(tmp_path / "store", [make_meds(tmp_path / "meds", [rows])])


def test_a_clock_that_goes_backwards_is_sorted_and_told(
    make_meds: MakeMeds, tmp_path: Path, at_hour: Callable[[float], datetime]
) -> None:
    rows = [(1, at_hour(hour), "LAB//1", float(hour)) for hour in (3, 1, 2)]
    report = build_store(tmp_path / "store", [make_meds(tmp_path / "meds", [rows])])
    assert report.notes["subjects_out_of_order"] == 1
    assert EventStore.open(tmp_path / "store").subject(0).value.tolist() == [1, 2, 3]


def test_a_truncated_shard_is_named(many_shards: Path, tmp_path: Path) -> None:
    shard = many_shards / "data" / "3.parquet"
    shard.write_bytes(shard.read_bytes()[:-200])
    with pytest.raises(SchemaError, match=r"3\.parquet"):
        build_store(tmp_path / "store", [many_shards])


def test_workers_must_be_positive(many_shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="workers"):
        build_store(tmp_path / "store", [many_shards], workers=0)


def test_more_codes_than_16_bits_widen_the_array(make_meds: MakeMeds, tmp_path: Path) -> None:
    size = (1 << 16) + 1
    table = pl.DataFrame(
        {
            "subject_id": [1] * size,
            "time": [datetime(2150, 1, 1)] * size,
            "code": pl.select("DIAGNOSIS//" + pl.int_range(size).cast(pl.String)).to_series(),
        }
    )
    build_store(tmp_path / "store", [make_meds(tmp_path / "meds", [table])])
    store = EventStore.open(tmp_path / "store")
    assert store.subject(0).code.dtype == np.uint32
    assert store.subject(0).code.tolist() == list(range(size))


def test_killed_build_goes_on_to_the_same_bytes(
    make_meds: MakeMeds, make_rows: MakeRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "PIECE_ROWS", 300)
    dataset = make_meds(tmp_path / "meds", [make_rows(seed, 5, first_id=10 * seed) for seed in range(30)])
    build_store(tmp_path / "whole", [dataset])
    code = (
        "from pathlib import Path; from sojourn.events import plan; from sojourn.events.build import build_store; "
        f"plan.PIECE_ROWS = 300; build_store(Path({str(tmp_path / 'killed')!r}), [Path({str(dataset)!r})])"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    part = tmp_path / ".killed.part"
    deadline = time.monotonic() + 60
    while not list(part.glob("work/*/done.json")) and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed").exists()
    done = len(list(part.glob("work/*/done.json")))
    assert 0 < done < 30
    # A finished shard that was damaged since is made again.
    damaged = part / "shards" / "00000" / "value.npy"
    damaged.write_bytes(damaged.read_bytes()[:-4])
    build_store(tmp_path / "killed", [dataset])
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_leftovers_of_other_input_are_not_used(many_shards: Path, two_stays: Path, tmp_path: Path) -> None:
    build_store(tmp_path / "clean", [two_stays])
    build_store(tmp_path / "other", [many_shards])
    # As if a build of other data was killed just before its last step.
    (tmp_path / "other").rename(tmp_path / ".store.part")
    build_store(tmp_path / "store", [two_stays])
    assert contents(tmp_path / "store") == contents(tmp_path / "clean")


def test_quarantine_names_the_row_of_the_file(
    make_meds: MakeMeds, tmp_path: Path, at_hour: Callable[[float], datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "PIECE_ROWS", 3)
    first = [
        (1, at_hour(0), "A", 1.0),
        (1, at_hour(1), "A", 1.0),
        (1, at_hour(2), "A", 1.0),
        (2, None, "MEDS_DEATH", None),
    ]
    second = [(3, at_hour(0), "A", 1.0), (3, at_hour(1), "A", float("inf")), (4, at_hour(0), None, 1.0)]
    build_store(tmp_path / "store", [make_meds(tmp_path / "meds", [first, second])])
    table = pl.read_parquet(tmp_path / "store" / "quarantine.parquet")
    assert table.rows() == [
        ("meds", "data/0.parquet", 3, 2, "death, discharge or outcome without a time"),
        ("meds", "data/1.parquet", 1, 3, "infinite value"),
        ("meds", "data/1.parquet", 2, 4, "no code"),
    ]


def test_nothing_but_static_facts(make_meds: MakeMeds, tmp_path: Path) -> None:
    report = build_store(tmp_path / "store", [make_meds(tmp_path / "meds", [[(1, None, "GENDER//F", None)]])])
    assert (report.num_events, report.subjects_without_time) == (0, 1)
    assert len(EventStore.open(tmp_path / "store")) == 0
