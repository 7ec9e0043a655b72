"""Linear probes of the network's states, and the control with random weights beside them.

A probe that does as well with random weights as with trained ones says nothing of the training.
"""

from pathlib import Path

import numpy as np
import torch

from sojourn.events.store import EventStore
from sojourn.inference.histories import ask, moments, states
from sojourn.model import Network
from sojourn.model.features import time_features
from sojourn.progress import progress_bar
from sojourn.tasks.baseline import check_apart
from sojourn.tasks.files import Labels, read_labels, write_predictions
from sojourn.training.run import Run
from sojourn.trust.baselines import fit_logistic


def probe(
    run: Path,
    train_store: Path,
    train_labels: Path,
    test_store: Path,
    test_labels: Path,
    out: Path,
    *,
    random_weights: bool = False,
    seed: int = 0,
) -> Path:
    """Fit a logistic regression on the states of a run at the training labels, and predict the test labels.

    Parameters
    ----------
    random_weights : use the same network with random weights drawn from `seed`: a control.

    Returns
    -------
    Path
        `out`, a prediction file with method "probe" or "random-weights-probe".

    Raises
    ------
    TaskError
        For no training labels, or a subject in both sets.
    """
    trained, known, asked = Run(run), read_labels(train_labels), read_labels(test_labels)
    check_apart(known, asked, is_same_store=train_store.resolve() == test_store.resolve())
    network = trained.network(random_weights_seed=seed if random_weights else None)
    x = embed(trained, network, EventStore.open(train_store), known)
    store = EventStore.open(test_store)
    fitted = fit_logistic(x, known.table["boolean_value"].to_numpy(), seed=seed)
    probability = fitted.predict(embed(trained, network, store, asked))
    site = store.subjects["site"][store.find(asked.table["subject_id"].to_numpy())]
    method = "random-weights-probe" if random_weights else "probe"
    write_predictions(out, asked, probability, method=method, site=site)
    return out


def embed(run: Run, network: Network, store: EventStore, labels: Labels) -> np.ndarray:
    """States at the prediction times with the time features of asking, shape (N, D + F) float32."""
    reader = run.reader(store)
    at = moments(store, labels.table["subject_id"].to_numpy(), labels.table["prediction_time"].to_numpy())
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    with progress_bar("reading states", len(at.row)) as bar:
        for asked in ask(reader, at, context=run.config.context):
            time = time_features(asked.gap, asked.time, asked.clock, asked.age)
            parts.append((asked.which, torch.cat([states(network, asked), time], -1).numpy()))
            bar.advance(len(asked.which))
    out = np.empty((len(at.row), parts[0][1].shape[1]), dtype=np.float32)
    for index, rows in parts:
        out[index] = rows
    return out
