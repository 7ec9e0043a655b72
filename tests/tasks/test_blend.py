"""A blend is the mean of log odds, of the same rows, or refused."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import special

from helpers.task_records import at
from sojourn.errors import ConfigError, SchemaError
from sojourn.tasks.blend import blend
from sojourn.tasks.files import Labels, read_predictions, write_numbers, write_predictions

TASK = {"name": "t", "outcomes": ["OUTCOME//death"], "horizon_hours": 24.0}


def frame(num_rows: int = 4) -> pl.DataFrame:
    rows = range(num_rows)
    table = {"subject_id": [i // 2 for i in rows], "prediction_time": [at(i) for i in rows]}
    return pl.DataFrame(table | {"boolean_value": [i % 2 == 0 for i in rows]}).cast(
        {"prediction_time": pl.Datetime("us")}
    )


def written(path: Path, chance: np.ndarray, table: pl.DataFrame, method: str = "query", *, wide: bool = True) -> Path:
    limits = {"lower": chance / 2, "upper": (1 + chance) / 2} if wide else {}
    write_predictions(path, Labels(table, TASK), chance, method=method, site=["a"] * len(table), **limits)
    return path


def test_log_odds_are_averaged_with_their_limits(tmp_path: Path) -> None:
    chances = np.array([[0.1, 0.5, 0.9, 0.02], [0.3, 0.5, 0.6, 0.2], [0.8, 0.1, 0.5, 0.01]])
    files = [written(tmp_path / f"{i}.parquet", chance, frame()) for i, chance in enumerate(chances)]
    found = read_predictions(blend(files, tmp_path / "out.parquet"))
    assert (found.method, found.task) == ("blend", TASK)
    assert found.table["site"].to_list() == ["a"] * 4
    for column, of in (
        ("predicted_boolean_probability", chances),
        ("probability_lower", chances / 2),
        ("probability_upper", (1 + chances) / 2),
    ):
        np.testing.assert_allclose(found.table[column], special.expit(special.logit(of).mean(0)), rtol=1e-6)


def test_rows_in_another_order_find_each_other(tmp_path: Path) -> None:
    chance = np.array([0.1, 0.2, 0.3, 0.4])
    first = written(tmp_path / "1.parquet", chance, frame())
    second = written(tmp_path / "2.parquet", chance[::-1], frame()[::-1])
    found = read_predictions(blend([first, second], tmp_path / "out.parquet"))
    np.testing.assert_allclose(found.table["predicted_boolean_probability"], chance, rtol=1e-6)


def test_without_all_limits_there_are_none(tmp_path: Path) -> None:
    chance = np.full(4, 0.5)
    files = [written(tmp_path / f"{wide}.parquet", chance, frame(), wide=wide) for wide in (True, False)]
    assert read_predictions(blend(files, tmp_path / "out.parquet")).table["probability_lower"].null_count() == 4


def test_certainty_of_one_is_not_certainty_of_all(tmp_path: Path) -> None:
    files = [written(tmp_path / f"{p}.parquet", np.full(4, p), frame()) for p in (0.0, 0.5)]
    chance = read_predictions(blend(files, tmp_path / "out.parquet")).table["predicted_boolean_probability"]
    assert 0 < chance[0] < 0.01


def test_other_rows_are_refused(tmp_path: Path) -> None:
    first = written(tmp_path / "1.parquet", np.full(4, 0.5), frame())
    flipped = frame().with_columns(~pl.col("boolean_value"))
    for table in (frame(6), frame(2), flipped, pl.concat([frame(2), frame(2)])):
        second = written(tmp_path / "2.parquet", np.full(len(table), 0.5), table)
        with pytest.raises(SchemaError, match=r"2\.parquet must hold the subjects, times and labels"):
            blend([first, second], tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_numbers_and_single_files_are_refused(tmp_path: Path) -> None:
    labels = frame().drop("boolean_value").with_columns(float_value=pl.lit(1.0))
    write_numbers(tmp_path / "n.parquet", Labels(labels, TASK), np.ones(4), method="mean", site=["a"] * 4)
    first = written(tmp_path / "1.parquet", np.full(4, 0.5), frame())
    with pytest.raises(SchemaError, match="probabilities"):
        blend([first, tmp_path / "n.parquet"], tmp_path / "out.parquet")
    with pytest.raises(ConfigError, match="at least two"):
        blend([first], tmp_path / "out.parquet")


def test_a_file_is_not_blended_over_itself(tmp_path: Path) -> None:
    files = [written(tmp_path / f"{p}.parquet", np.full(4, p), frame()) for p in (0.2, 0.4)]
    before = files[1].read_bytes()
    with pytest.raises(ConfigError, match="one of them"):
        blend(files, files[1])
    assert files[1].read_bytes() == before
