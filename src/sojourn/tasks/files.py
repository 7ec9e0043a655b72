"""Label and prediction files: one parquet table each, with the task it belongs to in its metadata."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from meds import LabelSchema
from numpy.typing import NDArray

from sojourn.errors import ConfigError, SchemaError
from sojourn.files import atomic_file, check_target

__all__ = [
    "Labels",
    "Predictions",
    "check_out",
    "read_labels",
    "read_predictions",
    "write_labels",
    "write_numbers",
    "write_predictions",
]

_OF_FOLDERS = ("vocabulary.parquet", "subjects.parquet", "quarantine.parquet")
"""Parquet files at the top of a store or run, which a path typed in haste may name."""
_KEY_SCHEMA = pa.schema([("subject_id", pa.int64()), ("prediction_time", pa.timestamp("us"))])
_VALUE_TYPES = {"boolean_value": pa.bool_(), "float_value": pa.float32(), "categorical_value": pa.string()}
_LABEL_SCHEMA = _KEY_SCHEMA.append(pa.field("boolean_value", pa.bool_()))
_PREDICTION_SCHEMA = pa.schema(
    [
        *_LABEL_SCHEMA,
        ("predicted_boolean_probability", pa.float32()),
        ("site", pa.string()),
        ("probability_lower", pa.float64()),
        ("probability_upper", pa.float64()),
    ]
)
_NUMBER_SCHEMA = pa.schema(
    [
        *_KEY_SCHEMA,
        ("float_value", pa.float32()),
        ("predicted_float_value", pa.float32()),
        ("site", pa.string()),
    ]
)


class _Kind(NamedTuple):
    """What a column may hold; files of other tools are not always written with the types of MEDS."""

    fits: Callable[[pl.DataType], bool]
    what: str
    written_as: str


_NUMBER = _Kind(lambda kind: kind.is_float() or kind.is_integer(), "numbers", "a float")
_KINDS = {
    "subject_id": _Kind(lambda kind: kind.is_integer(), "whole numbers", "an integer"),
    "prediction_time": _Kind(lambda kind: kind in (pl.Datetime, pl.Date), "dates with times", "a timestamp"),
    "boolean_value": _Kind(lambda kind: kind == pl.Boolean or kind.is_integer(), "true or false", "a boolean"),
    "float_value": _NUMBER,
    "predicted_boolean_probability": _NUMBER,
    "predicted_float_value": _NUMBER,
    "probability_lower": _NUMBER,
    "probability_upper": _NUMBER,
    "site": _Kind(lambda kind: not kind.is_nested() and kind != pl.Binary, "names", "text"),
}


class Labels(NamedTuple):
    """A label file."""

    table: pl.DataFrame
    """`subject_id, prediction_time` and the label, `boolean_value` or `float_value`, in the order of the file."""
    task: dict[str, Any]
    """What is predicted: name, description, outcomes, horizon_hours, ... ; a file without it has its stem as name."""

    @property
    def has_numbers(self) -> bool:
        """Whether the labels are numbers, not yes or no."""
        return "float_value" in self.table.columns


class Predictions(NamedTuple):
    """A prediction file."""

    table: pl.DataFrame
    """`subject_id, prediction_time, boolean_value, predicted_boolean_probability` and, where the file has them,
    `site, probability_lower, probability_upper`; of numbers, `subject_id, prediction_time, float_value,
    predicted_float_value` and `site`."""
    task: dict[str, Any]
    """As in the labels."""
    method: str
    """What predicted: query, simulate, lightgbm, ..."""

    @property
    def has_numbers(self) -> bool:
        """Whether numbers were predicted, not probabilities."""
        return "float_value" in self.table.columns


def check_out(out: Path, *inputs: Path) -> None:
    """Refuse a parquet file to write before any work is done for it.

    Parameters
    ----------
    out
        File to write.
    inputs
        Files, stores, data sets and runs that are read.

    Raises
    ------
    ConfigError
        If it is not called ``.parquet``, is a folder or one of the inputs, or cannot be made where it is.
    """
    check_target(out, inputs=[*inputs, *(folder / name for folder in inputs for name in _OF_FOLDERS)])
    if out.suffix != ".parquet":
        msg = f"out must be a file whose name ends in .parquet, which it is written as; got {out}. Choose another name."
        raise ConfigError(msg)


def write_labels(path: Path, table: pl.DataFrame, task: dict[str, Any]) -> None:
    """Write a label file in the MEDS label schema, with the label columns that `table` has, whole or not at all."""
    values = [pa.field(name, kind) for name, kind in _VALUE_TYPES.items() if name in table.columns]
    schema = pa.schema([*_KEY_SCHEMA, *values])
    arrow = LabelSchema.align(_to_arrow(table, schema)).select(schema.names)
    _write(path, arrow, {"sojourn_task": json.dumps(task, sort_keys=True)})


def read_labels(path: Path, *, numbers: bool = False) -> Labels:
    """Read a label file, ours or another MEDS one.

    Parameters
    ----------
    path
        Parquet file.
    numbers
        Whether labels may be numbers, in `float_value`, where there is no `boolean_value`.

    Raises
    ------
    SchemaError
        If the file is no parquet, lacks a column, holds a null, holds text where times or numbers are needed, or
        numbers where yes or no is needed.
    """
    table, metadata = _read(path, _KEY_SCHEMA.names)
    columns = list(_LABEL_SCHEMA.names)
    if "boolean_value" not in table.columns and "float_value" in table.columns:
        if not numbers:
            msg = (
                f"{path} must hold labels that are true or false here; it holds numbers. Use `sojourn baseline "
                "lightgbm` or `mean` for them, and `evaluate` for what they predict; `sojourn value` says what a later "
                "measurement would show; a phrase such as 'first(creatinine > 2, 24h)' makes a yes/no question of it."
            )
            raise SchemaError(msg)
        columns[-1] = "float_value"
    _check_columns(table, columns, path)
    return Labels(table.select(columns), _task(metadata, path))


def write_predictions(
    path: Path,
    labels: Labels,
    probability: NDArray[np.floating[Any]],
    *,
    method: str,
    site: list[str] | pl.Series,
    lower: NDArray[np.floating[Any]] | None = None,
    upper: NDArray[np.floating[Any]] | None = None,
    standard_error: NDArray[np.floating[Any]] | None = None,
) -> None:
    """Write a prediction file for labels, whole or not at all.

    Parameters
    ----------
    path
        File to write.
    labels
        Labels that the predictions are for, N rows.
    probability
        Predicted probability of each label, shape [N].
    method
        Name of what predicted, for tables and figures.
    site
        Site of each row's subject.
    lower, upper
        Limits of an uncertainty interval of the probability, shape [N], where the method gives one.
    standard_error
        Monte-Carlo standard error of the probability, shape [N], where it was sampled; gets a column of its own.
    """
    none = pl.lit(None, dtype=pl.Float64)
    table = labels.table.with_columns(
        predicted_boolean_probability=pl.Series(np.asarray(probability, dtype=np.float32)),
        site=pl.Series(site, dtype=pl.String),
        probability_lower=none if lower is None else pl.Series(lower, dtype=pl.Float64),
        probability_upper=none if upper is None else pl.Series(upper, dtype=pl.Float64),
    )
    metadata = {"sojourn_task": json.dumps(labels.task, sort_keys=True), "sojourn_method": method}
    arrow = _to_arrow(table, _PREDICTION_SCHEMA)
    if standard_error is not None:
        arrow = arrow.append_column("standard_error", pa.array(standard_error, pa.float64()))
    _write(path, arrow, metadata)


def write_numbers(
    path: Path, labels: Labels, predicted: NDArray[np.floating[Any]], *, method: str, site: list[str] | pl.Series
) -> None:
    """Write a prediction file for labels that are numbers, whole or not at all.

    Parameters
    ----------
    path
        File to write: `subject_id, prediction_time, float_value, predicted_float_value, site`.
    labels
        Labels that the predictions are for, N rows.
    predicted
        Predicted number of each label, in its unit, shape [N].
    method
        Name of what predicted, for tables and figures.
    site
        Site of each row's subject.
    """
    table = labels.table.with_columns(
        predicted_float_value=pl.Series(np.asarray(predicted, dtype=np.float32)), site=pl.Series(site, dtype=pl.String)
    )
    metadata = {"sojourn_task": json.dumps(labels.task, sort_keys=True), "sojourn_method": method}
    _write(path, _to_arrow(table, _NUMBER_SCHEMA), metadata)


def read_predictions(path: Path) -> Predictions:
    """Read a prediction file, ours or any with the columns of `meds-evaluation`, or one of `write_numbers`.

    Raises
    ------
    SchemaError
        If the file is no parquet, lacks a column, holds a null, holds text where times or numbers are needed, or has
        a probability outside [0, 1] or a number that is not finite.
    """
    table, metadata = _read(path, _KEY_SCHEMA.names)
    is_number = "predicted_float_value" in table.columns and "predicted_boolean_probability" not in table.columns
    schema = _NUMBER_SCHEMA if is_number else _PREDICTION_SCHEMA
    names = schema.names[:4]
    _check_columns(table, names, path)
    fits, what = pl.col(names[3]).is_between(0, 1), "probabilities in [0, 1]"
    if is_number:
        fits, what = pl.all_horizontal(pl.col(names[2:]).is_finite()), "finite numbers"
    bad = table.filter(~fits).height
    if bad:
        msg = f"{path} must hold {what}; {bad} of {table.height} rows do not."
        raise SchemaError(msg)
    extra = [name for name in schema.names[4:] if name in table.columns]
    if "site" in extra:
        # Numbers of hospitals are names as well.
        table = table.with_columns(pl.col("site").cast(pl.String))
    method = metadata.get(b"sojourn_method", path.stem.encode()).decode()
    return Predictions(table.select(*names, *extra), _task(metadata, path), method)


def _to_arrow(table: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    """The schema's columns with its types."""
    return table.select(schema.names).to_arrow().cast(schema)


def _write(path: Path, table: pa.Table, metadata: dict[str, str]) -> None:
    """Write a table with metadata atomically."""
    table = table.replace_schema_metadata(metadata)
    with atomic_file(path) as part:
        pq.write_table(table, part)


def _read(path: Path, needed: list[str]) -> tuple[pl.DataFrame, dict[bytes, bytes]]:
    """Table and metadata of a parquet file with all of `needed` and no null in them."""
    try:
        metadata = pq.read_schema(path).metadata or {}
        table = pl.read_parquet(path, glob=False)  # brackets in its name are no pattern
    except (OSError, pa.ArrowInvalid, pl.exceptions.PolarsError) as error:
        msg = f"{path} must be a parquet file of labels or predictions; reading it gave {type(error).__name__}."
        raise SchemaError(msg) from error
    _check_columns(table, needed, path)
    _check_kinds(table, path)
    table = _as_boolean(table, path)
    return table.with_columns(pl.col("prediction_time").cast(pl.Datetime("us"))), metadata


def _check_columns(table: pl.DataFrame, needed: list[str], path: Path) -> None:
    """Refuse a table without one of some columns, or with a null in them."""
    lacking = [name for name in needed if name not in table.columns]
    if lacking:
        msg = f"{path} must have the columns {needed}; it lacks {lacking}."
        raise SchemaError(msg)
    num_null = table.select(pl.any_horizontal(pl.col(needed).is_null()).sum()).item()
    if num_null:
        msg = f"{path} must have no null in {needed}; {num_null} of {table.height} rows have."
        raise SchemaError(msg)


def _check_kinds(table: pl.DataFrame, path: Path) -> None:
    """Refuse text and the like where ids, times, answers or numbers are needed; a column of nulls is of no kind."""
    for name, kind in table.schema.items():
        known = _KINDS.get(name)
        if known and kind != pl.Null and not known.fits(kind):
            msg = f"{path} must hold {known.what} in {name}; it holds {kind}. Write the column as {known.written_as}."
            raise SchemaError(msg)


def _as_boolean(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Answers that are written as 0 and 1, as false and true."""
    if not table.schema.get("boolean_value", pl.Boolean()).is_integer():
        return table
    bad = table.filter(~pl.col("boolean_value").is_in([0, 1])).height
    if bad:
        msg = (
            f"{path} must hold 0 or 1 in boolean_value where it holds whole numbers; {bad} of {table.height} rows do "
            "not. Write the column as a boolean."
        )
        raise SchemaError(msg)
    return table.with_columns(pl.col("boolean_value").cast(pl.Boolean))


def _task(metadata: dict[bytes, bytes], path: Path) -> dict[str, Any]:
    """The task in a file's metadata, or one that only has a name."""
    if b"sojourn_task" not in metadata:
        return {"name": path.stem, "description": "", "outcomes": None, "horizon_hours": None}
    task: dict[str, Any] = json.loads(metadata[b"sojourn_task"])
    return task
