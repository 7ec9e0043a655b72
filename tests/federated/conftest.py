"""A toy network of three hospitals."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.toy_process import SETTINGS, build_toy_store
from sojourn.events.store import EventStore
from sojourn.federated.site import Site
from sojourn.federated.transport import InProcess

SMALL: dict[str, Any] = {
    "rounds": 3,
    "local_steps": 3,
    "evaluate_every": 1,
    "min_cell": 2,
    "min_count": 5,
    "pretrain": SETTINGS | {"instants_per_batch": 128, "precision": "32-true"},
}


@pytest.fixture(scope="session")
def toy_store(tmp_path_factory: pytest.TempPathFactory) -> EventStore:
    return EventStore.open(build_toy_store(tmp_path_factory.mktemp("federated"), num_subjects=90, seed=5))


@pytest.fixture
def network_of(toy_store: EventStore) -> Callable[..., InProcess]:
    """Makes the sites of the toy network; with a folder they keep their state on disk."""

    def make(folder: Path | None = None) -> InProcess:
        names = sorted(toy_store.subjects["site"].unique())
        return InProcess({n: Site(n, toy_store, None if folder is None else folder / n) for n in names})

    return make
