"""Few-shot heads: what a regression or boosted trees read off the network's frozen states, and a control beside them.

A probe that does as well with random weights as with trained ones says nothing of the training.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from sojourn.errors import ConfigError
from sojourn.events.store import EventStore
from sojourn.inference.histories import ask, moments, representations
from sojourn.model import Network
from sojourn.model.features import time_features
from sojourn.progress import progress_bar
from sojourn.tasks.baseline import check_apart, share_data
from sojourn.tasks.features import FeatureSource, hand_features
from sojourn.tasks.files import Labels, check_out, read_labels, write_predictions
from sojourn.training.run import Run
from sojourn.trust.baselines import Fitted, fit_lightgbm, fit_logistic

Head = Literal["logistic", "lightgbm"]
Features = Literal["states", "states+table"]


def probe(
    run: Path,
    train_store: Path,
    train_labels: Path,
    test_store: Path,
    test_labels: Path,
    out: Path,
    *,
    head: Head = "logistic",
    features: Features = "states",
    random_weights: bool = False,
    seed: int = 0,
) -> Path:
    """Fit a head on the frozen states of a run at the training labels, and predict the test labels.

    Parameters
    ----------
    run : a run made by `pretrain`.
    train_store, train_labels : event store and label file to learn from.
    test_store, test_labels : event store and label file to predict.
    out : prediction file to write.
    head : "logistic" for ridge regression, "lightgbm" for boosted trees; both with the settings of the baselines.
    features : "states", or "states+table" for the states beside the hand-made features of the baselines.
    random_weights : use the same network with random weights drawn from `seed`: a control.
    seed : of the fit.

    Returns
    -------
    Path
        `out`, a prediction file whose method is "probe", with "-trees" for boosted trees, "-table" for the features
        and "random-weights-" for the control.

    Raises
    ------
    TaskError
        For no training labels, or a subject in both sets.
    ConfigError
        For an unknown head or choice of features, or an `out` that cannot be written or is read.
    """
    if head not in ("logistic", "lightgbm") or features not in ("states", "states+table"):
        msg = f"head must be logistic or lightgbm, features states or states+table; got {head!r} and {features!r}."
        raise ConfigError(msg)
    check_out(out, run, train_store, train_labels, test_store, test_labels)
    trained, known, asked = Run(run), read_labels(train_labels), read_labels(test_labels)
    opened, store = EventStore.open(train_store), EventStore.open(test_store)
    check_apart(known, asked, is_same_data=share_data(opened, store))
    network = trained.network(random_weights_seed=seed if random_weights else None)
    x, x_asked = embed(trained, network, opened, known), embed(trained, network, store, asked)
    if features == "states+table":
        table, sources = _table(opened, known, None)
        x, x_asked = np.hstack([x, table]), np.hstack([x_asked, _table(store, asked, sources)[0]])
    probability = _fit(head, x, known, seed).predict(x_asked)
    site = store.subjects["site"][store.find(asked.table["subject_id"].to_numpy())]
    name = ("random-weights-" if random_weights else "") + "probe"
    name += "-trees" * (head == "lightgbm") + "-table" * (features == "states+table")
    write_predictions(out, asked, probability, method=name, site=site)
    return out


def _table(
    store: EventStore, labels: Labels, sources: Sequence[FeatureSource] | None
) -> tuple[np.ndarray, Sequence[FeatureSource]]:
    """Hand-made features at the prediction times, shape (N, H), and what they are made of."""
    found = hand_features(store, labels.table, sources=sources)
    return found.matrix, found.sources


def _fit(head: Head, x: np.ndarray, labels: Labels, seed: int) -> Fitted:
    y = labels.table["boolean_value"].to_numpy()
    if head == "logistic":
        return fit_logistic(x, y, seed=seed)
    return fit_lightgbm(x, y, labels.table["subject_id"].to_numpy(), seed=seed)


def embed(run: Run, network: Network, store: EventStore, labels: Labels) -> np.ndarray:
    """Representations at the prediction times with the time features of asking, shape (N, D + F) float32."""
    reader = run.reader(store)
    at = moments(store, labels.table["subject_id"].to_numpy(), labels.table["prediction_time"].to_numpy())
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    with progress_bar("reading states", len(at.row)) as bar:
        for asked in ask(reader, at, context=run.config.context, with_past=network.config.use_summary):
            time = time_features(asked.gap, asked.time, asked.clock, asked.age)
            parts.append((asked.which, torch.cat([representations(network, asked).cpu(), time], -1).numpy()))
            bar.advance(len(asked.which))
    out = np.empty((len(at.row), parts[0][1].shape[1]), dtype=np.float32)
    for index, rows in parts:
        out[index] = rows
    return out
