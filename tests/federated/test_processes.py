"""Sites in several processes: the numbers of one process, also where a process dies."""

import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from federated.conftest import SMALL
from sojourn.events.store import EventStore
from sojourn.federated.coordinator import federate
from sojourn.federated.messages import Message, Refusal
from sojourn.federated.on_one_machine import federate_store
from sojourn.federated.processes import Processes
from sojourn.training.run import WEIGHTS


class Dying(Processes):
    """One of the processes dies before the second round."""

    def ask(self, requests: Mapping[str, Message], *, timeout_s: float) -> Iterator[tuple[str, Message | Refusal]]:
        if {(message.kind, message.round) for message in requests.values()} == {("train", 1)}:
            self._workers[0].process.kill()
        return super().ask(requests, timeout_s=timeout_s)


@pytest.fixture
def two(toy_store: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dying]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    names = sorted(toy_store.subjects["site"].unique())
    with Dying(toy_store, names, tmp_path / "private", num_processes=2) as processes:
        yield processes


@pytest.mark.slow
def test_the_numbers_are_those_of_one_process_also_where_one_dies(
    two: Dying, toy_store: EventStore, tmp_path: Path
) -> None:
    alone = federate_store(toy_store, tmp_path / "alone", config=SMALL)
    died = two._workers[0].process
    shared = federate(two, tmp_path / "shared", config=SMALL)
    assert died.returncode == -signal.SIGKILL
    assert (shared.megabytes, shared.refused) == (alone.megabytes, 0)
    one, other = (load_file(tmp_path / name / WEIGHTS) for name in ("alone", "shared"))
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
    # A site that refuses says why.
    told = dict(two.ask({"north": Message("evaluate"), "south": Message("gossip")}, timeout_s=1))
    assert isinstance(told["south"], Refusal)
    assert told["south"].reason == "site_error"
    assert "gossip" in told["south"].detail


def test_what_dies_again_is_refused(two: Dying, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sojourn.federated.processes.sys.executable", "/bin/false")
    two._workers[0].process.kill()
    [name, *_] = two._workers[0]._arguments[2:]
    [(asked, answer)] = two.ask({name: Message("survey")}, timeout_s=1)
    assert asked == name
    assert isinstance(answer, Refusal)
    assert answer.reason == "unreachable"


@pytest.mark.slow
def test_answers_that_nobody_waits_for_are_not_given_to_the_next_question(two: Dying) -> None:
    asked = two.ask(dict.fromkeys(two.sites, Message("gossip")), timeout_s=1)
    next(asked)
    asked.close()
    told = dict(two.ask(dict.fromkeys(two.sites, Message("chatter")), timeout_s=1))
    assert told.keys() == set(two.sites)
    assert all(isinstance(answer, Refusal) and "chatter" in answer.detail for answer in told.values())


def test_processes_end_with_their_transport(toy_store: EventStore, tmp_path: Path) -> None:
    with Processes(toy_store, ["north"], tmp_path, num_processes=5) as processes:
        [worker] = processes._workers
    assert worker.process.returncode == -signal.SIGTERM
