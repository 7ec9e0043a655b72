"""Train a baseline on one store's labels and predict another's, in the same file format as the model."""

from pathlib import Path

import numpy as np
import polars as pl

from sojourn.errors import TaskError
from sojourn.events.store import EventStore
from sojourn.tasks.features import hand_features
from sojourn.tasks.files import Labels, check_out, read_labels, write_numbers, write_predictions
from sojourn.trust.baselines import (
    Fitted,
    fit_lightgbm,
    fit_lightgbm_numbers,
    fit_logistic,
    fit_mean,
    fit_prevalence,
)

__all__ = ["BASELINES", "NUMBER_BASELINES", "baseline"]

#: Names of the baselines for labels that are yes or no.
BASELINES = ("prevalence", "logistic", "lightgbm")
#: Names of the baselines for labels that are numbers.
NUMBER_BASELINES = ("mean", "lightgbm")
_CONSTANT = ("prevalence", "mean")


def baseline(
    method: str,
    train_store: Path,
    train_labels: Path,
    test_store: Path,
    test_labels: Path,
    out: Path,
    *,
    seed: int = 0,
    max_codes: int = 100,
) -> Path:
    """Fit a baseline on hand-made features and write its predictions.

    Parameters
    ----------
    method
        `prevalence`, `logistic` or `lightgbm`; for labels that are numbers, `mean` or `lightgbm`.
    train_store, train_labels
        Event store and label file to learn from.
    test_store, test_labels
        Event store and label file to predict; subjects of the training labels must not be among them.
    out
        Prediction file to write, with `method` as its method.
    seed
        Seed of the fit.
    max_codes
        How many codes of the training store make features.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    TaskError
        For an unknown method, one that is not for such labels, no training labels, or a subject in both sets.
    ConfigError
        If `out` cannot be written or is read.
    """
    if method not in (*BASELINES, *NUMBER_BASELINES):
        methods = ", ".join(dict.fromkeys((*BASELINES, *NUMBER_BASELINES)))
        msg = f"method must be one of {methods}, or probe with the run that it reads; got {method!r}."
        raise TaskError(msg)
    check_out(out, train_store, train_labels, test_store, test_labels)
    train, test = (read_labels(path, numbers=True) for path in (train_labels, test_labels))
    _check_kind(method, train, test)
    known_store, store = EventStore.open(train_store), EventStore.open(test_store)
    check_apart(train, test, is_same_data=share_data(known_store, store))
    y = train.table["float_value" if train.has_numbers else "boolean_value"].to_numpy()
    if method in _CONSTANT:
        model: Fitted = fit_mean(y) if train.has_numbers else fit_prevalence(y)
        features = np.zeros((test.table.height, 0), dtype=np.float32)
    else:
        known = hand_features(known_store, train.table, max_codes=max_codes)
        if method == "lightgbm":
            fit = fit_lightgbm_numbers if train.has_numbers else fit_lightgbm
            model = fit(known.matrix, y, train.table["subject_id"].to_numpy(), seed=seed)
        else:
            model = fit_logistic(known.matrix, y, seed=seed)
        sources = known.sources
        del known
        features = hand_features(store, test.table, sources=sources).matrix
    write = write_numbers if test.has_numbers else write_predictions
    write(out, test, model.predict(features), method=method, site=_sites(store, test.table))
    return out


def _check_kind(method: str, train: Labels, test: Labels) -> None:
    """Both files must hold labels of one kind, and the method must be for it."""
    kinds = {True: "numbers", False: "yes or no"}
    if train.has_numbers != test.has_numbers:
        msg = (
            f"train_labels and test_labels must be of one kind; the first are {kinds[train.has_numbers]}, the second "
            f"{kinds[test.has_numbers]}. Label the same task for both."
        )
        raise TaskError(msg)
    fitting = NUMBER_BASELINES if train.has_numbers else BASELINES
    if method not in fitting:
        msg = f"method must be {' or '.join(fitting)} for labels that are {kinds[train.has_numbers]}; got {method!r}."
        raise TaskError(msg)


def share_data(first: EventStore, second: EventStore) -> bool:
    """Whether a shard went into both stores, itself or what was derived from it: an id is the same subject in both."""
    return not _shards(first).isdisjoint(_shards(second))


def _shards(store: EventStore) -> set[str]:
    """SHA-256 of the shards that a store was built from, and of those that they were made from."""
    datasets = store.manifest["inputs"]["datasets"]
    files = (item for dataset in datasets for item in dataset["files"].items())
    earlier = (digest for dataset in datasets for digest in dataset.get("made_from", ()))
    return {digest for name, digest in files if name.startswith("data/")}.union(earlier)


def check_apart(train: Labels, test: Labels, *, is_same_data: bool) -> None:
    """No subject may be both learned from and predicted; ids of unrelated data have nothing to do with each other.

    Raises
    ------
    TaskError
        If a subject is in both label files, or there is nothing to learn from.
    """
    if not train.table.height:
        msg = "train_labels must hold at least one label; got none. Label more subjects."
        raise TaskError(msg)
    num_shared = len(set(train.table["subject_id"]) & set(test.table["subject_id"])) if is_same_data else 0
    if num_shared:
        msg = f"test_labels must hold other subjects than train_labels; {num_shared} are in both. Split by subject."
        raise TaskError(msg)


def _sites(store: EventStore, table: pl.DataFrame) -> pl.Series:
    """Site of each label's subject."""
    return store.subjects["site"].gather(store.find(table["subject_id"].to_numpy()))
