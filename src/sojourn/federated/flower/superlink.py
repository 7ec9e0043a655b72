"""The coordinator's end of the connection: Flower's state, object store, node authentication and Fleet interface.

Flower's own ``flower-superlink`` command also opens, on the same port, the interface through which jobs are started and
node keys are registered, and by default asks nobody there who they are. Here only the Fleet interface is opened, which
a node can use only with a registered key; keys are registered from the coordinator's folder, in this process.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn
from fastapi import FastAPI
from flwr.app import Message as FlowerMessage
from flwr.app import MessageType
from flwr.app.message import remove_content_from_message
from flwr.common.constant import HEARTBEAT_DEFAULT_INTERVAL, NOOP_ACCOUNT_NAME, NOOP_FLWR_AID, SUPERLINK_NODE_ID
from flwr.server.superlink.linkstate import LinkState, LinkStateFactory
from flwr.supercore.constant import NOOP_FEDERATION_ID, TaskType
from flwr.supercore.error import http_error_translator
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.object_store import NoObjectInStoreError, ObjectStoreFactory
from flwr.supercore.protobuf.translation import ProtobufTranslationMiddleware
from flwr.supercore.routers import health
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.federation import NoOpFederationManager
from flwr.superlink.routers.fleet.node_auth import NodeAuthMiddleware
from flwr.superlink.routers.fleet.router import router as fleet_router
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response

from sojourn.errors import FederationError
from sojourn.federated.flower.limit import LimitedBody
from sojourn.federated.flower.records import from_record, to_record

_START_S = 60.0
_MOST_BYTES = 2**31
"""Of one answer: weights of a network of half a thousand million."""
_MOST_OF_REQUEST = 2**25
"""Of one request: Flower sends what is larger than 5 MB in pieces, and reads a request before it asks who sends it."""
_REFUSED = (401, 412)  # a request of a node that is not registered, and a try to come in as one
_QUIET_S = 10.0

logging.getLogger("flwr").setLevel(logging.CRITICAL)  # it names nodes and keys; our own log says what matters


class Arrival(NamedTuple):
    """What became of a message to a node."""

    question: str
    """Id of the message."""
    envelope: bytes | None
    """The answer; None where none will come."""


class SuperLink:
    """Serves registered nodes on one TLS port, and passes messages to and from them.

    Parameters
    ----------
    database : file of Flower's state; nodes keep their numbers in it, so that they go on after a restart.
    host, port : address to listen on.
    certificate, key : files of the server's certificate and its key.
    nodes : public key (PEM) of each node by the name of its site.
    on_stranger : called when somebody without a registered key was turned away, at most every 10 s.
    """

    def __init__(
        self,
        database: Path,
        *,
        host: str,
        port: int,
        certificate: Path,
        key: Path,
        nodes: Mapping[str, str],
        on_stranger: Callable[[], object] = lambda: None,
    ) -> None:
        self._on_stranger, self._last_stranger = on_stranger, -_QUIET_S
        objects = ObjectStoreFactory(str(database))
        self._factory = LinkStateFactory(str(database), NoOpFederationManager(), objects)
        self.state: LinkState = self._factory.state()
        self.node_ids = {site: self._registered(public) for site, public in sorted(nodes.items())}
        self._forget_others()
        self.run_id = self._begin_run()
        self._arriving: dict[str, str] = {}
        config = uvicorn.Config(
            self._app(), host=host, port=port, ssl_certfile=certificate, ssl_keyfile=key, log_level="error",
            access_log=False, server_header=False, workers=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="superlink", daemon=True)
        self._alive = threading.Event()
        self._beats = threading.Thread(target=self._beat, name="superlink-heartbeat", daemon=True)

    # -- coming and going --------------------------------------------------------------------------------------------

    def __enter__(self) -> "SuperLink":
        self._thread.start()
        deadline = time.monotonic() + _START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                where = f"{self._server.config.host}:{self._server.config.port}"
                msg = f"coordinator must be able to listen on {where}; it cannot. Is another one running there?"
                raise FederationError(msg)
            time.sleep(0.05)
        self._beats.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._alive.set()
        self.state.stop_run(self.run_id)
        self._server.should_exit = True
        self._thread.join(timeout=10)

    def _serve(self) -> None:
        """Serve until told to stop; what keeps it from starting shows in that it did not start."""
        with suppress(SystemExit):
            self._server.run()

    def _app(self) -> FastAPI:
        """Flower's Fleet interface, behind its node authentication, and nothing else."""
        middleware = [
            Middleware(LimitedBody, most_bytes=_MOST_OF_REQUEST),
            Middleware(BaseHTTPMiddleware, dispatch=self._watch),
            Middleware(BaseHTTPMiddleware, dispatch=http_error_translator),
            Middleware(ProtobufTranslationMiddleware),
            Middleware(NodeAuthMiddleware),
        ]
        app = FastAPI(title="Sojourn", docs_url=None, redoc_url=None, openapi_url=None, middleware=middleware)
        app.state.linkstate_factory = self._factory
        app.state.enable_supernode_auth = True
        app.include_router(health.router)
        app.include_router(fleet_router)
        return app

    async def _watch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Notice who is turned away."""
        response = await call_next(request)
        if response.status_code in _REFUSED and time.monotonic() - self._last_stranger >= _QUIET_S:
            self._last_stranger = time.monotonic()
            await run_in_threadpool(self._on_stranger)
        return response

    def _registered(self, public: str) -> int:
        """Flower's number of a node."""
        known = self.state.get_node_id_by_public_key(public.encode())
        if known is not None:
            return known
        return self.state.create_node(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, public.encode(), 0)

    def _forget_others(self) -> None:
        """Unregister nodes whose registration was taken away."""
        for node in self.state.get_node_info():
            if node.node_id not in self.node_ids.values() and node.status != "unregistered":
                self.state.delete_node(NOOP_FLWR_AID, node.node_id)

    def _begin_run(self) -> int:
        """A run of Flower's without an app: nodes run what is installed there. Earlier ones are closed."""
        for run in self.state.get_run_info():
            self.state.stop_run(run.run_id)
        run_id = self.state.create_run("", "", "", {}, NOOP_FEDERATION_ID, None, NOOP_FLWR_AID, TaskType.SERVER_APP)
        self._task = int(self.state.get_run_info(run_ids=[run_id])[0].primary_task_id or 0)
        if not run_id or self.state.claim_task(self._task) is None or not self.state.activate_task(self._task):
            raise FederationError("a run of Flower must start; it did not. Remove superlink.db and start again.")
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = run_id, SUPERLINK_NODE_ID, self._task
        return run_id

    def _beat(self) -> None:
        """Tell Flower that the run is alive."""
        while not self._alive.wait(HEARTBEAT_DEFAULT_INTERVAL / 3):
            self.state.acknowledge_task_heartbeat(self._task)

    # -- messages ----------------------------------------------------------------------------------------------------

    def online(self) -> dict[str, str]:
        """When each node that is there now came, by site."""
        found = {node.node_id: node for node in self.state.get_node_info(node_ids=list(self.node_ids.values()))}
        there = {site: found[number] for site, number in self.node_ids.items() if number in found}
        return {site: str(node.last_activated_at) for site, node in there.items() if node.status == "online"}

    def push(self, site: str, envelope: bytes, *, lifetime_s: float) -> str | None:
        """Leave an envelope for a node to fetch; the message's id, or None where Flower does not take it."""
        message = FlowerMessage(to_record(envelope), self.node_ids[site], MessageType.QUERY, ttl=lifetime_s)
        message.metadata.__dict__["_message_id"] = message.object_id
        with no_object_id_recompute():
            session = self.state.start_session(self.run_id)
            bare = remove_content_from_message(message)
            stored, missing = self.state.store_message_and_object_tree(bare, get_object_tree(message), session)
            if not stored:
                return None
            objects = get_all_nested_objects(message)
            for name in missing:
                self.state.store_object(self.run_id, session, name, objects[name].deflate())
        return str(message.metadata.message_id)

    def pull(self, ids: set[str]) -> list[Arrival]:
        """Answers that have arrived whole, and those that Flower says will not come."""
        found = []
        for bare in self.state.get_message_res(message_ids=set(ids), run_id=self.run_id):
            if bare.has_error():
                found.append(Arrival(bare.metadata.reply_to_message_id, None))
            else:
                self._arriving[bare.metadata.message_id] = bare.metadata.reply_to_message_id
        for name, question in list(self._arriving.items()):
            arrival = self._whole(name, question)
            if arrival is not None:
                found.append(arrival)
                del self._arriving[name]
        self.state.delete_messages(message_ins_ids={one.question for one in found})
        return found

    def _whole(self, name: str, question: str) -> Arrival | None:
        """An answer whose parts are all here; None while the node is still sending them."""
        store = self.state.object_store
        try:
            tree = store.get_object_tree(name)
        except NoObjectInStoreError:
            return Arrival(question, None)
        contents: dict[str, bytes] = {}
        for part in iterate_object_tree(tree):
            content = self.state.get_object(self.run_id, part.object_id)
            if content is None:  # the node went away before it had sent all
                return Arrival(question, None)
            if content == b"":
                return None
            contents[part.object_id] = bytes(content)
            if sum(map(len, contents.values())) > _MOST_BYTES:  # what more there is of it is not read
                store.delete(name)
                return Arrival(question, b"")
        store.delete(name)
        return Arrival(question, _envelope(name, contents))


def _envelope(name: str, contents: dict[str, bytes]) -> bytes:
    """What a node packed; nothing, which is refused as no envelope, where it is anything else."""
    try:
        message: Any = inflate_object_from_contents(name, contents)
        return from_record(message.content)
    except Exception:  # noqa: BLE001  (whatever a node's bytes make of Flower's code, the coordinator goes on)
        return b""
