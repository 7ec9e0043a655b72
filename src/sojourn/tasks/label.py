"""Label a data set: a built-in task or an ACES file in, one MEDS label table out, with who was left out and why."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from sojourn.errors import TaskError
from sojourn.tasks.cohort import Attrition, label_events, needed_roots
from sojourn.tasks.definitions import Task, get_task
from sojourn.tasks.files import write_labels
from sojourn.tasks.outcomes import EventOutcome, matching_codes
from sojourn.tasks.reading import codes_of, is_store, iterate_records

__all__ = ["LabelReport", "label"]


@dataclass(frozen=True, slots=True)
class LabelReport:
    """What a labelling did."""

    task: str
    """Name of the task."""
    path: Path
    """The label file."""
    num_labels: int
    """Rows in it."""
    num_subjects: int
    """Subjects in it."""
    num_positive: int
    """Rows with the outcome."""
    attrition: tuple[Attrition, ...]
    """Predictions and subjects left after each step."""


def label(task: str, dataset: Path, out: Path) -> LabelReport:
    """Label a data set and write the labels as one parquet file in the MEDS label schema.

    Parameters
    ----------
    task
        Name of a built-in task (see `list_tasks`) or path of an ACES YAML file.
    dataset
        MEDS data set or event store; ACES files need a MEDS data set.
    out
        Parquet file to write: `subject_id, prediction_time, boolean_value`. Its key-value metadata `sojourn_task`
        holds, as JSON, name, description, outcome codes, horizon_hours (null: until the record or stay ends), when
        predictions are made, and the attrition.

    Returns
    -------
    LabelReport

    Notes
    -----
    The outcome counts strictly after the prediction time and up to its horizon, both ends as recorded. A row whose
    record ends inside the horizon without death or discharge has an unknown outcome: it is dropped and counted.

    Raises
    ------
    TaskError
        If there is no such task, the ACES file cannot be used, or the data hold nothing that could show the outcome:
        where nobody measures lactate, "no lactate above 4" is not known.
    DataError
        If `dataset` is neither a MEDS data set nor an event store.
    """
    if Path(task).suffix.lower() in {".yaml", ".yml"}:
        from sojourn.tasks.aces import label_with_aces

        if is_store(dataset):
            msg = f"dataset must be a MEDS data set for an ACES task; got the event store {dataset}. Give its source."
            raise TaskError(msg)
        labels, attrition, described = label_with_aces(Path(task), dataset)
    else:
        labels, attrition, described = _label_builtin(get_task(task), dataset)
    steps = [step._asdict() for step in attrition]
    write_labels(out, labels, {**described, "attrition": steps})
    return LabelReport(
        task=described["name"],
        path=out,
        num_labels=labels.height,
        num_subjects=labels["subject_id"].n_unique(),
        num_positive=int(labels["boolean_value"].sum()),
        attrition=tuple(attrition),
    )


def _label_builtin(task: Task, dataset: Path) -> tuple[pl.DataFrame, list[Attrition], dict[str, Any]]:
    """Labels of a built-in task over all parts of a data set."""
    _check_observable(task, dataset)
    roots = needed_roots(task)
    parts = [label_events(records, task) for records in iterate_records(dataset, roots)]
    labels = pl.concat([part for part, _ in parts]).sort("subject_id", "prediction_time")
    attrition = [
        Attrition(steps[0].step, sum(step.num_rows for step in steps), sum(step.num_subjects for step in steps))
        for steps in zip(*(steps for _, steps in parts), strict=True)
    ]
    described = {
        "name": task.name,
        "description": task.description,
        "outcomes": task.codes(),
        "horizon_hours": task.horizon_hours,
        "until": task.until,
        "anchor": task.at.anchor,
        "at": task.at.model_dump(mode="json"),
    }
    return labels, attrition, described


def _check_observable(task: Task, dataset: Path) -> None:
    """Refuse a task whose outcome the data set cannot show; that nobody died in it is possible."""
    codes = list(codes_of(dataset))
    for outcome in task.definitions():
        if isinstance(outcome, EventOutcome):
            continue
        roots = outcome.evidence()
        if not matching_codes(codes, [*roots, outcome.code]):
            msg = (
                f"dataset must record what task {task.name} predicts; {dataset} has none of the codes "
                f"{', '.join(roots or [outcome.code])}. Choose another task or map its local codes to these concepts."
            )
            raise TaskError(msg)
