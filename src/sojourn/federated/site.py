"""A hospital in a federated training: it answers questions about its records, and keeps them."""

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sojourn.errors import BudgetError, FederationError, UpdateRefusedError
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.federated.config import FederatedConfig, FedProx, Scaffold
from sojourn.federated.cotraining import Histories, check_asked, sampled_answers, without_histories
from sojourn.federated.exposure import exposure
from sojourn.federated.local import Adjust, Job, LocalTrainer, SiteRows
from sojourn.federated.memory import SiteMemory
from sojourn.federated.messages import BEST_ROUND, CONTROL, SQUARES, Message, Tensors, check, narrow, part_of, widen
from sojourn.federated.personal import is_personal, own_rows_only, shared_names
from sojourn.federated.privacy.budget import planned_spending, private_steps, read_budget
from sojourn.federated.privacy.ledger import Ledger
from sojourn.federated.privacy.release import codes_told, hide_few, withhold_rare
from sojourn.federated.privacy.steps import PrivateSteps
from sojourn.federated.survey import survey, to_message
from sojourn.federated.validation import HeldOut, validate
from sojourn.federated.vocabulary import read_vocabulary
from sojourn.model import Network
from sojourn.training.hazards import count_hazards
from sojourn.training.plan import epoch_steps
from sojourn.training.records import RecordReader
from sojourn.training.sampler import Sampler


class Site:
    """One site: its store, and what it keeps to itself.

    Parameters
    ----------
    name : the site, as its store calls it.
    store : event store with the site's subjects (others in it are not touched).
    folder : where the site keeps its private state between rounds; None keeps it in memory, for research.
    left_out : ids of patients who have objected: nothing is computed from their records.
    """

    def __init__(
        self, name: str, store: EventStore, folder: Path | None = None, *, left_out: Collection[int] = ()
    ) -> None:
        self.name, self.store, self.left_out = name, store, frozenset(left_out)
        self.memory = SiteMemory(folder)
        self._trainer: LocalTrainer | None = None
        self._config: FederatedConfig | None = None
        self._first_personal: Tensors = {}
        self._answers: dict[str, Callable[[Message], Message]] = {
            "survey": self._survey,
            "hazards": self._hazards,
            "start": self._start,
            "train": self._train,
            "evaluate": self._evaluate,
            "label": self._label,
            "validate": self._validate,
            "exposure": self._exposure,
        }

    def answer(self, message: Message) -> Message:
        """Answer a question.

        Raises
        ------
        FederationError
            If it is not one that a site answers, or comes before the training was started.
        """
        if message.kind not in self._answers:
            msg = f"a site must be asked one of {', '.join(self._answers)}; got {message.kind!r}."
            raise FederationError(msg)
        found = self._answers[message.kind](widen(message))
        is_narrow = found.kind == "train" and self._config is not None and self._config.send_as == "float16"
        return narrow(found) if is_narrow else found

    # -- before the first round -------------------------------------------------------------------------------------

    def _survey(self, message: Message) -> Message:
        config = _config_in(message)
        rows = SiteRows.of(self.store, self.name, config.pretrain, self.left_out)
        return to_message(survey(self.store, rows.train, min_cell=config.min_cell))

    def _hazards(self, message: Message) -> Message:
        """Occurrences and exposure by code and bin.

        Codes of fewer than `min_cell` patients count as never seen, and so do outcomes that are not asked for.
        """
        config, (vocabulary, outcomes, sites) = _config_in(message), _shared_in(message)
        settings = config.pretrain
        rows = SiteRows.of(self.store, self.name, settings, self.left_out).train
        index = np.array([vocabulary.index[code] for code in outcomes], dtype=np.int64)
        sampler = Sampler(RecordReader(self.store, vocabulary, list(sites)), settings, index, np.zeros(len(vocabulary)))
        instants = self.store.subjects["num_instants"].to_numpy().astype(np.int64)[rows]
        size = {"context": settings.context, "instants_per_batch": settings.instants_per_batch}
        plan = epoch_steps(rows, instants, **size, seed=settings.seed, epoch=0)
        events, exposure = count_hazards(sampler, plan, settings.network().hazard_edges_hours)
        is_told = codes_told(sampler.reader, rows, min_cell=config.min_cell)
        is_told &= ~vocabulary.table["target_only"].to_numpy() | vocabulary.table["code"].is_in(outcomes).to_numpy()
        events, exposure = hide_few(events, exposure, is_told, min_cell=config.min_cell)
        return Message("hazards", 0, {"events": events, "exposure": exposure})

    def _start(self, message: Message) -> Message:
        trainer, config = self._open(message)  # what cannot be opened replaces nothing
        self.memory.keep_job(message)
        self._trainer, self._config = trainer, config
        steps = trainer.num_steps(config.local_steps, config.max_local_epochs)
        return Message("start", 0, {}, {"steps_per_round": float(steps)})

    # -- rounds -----------------------------------------------------------------------------------------------------

    def _train(self, message: Message) -> Message:
        """Local steps from the weights that were sent; what changed goes back."""
        trainer, config = self._opened()
        self._check_budget(config)
        state = self.memory.before(message.round)
        began = _weights_in(message.tensors)
        _check_weights(message.tensors, trainer, config, beside=_beside_weights(config))
        best = _rounds_in(message, 0)
        trainer.load(began | (state.personal or self._first_personal))
        trainer.num_made = state.num_made
        trainer.forget_moments()
        if config.keep_moments:
            trainer.load_moments(state.moments)
        stage = config.stage(message.round)
        steps = trainer.num_steps(stage.local_steps, config.max_local_epochs)
        drift = _Drift(message.tensors) if isinstance(config.strategy, Scaffold) else None
        adjust: Adjust | None = drift or _proximal(config, began)
        # The schedule is that of the rounds, so that sites with few steps slow down with the others.
        if config.are_moments_shared:
            trainer.share_squares(message.tensors, message.round * config.local_steps)
        if config.privacy is None:
            trainer.train(steps, stage.first_number, adjust, total=stage.total)
        else:
            steps = private_steps(config, len(trainer.rows.train))
            purpose = f"round {message.round + 1}"
            self._train_privately(trainer, config, steps, stage.first_number, purpose=purpose)
        now = trainer.weights()
        answer = self._as_told({name: now[name] - began[name] for name in began}, trainer, config)
        if config.are_moments_shared:
            squares = trainer.moments(SQUARES)
            # A weight that no loss has touched yet has no mean square: it is nothing.
            squares = {name: squares.get(SQUARES + name, np.zeros_like(began[name])) for name in began}
            told = self._as_told(squares, trainer, config)
            answer |= {SQUARES + name: square for name, square in told.items()}
        if drift is not None:
            answer |= {CONTROL + n: c for n, c in withhold_rare(drift.mean(), trainer.is_told).items()}
        personal = {name: weight for name, weight in now.items() if name not in began}
        self.memory.keep(message.round, trainer, personal, with_moments=config.keep_moments, best_round=best)
        return Message("train", message.round, answer, {"steps": float(steps)})

    def _check_budget(self, config: FederatedConfig) -> None:
        """Refuse a training without noise where the owner has limited what trainings may cost a patient."""
        if config.privacy is None and (budget := read_budget(self.memory.folder)) is not None:
            msg = (
                f"a training without noise must not be limited by an epsilon; the site's owner has set {budget:g}. "
                "The owner can take the limit away with --epsilon inf."
            )
            raise BudgetError(msg)

    def _as_told(self, tensors: Tensors, trainer: LocalTrainer, config: FederatedConfig) -> Tensors:
        """Sums over the site's records, by the names of weights, without the rows that may not leave or say nothing."""
        if config.privacy is None:
            tensors = withhold_rare(tensors, trainer.is_told)
        return own_rows_only(tensors, trainer.job.sites.index(self.name) + 1)

    def _train_privately(
        self, trainer: LocalTrainer, config: FederatedConfig, steps: int, first_number: int, *, purpose: str
    ) -> None:
        """Noisy steps, paid for in the ledger before they are made."""
        assert config.privacy is not None, "it is asked for"
        num_patients = len(trainer.rows.train)
        spending = planned_spending(config, num_patients)._replace(steps=steps)
        own = read_budget(self.memory.folder)
        budget = config.privacy.epsilon if own is None else own
        Ledger(self.memory.folder, budget=budget, delta=1 / num_patients).spend(spending, purpose=purpose)
        makes = PrivateSteps(trainer, spending, clip=config.privacy.clip)
        makes.train(steps, first_number, config.total_steps)

    def _evaluate(self, message: Message) -> Message:
        """Sums of the tuning loss, so that those of all sites add up; nothing for too few subjects."""
        trainer, config = self._opened()
        _check_weights(message.tensors, trainer, config)
        trainer.load(message.tensors | self._personal_beside(message))
        if len(trainer.rows.tuning) < config.min_cell:
            return Message("evaluate", message.round)
        found = trainer.evaluate()
        assert found is not None, "there are tuning subjects"
        events = float(found.num_events)
        numbers = {name: getattr(found, name) * events for name in ("nats_gap", "nats_code", "nats_value")}
        return Message("evaluate", message.round, {}, numbers | {"events": events, "query_nats": found.query_nats})

    def _label(self, message: Message) -> Message:
        """Sampled answers about synthetic patients, by the sent weights after some steps on the site's own records."""
        trainer, config = self._opened()
        if config.cotraining is None:
            msg = "a training must have cotraining in its settings to be answered labels; it has none."
            raise FederationError(msg)
        self._check_budget(config)
        state = self.memory.before(message.round + 1)
        began, histories = without_histories(message.tensors), Histories.of(message.tensors)
        _check_weights(began, trainer, config)
        check_asked(histories, config.cotraining)
        trainer.load(began | self._personal_beside(message))
        trainer.num_made = state.num_made
        trainer.forget_moments()
        # At the end of the schedule the rate is nothing: the site goes on at the rate of its middle.
        steps, middle = config.cotraining.local_steps, config.total_steps // 2
        trainer.train(steps, middle)
        answers = sampled_answers(trainer.network, trainer.job, histories)
        return Message("label", message.round, {"answers": answers}, {"steps": float(steps)})

    def _validate(self, message: Message) -> Message:
        """Figures of a task on the held-out patients; nothing for too few of them."""
        trainer, config = self._opened()
        _check_weights(message.tensors, trainer, config)
        weights, task = message.tensors | self._personal_beside(message), message.texts.get("task", "")
        records = HeldOut(self.store, self.name, self.left_out)
        found = validate(weights, trainer.job, config, records, task, folder=self.memory.folder)
        return Message("validate", message.round, {}, found)

    def _exposure(self, message: Message) -> Message:
        """How well the sent weights tell the site's training patients from its held-out ones."""
        trainer, config = self._opened()
        _check_weights(message.tensors, trainer, config)
        # Whoever is handed the model has none of the part that stayed here.
        trainer.load(message.tensors | self._first_personal)
        others = self.store.rows(split="held_out", sites=[self.name])
        others = others[~self.store.subjects["subject_id"].gather(others).is_in(list(self.left_out)).to_numpy()]
        return Message("exposure", message.round, {}, exposure(trainer, others, least=config.min_cell))

    def _personal_beside(self, message: Message) -> Tensors:
        """The site's own part of the network as it stood beside the weights that were sent."""
        return self.memory.before(_rounds_in(message, message.round + 1)).personal or self._first_personal

    # -- state ------------------------------------------------------------------------------------------------------

    def _opened(self) -> tuple[LocalTrainer, FederatedConfig]:
        """The training that was started here."""
        if self._trainer is None:
            message = self.memory.job()
            if message is None:
                msg = f"{self.name} must be sent the start of a training before its rounds. Start it again."
                raise FederationError(msg)
            self._trainer, self._config = self._open(message)
        assert self._config is not None, "it is read with the trainer"
        return self._trainer, self._config

    def _open(self, message: Message) -> tuple[LocalTrainer, FederatedConfig]:
        """The training that a message starts."""
        if "log_hazard" not in message.tensors or "config" not in message.texts:
            msg = "the start of a training must hold config, vocabulary and log_hazard; it does not. Send it again."
            raise FederationError(msg)
        config = _config_in(message)
        job = Job(*_shared_in(message), torch.from_numpy(message.tensors["log_hazard"]), config.pretrain)
        trainer = LocalTrainer(
            job,
            self.store,
            self.name,
            total_steps=config.total_steps,
            left_out=self.left_out,
            min_cell=config.min_cell if config.privacy is None else 1,  # noise hides rare codes too
        )
        first = trainer.weights() if config.personal else {}
        self._first_personal = {name: weight for name, weight in first.items() if is_personal(name)}
        return trainer, config


class _Drift:
    """SCAFFOLD's correction, and the mean gradient that becomes the site's next control variate."""

    def __init__(self, sent: Tensors) -> None:
        controls = {n.removeprefix(CONTROL): t for n, t in sent.items() if part_of(n) == CONTROL}
        self.correction = {name: torch.from_numpy(t.copy()) for name, t in controls.items()}
        self.total = {name: torch.zeros_like(t) for name, t in self.correction.items()}
        self.count = 0

    def __call__(self, network: Network) -> None:
        self.count += 1
        for name, parameter in network.named_parameters():
            if name in self.total and parameter.grad is not None:
                self.total[name] += parameter.grad
                parameter.grad += self.correction[name]

    def mean(self) -> Tensors:
        return {name: (total / max(self.count, 1)).numpy() for name, total in self.total.items()}


def _proximal(config: FederatedConfig, began: Tensors) -> Adjust | None:
    """FedProx: the gradient of mu / 2 times the squared distance to where the round began."""
    if not isinstance(config.strategy, FedProx):
        return None
    mu, start = config.strategy.mu, {name: torch.from_numpy(weight.copy()) for name, weight in began.items()}

    @torch.no_grad()
    def adjust(network: Network) -> None:
        for name, parameter in network.named_parameters():
            if name in start and parameter.grad is not None:
                parameter.grad += mu * (parameter - start[name])

    return adjust


def _rounds_in(message: Message, default: int) -> int:
    """After how many rounds the weights stood that a question is about."""
    number = message.numbers.get(BEST_ROUND, default)
    if not 0 <= number <= message.round + 1:  # not a number either
        raise UpdateRefusedError("malformed", f"{BEST_ROUND} must be a round that was made; it is not.")
    return int(number)


def _weights_in(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if not part_of(name)}


def _check_weights(
    sent: Tensors, trainer: LocalTrainer, config: FederatedConfig, *, beside: Collection[str] = ()
) -> None:
    """Refuse anything but the shared weights of the training's network, all of them, and what travels beside them.

    With weights of the site's own part among them, an answer would tell how that part changed; without some of the
    shared ones, these would be kept as if they were the site's own.

    Raises
    ------
    UpdateRefusedError
        With the reasons of `messages.check`.
    """
    shapes = {name: tuple(parameter.shape) for name, parameter in trainer.network.named_parameters()}
    shared = shared_names(shapes, personal=config.personal)
    due = {part + name: shapes[name] for part in ("", *beside) for name in shared}
    check(Message("weights", 0, sent), "weights", due)


def _beside_weights(config: FederatedConfig) -> list[str]:
    """What travels beside the weights in the rounds, as the beginnings of its names."""
    control = [CONTROL] if isinstance(config.strategy, Scaffold) else []
    return control + ([SQUARES] if config.are_moments_shared else [])


def _config_in(message: Message) -> FederatedConfig:
    return FederatedConfig.model_validate_json(message.texts["config"])


def _shared_in(message: Message) -> tuple[ModelVocabulary, tuple[str, ...], tuple[str, ...]]:
    """Vocabulary, outcomes and sites of a training."""
    lists: list[list[Any]] = [json.loads(message.texts[name]) for name in ("outcomes", "sites")]
    return read_vocabulary(message.tensors), tuple(lists[0]), tuple(lists[1])
