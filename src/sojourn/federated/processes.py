"""Sites of one store in several processes of this machine: the same training in less time, where there are cores.

Between the processes go the bytes that a network would carry (`messages.pack`), and nothing is unpickled. A process
that dies is started again and asked once more: what its sites had kept is on disk.
"""

import contextlib
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType

from sojourn.cores import num_cores, shared_environment
from sojourn.events.store import EventStore
from sojourn.federated.messages import Message, Refusal, pack, unpack
from sojourn.federated.worker import REFUSED


def most_processes(num_sites: int) -> int:
    """One for each core and not more than sites; only one on Windows, where none is handed a connection."""
    return max(1, min(num_cores(), num_sites)) if os.name == "posix" else 1


class _Worker:
    """One process, and the requests to its sites that have no answer yet."""

    def __init__(self, store: Path, private: Path, sites: Sequence[str], environment: dict[str, str]) -> None:
        self._arguments = [str(store), str(private), *sites]
        self._environment = environment
        self.waiting: deque[tuple[str, Message]] = deque()
        """The first of them has been sent."""
        self._has_died = False
        self._start()

    def _start(self) -> None:
        self.connection, theirs = Pipe()
        command = [sys.executable, "-m", "sojourn.federated.worker", str(theirs.fileno()), *self._arguments]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=self._environment)
        theirs.close()

    def send(self) -> None:
        """Send the request whose turn it is."""
        name, message = self.waiting[0]
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # then there is no answer to be read either
            self.connection.send_bytes(name.encode())
            self.connection.send_bytes(pack(message))

    def answer(self) -> Message | Refusal | None:
        """What came back; None where the process has died, and another one is asked the same."""
        try:
            found = unpack(self.connection.recv_bytes())
        except (EOFError, ConnectionResetError):
            code = self._start_again()
            if not self._has_died:
                self._has_died = True
                self.send()
                return None
            found = Message(REFUSED, texts={"reason": "unreachable", "detail": f"its process ended with code {code}."})
        self._has_died = False
        return Refusal(**found.texts) if found.kind == REFUSED else found

    def _start_again(self) -> int:
        self.connection.close()
        code = self.process.wait()
        self._start()
        return code

    def forget(self) -> None:
        """Give up all requests."""
        self.waiting.clear()
        self.process.terminate()
        self._start_again()

    def stop(self) -> None:
        """End the process; what its sites keep on disk is whole at any time."""
        self.connection.close()
        self.process.terminate()
        self.process.wait()


class Processes:
    """A transport to sites of one store that are spread over processes; to be used as a context manager.

    With one thread for each operation (``OMP_NUM_THREADS=1``) all numbers are those of `InProcess`.

    Parameters
    ----------
    store : store of the sites.
    sites : their names.
    private : folder in which each site keeps its private state between rounds.
    num_processes : how many, if there are as many sites.

    Attributes
    ----------
    bytes_sent, bytes_received : int
        Size of the arrays that a network would have carried.
    """

    def __init__(self, store: EventStore, sites: Sequence[str], private: Path, *, num_processes: int) -> None:
        self._names = tuple(sorted(sites))
        self.bytes_sent = self.bytes_received = 0
        count = max(1, min(num_processes, len(self._names)))
        environment = shared_environment(count)
        patients = dict(store.subjects["site"].value_counts().iter_rows())
        # Large and small hospitals take turns, so that every process has some of both.
        order = sorted(self._names, key=lambda name: (-patients.get(name, 0), name))
        parts = [order[i::count] for i in range(count)]
        self._workers = [_Worker(store.path, private, part, environment) for part in parts if part]
        self._worker_of = {name: worker for worker, part in zip(self._workers, parts, strict=False) for name in part}

    def __enter__(self) -> "Processes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.stop()

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites."""
        return self._names

    def ask(self, requests: Mapping[str, Message], *, timeout_s: float) -> Iterator[tuple[str, Message | Refusal]]:
        """Answers as they come; `timeout_s` has no meaning on one machine, where a process answers or ends."""
        for name in sorted(requests):
            self.bytes_sent += requests[name].num_bytes
            self._worker_of[name].waiting.append((name, requests[name]))
        busy = [worker for worker in self._workers if worker.waiting]
        try:
            for worker in busy:
                worker.send()
            while busy:
                yield from self._next_answers(busy)
        finally:  # where whoever asked has lost interest, answers must not be taken for those of the next requests
            for worker in busy:
                worker.forget()

    def _next_answers(self, busy: list[_Worker]) -> Iterator[tuple[str, Message | Refusal]]:
        """Answers that have come, at least one of them awaited; who has nothing left to do is no longer busy."""
        ready = wait([worker.connection for worker in busy])
        for worker in [worker for worker in busy if worker.connection in ready]:
            if (answer := worker.answer()) is None:
                continue
            name, _ = worker.waiting.popleft()
            if worker.waiting:
                worker.send()
            else:
                busy.remove(worker)
            if isinstance(answer, Message):
                self.bytes_received += answer.num_bytes
            yield name, answer
