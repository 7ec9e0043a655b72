"""Messages over Flower on the loopback, with TLS and node keys; the sites are stand-ins that train nothing."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE

from sojourn.errors import FederationError
from sojourn.federated.config import FederatedConfig
from sojourn.federated.flower.homes import free_port
from sojourn.federated.flower.node import Node
from sojourn.federated.flower.superlink import SuperLink
from sojourn.federated.flower.tls import make_certificates, make_node_key
from sojourn.federated.flower.transport import FlowerTransport
from sojourn.federated.governance.approval import Approvals
from sojourn.federated.governance.audit import AuditLog
from sojourn.federated.governance.governed import GovernedSite
from sojourn.federated.governance.keys import make_key, public_text
from sojourn.federated.governance.manifest import propose, sign_manifest
from sojourn.federated.messages import Message, Refusal

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]

SITES = ("north", "south")


class Doubling:
    """Answers with twice what it was sent."""

    def __init__(self, name: str) -> None:
        self.name = name

    def answer(self, message: Message) -> Message:
        return message._replace(tensors={name: 2 * tensor for name, tensor in message.tensors.items()}, texts={})


class Network:
    """A coordinator and two nodes of stand-in sites, each node in a thread."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        make_certificates(folder, "127.0.0.1")
        self.key = make_key(folder / "coordinator.key")
        self.manifest = propose("toy", FederatedConfig(rounds=9), SITES, outcomes=["MEDS_DEATH"])
        self.signed = sign_manifest(self.manifest, self.key)
        self.site_keys = {name: make_key(folder / name / "site.key") for name in SITES}
        self.node_keys = {name: make_node_key(folder / name / "node.key") for name in SITES}
        self.approvals = {name: self._approvals(name) for name in SITES}
        self.log = AuditLog(folder / "audit.jsonl")

    def _approvals(self, name: str) -> Approvals:
        log = AuditLog(self.folder / name / "audit.jsonl")
        return Approvals(self.folder / name / "jobs", allowed=[public_text(self.key)], log=log)

    @contextmanager
    def coordinator(self) -> Iterator[FlowerTransport]:
        files = {"certificate": self.folder / "server.crt", "key": self.folder / "server.key"}
        strangers = {"on_stranger": lambda: self.log.append("turned_away")}
        link = SuperLink(
            self.folder / "link.db", host="127.0.0.1", port=self.port, nodes=self.node_keys, **files, **strangers
        )
        with link:
            keys = {name: public_text(key) for name, key in self.site_keys.items()}
            yield FlowerTransport(link, self.manifest.digest, keys=keys, key=self.key, log=self.log)

    def node(self, name: str, answer: Callable[[bytes], bytes] | None = None, key: Path | None = None) -> Node:
        home = self.folder / name
        site = GovernedSite(
            name, home / "private", lambda: Doubling(name), approvals=self.approvals[name], key=self.site_keys[name]
        )
        files: dict[str, Any] = {"authority": self.folder / "ca.crt", "memory": home / "node.json"}
        return Node(f"127.0.0.1:{self.port}", key=key or home / "node.key", answer=answer or site.answer, **files)

    @contextmanager
    def running(self, *nodes: Node) -> Iterator[None]:
        threads = [threading.Thread(target=node.run) for node in nodes]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            for node in nodes:
                node.stop()
            for thread in threads:
                thread.join()

    def approve(self) -> None:
        for approvals in self.approvals.values():
            approvals.offer(self.signed)
            approvals.approve(self.manifest.digest, by="the board")


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network(tmp_path)


def start(network: Network) -> dict[str, Message]:
    texts = {"config": network.manifest.config.model_dump_json()}
    return dict.fromkeys(SITES, Message("start", 0, {"x": np.ones(3)}, {}, texts))


def asked(round_: int) -> dict[str, Message]:
    return dict.fromkeys(SITES, Message("train", round_, {"x": np.full(3, float(round_))}))


def test_a_job_is_offered_agreed_to_and_answered(network: Network) -> None:
    with network.coordinator() as transport, network.running(*map(network.node, SITES)):
        assert transport.offer(network.signed, timeout_s=60) == dict.fromkeys(SITES, "waiting")
        refused = dict(transport.ask(start(network), timeout_s=60))
        assert {answer.reason for answer in refused.values() if isinstance(answer, Refusal)} == {"not_approved"}
        network.approve()
        assert transport.wait_for_consent(network.signed, at_least=2, patience_s=60) == list(SITES)
        assert len(dict(transport.ask(start(network), timeout_s=60))) == 2
        answers = dict(transport.ask(asked(3), timeout_s=60))
    for site in SITES:
        assert isinstance(answers[site], Message)
        assert answers[site].tensors["x"].tolist() == [6.0, 6.0, 6.0]
    assert network.log.verify().problems == ()
    # Each side's log names the other's: an answer's head at the coordinator is a line at the site.
    heads = {line["head"] for line in network.log.lines() if line["event"] == "answered" and line["site"] == "north"}
    site_log = network.approvals["north"].log
    before = {line["before"] for line in site_log.lines()} | {site_log.head}
    assert heads <= before


def test_a_stranger_is_turned_away_and_a_wrong_coordinator_is_not_believed(network: Network, tmp_path: Path) -> None:
    make_node_key(tmp_path / "stranger.key")
    (tmp_path / "other").mkdir()
    make_certificates(tmp_path / "other", "127.0.0.1")
    with network.coordinator():
        with pytest.raises(FederationError, match="must be registered"):
            network.node("north", key=tmp_path / "stranger.key").run()
        node = network.node("north")
        node.authority = tmp_path / "other" / "ca.crt"
        with pytest.raises(FederationError, match="certificate of its authority"):
            node.run()
    assert [line["event"] for line in network.log.lines()] == ["turned_away"]


def test_a_tampered_manifest_and_an_answer_in_anothers_name_are_refused(network: Network) -> None:
    network.approve()
    south = network.node("south")
    impostor = GovernedSite(
        "north",
        network.folder / "impostor",
        lambda: Doubling("north"),
        approvals=network.approvals["north"],
        key=network.site_keys["south"],
    )
    with network.coordinator() as transport, network.running(network.node("north", impostor.answer), south):
        tampered = network.signed.replace(b'"max_questions":3', b'"max_questions":2')
        assert tampered != network.signed
        assert transport.offer(tampered, timeout_s=60) == {"north": "unknown_sender", "south": "tampered"}
        answers = dict(transport.ask(start(network), timeout_s=60))
    assert isinstance(answers["north"], Refusal)
    assert answers["north"].reason == "unknown_sender"
    assert isinstance(answers["south"], Message)


def test_who_is_not_there_is_unreachable_and_who_comes_back_is_asked_again(network: Network) -> None:
    network.approve()
    with network.coordinator() as transport, ExitStack() as stack:
        stack.enter_context(network.running(network.node("north")))
        found = dict(transport.ask(start(network), timeout_s=4))
        assert isinstance(found["south"], Refusal)
        assert found["south"].reason == "unreachable"
        late = network.node("south")
        timer = threading.Timer(2.0, lambda: stack.enter_context(network.running(late)))
        timer.start()
        found = dict(transport.ask(start(network), timeout_s=60))
        timer.join()
        assert all(isinstance(answer, Message) for answer in found.values())


def test_a_node_that_went_away_with_a_question_gets_it_again(network: Network) -> None:
    """As when it is killed: the question was fetched, and the process that fetched it never answers."""
    network.approve()
    fetched = threading.Event()

    def die(envelope: bytes) -> bytes:
        fetched.set()
        dying.stop()
        raise ConnectionAbortedError

    dying = network.node("south", die)

    def live_and_die() -> None:
        with pytest.raises(ConnectionAbortedError):
            dying.run()

    with network.coordinator() as transport, network.running(network.node("north")), ExitStack() as stack:
        first = threading.Thread(target=live_and_die)
        first.start()

        def come_back() -> None:
            fetched.wait()
            first.join()
            stack.enter_context(network.running(network.node("south")))

        second = threading.Thread(target=come_back)
        second.start()
        found = dict(transport.ask(start(network), timeout_s=90))
        second.join()
    assert all(isinstance(answer, Message) for answer in found.values())


class CuttingLine:
    """A line to the coordinator that is cut once, after so many bytes have gone up it."""

    def __init__(self, port: int, *, after: int) -> None:
        self.target, self.left, self.num_cuts = port, after, 0
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._door.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._door.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            for pair, is_up in (((near, far), True), ((far, near), False)):
                threading.Thread(target=self._carry, args=(*pair, is_up), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, is_up: bool) -> None:
        with suppress(OSError):
            while content := source.recv(65536):
                if is_up and not self.num_cuts:
                    self.left -= len(content)
                    if self.left < 0:
                        self.num_cuts += 1
                        break
                sink.sendall(content)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._door.close()


def test_a_line_that_is_cut_in_the_middle_of_an_answer_loses_nothing(network: Network) -> None:
    network.approve()
    line = CuttingLine(network.port, after=1_000_000)
    south = network.node("south")
    south.address = f"127.0.0.1:{line.port}"
    big = {"x": np.arange(500_000, dtype=np.float64)}
    with network.coordinator() as transport, network.running(network.node("north"), south):
        assert all(isinstance(answer, Message) for answer in dict(transport.ask(start(network), timeout_s=90)).values())
        found = dict(transport.ask(dict.fromkeys(SITES, Message("train", 0, big)), timeout_s=90))
    line.close()
    assert line.num_cuts == 1
    for answer in found.values():
        assert isinstance(answer, Message)
        assert np.array_equal(answer.tensors["x"], 2 * big["x"])
    events = [line["event"] for line in network.approvals["south"].log.lines() if line.get("kind") == "train"]
    assert events == ["asked", "answered", "answered_again"]  # computed once


def test_nodes_find_a_coordinator_that_was_restarted(network: Network) -> None:
    network.approve()
    with network.running(*map(network.node, SITES)):
        with network.coordinator() as transport:
            first = dict(transport.ask(start(network), timeout_s=60))
            before = transport.link.node_ids
        time.sleep(0.5)
        with network.coordinator() as transport:
            assert transport.link.node_ids == before
            second = dict(transport.ask(asked(1), timeout_s=90))
    assert all(isinstance(answer, Message) for answer in [*first.values(), *second.values()])


def test_only_the_fleet_interface_is_there(network: Network) -> None:
    """Flower's interface for starting jobs and registering keys must not be reachable."""
    with network.coordinator():
        trusted = str(network.folder / "ca.crt")
        header = {"content-type": PROTOBUF_MEDIA_TYPE, "accept": PROTOBUF_MEDIA_TYPE}
        context = ssl.create_default_context(cafile=trusted)
        with httpx.Client(base_url=f"https://127.0.0.1:{network.port}", verify=context, headers=header) as client:
            for path in ("/v1/control/start-run", "/v1/control/register-node", "/v1/runtime/acquire-task", "/docs"):
                assert client.post(path).status_code in (404, 405), path
            assert client.post("/v1/fleet/pull-messages", content=b"").status_code in (400, 401, 415, 422)


def test_a_port_that_is_taken_is_an_error(network: Network) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", network.port))
        other.listen()
        with pytest.raises(FederationError, match="able to listen"), network.coordinator():
            pass
