"""The grid on the command line."""

import json
from pathlib import Path

import polars as pl
import pytest

from helpers.command import call
from helpers.toy_process import write_toy_meds

Capture = pytest.CaptureFixture[str]


def test_grid_writes_what_it_prints(tmp_path: Path, capsys: Capture) -> None:
    meds = write_toy_meds(tmp_path / "meds", num_subjects=12)
    options = ("--concepts", "lactate", "--concepts", "heart_rate", "--every", "2h", "--max-hours", 6, "--json")
    called = call(capsys, "grid", meds, tmp_path / "grid", *options)
    assert called.code == 0, called.err
    said = json.loads(called.out)
    grid = pl.read_parquet(tmp_path / "grid" / "grid.parquet")
    assert grid.columns == ["subject_id", "stay", "hour", "lactate", "heart_rate"]
    assert set(grid["hour"]) <= {0, 2, 4}
    assert said["num_rows"] == grid.height
    assert said["observed"] == {name: grid[name].count() for name in ("lactate", "heart_rate")}


def test_grid_says_which_columns_nothing_stands_for(tmp_path: Path, capsys: Capture) -> None:
    meds = write_toy_meds(tmp_path / "meds", num_subjects=6)
    called = call(capsys, "grid", meds, tmp_path / "grid", "--layout", "yaib")
    assert called.code == 0, called.err
    assert "stands for alb, alp" in called.err
    assert "lact" in called.out
    assert {path.name for path in (tmp_path / "grid").iterdir()} == {"dyn.parquet", "sta.parquet", "stays.parquet"}


@pytest.mark.parametrize(
    ("more", "code", "named"),
    [
        (("--every", "1y"), 2, "such as 48h"),
        (("--fill", "mean"), 2, "none or forward"),
        (("--layout", "wide"), 2, "sojourn or yaib"),
        (("--anchor", "birth"), 2, "icu_admission"),
        (("--yaib", "--concepts", "lactate"), 2, "not both"),
        (("--concepts", "luck"), 1, "luck"),
        (("--aggregate", "mode"), 1, "median, mean"),
    ],
)
def test_a_wrong_option_is_said(tmp_path: Path, capsys: Capture, more: tuple[str, ...], code: int, named: str) -> None:
    meds = write_toy_meds(tmp_path / "meds", num_subjects=3)
    called = call(capsys, "grid", meds, tmp_path / "grid", *more)
    assert called.code == code
    assert named in called.err
