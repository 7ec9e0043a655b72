"""Sites of one store that train together on this machine: for research, and for the demo."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sojourn.events.store import EventStore
from sojourn.federated.config import FederatedConfig
from sojourn.federated.coordinator import FederatedSummary, federate
from sojourn.federated.processes import Processes
from sojourn.federated.site import Site
from sojourn.federated.transport import InProcess, Transport


def federate_store(
    store: EventStore,
    run: Path,
    *,
    sites: Sequence[str] | None = None,
    private: Path | None = None,
    config: FederatedConfig | dict[str, object] | None = None,
    num_processes: int = 1,
) -> FederatedSummary:
    """Train as if every site of a store held its own records alone.

    Parameters
    ----------
    store : store of several sites.
    run : folder of the run.
    sites : sites that take part; None for all.
    private : folder in which each site keeps its private state; None keeps it for this call alone, and an interrupted
        training starts its optimisers afresh.
    config : as in `federate`.
    num_processes : processes among which the sites are divided; with one, they take turns in this process. Windows
        has no more than one.
    """
    names = sorted(store.subjects["site"].unique()) if sites is None else sites
    with _reached(store, names, private, num_processes) as transport:
        return federate(transport, run, config=config)


@contextmanager
def _reached(store: EventStore, names: Sequence[str], private: Path | None, num_processes: int) -> Iterator[Transport]:
    """The way to the sites."""
    if num_processes == 1:
        yield InProcess({name: Site(name, store, None if private is None else private / name) for name in names})
        return
    with (
        TemporaryDirectory(prefix="sojourn-") as folder,
        Processes(store, names, private or Path(folder), num_processes=num_processes) as processes,
    ):
        yield processes
