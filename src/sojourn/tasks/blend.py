"""Predictions of several methods made one: a logarithmic opinion pool with equal weights (Genest and Zidek 1986).

    logit p = mean over the methods m of logit p_m

A network and boosted trees err at different patients, so their pool is often better than either.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from scipy import special

from sojourn.errors import ConfigError, SchemaError
from sojourn.tasks.files import Labels, Predictions, check_out, read_predictions, write_predictions

_KEYS = ("subject_id", "prediction_time", "boolean_value")
_CHANCE = "predicted_boolean_probability"
_SMALLEST = 1e-7
"""Nearest to 0 or 1 that a probability is taken for: a method that is certain does not outvote all others."""


def blend(predictions: Sequence[Path], out: Path, *, name: str = "blend") -> Path:
    """Blend prediction files about the same labels, each counting the same, and write the result like one of them.

    Where all files hold intervals, their limits are blended as the probabilities are: an interval that takes no comfort
    from the methods being different. Otherwise the result has none.

    Parameters
    ----------
    predictions : at least two files of `predict`, `baseline` or `probe`, or with the columns of `meds-evaluation`.
    out : prediction file to write, in the rows of the first file.
    name : method of the result, for tables and figures.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    ConfigError
        If there are fewer than two files, or `out` cannot be written or is one of them.
    SchemaError
        If a file holds numbers, or is about other subjects, times or labels than the first one.
    """
    if len(predictions) < 2:
        msg = f"predictions must be at least two files to be blended; got {len(predictions)}."
        raise ConfigError(msg)
    check_out(out, *predictions)
    first, *others = (_probabilities(Path(path)) for path in predictions)
    pairs = zip(others, predictions[1:], strict=True)
    tables = [first.table, *(_like(first.table, other.table, path) for other, path in pairs)]
    site = first.table.get_column("site", default=pl.repeat(None, len(first.table), dtype=pl.String, eager=True))
    limits = {}
    for side, column in (("lower", "probability_lower"), ("upper", "probability_upper")):
        if all(column in table.columns and not table[column].null_count() for table in tables):
            limits[side] = _pool(tables, column)
    labels = Labels(first.table.select(_KEYS), first.task)
    write_predictions(out, labels, _pool(tables, _CHANCE), method=name, site=site, **limits)
    return out


def _probabilities(path: Path) -> Predictions:
    found = read_predictions(path)
    if found.has_numbers:
        msg = f"{path} must hold probabilities to be blended; it holds numbers."
        raise SchemaError(msg)
    return found


def _like(first: pl.DataFrame, other: pl.DataFrame, path: Path) -> pl.DataFrame:
    """The other file's rows in the order of the first one's."""
    joined = first.select(_KEYS).join(other, on=_KEYS, how="left", maintain_order="left")
    missing = joined[_CHANCE].null_count()
    if missing or not len(first) == len(other) == len(joined):
        msg = (
            f"{path} must hold the subjects, times and labels of the first file, each once; it has {len(other):,} "
            f"rows, the first one {len(first):,}, of which {missing:,} are not in it. Predict the same label file with "
            "every method."
        )
        raise SchemaError(msg)
    return joined


def _pool(tables: Sequence[pl.DataFrame], column: str) -> np.ndarray:
    chance = np.stack([table[column].to_numpy().astype(np.float64) for table in tables])
    pooled: np.ndarray = special.expit(special.logit(chance.clip(_SMALLEST, 1 - _SMALLEST)).mean(0))
    return pooled
