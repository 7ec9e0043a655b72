"""Sites of one store that train together in this process: for research, and for the demo."""

from collections.abc import Sequence
from pathlib import Path

from sojourn.events.store import EventStore
from sojourn.federated.config import FederatedConfig
from sojourn.federated.coordinator import FederatedSummary, federate
from sojourn.federated.site import Site
from sojourn.federated.transport import InProcess


def federate_store(
    store: EventStore,
    run: Path,
    *,
    sites: Sequence[str] | None = None,
    private: Path | None = None,
    config: FederatedConfig | dict[str, object] | None = None,
) -> FederatedSummary:
    """Train as if every site of a store held its own records alone.

    Parameters
    ----------
    store : store of several sites.
    run : folder of the run.
    sites : sites that take part; None for all.
    private : folder in which each site keeps its private state; None keeps it in memory, and an interrupted training
        starts its optimisers afresh.
    config : as in `federate`.
    """
    names = sorted(store.subjects["site"].unique()) if sites is None else sites
    transport = InProcess({name: Site(name, store, None if private is None else private / name) for name in names})
    return federate(transport, run, config=config)
