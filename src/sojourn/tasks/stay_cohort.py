"""Label the ICU stays of a data set: cohort, labels, what each exclusion took out, and what the other rule says."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from sojourn.errors import TaskError
from sojourn.tasks.cohort import Attrition
from sojourn.tasks.exclusions import FlowStep, exclude, flow_by_site
from sojourn.tasks.facts import iterate_facts
from sojourn.tasks.outcomes import matching_codes, outcomes
from sojourn.tasks.reading import codes_of, iterate_records
from sojourn.tasks.stay_definitions import StayTask, stay_tasks
from sojourn.tasks.stay_facts import roots_of, stay_facts
from sojourn.tasks.stay_labels import compare_rules, label_stays

__all__ = ["StayCohort", "label_stay_task"]


@dataclass(frozen=True, slots=True)
class StayCohort:
    """The labels of a task over ICU stays, and where they come from."""

    labels: pl.DataFrame
    """`subject_id, prediction_time`, the label, and `categorical_value` for the other rule's yes/no label."""
    attrition: list[Attrition]
    """Predictions and subjects left after each step."""
    flow: list[FlowStep]
    """Stays left after each step."""
    by_site: dict[str, list[int]]
    """Site -> stays of the labelled subjects left after each step."""
    rules: dict[str, int]
    """How the labels differ from those by the other rule, as `compare_rules` counts."""
    described: dict[str, Any]
    """The task's metadata."""


def label_stay_task(task: StayTask, dataset: Path, subjects: pl.Series | None = None) -> StayCohort:
    """Label a MEDS data set or an event store by a task over ICU stays and by the same task under its other rule.

    Parameters
    ----------
    task
        What is labelled.
    dataset
        MEDS data set or event store.
    subjects
        Ids of those who are labelled and compared; None: all. Flow and attrition are of all subjects.

    Raises
    ------
    TaskError
        If the data set has no ICU stay, or nothing that the outcome is made of.
    """
    other = stay_tasks()[task.other]
    _check(task, dataset)
    roots = list(dict.fromkeys([*roots_of(task), *roots_of(other)]))
    stays: dict[str, list[pl.DataFrame]] = {task.name: [], other.name: []}
    for records, people in zip(iterate_records(dataset, roots), iterate_facts(dataset), strict=True):
        for each in (task, other):
            stays[each.name].append(stay_facts(records, people, each))
    mine, theirs = pl.concat(stays[task.name]), pl.concat(stays[other.name])
    kept, flow = exclude(mine, task.exclude)
    labels, others = label_stays(kept, task), label_stays(exclude(theirs, other.exclude)[0], other)
    if subjects is not None:
        labels, others = (rows.filter(pl.col("subject_id").is_in(subjects.implode())) for rows in (labels, others))
    labels, rules = compare_rules(labels, others)
    by_site = flow_by_site(mine, task.exclude, subjects)
    return StayCohort(labels, _attrition(mine, task), flow, by_site, rules, _describe(task, flow))


def _check(task: StayTask, dataset: Path) -> None:
    """Refuse a data set that cannot show the outcome or has no ICU stays."""
    codes = list(codes_of(dataset))
    needed = {"ICU stays": ["ICU_ADMISSION"]}
    if task.concept:
        needed[task.concept] = [f"CONCEPT//{task.concept}"]
    if task.target == "onset" and task.outcome and task.code:
        needed[task.outcome] = [task.code, *outcomes()[task.outcome].evidence()]
    for what, roots in needed.items():
        if not matching_codes(codes, roots):
            msg = (
                f"dataset must record {what} for task {task.name}; {dataset} has none of the codes {', '.join(roots)}. "
                "Choose another task or map its local codes to these concepts."
            )
            raise TaskError(msg)


def _attrition(stays: pl.DataFrame, task: StayTask) -> list[Attrition]:
    """Predictions that the stays left after each step would give."""
    found = []
    for k in range(len(task.exclude) + 1):
        kept, flow = exclude(stays, task.exclude[:k])
        found.append(Attrition(flow[-1].step, label_stays(kept, task).height, kept["subject_id"].n_unique()))
    return found


def _describe(task: StayTask, flow: list[FlowStep]) -> dict[str, Any]:
    """What the label file says of itself."""
    return {
        "name": task.name,
        "description": task.description,
        "rule": task.rule,
        "other_rule": task.other,
        "outcomes": [task.code] if task.code else None,
        "value_code": f"CONCEPT//{task.concept}" if task.concept else None,
        "horizon_hours": task.horizon_hours,
        "until": "stay_end" if task.target == "death" else None,
        "anchor": "icu_admission",
        "flow": [step._asdict() for step in flow],
    }
