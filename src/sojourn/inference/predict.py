"""Predictions for labels: which question a task is, asked of a run at every prediction time."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from sojourn.errors import ConfigError, StoreError, TaskError
from sojourn.events.store import EventStore
from sojourn.inference.controls import shuffle_values
from sojourn.inference.estimates import Estimator, SampledRisk
from sojourn.inference.futures import DEFAULT_SAMPLES, Sampling, simulated_risk
from sojourn.inference.histories import Asked, Moments, moments
from sojourn.inference.risk import Probabilities, Question, Risk, interval, risk_by_head
from sojourn.progress import Bar, console, progress_bar
from sojourn.tasks.files import Labels, check_out, read_labels, write_predictions
from sojourn.training.run import LINEAGE, Run

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
    estimator: str | None = None
    """How futures became risks: "conditional" or "count"; None without futures."""
    mean_standard_error: float | None = None
    """Mean Monte-Carlo standard error of the risks; None without futures."""
    asked_untrained: tuple[str, ...] = ()
    """Codes of the question that the run was not trained to be asked for as outcomes: their risks are rough."""


def predict(
    run: Path,
    store: Path,
    labels: Path,
    out: Path,
    *,
    method: Method = "query",
    num_samples: int = DEFAULT_SAMPLES,
    estimator: Estimator = "conditional",
    control: Control | None = None,
    members: Sequence[Path] = (),
    seed: int = 0,
) -> PredictReport:
    """Predict a task at every prediction time of a label file.

    Parameters
    ----------
    run : a run made by `pretrain`.
    store : event store with the subjects; it need not be the one that the run was trained on.
    labels : label file made by `label`, whose task says what is asked.
    out : prediction file to write, in the columns of `meds-evaluation` plus site and interval.
    method : "query" asks the first-event head, in one pass; "simulate" samples futures, and writes their Monte-Carlo
        standard error in a column of its own.
    num_samples : futures per prediction for "simulate".
    estimator : for "simulate"; "conditional" adds up the chances of the outcome along futures without it, "count"
        takes the share of futures that have it. Outcomes that no single event brings about are counted in any case.
    control : "random-weights" for an untrained network, "shuffled-values" for values exchanged between events.
    members : further runs that are asked the same; the risk is the mean over all (a deep ensemble), and the interval
        covers the spread between the runs. Only for "query".
    seed : of samples and controls.

    Raises
    ------
    TaskError
        If a run cannot be asked the task's question.
    ConfigError
        If `out` cannot be written or is read, or an option is of the other method.
    """
    check_out(out, run, store, labels, *members)
    opened, asked = EventStore.open(store), read_labels(labels)
    trained, *others = runs = [Run(path) for path in (run, *members)]
    if not asked.table.height:
        msg = f"labels must hold at least one row; {labels} has none. See the attrition of its task."
        raise TaskError(msg)
    if method == "simulate" and (control is not None or others):
        name = "control" if control is not None else "members (--with)"
        msg = f"{name} must go with method query; got method simulate. Leave one of the two out."
        raise ConfigError(msg)
    at = _moments(opened, asked, store)
    reader = trained.reader(opened)
    questions = [] if method == "simulate" else [question_of(each, asked) for each in runs]
    with progress_bar(f"predicting {asked.task['name']}", len(at.row) * len(runs)) as bar:
        if method == "simulate":
            sampling = Sampling(num_samples, trained.config.context, seed, estimator)
            risk: Risk | SampledRisk = simulated_risk(
                trained.network(), reader, at, asked.task, sampling=sampling, bar=bar
            )
        else:
            heads = [
                _heads(each, opened, at, question, control, seed, bar)
                for each, question in zip(runs, questions, strict=True)
            ]
            risk = interval(np.concatenate(heads, axis=1))
    untrained = () if method == "simulate" else _untrained(trained, asked)
    if method == "query":
        _say_what_no_question_ends_at(trained, asked)
    name = control or method
    site = opened.subjects["site"][at.row]
    error = risk.standard_error if isinstance(risk, SampledRisk) else None
    write_predictions(
        out,
        asked,
        risk.probability,
        method=name,
        site=site,
        lower=risk.lower,
        upper=risk.upper,
        standard_error=error,
    )
    report = _report(out, asked, name, risk, reader.translation.unknown["count"].to_numpy())
    return replace(report, asked_untrained=untrained)


def _untrained(run: Run, asked: Labels) -> tuple[str, ...]:
    """Codes that are asked for though they are no outcomes of the run; says so."""
    codes = tuple(sorted(set(asked.task["outcomes"]) - set(run.outcomes)))
    taught = {step.get("task") for step in run.settings.get(LINEAGE, ())}
    if asked.task["name"] in taught:
        return ()
    if codes:
        console.print(
            f"{', '.join(codes)}: no outcome that the run was trained to be asked for, so these risks are rough. "
            "Name an OUTCOME// code, fine-tune the run on such labels, or use the method simulate."
        )
    return codes


def _say_what_no_question_ends_at(run: Run, asked: Labels) -> None:
    """A question has a horizon in hours; where a stay ends is not known when it is asked."""
    taught = {step.get("task") for step in run.settings.get(LINEAGE, ())}
    if asked.task.get("until") == "stay_end" and asked.task["name"] not in taught:
        console.print(
            f"{asked.task['name']} ends with the stay, and a question does not: later stays of a subject count too. "
            "The method simulate stops there, and a run that is fine-tuned on such labels has learnt it."
        )


def _heads(
    run: Run, store: EventStore, at: Moments, question: Question, control: Control | None, seed: int, bar: Bar
) -> Probabilities:
    """Risks by each hazard head of one run, shape (N, heads)."""
    change: Callable[[Asked], Asked] | None = None
    if control == "shuffled-values":
        change = partial(shuffle_values, seed=seed)
    network = run.network(random_weights_seed=seed if control == "random-weights" else None)
    reader, context = run.reader(store), run.config.context
    return risk_by_head(network, reader, at, question, context=context, change=change, bar=bar)


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
            f"task must name outcome codes to be asked; {task['name']} has none. Use method simulate, or write "
            "`sojourn_task` metadata with outcomes and horizon_hours."
        )
        raise TaskError(msg)
    missing = [code for code in codes if code not in index]
    if missing:
        if task.get("definitions"):
            way = "No query can ask for it: use method simulate, or fine-tune or probe the run on such labels"
        else:
            way = "Train on a store that holds such events"
        msg = (
            f"task {task['name']} asks for {', '.join(missing)}, which the run has never seen. {way}; "
            "`sojourn inspect RUN` lists the outcomes that it knows."
        )
        raise TaskError(msg)
    horizon = task.get("horizon_hours")
    return Question([index[code] for code in codes], math.inf if horizon is None else float(horizon))


def _report(out: Path, labels: Labels, method: str, risk: Risk | SampledRisk, unknown: np.ndarray) -> PredictReport:
    return PredictReport(
        path=str(out),
        task=labels.task["name"],
        method=method,
        num_predictions=len(risk.probability),
        num_subjects=labels.table["subject_id"].n_unique(),
        mean_probability=float(risk.probability.mean()),
        unknown_codes=len(unknown),
        unknown_events=int(unknown.sum()),
        estimator=risk.estimator if isinstance(risk, SampledRisk) else None,
        mean_standard_error=float(risk.standard_error.mean()) if isinstance(risk, SampledRisk) else None,
    )
