"""A whole grid: data set or store in, sorted files out."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

import sojourn as sj
from helpers.grid_records import column, icu_stay, measured
from helpers.task_records import Row, at
from sojourn.errors import ConfigError, DataError
from sojourn.pipeline import build
from sojourn.tasks.grid_variables import yaib_variables

WriteMeds = Callable[..., Path]

SHARDS: list[list[Row]] = [
    [
        (4, None, "GENDER//M"),
        *icu_stay(4, 0, 2.5),
        *measured(4, "lactate", (0.2, 2), (0.4, 4), (2.1, 7.4)),
        *measured(4, "urine_output", (1.1, 30), (1.2, 50)),
        *measured(4, "weight", (0, 80.5)),
        *icu_stay(1, 0, 1),
        *measured(1, "sodium", (0.5, 170)),
    ],
    [*icu_stay(2, 3, 4), *icu_stay(2, 10, 11.5), *measured(2, "lactate", (10.5, 3))],
]


def read(folder: Path, name: str = "grid") -> pl.DataFrame:
    return pl.read_parquet(folder / f"{name}.parquet")


def test_one_row_per_stay_and_hour_sorted_over_all_parts(write_meds: WriteMeds, tmp_path: Path) -> None:
    report = sj.hourly_grid(write_meds(*SHARDS), tmp_path / "g", concepts=["lactate", "urine_output", "sodium"])
    grid = read(tmp_path / "g")
    assert grid.schema == pl.Schema(
        {"subject_id": pl.Int64, "stay": pl.Int32, "hour": pl.Int32}
        | dict.fromkeys(["lactate", "urine_output", "sodium"], pl.Float32)
    )
    assert grid.select("subject_id", "stay", "hour").rows() == [
        *[(1, 1, 0), (2, 1, 0), (2, 2, 0), (2, 2, 1)],
        *[(4, 1, 0), (4, 1, 1), (4, 1, 2)],
    ]
    assert column(grid, "lactate") == [None, None, 3, None, 4, None, 7.4]
    assert column(grid, "urine_output") == [None, None, None, None, None, 80, None]
    assert column(grid, "sodium") == [170, None, None, None, None, None, None]
    assert report.observed == {"lactate": 3, "urine_output": 1, "sodium": 1}
    assert (report.num_subjects, report.num_stays, report.num_rows, report.num_values) == (3, 4, 7, 5)
    assert report.absent == ()


def test_stays_say_what_does_not_change(write_meds: WriteMeds, tmp_path: Path) -> None:
    sj.hourly_grid(write_meds(*SHARDS), tmp_path / "g", concepts=["lactate"])
    stays = read(tmp_path / "g", "stays")
    assert stays["subject_id"].to_list() == [1, 2, 2, 4]
    assert stays["admission"].to_list() == [at(0), at(3), at(10), at(0)]
    assert stays.row(3, named=True) == {
        "subject_id": 4,
        "stay": 1,
        "site": "hospital_0",
        "admission": at(0),
        "discharge": at(2.5),
        "age": None,
        "sex": "M",
        "height": None,
        "weight": 80.5,
    }


def test_a_store_gives_the_grid_of_its_data_set(write_meds: WriteMeds, tmp_path: Path) -> None:
    dataset = write_meds(*SHARDS)
    build(tmp_path / "store", [dataset])
    for source, name in ((dataset, "a"), (tmp_path / "store", "b")):
        sj.hourly_grid(source, tmp_path / name, concepts=["lactate", "urine_output"], counts=True)
    for file in ("grid", "counts", "stays"):
        assert read(tmp_path / "a", file).equals(read(tmp_path / "b", file))


def test_yaibs_layout_has_its_columns_types_and_limits(write_meds: WriteMeds, tmp_path: Path) -> None:
    report = sj.hourly_grid(write_meds(*SHARDS), tmp_path / "g", layout="yaib")
    dyn, sta = read(tmp_path / "g", "dyn"), read(tmp_path / "g", "sta")
    assert dyn.columns == ["stay_id", "time", *yaib_variables()]
    assert dyn.schema["time"] == pl.Duration("ms")
    assert dyn.schema["lact"] == pl.Float64
    # A subject with two stays: ids are running numbers, and stays.parquet says whose.
    assert dyn["stay_id"].to_list() == [1, 1, 2, 2, 3, 3, 4, 4, 4]
    assert dyn.filter(stay_id=4)["time"].to_list() == [timedelta(hours=hour) for hour in range(3)]
    assert dyn.filter(stay_id=4)["lact"].to_list() == [3.0, None, 7.4]
    assert dyn["na"].null_count() == dyn.height
    assert report.num_outside_limits == 1
    assert sta.columns == ["stay_id", "age", "sex", "height", "weight"]
    assert sta.row(3) == (4, None, "Male", None, 80.5)
    assert read(tmp_path / "g", "stays").select("stay_id", "subject_id").rows() == [(1, 1), (2, 2), (3, 2), (4, 4)]
    assert {"alb", "hr"} <= set(report.absent)


def test_yaibs_stay_is_the_subject_where_nobody_has_two(write_meds: WriteMeds, tmp_path: Path) -> None:
    sj.hourly_grid(write_meds(SHARDS[0]), tmp_path / "g", layout="yaib", concepts=["lact"])
    assert read(tmp_path / "g", "dyn").columns == ["stay_id", "time", "lact"]
    assert read(tmp_path / "g", "sta")["stay_id"].to_list() == [1, 4]


def test_counts_tell_unobserved_from_filled(write_meds: WriteMeds, tmp_path: Path) -> None:
    options = {"concepts": ["lactate", "urine_output"], "fill": "forward", "counts": True}
    sj.hourly_grid(write_meds(*SHARDS), tmp_path / "g", **options)  # type: ignore[arg-type]
    grid, counts = read(tmp_path / "g").filter(subject_id=4), read(tmp_path / "g", "counts").filter(subject_id=4)
    assert column(grid, "lactate") == [4, 4, 7.4]
    assert column(grid, "urine_output") == [None, 80, None]
    assert counts["lactate"].to_list() == [2, 0, 1]
    assert counts["urine_output"].to_list() == [0, 2, 0]


def test_half_hours_have_fractional_hours(write_meds: WriteMeds, tmp_path: Path) -> None:
    sj.hourly_grid(write_meds(SHARDS[0]), tmp_path / "g", concepts=["lactate"], every_hours=0.5, aggregate="max")
    grid = read(tmp_path / "g").filter(subject_id=4)
    assert grid["hour"].to_list() == [0, 0.5, 1, 1.5, 2]
    assert column(grid, "lactate") == [4, None, None, None, 7.4]


def test_many_parts_make_one_sorted_file(write_meds: WriteMeds, tmp_path: Path) -> None:
    shards = [
        [row for i in range(5) for row in (*icu_stay(7 * i + n, 0, 2), *measured(7 * i + n, "lactate", (1, n + 1)))]
        for n in range(7)
    ]
    sj.hourly_grid(write_meds(*shards), tmp_path / "g", concepts=["lactate"])
    grid = read(tmp_path / "g")
    assert grid["subject_id"].to_list() == [i for i in range(35) for _ in range(2)]
    assert column(grid, "lactate") == [value for i in range(35) for value in (None, i % 7 + 1)]
    assert sorted(path.name for path in (tmp_path / "g").iterdir()) == ["grid.parquet", "stays.parquet"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every_hours": 0}, "every_hours must be above 0"),
        ({"max_hours": -1}, "max_hours must be above 0"),
        ({"anchor": "birth"}, "anchor must be one of"),
        ({"fill": "mean"}, "fill must be one of"),
        ({"layout": "wide"}, "layout must be one of"),
        ({"concepts": ["luck"]}, "concepts must be"),
    ],
)
def test_wrong_settings_are_refused(
    write_meds: WriteMeds, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        sj.hourly_grid(write_meds(SHARDS[0]), tmp_path / "g", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "g").exists()


def test_no_stay_and_an_earlier_result_are_errors(write_meds: WriteMeds, tmp_path: Path) -> None:
    without = write_meds(measured(1, "lactate", (0, 1)))
    with pytest.raises(DataError, match="has no ICU_ADMISSION"):
        sj.hourly_grid(without, tmp_path / "g")
    assert not (tmp_path / "g").exists()
    (tmp_path / "g").mkdir()
    with pytest.raises(DataError, match="must not exist yet"):
        sj.hourly_grid(without, tmp_path / "g")


def test_a_folder_may_have_brackets_in_its_name(write_meds: WriteMeds, tmp_path: Path) -> None:
    sj.hourly_grid(write_meds(SHARDS[0]), tmp_path / "g [a]", concepts=["lactate"])
    grid = pl.read_parquet(tmp_path / "g [a]" / "grid.parquet", glob=False)
    assert column(grid.filter(subject_id=4), "lactate") == [4, None, 7.4]
