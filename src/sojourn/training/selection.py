"""What a run learns from: which subjects, sites, codes and outcomes of a store."""

import hashlib
import json
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from sojourn.errors import ConfigError
from sojourn.events.splits import assign_splits
from sojourn.events.store import EventStore
from sojourn.events.vocabulary import ModelVocabulary
from sojourn.tasks.outcomes import outcomes
from sojourn.tasks.own_outcomes import kept_outcomes
from sojourn.training.config import PretrainConfig
from sojourn.training.plan import Step, epoch_steps
from sojourn.training.records import Ints, RecordReader
from sojourn.training.run import resolved

_TUNING_SEED = 1


class Selection:
    """The subjects, codes and outcomes that a run is trained on: a pure function of the store and the settings.

    Parameters
    ----------
    store : the open store.
    config : the run's settings.
    vocabulary : of a run that was begun before; without one it is chosen from the training subjects.

    Raises
    ------
    ConfigError
        If no subject is left for training or tuning, or a site or an outcome is not in the store.
    """

    def __init__(self, store: EventStore, config: PretrainConfig, vocabulary: ModelVocabulary | None = None) -> None:
        self.store, self.config = store, config
        self._check_sites()
        self.train_rows, tuning_rows = split_rows(store, config)
        self.tuning_rows = evenly(tuning_rows, config.tuning_subjects)
        if not len(self.train_rows) or not len(self.tuning_rows):
            msg = (
                f"store must hold training and tuning subjects; got {len(self.train_rows)} and "
                f"{len(self.tuning_rows)} in {store.path}. Check held_out_sites, train_splits and tuning_split."
            )
            raise ConfigError(msg)
        if vocabulary is None:
            vocabulary = ModelVocabulary.fit(store, self.train_rows, min_count=config.min_count)
        self.vocabulary = vocabulary
        self.outcomes = self._outcomes()
        self.sites: list[str] = sorted(store.subjects[self.train_rows]["site"].unique().to_list())
        self.reader = RecordReader(store, self.vocabulary, self.sites)
        self.num_instants: Ints = store.subjects["num_instants"].to_numpy().astype(np.int64)

    def _check_sites(self) -> None:
        """A misspelt site would be trained on instead of held out."""
        sites = self.store.subjects["site"].unique().sort().to_list()
        unknown = sorted(set(self.config.held_out_sites) - set(sites))
        if unknown:
            shown = ", ".join(sites[:20]) + (", ..." if len(sites) > 20 else "")
            msg = f"held_out_sites must be sites of the store; got {', '.join(unknown)}. It has {shown}."
            raise ConfigError(msg)

    def _outcomes(self) -> Ints:
        table = self.vocabulary.table
        if self.config.outcomes is None:
            names = [outcome.code for outcome in (outcomes() | kept_outcomes(self.store.path)).values()]
            is_outcome = table["code"].is_in(names) & (table["count"] > 0)
            return table.filter(is_outcome)["index"].to_numpy().astype(np.int64)
        known = dict(zip(table["code"], table["index"], strict=True))
        missing = [code for code in self.config.outcomes if code not in known]
        if missing:
            msg = f"outcomes must be codes of the vocabulary; {', '.join(missing)} are not. See `sojourn inspect`."
            raise ConfigError(msg)
        return np.array(sorted(known[code] for code in self.config.outcomes), dtype=np.int64)

    def plan(self, rows: Ints, epoch: int) -> list[Step]:
        """The steps of one epoch over some subjects."""
        return epoch_steps(
            rows,
            self.num_instants[rows],
            context=self.config.context,
            instants_per_batch=self.config.instants_per_batch,
            seed=self.config.seed,
            epoch=epoch,
        )

    def any_weights(self) -> npt.NDArray[np.float64]:
        """Codes that may be asked at random, shape (V,)."""
        return any_weights(self.vocabulary)

    def settings(self) -> dict[str, Any]:
        """What ``run.yaml`` says."""
        return {
            "config": resolved(self.config),
            "sites": self.sites,
            "outcomes": [self.vocabulary.table["code"][int(i)] for i in self.outcomes],
            "data": {
                "store": str(self.store.path.resolve()),
                "fingerprint": _fingerprint(self.store),
                "num_training_subjects": len(self.train_rows),
                "num_tuning_subjects": len(self.tuning_rows),
                "time_tick_s": int(np.median(self.store.subjects["time_tick_s"].to_numpy()[self.train_rows])),
            },
            "versions": {name: version(name) for name in ("sojourn", "torch", "polars", "numpy", "meds")},
        }


def any_weights(vocabulary: ModelVocabulary) -> npt.NDArray[np.float64]:
    """Codes that may be asked at random, shape (V,): those that the history shows, by the root of their count."""
    table = vocabulary.table
    is_shown = ~(table["target_only"] | table["is_static"]).to_numpy()
    weights: npt.NDArray[np.float64] = np.sqrt(table["count"].to_numpy().astype(np.float64)) * is_shown
    return weights


def split_rows(store: EventStore, config: PretrainConfig) -> tuple[Ints, Ints]:
    """Rows of the subjects to learn from, and of all that may choose the weights."""

    def of(*splits: str) -> Ints:
        parts = [store.rows(split=s, exclude_sites=config.held_out_sites or None) for s in splits]
        return np.sort(np.concatenate(parts)).astype(np.int64)

    rows = of(*config.train_splits)
    if config.tuning_split is not None:
        return evenly(rows, config.train_subjects), of(config.tuning_split)
    ids = store.subjects["subject_id"].to_numpy()[rows]
    is_tuning = assign_splits(ids, seed=_TUNING_SEED, fractions=(0.9, 0.1, 0.0)) == "tuning"
    return evenly(rows[~is_tuning], config.train_subjects), rows[is_tuning]


def evenly(rows: Ints, count: int | None) -> Ints:
    """At most `count` of the rows, evenly spread, so that every data set and site of a store has its share."""
    if count is None or len(rows) <= count:
        return rows
    return rows[np.unique(np.linspace(0, len(rows) - 1, count).astype(np.int64))]


def _fingerprint(store: EventStore) -> str:
    """Of what the store was built from."""
    return hashlib.sha256(json.dumps(store.manifest["inputs"], sort_keys=True).encode()).hexdigest()
