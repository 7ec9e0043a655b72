"""Label a data set: a built-in task or an ACES file in, one MEDS label table out, with who was left out and why."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sojourn.errors import TaskError
from sojourn.events.meds import subjects_of
from sojourn.events.store import EventStore
from sojourn.tasks.cohort import Attrition, label_events, needed_roots
from sojourn.tasks.definitions import Task, get_task
from sojourn.tasks.exclusions import FlowStep
from sojourn.tasks.files import check_out, write_labels
from sojourn.tasks.outcomes import EventOutcome, matching_codes
from sojourn.tasks.own_outcomes import kept_outcomes
from sojourn.tasks.phrases import is_phrase, parse_phrase
from sojourn.tasks.reading import codes_of, is_store, iterate_records
from sojourn.tasks.stay_cohort import label_stay_task
from sojourn.tasks.stay_definitions import stay_tasks

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
    num_positive: int | None
    """Rows with the outcome; None where the label is a number."""
    attrition: tuple[Attrition, ...]
    """Predictions and subjects left after each step."""
    flow: tuple[FlowStep, ...] = ()
    """Of a task over ICU stays: stays and subjects left after each exclusion."""
    by_site: dict[str, list[int]] = field(default_factory=dict)
    """Likewise: site -> stays of the chosen subjects left after each step of `flow`."""
    rules: dict[str, int] = field(default_factory=dict)
    """Likewise: how the rows in the file differ from those by the task's other rule."""


class Subset(NamedTuple):
    """Which subjects are labelled; None: all."""

    splits: Collection[str] | None = None
    sites: Collection[str] | None = None
    exclude_sites: Collection[str] | None = None


def label(
    task: str,
    dataset: Path,
    out: Path,
    *,
    splits: Collection[str] | None = None,
    sites: Collection[str] | None = None,
    exclude_sites: Collection[str] | None = None,
) -> LabelReport:
    """Label a data set and write the labels as one parquet file in the MEDS label schema.

    Parameters
    ----------
    task
        Name of a built-in task (see `list_tasks`), a phrase such as ``first(lactate > 4, 24h)`` (see
        `sojourn.tasks.phrases`), or path of an ACES YAML file.
    dataset
        MEDS data set or event store; ACES files need a MEDS data set.
    out
        Parquet file to write: `subject_id, prediction_time, boolean_value`; `float_value` where the label is a number;
        with `categorical_value`, the yes/no label by the other rule, for tasks that have two. Its key-value metadata
        `sojourn_task` holds, as JSON, name, description, outcome codes, horizon_hours (null: until the record or stay
        ends), when predictions are made, and the attrition.
    splits
        Label subjects of these splits only: train, tuning, held_out. Those of a MEDS data set are the ones that its
        store has: its own, or by the hash of `sojourn build`.
    sites
        Label subjects of these sites only.
    exclude_sites
        Leave out subjects of these sites.

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
        where nobody measures lactate, "no lactate above 4" is not known. Also for a split or site that the data do not
        have, a site that is both chosen and left out, and for an event store where ACES needs a MEDS data set.
    DataError
        If `dataset` is neither a MEDS data set nor an event store.
    ConfigError
        If `out` cannot be written or is read.
    """
    check_out(out, dataset)
    is_aces = Path(task).suffix.lower() in {".yaml", ".yml"}
    if is_aces:
        from sojourn.tasks.aces import check_aces, label_with_aces

        check_aces(Path(task))  # a wrong file is no fault of the data set
    subset, cohort = Subset(splits, sites, exclude_sites), None
    chosen = None if subset == Subset() else _subjects_of(dataset, subset)
    if is_aces:
        if is_store(dataset):
            msg = f"dataset must be a MEDS data set for an ACES task; got the event store {dataset}. Give its source."
            raise TaskError(msg)
        labels, attrition, described = label_with_aces(Path(task), dataset)
    elif task in stay_tasks():
        cohort = label_stay_task(stay_tasks()[task], dataset, chosen)
        labels, attrition, described = cohort.labels, cohort.attrition, cohort.described
        described |= {"flow_by_site": cohort.by_site, "rules": cohort.rules}
    else:
        labels, attrition, described = _label_builtin(_task_of(task, dataset), dataset)
    if chosen is not None:
        labels = labels.filter(pl.col("subject_id").is_in(chosen.implode()))
        attrition.append(Attrition(_name(subset), labels.height, labels["subject_id"].n_unique()))
    steps = [step._asdict() for step in attrition]
    write_labels(out, labels, {**described, "attrition": steps})
    return LabelReport(
        task=described["name"],
        path=out,
        num_labels=labels.height,
        num_subjects=labels["subject_id"].n_unique(),
        num_positive=int(labels["boolean_value"].sum()) if "boolean_value" in labels.columns else None,
        attrition=tuple(attrition),
        flow=tuple(cohort.flow) if cohort else (),
        by_site=cohort.by_site if cohort else {},
        rules=cohort.rules if cohort else {},
    )


def _task_of(text: str, dataset: Path) -> Task:
    """The built-in task of a name, or the task that a phrase describes, in words of the outcomes of the store."""
    return parse_phrase(text, kept_outcomes(dataset)) if is_phrase(text) else get_task(text)


def _subjects_of(dataset: Path, subset: Subset) -> pl.Series:
    """Ids of the chosen subjects."""
    table = EventStore.open(dataset).subjects if is_store(dataset) else subjects_of(dataset)
    table = table.with_columns(pl.col("site").fill_null(dataset.resolve().name))  # as a store of it names them
    both = sorted(set(subset.sites or ()) & set(subset.exclude_sites or ()))
    if both:
        msg = f"site and exclude_site must name different sites; {', '.join(both)} is in both. Leave it out of one."
        raise TaskError(msg)
    sites = [*(subset.sites or ()), *(subset.exclude_sites or ())]
    for what, asked in (("split", subset.splits or ()), ("site", sites)):
        lacking = sorted(set(asked) - set(table[what]))
        if lacking:
            msg = f"{what} must be one of the data; {dataset} has no {', '.join(lacking)}. See `sojourn inspect`."
            raise TaskError(msg)
    chosen = ~pl.col("site").is_in(list(subset.exclude_sites or ()))
    for what, wanted in (("split", subset.splits), ("site", subset.sites)):
        if wanted is not None:
            chosen &= pl.col(what).is_in(list(wanted))
    return table.filter(chosen)["subject_id"]


def _name(subset: Subset) -> str:
    """The choice in words, such as `held_out, at 3 sites`."""
    parts = [" and ".join(subset.splits)] if subset.splits is not None else []
    for word, names in (("at", subset.sites), ("not at", subset.exclude_sites)):
        if names is not None:
            parts.append(f"{word} {next(iter(names)) if len(names) == 1 else f'{len(names)} sites'}")
    return ", ".join(parts)


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
    described: dict[str, Any] = {
        "name": task.name,
        "description": task.description,
        "outcomes": task.codes(),
        "horizon_hours": task.horizon_hours,
        "until": task.until,
        "anchor": task.at.anchor,
        "at": task.at.model_dump(mode="json"),
    }
    if task.own:
        described["definitions"] = [outcome.model_dump(mode="json", exclude_none=True) for outcome in task.own]
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
