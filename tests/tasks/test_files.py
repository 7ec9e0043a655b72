"""Label and prediction files keep what was written and refuse what is damaged."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from meds import LabelSchema
from meds_evaluation.schema import PredictionSchema

from helpers.task_records import at
from sojourn.errors import SchemaError
from sojourn.tasks.files import Labels, read_labels, read_predictions, write_labels, write_predictions

TASK = {"name": "t", "description": "d", "outcomes": ["OUTCOME//death"], "horizon_hours": 24.0}


def frame() -> pl.DataFrame:
    return pl.DataFrame({"subject_id": [1, 2], "prediction_time": [at(1), at(2)], "boolean_value": [True, False]}).cast(
        {"prediction_time": pl.Datetime("us")}
    )


def test_labels_come_back_with_their_task(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "labels.parquet"
    write_labels(path, frame(), TASK)
    found = read_labels(path)
    assert found.table.equals(frame())
    assert found.task == TASK
    LabelSchema.validate(pq.read_table(path))
    assert [file.name for file in path.parent.iterdir()] == ["labels.parquet"]


def test_predictions_come_back_and_suit_meds_evaluation(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    probability = np.array([0.25, 0.5])
    write_predictions(path, Labels(frame(), TASK), probability, method="query", site=["a", "b"], lower=probability / 2)
    found = read_predictions(path)
    assert (found.method, found.task) == ("query", TASK)
    assert found.table["predicted_boolean_probability"].to_list() == [0.25, 0.5]
    assert found.table["site"].to_list() == ["a", "b"]
    assert found.table["probability_lower"].to_list() == [0.125, 0.25]
    assert found.table["probability_upper"].null_count() == 2
    names = ["subject_id", "prediction_time", "boolean_value", "predicted_boolean_probability"]
    PredictionSchema.validate(pq.read_table(path, columns=names))


def test_files_of_others_are_read_by_their_name(tmp_path: Path) -> None:
    path = tmp_path / "rival.parquet"
    frame().with_columns(predicted_boolean_probability=pl.lit(0.5)).write_parquet(path)
    found = read_predictions(path)
    assert found.method == "rival"
    assert found.task["name"] == "rival"
    assert "site" not in found.table.columns


def test_sites_that_are_numbers_are_names(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    predicted = frame().with_columns(predicted_boolean_probability=pl.lit(0.5))
    predicted.with_columns(site=pl.Series([167, 420])).write_parquet(path)
    assert read_predictions(path).table["site"].to_list() == ["167", "420"]
    predicted.with_columns(site=pl.Series([[1], [2]])).write_parquet(path)
    with pytest.raises(SchemaError, match="names in site; it holds List"):
        read_predictions(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (pl.lit(1.5).alias("predicted_boolean_probability"), "2 of 2"),
        (pl.lit(float("nan")).alias("predicted_boolean_probability"), "2 of 2"),
        (pl.lit(None, dtype=pl.Boolean).alias("boolean_value"), "no null"),
    ],
)
def test_values_that_cannot_be_used_are_refused(tmp_path: Path, change: pl.Expr, reason: str) -> None:
    path = tmp_path / "p.parquet"
    frame().with_columns(predicted_boolean_probability=pl.lit(0.5)).with_columns(change).write_parquet(path)
    with pytest.raises(SchemaError, match=reason):
        read_predictions(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (pl.col("prediction_time").cast(pl.String), "dates with times in prediction_time; it holds String"),
        (pl.lit("0.5").alias("predicted_boolean_probability"), "numbers in predicted_boolean_probability"),
        (pl.lit("low").alias("probability_lower"), "numbers in probability_lower"),
        (pl.col("boolean_value").cast(pl.String), "true or false in boolean_value"),
        (pl.col("subject_id").cast(pl.String), "whole numbers in subject_id; it holds String. Write the column as"),
    ],
)
def test_text_where_times_or_numbers_are_needed_is_refused(tmp_path: Path, change: pl.Expr, said: str) -> None:
    path = tmp_path / "rival.parquet"
    frame().with_columns(predicted_boolean_probability=pl.lit(0.5)).with_columns(change).write_parquet(path)
    with pytest.raises(SchemaError, match=rf"rival\.parquet must hold {said}"):
        read_predictions(path)
    if "probab" not in said:
        with pytest.raises(SchemaError, match=said):
            read_labels(path)


def test_limits_that_nobody_gave_and_labels_of_0_and_1_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rival.parquet"
    table = frame().with_columns(pl.col("boolean_value").cast(pl.Int8), predicted_boolean_probability=pl.lit(0.5))
    table.with_columns(probability_lower=None, probability_upper=None).write_parquet(path)
    found = read_predictions(path).table
    assert found["probability_lower"].null_count() == 2
    assert found["boolean_value"].equals(frame()["boolean_value"])
    assert read_labels(path).table["boolean_value"].dtype == pl.Boolean


def test_whole_numbers_that_are_no_answer_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rival.parquet"
    table = frame().with_columns(boolean_value=pl.Series([-1, 1]), predicted_boolean_probability=pl.lit(0.5))
    table.write_parquet(path)
    for read in (read_labels, read_predictions):
        with pytest.raises(SchemaError, match=r"must hold 0 or 1 in boolean_value .* 1 of 2 rows do not"):
            read(path)


def test_a_missing_column_and_a_truncated_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    frame().write_parquet(path)
    with pytest.raises(SchemaError, match="predicted_boolean_probability"):
        read_predictions(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(SchemaError, match="parquet file"):
        read_labels(path)


def test_the_task_is_json_in_the_file_itself(tmp_path: Path) -> None:
    write_labels(tmp_path / "l.parquet", frame(), TASK)
    assert json.loads(pq.read_schema(tmp_path / "l.parquet").metadata[b"sojourn_task"]) == TASK
