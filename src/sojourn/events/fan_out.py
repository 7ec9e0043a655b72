"""Where the pieces of a build are worked on: in this process, in others of this machine, or on a Ray cluster."""

import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from sojourn.errors import ConfigError, StoreError
from sojourn.events.plan import Piece

Work = Callable[[Piece], None]
"""Does one piece and leaves its files; doing a piece again does no harm."""

LOCAL, RAY = "local", "ray"
_RETRIES = 3
"""How often a piece is given to another worker when the one that had it died."""
_OBJECT_STORE = 80 * 1024**2
"""Bytes of Ray's shared memory: nothing but paths and counts goes through it, and Ray wants 75 MiB at least."""


def fan_out(work: Work, pieces: Sequence[Piece], *, workers: int, cluster: str = LOCAL) -> Iterator[None]:
    """Do all pieces, in any order; yields once for each that is done.

    Parameters
    ----------
    work : callable
        Can be pickled if it goes to other processes.
    workers : int
        Pieces at a time. On a cluster that is running already its own number of processors decides.
    cluster : str
        `local`: processes of this machine. `ray`: a Ray of its own on this machine, reachable from nowhere else.
        `ray:ADDRESS`: a Ray cluster that is there, such as `ray:auto` or `ray:10.0.0.5:6379`; its nodes need this
        package and the same file system.

    Raises
    ------
    ConfigError
        If `cluster` is none of these, Ray is not installed, or the cluster is not reached.
    StoreError
        If workers of a Ray cluster keep dying.
    """
    check_cluster(cluster)
    kind, _, address = cluster.partition(":")
    if kind == RAY:
        return _on_ray(work, pieces, workers=workers, address=address)
    if workers == 1 or len(pieces) == 1:
        return _here(work, pieces)
    return _in_processes(work, pieces, workers)


def check_cluster(cluster: str) -> None:
    """Refuse a place to work that there is not, before anything is written.

    Raises
    ------
    ConfigError
        If `cluster` is none of those of `fan_out`, or Ray is not installed.
    """
    kind, _, address = cluster.partition(":")
    if kind not in (LOCAL, RAY) or (kind == LOCAL and address):
        msg = f"cluster must be local, ray or ray:ADDRESS; got {cluster!r}."
        raise ConfigError(msg)
    if kind == RAY and find_spec("ray") is None:  # it is imported later, when its environment is set
        msg = "cluster 'ray' must have Ray installed; it is not. Install it with: pip install 'sojourn[ray]'."
        raise ConfigError(msg)


def check_portable(function: Callable[..., Any] | None, name: str) -> None:
    """Other processes import a function by its name.

    Raises
    ------
    ConfigError
        If they cannot.
    """
    try:
        pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        msg = (
            f"{name} must be a function at the top level of a module when workers > 1 or on a cluster. "
            "Use workers=1 for this one."
        )
        raise ConfigError(msg) from error


def _here(work: Work, pieces: Iterable[Piece]) -> Iterator[None]:
    """This process."""
    for piece in pieces:
        work(piece)
        yield


def _in_processes(work: Work, pieces: Iterable[Piece], workers: int) -> Iterator[None]:
    """Processes of this machine."""
    # Fresh ones: polars' threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = [pool.submit(work, piece) for piece in pieces]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _on_ray(work: Work, pieces: Iterable[Piece], *, workers: int, address: str) -> Iterator[None]:
    """Tasks of a Ray cluster; a piece whose worker dies is given to another one."""
    with connected(address, workers) as ray:
        remote = ray.remote(num_cpus=1, max_retries=_RETRIES)(work_on)
        try:
            waiting = [remote.remote(work, piece) for piece in pieces]
            while waiting:
                done, waiting = ray.wait(waiting)
                ray.get(done)
                yield from [None] * len(done)
        except ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from None
        except ray.exceptions.RayError as error:
            msg = (
                f"workers of the Ray cluster must stay alive; one piece was given up after {_RETRIES + 1} attempts "
                f"({type(error).__name__}). What is finished is kept: see to the memory of the nodes and build again."
            )
            raise StoreError(msg) from error


def work_on(work: Work, piece: Piece) -> None:
    """What a Ray worker imports and runs."""
    work(piece)


@contextmanager
def connected(address: str, workers: int) -> Iterator[Any]:
    """Ray, connected: to the cluster at `address`, or to one of its own that only this machine can reach."""
    # Nothing is reported to anyone unless the user has said so, and a Ray of our own listens on the loopback address
    # alone: the second variable, read as Ray is imported, makes that its node address.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not address:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    if ray.is_initialized():  # by the caller, who also ends it
        yield ray
        return
    own = {
        "num_cpus": workers,
        "num_gpus": 0,
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE,
        "_node_ip_address": "127.0.0.1",
    }
    try:
        ray.init(address or "local", log_to_driver=False, logging_level="ERROR", **({} if address else own))
    except (ConnectionError, ValueError, RuntimeError) as error:
        msg = f"cluster must name a Ray cluster that runs; connecting to {address or 'a local one'} gave: {error}"
        raise ConfigError(msg) from error
    try:
        yield ray
    finally:
        ray.shutdown()
