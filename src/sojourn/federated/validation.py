"""How well the shared model ranks and calibrates at a site: figures over enough patients, never a prediction."""

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from sojourn.errors import UpdateRefusedError
from sojourn.events.store import EventStore
from sojourn.federated.checkpoint import Progress
from sojourn.federated.config import FederatedConfig
from sojourn.federated.finish import open_run, write_weights
from sojourn.federated.local import Job
from sojourn.federated.messages import Message, Refusal, Tensors, check_auroc, check_figures
from sojourn.inference.predict import predict
from sojourn.tasks.definitions import get_task
from sojourn.tasks.files import read_labels, write_labels
from sojourn.tasks.label import label
from sojourn.trust.bootstrap import bootstrap_metrics

_METRICS = ("auroc", "expected_observed")
_TOLD = ("patients", "with_outcome", *(name + end for name in _METRICS for end in ("", "_lower", "_upper")))


@dataclass(frozen=True, slots=True)
class SiteFigures:
    """A task's figures at a site, on its held-out patients, as the site told; NaN where it told nothing."""

    site: str
    patients: int
    with_outcome: int
    auroc: float
    auroc_lower: float
    auroc_upper: float
    expected_observed: float
    told: str
    """ok, or why there is nothing: too_few, or the reason of a refusal."""


class HeldOut(NamedTuple):
    """Whose records are asked."""

    store: EventStore
    site: str
    left_out: frozenset[int] = frozenset()
    """Ids of patients that are not used."""


def validate(
    weights: Tensors, job: Job, config: FederatedConfig, records: HeldOut, task: str, *, folder: Path | None = None
) -> dict[str, float]:
    """Label and predict a task for a site's held-out patients, and keep only figures of it.

    Parameters
    ----------
    weights : of the network, by name.
    job, config : of the training.
    records : of the site.
    task : name of a built-in task; a path or a phrase, which the other side could choose freely, is refused.
    folder : where predictions are for a moment; None for the system's temporary folder.

    Returns
    -------
    dict
        ``patients``, ``with_outcome``, and each metric with its bootstrap interval. Empty where fewer than
        `config.min_cell` patients had the outcome or fewer had none, or too few for an interval.

    Raises
    ------
    TaskError
        If the task is not a built-in one, the site's records cannot show its outcome, or the model was not trained for
        it.
    """
    get_task(task)  # `label` would read any file that the other side names
    store, site, left_out = records
    with tempfile.TemporaryDirectory(dir=folder) as place:
        run, labels, out = (Path(place) / name for name in ("run", "labels.parquet", "risks.parquet"))
        label(task, store.path, labels, splits=["held_out"], sites=[site])
        found = read_labels(labels)
        asked = found.table.filter(~pl.col("subject_id").is_in(list(left_out)))
        had_it = asked.group_by("subject_id").agg(pl.col("boolean_value").any())["boolean_value"]
        if min(had_it.sum(), (~had_it).sum()) < config.min_cell:
            return {}
        write_labels(labels, asked, found.task)
        open_run(run, job, config, Progress(sites=job.sites, num_subjects={site: len(had_it)}))
        write_weights(run, job, weights, num_rounds=config.rounds)
        predict(run, store.path, labels, out)
        made = pl.read_parquet(out, glob=False)
    figures = bootstrap_metrics(made["boolean_value"], made["predicted_boolean_probability"], made["subject_id"])
    told = {"patients": float(len(had_it)), "with_outcome": float(had_it.sum())}
    for name in _METRICS:
        told |= {name: figures[name].value, f"{name}_lower": figures[name].lower, f"{name}_upper": figures[name].upper}
    return told if all(map(math.isfinite, told.values())) else {}


def figures_of(site: str, answer: Message | Refusal) -> SiteFigures:
    """What a site's answer says; one that no site of ours gives says no more than a refusal."""
    if isinstance(answer, Refusal):
        return _nothing(site, answer.reason)
    try:
        check_validation(answer)
    except UpdateRefusedError as error:
        return _nothing(site, error.reason)
    if not answer.numbers:
        return _nothing(site, "too_few")
    names = ("auroc", "auroc_lower", "auroc_upper", "expected_observed")
    patients, with_outcome = (int(answer.numbers[name]) for name in ("patients", "with_outcome"))
    auroc, lower, upper, ratio = (answer.numbers[name] for name in names)
    return SiteFigures(site, patients, with_outcome, auroc, lower, upper, ratio, "ok")


def _nothing(site: str, why: str) -> SiteFigures:
    return SiteFigures(site, 0, 0, math.nan, math.nan, math.nan, math.nan, why)


def check_validation(message: Message) -> None:
    """Refuse what is neither empty, of too few patients, nor what `validate` tells.

    Raises
    ------
    UpdateRefusedError
        With the reasons of `messages.check_figures` and `check_auroc`.
    """
    check_figures(message, "validate", _TOLD)
    if not (told := message.numbers):
        return
    if not 1 <= told["with_outcome"] <= told["patients"] - 1:
        msg = "patients with and without the outcome must be at least one each; they are not."
        raise UpdateRefusedError("malformed", msg)
    check_auroc(told["auroc_lower"], told["auroc"], told["auroc_upper"])


def mean_auroc(figures: list[SiteFigures]) -> float:
    """Mean over the sites that told, each with the weight of its patients with the outcome; NaN where none did.

    Examples
    --------
    >>> one, other = (SiteFigures(s, 90, n, a, 0.0, 1.0, 1.0, "ok") for s, n, a in (("a", 10, 0.7), ("b", 30, 0.9)))
    >>> round(mean_auroc([one, other]), 3)
    0.85
    """
    told = [one for one in figures if math.isfinite(one.auroc)]
    weights = [one.with_outcome for one in told]
    return float(np.average([one.auroc for one in told], weights=weights)) if told else math.nan
