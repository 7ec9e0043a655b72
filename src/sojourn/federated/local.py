"""Training at one site: some optimiser steps from the shared weights, on the site's own records."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sojourn.errors import ConfigError
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.federated.messages import SQUARES, Tensors
from sojourn.federated.privacy.release import read_without_rare
from sojourn.model import Network
from sojourn.training.config import PretrainConfig
from sojourn.training.devices import make_fabric
from sojourn.training.evaluate import TuningLoss, tuning_loss
from sojourn.training.loss import Sample
from sojourn.training.plan import Step, epoch_steps, steps
from sojourn.training.records import Ints, RecordReader
from sojourn.training.run import code_table, words_of
from sojourn.training.sampler import Sampler
from sojourn.training.selection import any_weights, split_rows
from sojourn.training.step import Stepper, TrainStep
from sojourn.training.trainer import make_optimizer

_LONGEST = 4.0
Adjust = Callable[[Network], None]
"""Changes the gradients of a network before a step."""


class Job(NamedTuple):
    """What all sites of a training share."""

    vocabulary: ModelVocabulary
    outcomes: tuple[str, ...]
    """Codes whose first event is asked for."""
    sites: tuple[str, ...]
    """All sites; the place in this list, from 1, is a site's row in the network's table of sites."""
    log_hazard: Tensor
    """(V, J) what the hazards start from."""
    config: PretrainConfig

    def network(self) -> Network:
        """The network with the weights that everybody starts from."""
        torch.manual_seed(self.config.seed)
        shape = self.config.network()
        codes = code_table(self.vocabulary, self.log_hazard, words_of(self.vocabulary, shape.num_word_features))
        return Network(shape, codes, len(self.sites))


class SiteRows(NamedTuple):
    """A site's subjects in its store."""

    train: Ints
    tuning: Ints

    @classmethod
    def of(cls, store: EventStore, site: str, config: PretrainConfig, left_out: frozenset[int]) -> "SiteRows":
        """Rows of the training and tuning subjects without those whose ids are left out.

        Raises
        ------
        ConfigError
            If the site has no training subject.
        """
        every = store.subjects["site"].unique().to_list()
        rows, tuning = split_rows(store, config.model_copy(update={"held_out_sites": [s for s in every if s != site]}))
        ids = store.subjects["subject_id"]
        rows, tuning = (part[~ids.gather(part).is_in(list(left_out)).to_numpy()] for part in (rows, tuning))
        found = cls(rows, tuning[: config.tuning_subjects])
        if not len(found.train):
            msg = f"store must hold training subjects of {site}; {store.path} has none. See `sojourn inspect`."
            raise ConfigError(msg)
        return found


class LocalTrainer:
    """One site's network, optimiser and place in its own records.

    Parameters
    ----------
    job : what all sites share.
    store : the site's store, or one in which it is a site among others.
    site : the site's name.
    total_steps : steps that the schedule of the learning rate spans.
    left_out : ids of subjects that are not used.
    min_cell : codes of fewer training patients are learnt as the `//unknown` of their parent.
    """

    def __init__(
        self,
        job: Job,
        store: EventStore,
        site: str,
        *,
        total_steps: int,
        left_out: frozenset[int] = frozenset(),
        min_cell: int = 1,
    ) -> None:
        self.job, self.site, self.config = job, site, job.config
        self.rows = SiteRows.of(store, site, job.config, left_out)
        self.num_instants: Ints = store.subjects["num_instants"].to_numpy().astype(np.int64)
        self.reader = reader = RecordReader(store, job.vocabulary, list(job.sites))
        """Reads everything, rare codes too."""
        outcomes = np.array([job.vocabulary.index[code] for code in job.outcomes], dtype=np.int64)
        self.is_told = np.ones(len(job.vocabulary), dtype=np.bool_)
        """(V,) codes that at least `min_cell` training patients have."""
        self._judge = Sampler(reader, job.config, outcomes, any_weights(job.vocabulary))
        if min_cell > 1:
            forgotten = job.config.unknown_share
            rare = read_without_rare(reader, self.rows.train, min_cell=min_cell, unknown_share=forgotten)
            reader, self.is_told = RecordReader(store, job.vocabulary, list(job.sites), rare.read_as), rare.is_told
        self.sampler = Sampler(reader, job.config, outcomes, any_weights(job.vocabulary))
        self.fabric = make_fabric(job.config.accelerator, job.config.precision)
        self.network = job.network()
        module = self.fabric.setup_module(TrainStep(self.network))
        self.total_steps = total_steps
        self.optimizer = make_optimizer(self.network, job.config.learning_rate, job.config.weight_decay)
        self.stepper = Stepper(module, self.optimizer, self.fabric, config=job.config, total=total_steps)
        self.steps_per_epoch = len(self._epoch(self.rows.train))
        self._planned: Iterator[Step] | None = None
        self.num_made = 0
        """Steps that this site has made since the training began."""

    def num_steps(self, most: int, max_epochs: float) -> int:
        """Steps of a round: `most`, but no more than `max_epochs` passes over the site's records."""
        return max(1, min(most, math.ceil(max_epochs * self.steps_per_epoch)))

    def train(
        self, num_steps: int, first_number: int, adjust: Adjust | None = None, *, total: int | None = None
    ) -> None:
        """Make some steps.

        Parameters
        ----------
        num_steps : how many.
        first_number : place of the first one in the schedule of the learning rate.
        adjust : changes the gradients before each step.
        total : steps that the schedule spans; by default those that the trainer was made with.
        """
        self.stepper.total = self.total_steps if total is None else total
        change = None if adjust is None else lambda: adjust(self.network)
        for number, samples in self._samples(num_steps):
            self.stepper.step(samples, first_number + number, adjust=change)
        self.num_made += num_steps

    def _samples(self, num_steps: int) -> Iterator[tuple[int, list[Sample]]]:
        """Samples of the next steps of the site's own plan, prepared ahead."""
        if self._planned is None:
            self._planned = steps(
                self.rows.train,
                self.num_instants[self.rows.train],
                context=self.config.context,
                instants_per_batch=self.config.instants_per_batch,
                seed=self.config.seed,
            )
            for _ in range(self.num_made):
                next(self._planned)
        chosen = [next(self._planned) for _ in range(num_steps)]
        prepared = self.sampler.prepare(enumerate(chosen, self.num_made))
        return ((k, samples) for k, (_, samples) in enumerate(prepared))

    def evaluate(self) -> TuningLoss | None:
        """Loss on the site's tuning subjects, their rare codes too; None where there are none."""
        if not len(self.rows.tuning):
            return None
        self.network.eval()
        return tuning_loss(self.network, self._judge, self._epoch(self.rows.tuning), self.fabric)

    def _epoch(self, rows: Ints) -> list[Step]:
        config = self.config
        return epoch_steps(
            rows,
            self.num_instants[rows],
            context=config.context,
            instants_per_batch=config.instants_per_batch,
            seed=config.seed,
            epoch=0,
        )

    # -- weights ----------------------------------------------------------------------------------------------------

    def load(self, weights: Tensors) -> None:
        """Take over weights by name; those not given stay."""
        given = {name: torch.from_numpy(weight) for name, weight in weights.items()}
        self.network.load_state_dict(given, strict=False)

    def weights(self) -> Tensors:
        """Copies of all trained weights."""
        return {name: weight.detach().numpy().copy() for name, weight in self.network.named_parameters()}

    def moments(self, beginning: str = "") -> Tensors:
        """The optimiser's state, as named tensors; those alone whose names begin like this."""
        names = {id(parameter): name for name, parameter in self.network.named_parameters()}
        named = {
            f"{key}.{names[id(parameter)]}": moment.numpy()
            for parameter, state in self.optimizer.state.items()
            for key, moment in state.items()
        }
        return {name: moment for name, moment in named.items() if name.startswith(beginning)}

    def load_moments(self, moments: Tensors) -> None:
        """Take over what `moments` gave."""
        parameters = dict(self.network.named_parameters())
        for full, moment in moments.items():
            key, name = full.split(".", 1)
            self.optimizer.state[parameters[name]][key] = torch.from_numpy(np.array(moment))

    def share_squares(self, sent: Tensors, num_steps: int) -> None:
        """Go on from the second moments that are sent, of all sites after so many steps; the first moments stay.

        Where they are far below the site's own, as in rows that nobody tells of, a step of the site would have no bound
        but the rounding of a root: it is at most `_LONGEST` times as long as by its own. Weights of which the site has
        no moments, as it missed the rounds before, start with first moments of zero. Before the first step there is
        nothing to share.
        """
        if not num_steps:
            return
        for name, parameter in self.network.named_parameters():
            if (square := sent.get(SQUARES + name)) is not None:
                state = self.optimizer.state[parameter]
                state.setdefault("step", torch.tensor(float(num_steps)))
                state.setdefault("exp_avg", torch.zeros_like(parameter))
                shared, own = torch.from_numpy(square.copy()), state.get("exp_avg_sq")
                state["exp_avg_sq"] = shared if own is None else torch.maximum(shared, own / _LONGEST**2)

    def forget_moments(self) -> None:
        """Start the optimiser afresh."""
        self.optimizer.state.clear()
