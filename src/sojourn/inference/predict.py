"""Predictions for labels: which question a task is, asked of a run at every prediction time."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from sojourn.errors import ConfigError, StoreError, TaskError
from sojourn.events.store import EventStore
from sojourn.inference.controls import shuffle_values
from sojourn.inference.futures import DEFAULT_SAMPLES, Sampling, simulated_risk
from sojourn.inference.histories import Moments, moments
from sojourn.inference.risk import Question, Risk, query_risk
from sojourn.model import Batch
from sojourn.progress import progress_bar
from sojourn.tasks.files import Labels, read_labels, write_predictions
from sojourn.training.run import Run

Method = Literal["query", "simulate"]
Control = Literal["random-weights", "shuffled-values"]


@dataclass(frozen=True, slots=True)
class PredictReport:
    """What a prediction did."""

    path: str
    task: str
    method: str
    num_predictions: int
    num_subjects: int
    mean_probability: float
    unknown_codes: int
    """Codes of the store that the run does not know; they stand as `//unknown` of their parent."""
    unknown_events: int
    """Events of the store with such codes."""


def predict(
    run: Path,
    store: Path,
    labels: Path,
    out: Path,
    *,
    method: Method = "query",
    num_samples: int = DEFAULT_SAMPLES,
    control: Control | None = None,
    seed: int = 0,
) -> PredictReport:
    """Predict a task at every prediction time of a label file.

    Parameters
    ----------
    run : a run made by `pretrain`.
    store : event store with the subjects; it need not be the one that the run was trained on.
    labels : label file made by `label`, whose task says what is asked.
    out : prediction file to write, in the columns of `meds-evaluation` plus site and interval.
    method : "query" asks the first-event head, in one pass; "simulate" samples futures and counts.
    num_samples : futures per prediction for "simulate".
    control : "random-weights" for an untrained network, "shuffled-values" for values exchanged between events.
    seed : of samples and controls.

    Raises
    ------
    TaskError
        If the run cannot be asked the task's question.
    """
    opened, trained, asked = EventStore.open(store), Run(run), read_labels(labels)
    if not asked.table.height:
        msg = f"labels must hold at least one row; {labels} has none. See the attrition of its task."
        raise TaskError(msg)
    if method == "simulate" and control is not None:
        msg = f"control must go with method 'query'; got {control} with 'simulate'."
        raise ConfigError(msg)
    at = _moments(opened, asked, store)
    reader = trained.reader(opened)
    network = trained.network(random_weights_seed=seed if control == "random-weights" else None)
    with progress_bar(f"predicting {asked.task['name']}", len(at.row)) as bar:
        if method == "simulate":
            sampling = Sampling(num_samples, trained.config.context, seed)
            risk = simulated_risk(network, reader, at, asked.task, sampling=sampling, bar=bar)
        else:
            question = question_of(trained, asked)
            change: Callable[[Batch], Batch] | None = None
            if control == "shuffled-values":
                change = partial(shuffle_values, seed=seed)
            context = trained.config.context
            risk = query_risk(network, reader, at, question, context=context, change=change, bar=bar)
    name = control or method
    site = opened.subjects["site"][at.row]
    write_predictions(out, asked, risk.probability, method=name, site=site, lower=risk.lower, upper=risk.upper)
    return _report(out, asked, name, risk, reader.translation.unknown["count"].to_numpy())


def _moments(store: EventStore, labels: Labels, path: Path) -> Moments:
    try:
        times = labels.table["prediction_time"].to_numpy()
        return moments(store, labels.table["subject_id"].to_numpy(), times)
    except StoreError as error:
        msg = f"labels must be about subjects of the store {path}; {error}"
        raise TaskError(msg) from error


def question_of(run: Run, labels: Labels) -> Question:
    """The codes and the horizon that a task asks for, in the run's terms.

    Raises
    ------
    TaskError
        If the task has no outcome codes, or the run does not know them.
    """
    task, index = labels.task, run.vocabulary.index
    codes = task.get("outcomes")
    if not codes:
        msg = (
            f"task must name outcome codes to be asked; {task['name']} has none. Use method='simulate', or write "
            "`sojourn_task` metadata with outcomes and horizon_hours."
        )
        raise TaskError(msg)
    missing = [code for code in codes if code not in index]
    if missing:
        msg = (
            f"task {task['name']} asks for {', '.join(missing)}, which the run has never seen. Train on a store that "
            "holds such events; `sojourn inspect RUN` lists the outcomes that it knows."
        )
        raise TaskError(msg)
    horizon = task.get("horizon_hours")
    return Question([index[code] for code in codes], math.inf if horizon is None else float(horizon))


def _report(out: Path, labels: Labels, method: str, risk: Risk, unknown: np.ndarray) -> PredictReport:
    return PredictReport(
        path=str(out),
        task=labels.task["name"],
        method=method,
        num_predictions=len(risk.probability),
        num_subjects=labels.table["subject_id"].n_unique(),
        mean_probability=float(risk.probability.mean()),
        unknown_codes=len(unknown),
        unknown_events=int(unknown.sum()),
    )
