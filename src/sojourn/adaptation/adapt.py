"""Adapting to a hospital by its unlabelled records: its site vector, its habits of looking and treating, or all."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sojourn.adaptation.config import LEVELS, PAGE, AdaptConfig
from sojourn.adaptation.descent import Objective, descend
from sojourn.adaptation.identity import run_identity, store_identity
from sojourn.adaptation.level import fit_levels
from sojourn.adaptation.newrun import CHECKPOINTS, is_finished, lineage, read_log, unfinished_run, write_run
from sojourn.adaptation.unlabelled import UnlabelledReader
from sojourn.errors import ConfigError
from sojourn.events.splits import splitmix64
from sojourn.events.store import EventStore
from sojourn.model import Batch, Network
from sojourn.progress import progress_bar
from sojourn.training.batches import collate, pack
from sojourn.training.config import settings_of
from sojourn.training.devices import make_fabric
from sojourn.training.evaluate import tuning_loss
from sojourn.training.loss import losses
from sojourn.training.plan import Step, cut, epoch_steps
from sojourn.training.records import Ints, RecordReader
from sojourn.training.run import Run
from sojourn.training.sampler import Sampler
from sojourn.training.selection import any_weights

_TUNING_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class AdaptReport:
    """What adapting to a site came to."""

    path: str
    site: str
    what: str
    num_subjects: int
    """Subjects of the site that were trained on."""
    num_tuning_subjects: int
    best_epoch: int
    """0: no epoch was better than the start."""
    nats_before: float | None
    """Tuning loss per event of the site as an unknown one: of gaps and codes for `site`, of everything for `all`."""
    nats: float | None
    """The same, of the weights that were kept."""
    seconds: float
    was_finished: bool
    """Whether there was nothing left to do."""
    levels: dict[str, float] = field(default_factory=dict)
    """Factors of the hazards of outcomes, by their codes, for `looking` and `levels`."""


def adapt(
    run: Path, store: Path, new_run: Path, *, site: str, config: AdaptConfig | dict[str, Any] | None = None
) -> AdaptReport:
    """Fit a run to a hospital by its records, which need no labels.

    With `what="site"`, a vector for the hospital is fitted, which says when it records and what (the policy), and no
    other weight changes. With `what="all"`, pre-training goes on at a low rate with every weight. With
    `what="looking"`, nothing is trained: the hazards of outcomes that show in a measured value only are multiplied by
    how much more often the hospital measures than the known ones do (`sojourn.training.looking`); with
    `what="levels"` those of starts of treatments too, by how much more often it treats than was asked
    (`sojourn.adaptation.treating`). The new run knows the site by its name. A tenth of the subjects chooses the epoch,
    the start among them; `looking` and `levels` have no epochs and read all.

    Parameters
    ----------
    run : a run made by `pretrain`, `finetune` or `adapt`; it is not changed.
    store : event store with the hospital's subjects. Those in splits that the run was neither trained nor tuned on
        (`held_out` by default) are not read.
    new_run : folder of the new run.
    site : name of the hospital in the store. One that the run does not know yet starts as the unknown site.
    config : settings; a dictionary, an `AdaptConfig`, or None for the defaults.

    Raises
    ------
    ConfigError
        If the store has too few subjects of the site, or the run's network sees no site and `what` is "site".
    RunError
        If `new_run` holds something else, or `what` is "looking" or "levels" and the run does not say how often others
        look.

    Notes
    -----
    Risks that are asked (`predict --method query`) do not depend on the site vector: it changes likelihoods and
    simulated futures. `what="looking"` and `what="levels"` change the level of some risks and leave their order.
    `what="all"` changes everything. Outcomes (target-only events) are not used, nor what is known only through them,
    unless `outcomes` is set; for `levels` those of treatments are, as the records themselves show their starts.
    """
    settings, began = settings_of(AdaptConfig, config, page=PAGE), time.monotonic()
    base, opened = Run(run), EventStore.open(store)
    if settings.what == "site" and not base.config.network().use_site:
        msg = f"what must be 'all' for a run with use_site: false; got 'site' for {run}."
        raise ConfigError(msg)
    made_by = lineage(
        base,
        {
            "kind": "adapt",
            "run": run_identity(base),
            "store": store_identity(opened),
            "site": site,
            "config": settings.model_dump(mode="json")
            | {"learning_rate": settings.rate, "epochs": settings.num_epochs},
        },
    )
    if is_finished(new_run, made_by):
        return AdaptReport(**read_log(new_run)[-1] | {"path": str(new_run), "was_finished": True})
    rows, tuning_rows = _subjects(opened, base, site, settings)
    network, sites = with_site(base, site)
    kind = RecordReader if settings.outcomes else UnlabelledReader
    reader = kind(opened, base.vocabulary, sites)
    with unfinished_run(new_run, made_by) as folder:
        scores, best, levels = [], 0, {}
        if settings.what in LEVELS:
            everyone = np.sort(np.concatenate([rows, tuning_rows]))
            rows, tuning_rows = everyone, everyone[:0]
            treats = settings.what == "levels"
            levels = fit_levels(network, base, reader, everyone, settings.level_prior, treats=treats)
        else:
            make = _site_objective if settings.what == "site" else _whole_objective
            objective = make(network, reader, base, (rows, tuning_rows), sites.index(site) + 1, settings)
            with progress_bar(f"adapting to {site}", settings.num_epochs) as bar:
                course = descend(
                    network,
                    objective,
                    settings,
                    rate=settings.rate,
                    epochs=settings.num_epochs,
                    folder=folder / CHECKPOINTS,
                    bar=bar,
                )
            scores, best = course.scores, course.best_epoch
        report = AdaptReport(
            path=str(new_run),
            site=site,
            what=settings.what,
            num_subjects=len(rows),
            num_tuning_subjects=len(tuning_rows),
            best_epoch=best,
            nats_before=scores[0] if scores else None,
            nats=scores[best] if scores else None,
            levels=levels,
            seconds=time.monotonic() - began,
            was_finished=False,
        )
        epochs = [{"epoch": epoch, "tuning_nats_per_event": score} for epoch, score in enumerate(scores)]
        content = {name: getattr(report, name) for name in AdaptReport.__dataclass_fields__}
        write_run(folder, base, network, made_by=made_by, sites=sites, log=[*epochs, content])
    return report


def with_site(base: Run, site: str) -> tuple[Network, list[str]]:
    """The run's network with a vector for a site, which starts as that of an unknown one, and the sites' names."""
    network = base.network()
    if site in base.sites:
        return network, list(base.sites)
    known = network.site.weight.detach()
    more = nn.Embedding(len(known) + 1, known.shape[1])
    more.weight = nn.Parameter(torch.cat([known, known[:1]]))
    network.site = more
    return network, [*base.sites, site]


def _subjects(store: EventStore, base: Run, site: str, settings: AdaptConfig) -> tuple[Ints, Ints]:
    """Subjects of the site to train on, and those that choose, by a hash of their ids."""
    splits = base.config.read_splits
    parts = [store.rows(split=split, sites=[site]) for split in splits]
    rows = np.concatenate(parts)
    key = splitmix64(store.subjects["subject_id"].to_numpy()[rows].view(np.uint64) + np.uint64(settings.seed))
    rows = rows[np.argsort(key, kind="stable")][: settings.max_subjects]
    if len(rows) < 2:
        msg = (
            f"store must hold at least two subjects of {site} in the splits {', '.join(splits)}; "
            f"{store.path} has {len(rows)}. See `sojourn inspect`."
        )
        raise ConfigError(msg)
    num_tuning = int(np.ceil(_TUNING_SHARE * len(rows)))
    return np.sort(rows[num_tuning:]), np.sort(rows[:num_tuning])


Rows = tuple[Ints, Ints]


def _plan(store: EventStore, base: Run, rows: Ints, settings: AdaptConfig, epoch: int) -> list[Step]:
    num_instants = store.subjects["num_instants"].to_numpy().astype(np.int64)[rows]
    return epoch_steps(
        rows,
        num_instants,
        context=base.config.context,
        instants_per_batch=settings.instants_per_batch,
        seed=settings.seed,
        epoch=epoch,
    )


def _site_objective(
    network: Network, reader: RecordReader, base: Run, rows: Rows, index: int, settings: AdaptConfig
) -> Objective:
    """Gaps and codes given the site's vector; nothing else can move."""
    network.requires_grad_(requires_grad=False)
    vectors = network.site.weight
    vectors.requires_grad = True
    only = torch.zeros_like(vectors)
    only[index] = 1.0
    vectors.register_hook(lambda gradient: gradient * only)  # type: ignore[no-untyped-call]

    def batch_of(step: Step) -> Batch:
        records = reader.read(step.rows)
        windows = cut(records, step, base.config.context)
        return collate(records, windows, pack(windows))

    def sums(step: Step) -> tuple[Tensor, int]:
        batch = batch_of(step)
        is_training, _ = network.training, network.eval()  # dropout would only blur what 16 numbers can say
        with torch.no_grad(), _precision(base):
            phi = network.phi(batch)
            h = network.states_of(batch, phi)
        with _precision(base):
            found = network.log_prob_from(batch, phi, h)
        network.train(is_training)
        return -(found.gap.sum() + found.code.sum()), batch.num_events

    def loss_of(step: Step) -> Tensor:
        nats, count = sums(step)
        return nats / max(count, 1)

    @torch.no_grad()
    def score() -> float:
        found = [sums(step) for step in _plan(reader.store, base, rows[1], settings, 0)]
        return float(sum(nats for nats, _ in found)) / max(sum(count for _, count in found), 1)

    return Objective(lambda epoch: _bound(loss_of, _plan(reader.store, base, rows[0], settings, epoch)), score)


def _whole_objective(
    network: Network, reader: RecordReader, base: Run, rows: Rows, _index: int, settings: AdaptConfig
) -> Objective:
    """The loss of pre-training, without the outcomes unless they are allowed."""
    weight = base.config.outcome_weight if settings.outcomes else 0.0
    config = base.config.model_copy(update={"seed": settings.seed, "outcome_weight": weight})
    names = base.outcomes if settings.outcomes else []
    outcomes = np.array([base.vocabulary.index[name] for name in names], dtype=np.int64)
    sampler = Sampler(reader, config, outcomes, any_weights(base.vocabulary))
    tuning, fabric = _plan(reader.store, base, rows[1], settings, 0), make_fabric("cpu", config.precision)

    def loss_of(step: Step, number: int) -> Tensor:
        sample = sampler.sample(step, number, is_training=True)
        with _precision(base):
            result = losses(network, sample)
        return result.total(config, sample.counts)

    def steps(epoch: int) -> Sequence[Callable[[], Tensor]]:
        plan = _plan(reader.store, base, rows[0], settings, epoch)
        return [lambda step=step, n=n: loss_of(step, epoch * 1_000_003 + n) for n, step in enumerate(plan)]  # type: ignore[misc]

    def score() -> float:
        found = tuning_loss(network, sampler, tuning, fabric)
        return found.nats_per_event + weight * found.query_nats

    return Objective(steps, score)


def _bound(loss_of: Callable[[Step], Tensor], plan: Sequence[Step]) -> Sequence[Callable[[], Tensor]]:
    return [lambda step=step: loss_of(step) for step in plan]  # type: ignore[misc]


def _precision(base: Run) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=base.config.precision != "32-true")
