"""The course of a federated training: survey, start, rounds, and an ordinary run folder at the end."""

import json
import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.torch

from sojourn.errors import FederationError, UpdateRefusedError
from sojourn.federated import survey as surveys
from sojourn.federated.checkpoint import AGREED, Progress, load_progress, save_progress
from sojourn.federated.config import CoTraining, FederatedConfig, read_federated
from sojourn.federated.cotraining import check_answers, draw_histories, learn
from sojourn.federated.finish import keep_untaught, open_run, refuse_other, rounds_in, write_weights
from sojourn.federated.local import Job
from sojourn.federated.messages import (
    BEST_ROUND,
    PARTS,
    SQUARES,
    Message,
    Refusal,
    Tensors,
    check_hazards,
    check_update,
    narrow,
    norm,
    pack,
    part_of,
    unpack,
    widen,
)
from sojourn.federated.personal import shared_names
from sojourn.federated.scores import PARTS as LOSSES
from sojourn.federated.scores import Scores, check_scores, improvement, pooled
from sojourn.federated.strategies import make_strategy
from sojourn.federated.strategies.averaging import Combining
from sojourn.federated.transport import Transport
from sojourn.federated.vocabulary import read_vocabulary, vocabulary_arrays
from sojourn.files import atomic_file
from sojourn.model.queries import nats_range
from sojourn.progress import console, progress_bar
from sojourn.tasks.outcomes import outcomes
from sojourn.training.folder import forget_after, held, log
from sojourn.training.hazards import log_hazards

_NARROWED = ("train", "evaluate")
"""Kinds of requests that travel as `send_as` says: those that are sent in every round, or every few."""


@dataclass(frozen=True, slots=True)
class FederatedSummary:
    """What a federated training came to."""

    path: str
    """The run's folder."""
    sites: tuple[str, ...]
    rounds: int
    best_round: int
    """Round after which the weights that were kept stood; the first is 1."""
    bits_per_event: float
    """On the tuning subjects of all sites, of those weights."""
    num_subjects: int
    """Training subjects of all sites."""
    refused: int
    """Answers that were not used; the log says why."""
    megabytes: float
    """Size of all weights and updates that were sent, both ways."""
    seconds: float
    seconds_outside: float
    """Of these, spent on anything but waiting for the sites."""


class Coordinator:
    """Leads the sites through the rounds; sees updates, counts and losses, never a record.

    Parameters
    ----------
    transport : how the sites are reached.
    run : folder of the run; a training that was interrupted there is gone on with at its next round.
    config : settings; a `FederatedConfig`, a dictionary, or None for the defaults.
    """

    def __init__(
        self, transport: Transport, run: Path, config: FederatedConfig | dict[str, object] | None = None
    ) -> None:
        self.transport, self.run_folder, self.config = transport, run, read_federated(config)
        self.num_bytes = 0
        self.seconds_waited = 0.0
        self._unstarted: set[str] = set()
        self._start_of: dict[str, Message] = {}

    def run(self) -> FederatedSummary:
        """Train, or go on with training.

        Raises
        ------
        FederationError
            If too few sites answer; what was reached so far is kept, and the same call goes on from there.
        """
        began, config = time.monotonic(), self.config
        progress = load_progress(self.run_folder, config)
        job, told = self._start() if progress is None else self._start_again(progress)
        weights = {name: weight.detach().numpy().copy() for name, weight in job.network().named_parameters()}
        names = shared_names(weights, personal=config.personal)
        strategy = make_strategy(config, {name: weights[name] for name in names}, job.sites)
        if progress is None:
            progress = Progress(sites=job.sites, num_subjects=told)
            open_run(self.run_folder, job, config, progress)
        else:
            strategy.weights = progress.weights
            strategy.load_state(progress.strategy)
            forget_after(self.run_folder, progress.round)
        with progress_bar("federated rounds", config.rounds) as bar:
            bar.advance(progress.round)
            for round_ in range(progress.round, config.rounds):
                self._start_late(round_, progress)
                deltas = self._ask_to_train(round_, job.sites, strategy, progress)
                shares = self._shares(deltas, progress.num_subjects)
                if config.stage(round_).is_settling:
                    strategy.settle(deltas, shares)
                else:
                    strategy.update(round_, deltas, shares)
                progress.round, progress.weights, progress.strategy = round_ + 1, strategy.weights, strategy.state()
                if (round_ + 1) % config.evaluate_every == 0 or round_ + 1 == config.rounds:
                    self._evaluate(round_, job, progress, weights | strategy.weights)
                    bar.note(f"{progress.bits:.2f} bits per event")
                save_progress(self.run_folder, config, progress)
                bar.advance()
        if config.cotraining is not None and not progress.is_cotrained:
            self._cotrain(config.cotraining, job, progress)
        return self._summary(progress, time.monotonic() - began)

    # -- before the first round -------------------------------------------------------------------------------------

    def _start(self) -> tuple[Job, dict[str, int]]:
        """Agree with the sites on vocabulary, outcomes and first hazards."""
        agreed = self._agreed()
        question, num_subjects = agreed._replace(numbers={}), {s: int(n) for s, n in agreed.numbers.items()}
        vocabulary, sites = read_vocabulary(agreed.tensors), tuple(sorted(num_subjects))
        edges = self.config.pretrain.network().hazard_edges_hours
        shape = (len(vocabulary), len(edges) + 1)
        found = self._ask(dict.fromkeys(sites, question), 0, accept=partial(check_hazards, shape=shape))
        events, exposure = (sum(found[s].tensors[part] for s in sorted(found)) for part in ("events", "exposure"))
        hazards = log_hazards(np.asarray(events), np.asarray(exposure), edges)
        job = Job(vocabulary, tuple(json.loads(agreed.texts["outcomes"])), sites, hazards, self.config.pretrain)
        self._tell(job)
        return job, num_subjects

    def _agreed(self) -> Message:
        """Vocabulary, outcomes and sites, with the sites' numbers of subjects.

        Kept before it is used: sites answer one such question only, so a coordinator that was killed must ask the same.
        """
        place, texts = self.run_folder / AGREED, {"config": self.config.model_dump_json()}
        if place.exists() and (kept := unpack(place.read_bytes())).texts["config"] == texts["config"]:
            return kept
        asked = {site: Message("survey", 0, {}, {}, texts) for site in self.transport.sites}
        answers = self._ask(asked, 0, accept=surveys.from_message)
        if len(answers) < self.config.min_sites:  # who is not among them now takes no part in any round
            msg = (
                f"the survey must have usable answers of at least {self.config.min_sites} sites; got {len(answers)} "
                f"of {len(asked)}. {self.run_folder}/refusals.jsonl says why. The same command asks again."
            )
            raise FederationError(msg)
        told = {site: surveys.from_message(answer) for site, answer in sorted(answers.items())}
        console.print(f"{len(told)} of {len(asked)} sites take part")
        vocabulary = surveys.fit_vocabulary(surveys.merge(list(told.values())), min_count=self.config.min_count)
        known = {outcome.code for outcome in outcomes().values()}
        table = vocabulary.table
        chosen = self.config.pretrain.outcomes or tuple(
            table.filter(table["code"].is_in(sorted(known)) & (table["count"] > 0))["code"]
        )
        texts |= {"outcomes": json.dumps(chosen), "sites": json.dumps(list(told))}
        numbers = {site: float(one.num_subjects) for site, one in told.items()}
        agreed = Message("hazards", 0, vocabulary_arrays(vocabulary), numbers, texts)
        refuse_other(self.run_folder)
        with atomic_file(place) as part:
            part.write_bytes(pack(agreed))
        return agreed

    def _start_again(self, progress: Progress) -> tuple[Job, dict[str, int]]:
        """Take up a training that was interrupted; sites that lost its start are told again."""
        job = progress.job(self.run_folder, self.config)
        self._tell(job)
        return job, progress.num_subjects

    def _tell(self, job: Job) -> None:
        self._start_of = dict.fromkeys(job.sites, start_message(job, self.config))
        self._unstarted = set(job.sites) - self._ask(self._start_of, 0).keys()

    def _start_late(self, round_: int, progress: Progress) -> None:
        """Tell sites of the start that did not hear of it, or have lost it."""
        if asked := {site: self._start_of[site] for site in sorted(self._unstarted)}:
            self._unstarted -= self._ask(asked, round_, progress=progress, at_least=0).keys()

    # -- rounds -----------------------------------------------------------------------------------------------------

    def _ask_to_train(
        self, round_: int, sites: tuple[str, ...], strategy: Combining, progress: Progress
    ) -> dict[str, Tensors]:
        """Usable updates of a round."""
        config = self.config
        chosen = list(sites)
        if config.sites_per_round is not None and config.sites_per_round < len(sites):
            rng = np.random.default_rng([config.pretrain.seed, round_])
            chosen = sorted(rng.choice(sites, config.sites_per_round, replace=False).tolist())
        asked = {
            site: Message("train", round_, strategy.sent_to(site, round_), {BEST_ROUND: float(progress.best_round)})
            for site in chosen
            if site not in self._unstarted
        }
        # All are sent the same names and shapes.
        shapes = {name: t.shape for sent in asked.values() for name, t in sent.tensors.items()}
        accept = partial(check_update, shapes=shapes)
        answers = self._ask(asked, round_, progress=progress, accept=accept, at_least=0) if asked else {}
        deltas = {site: answer.tensors for site, answer in sorted(answers.items())}
        deltas = self._without_outliers(round_, deltas, progress)
        if len(deltas) < config.min_sites or not deltas:
            msg = (
                f"round {round_ + 1} must have usable answers of at least {config.min_sites} sites; got {len(deltas)}. "
                f"{self.run_folder}/refusals.jsonl says why. The same command goes on from this round."
            )
            raise FederationError(msg)
        log(self.run_folder, {"step": round_ + 1, "epoch": round_, "split": "train", "sites": len(deltas)})
        return deltas

    def _without_outliers(self, round_: int, deltas: dict[str, Tensors], progress: Progress) -> dict[str, Tensors]:
        """Refuse updates that are much longer than the others of their round, or, of one or two, than those before."""
        for part, called in PARTS.items():
            size = {
                site: norm({n: np.sqrt(t) if part == SQUARES else t for n, t in delta.items() if part_of(n) == part})
                for site, delta in deltas.items()
            }
            usual = float(np.median(list(size.values()))) if len(size) > 2 else progress.usual.get(called, 0.0)
            limit = self.config.max_update_ratio * usual if usual else math.inf
            for site in [site for site, length in size.items() if length > limit]:
                detail = f"its {called} is {size.pop(site) / usual:.0f} times as long as is usual."
                self._refuse(round_, site, Refusal("too_large", detail), progress)
                del deltas[site]
            if size:
                progress.usual[called] = float(np.median(list(size.values())))
        return deltas

    def _shares(self, deltas: Collection[str], num_subjects: Mapping[str, int]) -> dict[str, float]:
        """Weight of each site in the mean."""
        raw = {site: num_subjects[site] if self.config.weighting == "subjects" else 1 for site in deltas}
        return {site: weight / sum(raw.values()) for site, weight in raw.items()}

    def _evaluate(self, round_: int, job: Job, progress: Progress, weights: Tensors) -> None:
        """Let the sites judge the weights after a round; the best ones are those of the run."""
        told = self._tuning(round_, job, progress, weights, num_rounds=round_ + 1)
        better = improvement(told, progress.best_told, outcome_weight=self.config.pretrain.outcome_weight)
        # Where no site judged both, what more of them judged says more.
        if len(told) > len(progress.best_told) if better is None else better > 0:
            self._keep(told, job, progress, weights, num_rounds=round_ + 1)
        elif not progress.best_told:  # no site has judged any
            write_weights(self.run_folder, job, weights, num_rounds=round_ + 1)

    def _tuning(self, round_: int, job: Job, progress: Progress, weights: Tensors, *, num_rounds: int) -> Scores:
        """Tuning loss at each site that tells one.

        `num_rounds`: after how many rounds the sites' own parts stood that go with the weights.
        """
        names = shared_names(weights, personal=self.config.personal)
        question = Message("evaluate", round_, {name: weights[name] for name in names}, {BEST_ROUND: float(num_rounds)})
        least, most = nats_range(self.config.pretrain.network().hazard_edges_hours)
        accept = partial(check_scores, query_range=(least * len(job.outcomes), most * len(job.outcomes)))
        answers = self._ask(dict.fromkeys(job.sites, question), round_, progress=progress, accept=accept, at_least=0)
        told = {site: dict(answer.numbers) for site, answer in sorted(answers.items()) if answer.numbers}
        if told:
            found = pooled(told)
            nats = sum(found[name] for name in LOSSES)
            line = {"nats_per_event": nats, "bits_per_event": nats / math.log(2), "sites": len(told)}
            log(self.run_folder, {"step": round_ + 1, "epoch": round_, "split": "tuning", **found, **line})
        return told

    def _keep(self, told: Scores, job: Job, progress: Progress, weights: Tensors, *, num_rounds: int) -> None:
        """Make weights those of the run."""
        nats = sum(pooled(told)[name] for name in LOSSES)
        progress.best_told, progress.best_round, progress.bits = told, num_rounds, nats / math.log(2)
        write_weights(self.run_folder, job, weights, num_rounds=num_rounds)

    def _cotrain(self, settings: CoTraining, job: Job, progress: Progress) -> None:
        """Let the sites teach the best weights so far; what comes of it is kept if their tuning subjects say so."""
        last, network, untaught = self.config.rounds - 1, job.network(), keep_untaught(self.run_folder)
        network.load_state_dict(safetensors.torch.load_file(str(untaught)))
        network.eval()
        histories = draw_histories(network, job, sum(progress.num_subjects.values()), settings)
        weights = {name: weight.detach().numpy().copy() for name, weight in network.named_parameters()}
        shared = {name: weights[name] for name in shared_names(weights, personal=self.config.personal)}
        after = min(rounds_in(untaught), self.config.rounds)
        question = Message("label", last, shared | histories.as_tensors(), {BEST_ROUND: float(after)})
        answers = {}
        for site, answer in sorted(self._ask(dict.fromkeys(job.sites, question), last, progress=progress).items()):
            try:
                answers[site] = check_answers(answer, len(histories.asked), job, network.first_head.num_bins)
            except UpdateRefusedError as error:
                self._refuse(last, site, Refusal(error.reason, str(error)), progress)
        if answers:
            learn(network, job, histories, answers, self._shares(answers, progress.num_subjects), settings)
            taught = {name: weight.detach().numpy() for name, weight in network.named_parameters()}
            told = self._tuning(last, job, progress, taught, num_rounds=after)
            better = improvement(told, progress.best_told, outcome_weight=self.config.pretrain.outcome_weight)
            if better is not None and better > 0:
                self._keep(told, job, progress, taught, num_rounds=after)
        progress.is_cotrained = True
        save_progress(self.run_folder, self.config, progress)

    # -- asking -----------------------------------------------------------------------------------------------------

    def _ask(
        self,
        requests: Mapping[str, Message],
        round_: int,
        *,
        progress: Progress | None = None,
        accept: Callable[[Message], object] | None = None,
        at_least: int = 1,
    ) -> dict[str, Message]:
        """Usable answers by site; refusals are logged, and so are answers that `accept` raises at."""
        began, found = time.monotonic(), {}
        if self.config.send_as == "float16":
            requests = {s: narrow(asked) if asked.kind in _NARROWED else asked for s, asked in requests.items()}
        for site, answer in self.transport.ask(requests, timeout_s=self.config.timeout_s):
            self.num_bytes += requests[site].num_bytes
            if isinstance(answer, Refusal):
                if answer.reason == "not_started":
                    self._unstarted.add(site)
                self._refuse(round_, site, answer, progress)
                continue
            self.num_bytes += answer.num_bytes
            try:
                if accept is not None:
                    accept(answer)
            except UpdateRefusedError as error:
                self._refuse(round_, site, Refusal(error.reason, str(error)), progress)
            else:
                found[site] = widen(answer)
        self.seconds_waited += time.monotonic() - began
        if len(found) < at_least:
            msg = f"at least one site must answer; none of {len(requests)} did. See {self.run_folder}/refusals.jsonl."
            raise FederationError(msg)
        return found

    def _refuse(self, round_: int, site: str, refusal: Refusal, progress: Progress | None) -> None:
        """Leave a site out, and say why."""
        self.run_folder.mkdir(parents=True, exist_ok=True)
        line = {"round": round_ + 1, "site": site, "reason": refusal.reason, "detail": refusal.detail}
        with (self.run_folder / "refusals.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        console.print(f"{site} left out of round {round_ + 1}: {refusal.reason}", markup=False)
        if progress is not None:
            progress.refused += 1

    def _summary(self, progress: Progress, seconds: float) -> FederatedSummary:
        return FederatedSummary(
            path=str(self.run_folder),
            sites=progress.sites,
            rounds=progress.round,
            best_round=progress.best_round,
            bits_per_event=progress.bits,
            num_subjects=sum(progress.num_subjects.values()),
            refused=progress.refused,
            megabytes=self.num_bytes / 1e6,
            seconds=seconds,
            seconds_outside=seconds - self.seconds_waited,
        )


def start_message(job: Job, config: FederatedConfig) -> Message:
    """What tells a site of a training before its rounds."""
    texts = {"config": config.model_dump_json(), "outcomes": json.dumps(job.outcomes), "sites": json.dumps(job.sites)}
    packed = vocabulary_arrays(job.vocabulary) | {"log_hazard": job.log_hazard.numpy()}
    return Message("start", 0, packed, {}, texts)


def federate(
    transport: Transport, run: Path, *, config: FederatedConfig | dict[str, object] | None = None
) -> FederatedSummary:
    """Train one model at several sites without moving a record, and leave it as an ordinary run.

    An interrupted call is taken up again by the same call, at the round after the last finished one.

    Parameters
    ----------
    transport : how the sites are reached: `InProcess`, or a Flower deployment.
    run : folder of the run: `sojourn predict`, `evaluate` and `report` work on it as on any other.
    config : settings; a `FederatedConfig`, a dictionary, or None for the defaults.

    Raises
    ------
    ConfigError
        If the settings are wrong.
    FederationError
        If too few sites give usable answers.
    RunError
        If the folder holds a training with other settings, or one that goes on.
    """
    coordinator = Coordinator(transport, run, config)
    with held(run):
        return coordinator.run()
