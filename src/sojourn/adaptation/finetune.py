"""Fine-tuning: a run taught a task by labels. It stays a run that answers the task's question, and starts zero-shot."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sojourn.adaptation.config import PAGE, FinetuneConfig
from sojourn.adaptation.descent import Course, Objective, descend
from sojourn.adaptation.identity import file_identity, run_identity, store_identity
from sojourn.adaptation.labelled import (
    Ask,
    Labelled,
    all_hazards,
    batches,
    cumulative_hazard,
    group_subjects,
    head_weights,
    label_loss,
    level_shift,
    log_loss,
    shuffled,
    tuning_moments,
)
from sojourn.adaptation.lora import add_low_rank, merge
from sojourn.adaptation.newrun import CHECKPOINTS, is_finished, lineage, read_log, unfinished_run, write_run
from sojourn.errors import TaskError
from sojourn.events.store import EventStore
from sojourn.inference.histories import moments
from sojourn.inference.predict import question_of
from sojourn.model import Network
from sojourn.progress import progress_bar
from sojourn.tasks.files import Labels, read_labels
from sojourn.training.config import settings_of
from sojourn.training.run import Run

_QUESTION = ("name", "outcomes", "definitions", "horizon_hours", "until", "anchor", "at", "rule")
"""What of a label file's metadata is its task; the rest counts the subjects that were labelled."""


@dataclass(frozen=True, slots=True)
class FinetuneReport:
    """What a fine-tuning came to."""

    path: str
    task: str
    method: str
    num_trained_weights: int
    num_labels: int
    """Labels that were trained on."""
    num_tuning_labels: int
    num_tuning_events: int
    best_epoch: int
    """0: no epoch was better than the run as it was."""
    epochs: int
    """Epochs that were made."""
    log_loss_before: float
    """Of the tuning labels, by the run as it was."""
    log_loss: float
    """Of the tuning labels, by the weights that were kept, before the shift of the level."""
    level_shift: float
    """Added to the log-hazards of the task's codes at the end."""
    seconds: float
    was_finished: bool
    """Whether there was nothing left to do."""


def finetune(
    run: Path,
    store: Path,
    labels: Path,
    new_run: Path,
    *,
    tuning: Path | None = None,
    config: FinetuneConfig | dict[str, Any] | None = None,
) -> FinetuneReport:
    """Teach a run a task by labels; the new run is asked with `predict` like any other.

    The risk that `predict` gives for the task (first event of its codes within its horizon) is trained with the
    Bernoulli log-likelihood of the labels, without any weighting of the classes, so that it stays a probability. A
    share of the labelled subjects is not trained on: their log-loss chooses the epoch, the start among them. At last
    the level of the risk is shifted to where the tuning labels (all labels, if the start was kept) are most likely.

    Parameters
    ----------
    run : a run made by `pretrain`, `finetune` or `adapt`; it is not changed.
    store : event store with the subjects of the labels.
    labels : labels to learn from; never those that are predicted later.
    new_run : folder of the new run.
    tuning : labels of other subjects, same task, that choose the epoch; None for a share of `labels`. Subjects that the
        pre-training did not learn from are the better judges: the network does not know them by heart.
    config : settings; a dictionary, a `FinetuneConfig`, or None for the defaults.

    Raises
    ------
    TaskError
        If the task has no outcome codes, the run does not know them, there are fewer than two labelled subjects, or
        `tuning` is of another task or shares subjects with `labels`.
    RunError
        If `new_run` holds something else.

    References
    ----------
    Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models.
    """
    settings, began = settings_of(FinetuneConfig, config, page=PAGE), time.monotonic()
    base, opened, known = Run(run), EventStore.open(store), read_labels(labels)
    _check(known, labels)
    judges = None if tuning is None else _judges(known, tuning)
    made_by = lineage(
        base,
        {
            "kind": "finetune",
            "run": run_identity(base),
            "store": store_identity(opened),
            "labels": file_identity(labels),
            **({} if tuning is None else {"tuning": file_identity(tuning)}),
            "task": known.task["name"],
            "config": settings.model_dump(mode="json") | {"learning_rate": settings.rate},
        },
    )
    if is_finished(new_run, made_by):
        return FinetuneReport(**read_log(new_run)[-1] | {"path": str(new_run), "was_finished": True})
    network = base.network()
    how = Ask(
        base.reader(opened),
        question_of(base, known),
        base.config.context,
        settings.instants_per_batch,
        with_past=base.config.network().use_summary,
        # Earlier versions drew the same subjects for the heads of every run.
        bootstrap_seed=base.config.seed if bool(network.gap_head.knows_ends) else 0,
    )
    teaching, choosing = (
        _split(opened, known, settings) if judges is None else (_labelled(opened, known), _labelled(opened, judges))
    )
    torch.manual_seed(settings.seed)
    low_rank = _prepare(network, settings)
    num_trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    with unfinished_run(new_run, made_by) as folder:
        with progress_bar(f"fine-tuning {known.task['name']}", settings.epochs) as bar:
            objective = _objective(network, teaching, choosing, how, settings)
            course = descend(
                network,
                objective,
                settings,
                rate=settings.rate,
                epochs=settings.epochs,
                patience=settings.patience,
                folder=folder / CHECKPOINTS,
                bar=bar,
            )
        merge(low_rank)
        shift = _set_level(network, course, teaching, choosing, how, settings)
        report = FinetuneReport(
            path=str(new_run),
            task=known.task["name"],
            method=settings.method,
            num_trained_weights=num_trained,
            num_labels=len(teaching.is_event),
            num_tuning_labels=len(choosing.is_event),
            num_tuning_events=int(choosing.is_event.sum()),
            best_epoch=course.best_epoch,
            epochs=len(course.scores) - 1,
            log_loss_before=course.scores[0],
            log_loss=course.scores[course.best_epoch],
            level_shift=shift,
            seconds=time.monotonic() - began,
            was_finished=False,
        )
        epochs = [{"epoch": epoch, "tuning_log_loss": score} for epoch, score in enumerate(course.scores)]
        content = {name: getattr(report, name) for name in FinetuneReport.__dataclass_fields__}
        write_run(folder, base, network, made_by=made_by, sites=base.sites, log=[*epochs, content])
    return report


def _check(known: Labels, path: Path) -> None:
    if not known.task.get("outcomes"):
        msg = (
            f"labels must name outcome codes to be fine-tuned; task {known.task['name']} of {path} has none, so there "
            "is no question of the run to teach. Fit a probe instead: `sojourn baseline probe`."
        )
        raise TaskError(msg)
    num_subjects = known.table["subject_id"].n_unique()
    if num_subjects < 2:
        msg = f"labels must be of at least two subjects; {path} has {num_subjects}. Label more subjects."
        raise TaskError(msg)


def _judges(known: Labels, path: Path) -> Labels:
    """Labels that choose, of the same task and of nobody who is taught."""
    judges = read_labels(path)
    differing = [part for part in _QUESTION if judges.task.get(part) != known.task.get(part)]
    if differing:
        got = f"{judges.task['name']} and {known.task['name']}, which differ in {', '.join(differing)}"
        msg = f"tuning labels must be of the same task as the labels; got {got}. Make both with `sojourn label`."
        raise TaskError(msg)
    shared = set(judges.table["subject_id"]) & set(known.table["subject_id"])
    if shared or not len(judges.table):
        msg = f"tuning labels must be of other subjects than the labels; {len(shared)} of {path} are in both."
        raise TaskError(msg if shared else f"tuning labels must not be empty; {path} is. Label more subjects.")
    return judges


def _labelled(store: EventStore, known: Labels) -> Labelled:
    ids, times = known.table["subject_id"].to_numpy(), known.table["prediction_time"].to_numpy()
    return Labelled(moments(store, ids, times), known.table["boolean_value"].to_numpy())


def _split(store: EventStore, known: Labels, settings: FinetuneConfig) -> tuple[Labelled, Labelled]:
    """Labels to teach, and labels that choose."""
    ids, labelled = known.table["subject_id"].to_numpy(), _labelled(store, known)
    is_tuning = tuning_moments(labelled, ids, settings.tuning_share, settings.seed)
    if not is_tuning.any():  # two subjects, one of each kind
        is_tuning = ids == ids.max()
    return labelled.take(~is_tuning), labelled.take(is_tuning)


def _prepare(network: Network, settings: FinetuneConfig) -> list[nn.Module]:
    """Freeze what is not trained; returns the modules that carry low-rank changes."""
    network.requires_grad_(requires_grad=False)
    if settings.method == "lora":
        modules: list[nn.Module] = [network.backbone, network.first_head]
        add_low_rank(modules, rank=settings.rank)
        return modules
    trained: list[nn.Module] = [network.first_head]
    if settings.method == "full":
        inputs = [network.events, network.instant, network.instant_out, network.instant_skip, network.time]
        trained += [*inputs, network.backbone]
        network.start.requires_grad = True
    for module in trained:
        module.requires_grad_(requires_grad=True)
    return []


def _objective(network: Network, teaching: Labelled, tuning: Labelled, how: Ask, settings: FinetuneConfig) -> Objective:
    num_heads = network.config.num_bootstrap_heads

    def steps(epoch: int) -> list[Callable[[], Tensor]]:
        order = shuffled(teaching.at.row, settings.seed, epoch)
        return [lambda rows=rows: loss_of(rows) for rows in group_subjects(how, order)]  # type: ignore[misc]

    def loss_of(rows: np.ndarray) -> Tensor:
        step = teaching.take(np.isin(teaching.at.row, rows))
        total = torch.zeros(())
        for asked, some in batches(step, how):
            hazard = cumulative_hazard(network, asked, how.question, frozen_states=settings.method == "head")
            weight = head_weights(some.at.row, num_heads, how.bootstrap_seed)
            total = total + label_loss(hazard, torch.from_numpy(some.is_event), weight) * len(some.is_event)
        return total / len(step.is_event)

    return Objective(steps, lambda: log_loss(all_hazards(network, tuning, how), tuning.is_event))


@torch.no_grad()
def _set_level(
    network: Network, course: Course, teaching: Labelled, tuning: Labelled, how: Ask, settings: FinetuneConfig
) -> float:
    """Shift the log-hazards of the task's codes; returns by how much."""
    if settings.level_prior == 0:
        return 0.0
    hazard, is_event = all_hazards(network, tuning, how), tuning.is_event
    if course.best_epoch == 0:  # nothing was learnt from the others, so they may speak too
        hazard = np.concatenate([hazard, all_hazards(network, teaching, how)])
        is_event = np.concatenate([is_event, teaching.is_event])
    shift = level_shift(hazard, is_event, settings.level_prior)
    network.first_head.log_base[torch.tensor(list(how.question.codes))] += shift
    return shift
