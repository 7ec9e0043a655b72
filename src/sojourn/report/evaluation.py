"""Evaluate prediction files: metrics with intervals, overall and per site, as JSON, figures and rows to print."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sojourn.errors import DataError, describe
from sojourn.files import check_place, write_json
from sojourn.progress import progress_bar
from sojourn.report.evaluation_figures import draw_figures
from sojourn.report.numbers import NumberEntry, as_finite, number_entry, with_limits
from sojourn.tasks.files import Predictions, read_predictions
from sojourn.trust.bootstrap import Interval, bootstrap_metrics
from sojourn.trust.metrics import ReliabilityBin, reliability

__all__ = ["Entry", "Evaluation", "evaluate"]

OVERALL = "overall"
_PACKAGES = ("sojourn", "numpy", "polars", "meds-evaluation")
#: With fewer sites than this there is nothing to draw sites from, and intervals draw subjects alone.
_MIN_SITES_TO_DRAW = 5


@dataclass(frozen=True, slots=True)
class Entry:
    """How one prediction file does in one group of its rows."""

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
    num_positive: int
    """Rows with the outcome."""
    num_sites: int
    """Sites among the rows; 0 where the file tells none."""
    intervals: str
    """What was drawn: `subjects`, or `sites and subjects` for the whole of several sites."""
    metrics: dict[str, Interval]
    """Every metric with its interval."""
    reliability: list[ReliabilityBin]
    """Observed against predicted."""

    @property
    def prevalence(self) -> float:
        """Share of rows with the outcome."""
        return self.num_positive / self.num_predictions if self.num_predictions else float("nan")

    def as_json(self) -> dict[str, Any]:
        """The entry with null in place of NaN."""
        metrics = {
            name: {key: as_finite(getattr(found, key)) for key in ("value", "lower", "upper")}
            for name, found in self.metrics.items()
        }
        return {
            "task": self.task,
            "method": self.method,
            "file": self.file,
            "group": self.group,
            "num_predictions": self.num_predictions,
            "num_subjects": self.num_subjects,
            "num_positive": self.num_positive,
            "num_sites": self.num_sites,
            "intervals": self.intervals,
            "prevalence": as_finite(self.prevalence),
            "metrics": metrics,
            "reliability": [asdict(point) for point in self.reliability],
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All entries of an evaluation, and where it was written."""

    entries: tuple[Entry, ...]
    """One for each file and group, in the order of the files, the whole before its sites."""
    path: Path
    """Folder with `evaluation.json` and the figures."""
    figures: tuple[Path, ...]
    """PNG files."""
    numbers: tuple[NumberEntry, ...] = ()
    """The same for the files whose labels are numbers."""

    def table(self) -> list[dict[str, str]]:
        """One row of texts for each entry: task, method, group, counts, and `value [lower, upper]` of each metric.

        Where several files are of one method, the method comes with the file.
        """
        files = {(entry.task, entry.method, entry.file) for entry in self.entries}
        count = Counter((task, method) for task, method, _ in files)
        return [
            {
                "task": entry.task,
                "method": entry.method
                if count[entry.task, entry.method] == 1
                else f"{entry.method} ({entry.file.removesuffix('.parquet')})",
                "group": entry.group,
                "predictions": f"{entry.num_predictions:,}",
                "subjects": f"{entry.num_subjects:,}",
                "prevalence": _number(entry.prevalence),
                **{name: with_limits(found) for name, found in entry.metrics.items()},
            }
            for entry in self.entries
        ]


def evaluate(
    predictions: Sequence[Path], out: Path, *, by: str | None = None, num_bootstrap: int = 1000, seed: int = 0
) -> Evaluation:
    """Evaluate prediction files and write `evaluation.json` and figures.

    Parameters
    ----------
    predictions
        Parquet files with the columns of `meds-evaluation` and, to evaluate by site, `site`; or of predicted numbers,
        as `sojourn.tasks.files.write_numbers` makes them.
    out
        Folder for the results; made if needed, earlier results in it are replaced.
    by
        "site": an entry for every site beside the overall one; None: the overall one alone.
    num_bootstrap
        Replicates behind the intervals; subjects are drawn whole. The overall intervals of a file with 5 sites or
        more, evaluated by site, draw sites first and subjects within them.
    seed
        Seed of the draws.

    Returns
    -------
    Evaluation

    Raises
    ------
    DataError
        For no file, an unknown `by`, a file without rows, or one without sites where they are needed.
    ConfigError
        If `out` cannot be made where it is.
    SchemaError
        If a file is not what `meds-evaluation` takes, or holds probabilities outside [0, 1] or numbers that are not
        finite.
    """
    if by not in (None, "site"):
        msg = f"by must be 'site' or None; got {by!r}."
        raise DataError(msg)
    if not predictions:
        msg = "predictions must name at least one file; got none."
        raise DataError(msg)
    if out.exists() and not out.is_dir():
        msg = f"out must be a folder to write; got the file {out}. Name a folder after the prediction files."
        raise DataError(msg)
    check_place(out)
    files = [(path, _read(path, by)) for path in predictions]
    entries: list[Entry] = []
    numbers: list[NumberEntry] = []
    names = [path.name for path in predictions]
    groups = [(path, found, group) for path, found in files for group in _groups(found, by)]
    with progress_bar("evaluate", len(groups)) as bar:
        for path, found, group in groups:
            name = path.name if names.count(path.name) == 1 else path.as_posix()
            table, draws_sites = _rows(found, group, by)
            draws: dict[str, Any] = {"draws_sites": draws_sites, "num_bootstrap": num_bootstrap, "seed": seed}
            if found.has_numbers:
                numbers.append(number_entry(name, found, group, table, **draws))
            else:
                entries.append(_entry(name, found, group, table, **draws))
            bar.advance()
    out.mkdir(parents=True, exist_ok=True)
    if (out / "evaluation.json").exists():
        for old in out.glob("*.png"):
            old.unlink()
    figures = draw_figures(entries, [found for _, found in files if not found.has_numbers], out)
    content = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": _versions(),
        "seed": seed,
        "num_bootstrap": num_bootstrap,
        "entries": [entry.as_json() for entry in entries],
    }
    if numbers:
        content["numbers"] = [entry.as_json() for entry in numbers]
    write_json(out / "evaluation.json", content)
    return Evaluation(tuple(entries), out, tuple(figures), tuple(numbers))


def _read(path: Path, by: str | None) -> Predictions:
    """Read a prediction file and check that it can be evaluated."""
    found = read_predictions(path)
    if not found.table.height:
        msg = f"{path} must hold at least one prediction; got none."
        raise DataError(msg)
    if by == "site" and found.table.get_column("site", default=pl.Series([None])).null_count():
        msg = f"{path} must tell the site of every row to be evaluated by site. Predict again, or leave out `by`."
        raise DataError(msg)
    if by == "site" and (found.table["site"] == OVERALL).any():
        msg = f"{path} must not call a site {OVERALL!r}, which is the name of all of them together. Rename it."
        raise DataError(msg)
    if not found.has_numbers:
        _check_with_meds_evaluation(path, found)
    return found


def _check_with_meds_evaluation(path: Path, found: Predictions) -> None:
    """Let `meds-evaluation` judge the columns that are its own, where it is installed."""
    try:
        from meds_evaluation.schema import PredictionSchema
    except ImportError:
        return
    names = ["subject_id", "prediction_time", "boolean_value", "predicted_boolean_probability"]
    try:
        PredictionSchema.align(found.table.select(names).cast({names[3]: pl.Float32}).to_arrow())
    except Exception as error:
        msg = f"{path} must follow the schema of meds-evaluation; {describe(error)}"
        raise DataError(msg) from error


def _groups(found: Predictions, by: str | None) -> list[str]:
    """The whole, and the sites of a file in order."""
    sites = found.table["site"].unique().sort().to_list() if by == "site" else []
    return [OVERALL, *sites]


def _rows(found: Predictions, group: str, by: str | None) -> tuple[pl.DataFrame, bool]:
    """The rows of a group, and whether their intervals draw sites."""
    if group != OVERALL:
        return found.table.filter(pl.col("site") == group), False
    return found.table, by == "site" and found.table["site"].n_unique() >= _MIN_SITES_TO_DRAW


def _entry(
    file: str, found: Predictions, group: str, table: pl.DataFrame, *, draws_sites: bool, num_bootstrap: int, seed: int
) -> Entry:
    """Evaluate one group of one file."""
    y = table["boolean_value"].to_numpy().astype(np.float64)
    p = table["predicted_boolean_probability"].to_numpy().astype(np.float64)
    has_sites = "site" in table.columns and not table["site"].null_count()
    return Entry(
        task=str(found.task["name"]),
        method=found.method,
        file=file,
        group=group,
        num_predictions=table.height,
        num_subjects=table["subject_id"].n_unique(),
        num_positive=int(y.sum()),
        num_sites=table["site"].n_unique() if has_sites else 0,
        intervals="sites and subjects" if draws_sites else "subjects",
        metrics=bootstrap_metrics(
            y,
            p,
            table["subject_id"].to_numpy(),
            sites=table["site"].to_numpy() if draws_sites else None,
            num_bootstrap=num_bootstrap,
            seed=seed,
        ),
        reliability=reliability(y, p),
    )


def _versions() -> dict[str, str]:
    """Versions of what computed the numbers."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _number(value: float) -> str:
    """Three significant digits or a dash."""
    return f"{value:.3g}" if np.isfinite(value) else "–"
