"""Generative co-training: sites teach the shared model by sampled answers about synthetic patients.

The coordinator draws synthetic histories from the shared model. Each site goes on training that model on its own
records for a while, and then answers for every moment and outcome with one draw from what its own model says: the bin
of hours in which the outcome first comes, or that it does not. The shared hazards are fitted to the draws of all sites.

A draw has the site's predictive distribution as its mean, so the draws of all sites together are unbiased for the mean
of their predictions; each site's most likely answer, put to the vote, would not be (it never names a rare outcome).
What leaves a site is a draw, not a weight. That alone is no differential privacy of a patient: the site's own steps
must be private for that, and then the draws cost nothing more (post-processing).

Shape letters: M moments, O outcomes, J bins, B bootstrap heads, S sites.
"""

import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from sojourn.adaptation.config import DescentConfig
from sojourn.adaptation.descent import Objective, descend
from sojourn.errors import UpdateRefusedError
from sojourn.events.build import build_store
from sojourn.events.store import EventStore
from sojourn.federated.columns import Form
from sojourn.federated.config import CoTraining
from sojourn.federated.local import Job
from sojourn.federated.messages import Message, Tensors
from sojourn.inference.histories import ask, moments, states
from sojourn.inference.synthesis import Drawing, records, write_meds
from sojourn.model import Network
from sojourn.model.features import time_features
from sojourn.model.queries import FirstEventHead
from sojourn.model.summary import CodeStatistics
from sojourn.progress import progress_bar
from sojourn.training.records import RecordReader

Bins = npt.NDArray[np.uint8]
_ROWS = Form(
    "synthetic.rows",
    {
        "subject_id": pl.Int64(),
        "time": pl.Datetime("us"),
        "code": pl.String(),
        "numeric_value": pl.Float32(),
        "site": pl.String(),
    },
    ("time", "numeric_value"),
)
_ASKED = Form("synthetic.asked", {"subject_id": pl.Int64(), "prediction_time": pl.Datetime("us")})
_INSTANTS_PER_BATCH = 1024
_HELD_BACK = 5
"""One synthetic patient of so many is not trained on and chooses the epoch."""


class Histories(NamedTuple):
    """Synthetic patients, and the moments at which sites are asked about them."""

    table: pl.DataFrame
    """Rows of a MEDS data set."""
    asked: pl.DataFrame
    """subject_id i64, prediction_time datetime[us]; M rows."""

    def as_tensors(self) -> Tensors:
        """What travels to the sites."""
        return _ROWS.pack(self.table) | _ASKED.pack(self.asked)

    @classmethod
    def of(cls, tensors: Tensors) -> "Histories":
        """What `as_tensors` packed, from among some tensors.

        Raises
        ------
        UpdateRefusedError
            If it is not there, or is something else (``malformed``).
        """
        return cls(_ROWS.read(tensors), _ASKED.read(tensors))


class _Seen(NamedTuple):
    """What the hazard head sees of some moments."""

    which: npt.NDArray[np.int64]
    h: Tensor
    time: Tensor
    past: CodeStatistics | None


def without_histories(tensors: Tensors) -> Tensors:
    """The weights of a request."""
    return {name: tensor for name, tensor in tensors.items() if name not in _ROWS.names | _ASKED.names}


def draw_histories(network: Network, job: Job, num_known: int, settings: CoTraining) -> Histories:
    """Synthetic patients of the shared model, and random moments inside their records."""
    how = Drawing(
        num_subjects=settings.patients,
        horizon_hours=settings.horizon_hours,
        age_years=settings.age_years,
        seed=job.config.seed,
        tick_s=settings.time_tick_s,
    )
    with progress_bar("synthetic patients", settings.patients) as bar:
        table = records(network, job.vocabulary, num_known, 0, how, job.config.context, bar)
    timed = table.filter(pl.col("time").is_not_null() & (pl.col("code") != "MEDS_BIRTH"))
    spans = timed.group_by("subject_id").agg(first=pl.col("time").min(), last=pl.col("time").max()).sort("subject_id")
    spans = spans[np.repeat(np.arange(len(spans)), settings.moments_per_patient)]
    share = np.random.default_rng([job.config.seed, 1]).random(len(spans))
    inside = (pl.col("last") - pl.col("first")).dt.total_seconds() * pl.Series(share)
    at = pl.col("first") + pl.duration(seconds=inside.cast(pl.Int64))
    # A record of one instant has one moment only.
    return Histories(table, spans.select("subject_id", prediction_time=at).unique(maintain_order=True))


def check_asked(histories: Histories, settings: CoTraining) -> None:
    """Refuse more moments than were agreed to, or one that is asked twice: many draws would tell the risk itself.

    Raises
    ------
    UpdateRefusedError
        With the reason ``too_many_moments``.
    """
    asked = histories.asked
    each = asked.group_by("subject_id").len()["len"]
    most, per_patient = settings.patients, settings.moments_per_patient
    if len(each) > most or (each > per_patient).any() or asked.is_duplicated().any():
        msg = f"at most {per_patient} different moments of at most {most} patients are answered; these are others."
        raise UpdateRefusedError("too_many_moments", msg)


def sampled_answers(network: Network, job: Job, histories: Histories) -> Bins:
    """One draw for each moment and outcome from what a network says, shape (M, O): a bin, or J for "not to come".

    The draws are seeded by the network's own weights: the same site gives the same answer again, and nobody who does
    not have the site's weights can take the draw out of it.
    """
    seed = hashlib.sha256(network.first_head.out.weight.detach().numpy().tobytes()).digest()
    rng = np.random.default_rng(list(seed))
    head = network.first_head
    answers = np.empty((len(histories.asked), len(job.outcomes)), np.uint8)
    for seen in _seen(network, job, histories, np.ones(len(answers), np.bool_)):
        with torch.no_grad():
            by_head = _in_bins(head, network.first_log_hazard(seen.h, seen.time, seen.past, _codes(job)))
        chosen = rng.integers(0, head.num_heads, (len(seen.which), 1, 1, 1))  # a mixture of heads is their mean
        hazard = np.take_along_axis(by_head.double().numpy(), chosen, axis=1)[:, 0]
        exhausted = rng.exponential(size=(*hazard.shape[:2], 1)) > np.cumsum(hazard, -1)
        answers[seen.which] = exhausted.sum(-1)
    return answers


def check_answers(message: Message, num_moments: int, job: Job, num_bins: int) -> Bins:
    """The answers in a site's message.

    Raises
    ------
    UpdateRefusedError
        If they are not what was asked for (``wrong_kind``, ``wrong_names``, ``wrong_shape``, ``wrong_type``).
    """
    if message.kind != "label" or message.tensors.keys() != {"answers"}:
        raise UpdateRefusedError("wrong_kind", f"answer must hold answers to labels; got a {message.kind}.")
    answers = message.tensors["answers"]
    if answers.shape != (num_moments, len(job.outcomes)):
        msg = f"answers must have the shape {(num_moments, len(job.outcomes))}; got {answers.shape}."
        raise UpdateRefusedError("wrong_shape", msg)
    if answers.dtype != np.uint8 or answers.max(initial=0) > num_bins:
        raise UpdateRefusedError("wrong_type", f"answers must be bins from 0 to {num_bins}; some are not.")
    return answers


def learn(
    network: Network,
    job: Job,
    histories: Histories,
    answers: Mapping[str, Bins],
    shares: Mapping[str, float],
    settings: CoTraining,
) -> None:
    """Fit the hazards of a network to the sites' draws, each site with its share; nothing else of it changes."""
    network.requires_grad_(requires_grad=False)
    network.first_head.requires_grad_()
    is_judge = histories.asked["subject_id"].to_numpy() % _HELD_BACK == 0
    teach, judge = (_seen(network, job, histories, chosen) for chosen in (~is_judge, is_judge))
    bins = {site: torch.from_numpy(found.astype(np.int64)) for site, found in answers.items()}

    def loss(seen: _Seen) -> Tensor:
        log_hazard = network.first_log_hazard(seen.h, seen.time, seen.past, _codes(job))
        told = ((shares[site], bins[site][seen.which]) for site in sorted(bins))
        return torch.stack([share * answer_loss(network.first_head, log_hazard, own) for share, own in told]).sum()

    def mean_loss(seen: _Seen) -> Tensor:
        return loss(seen) / len(seen.which)

    def steps(epoch: int) -> Sequence[Callable[[], Tensor]]:
        order = np.random.default_rng([job.config.seed, 2, epoch]).permutation(len(teach))
        return [partial(mean_loss, teach[k]) for k in order]

    @torch.no_grad()
    def score() -> float:
        return float(sum(loss(seen) for seen in judge)) / max(int(is_judge.sum()), 1)

    config = DescentConfig(seed=job.config.seed)
    with tempfile.TemporaryDirectory() as place, progress_bar("learning from the sites", settings.epochs) as bar:
        descend(
            network,
            Objective(steps, score),
            config,
            rate=settings.learning_rate,
            epochs=settings.epochs,
            folder=Path(place),
            bar=bar,
        )
    network.requires_grad_()


def answer_loss(head: FirstEventHead, log_hazard_MBOJ: Tensor, bin_MO: Tensor) -> Tensor:
    """Negative log-likelihood of drawn bins, averaged over heads and summed over moments and outcomes, in nats.

    A draw says in which bin the first event lies and no more, which is all that the head learns from of any event.
    """
    end = torch.cat([head.start[1:], 2 * head.start[-1:], torch.full_like(head.start[:1], torch.inf)])
    is_event = bin_MO < head.num_bins
    log_p = head.log_likelihood(log_hazard_MBOJ.float(), end[bin_MO][:, None], is_event[:, None], end[-1])
    return -log_p.mean(1).sum()


def _in_bins(head: FirstEventHead, log_hazard: Tensor) -> Tensor:
    """Integral of the hazard over each bin; the last one is followed as far as in training."""
    width = torch.where(torch.isfinite(head.width), head.width, head.start[-1])
    return log_hazard.float().exp() * width


def _codes(job: Job) -> Tensor:
    return torch.tensor([job.vocabulary.index[code] for code in job.outcomes])


def _seen(network: Network, job: Job, histories: Histories, chosen: npt.NDArray[np.bool_]) -> list[_Seen]:
    """What the hazard head sees of the chosen moments, in batches."""
    network.eval()
    index = np.flatnonzero(chosen)
    with tempfile.TemporaryDirectory() as place:
        write_meds(Path(place) / "meds", histories.table, job.vocabulary)
        build_store(Path(place) / "store", [Path(place) / "meds"])
        store = EventStore.open(Path(place) / "store")
        reader = RecordReader(store, job.vocabulary, list(job.sites))
        mine = histories.asked[index]
        at = moments(store, mine["subject_id"].to_numpy(), mine["prediction_time"].to_numpy())
        context, with_past = job.config.context, network.config.use_summary
        return [
            _Seen(
                index[asked.which],
                states(network, asked).clone(),  # an inference tensor cannot be trained on
                time_features(asked.gap, asked.time, asked.clock, asked.age),
                asked.past,
            )
            for asked in ask(reader, at, context=context, instants_per_batch=_INSTANTS_PER_BATCH, with_past=with_past)
        ]
