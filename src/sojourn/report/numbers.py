"""How the predicted numbers of a file do: an entry of an evaluation for labels that are numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from sojourn.tasks.files import Predictions
from sojourn.trust.bootstrap import Interval
from sojourn.trust.regression import bootstrap_numbers

__all__ = ["NumberEntry", "as_finite", "number_entry", "with_limits"]


@dataclass(frozen=True, slots=True)
class NumberEntry:
    """How one file of predicted numbers does in one group of its rows."""

    task: str
    """Name of the task."""
    method: str
    """What predicted."""
    file: str
    """Name of the prediction file, with its folder where two have the same name."""
    group: str
    """`overall` or the name of a site."""
    num_predictions: int
    """Rows."""
    num_subjects: int
    """Subjects."""
    num_sites: int
    """Sites among the rows; 0 where the file tells none."""
    intervals: str
    """What was drawn: `subjects`, or `sites and subjects` for the whole of several sites."""
    mean: float
    """Mean of the labels, in their unit."""
    standard_deviation: float
    """Of the labels, in their unit: the root mean squared error of their own mean."""
    metrics: dict[str, Interval]
    """`mae`, `rmse` and `r2`, each with its interval."""

    def as_json(self) -> dict[str, Any]:
        """The entry with null in place of NaN."""
        metrics = {
            name: {key: as_finite(getattr(found, key)) for key in ("value", "lower", "upper")}
            for name, found in self.metrics.items()
        }
        plain = ("task", "method", "file", "group", "num_predictions", "num_subjects", "num_sites", "intervals")
        content: dict[str, Any] = {name: getattr(self, name) for name in plain}
        return content | {"mean": self.mean, "standard_deviation": self.standard_deviation, "metrics": metrics}

    def row(self) -> dict[str, str]:
        """Texts: task, method, group, counts, mean and spread of the labels, and each metric with its limits."""
        return {
            "task": self.task,
            "method": self.method,
            "group": self.group,
            "predictions": f"{self.num_predictions:,}",
            "subjects": f"{self.num_subjects:,}",
            "label": f"{self.mean:.3g} ± {self.standard_deviation:.3g}",
            **{name: with_limits(found) for name, found in self.metrics.items()},
        }


def number_entry(
    file: str, found: Predictions, group: str, table: pl.DataFrame, *, draws_sites: bool, num_bootstrap: int, seed: int
) -> NumberEntry:
    """Evaluate one group of a file of predicted numbers.

    Parameters
    ----------
    file, group
        Names of the file and of the group.
    found
        The file.
    table
        Its rows of this group.
    draws_sites
        Whether replicates draw sites first, and subjects within them.
    num_bootstrap, seed
        Replicates behind the intervals, and the seed of their draws.
    """
    y = table["float_value"].to_numpy().astype(np.float64)
    has_sites = "site" in table.columns and not table["site"].null_count()
    return NumberEntry(
        task=str(found.task["name"]),
        method=found.method,
        file=file,
        group=group,
        num_predictions=table.height,
        num_subjects=table["subject_id"].n_unique(),
        num_sites=table["site"].n_unique() if has_sites else 0,
        intervals="sites and subjects" if draws_sites else "subjects",
        mean=float(y.mean()),
        standard_deviation=float(y.std()),
        metrics=bootstrap_numbers(
            y,
            table["predicted_float_value"].to_numpy().astype(np.float64),
            table["subject_id"].to_numpy(),
            sites=table["site"].to_numpy() if draws_sites else None,
            num_bootstrap=num_bootstrap,
            seed=seed,
        ),
    )


def as_finite(value: float) -> float | None:
    """A number for JSON, which has no NaN."""
    return float(value) if np.isfinite(value) else None


def with_limits(found: Interval) -> str:
    """`0.812 [0.790, 0.833]`, without limits where there are none, and a dash where there is no value.

    Examples
    --------
    >>> with_limits(Interval(0.5, 0.25, 0.75, 10)), with_limits(Interval(float("nan"), 0.0, 0.0, 0))
    ('0.500 [0.250, 0.750]', '–')
    """
    if not np.isfinite(found.value):
        return "–"
    value = f"{found.value:.3f}"
    return f"{value} [{found.lower:.3f}, {found.upper:.3f}]" if np.isfinite(found.lower) else value
