"""A site's node: it connects outward, fetches questions, and answers them with the code that is installed here.

Flower's own ``flower-supernode`` fetches an app from the other side and runs it. This node uses Flower's client, keys
and messages, and never asks for an app: there is no way to send it code.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from flwr.app import Message as FlowerMessage
from flwr.app.message import remove_content_from_message
from flwr.common.constant import HEARTBEAT_DEFAULT_INTERVAL
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import Node as FlowerNode
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree, no_object_id_recompute
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectPushError,
    pull_and_inflate_object_from_tree,
    push_objects,
)
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.protobuf.client import ProtobufClientInterceptor
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from sojourn.errors import FederationError, JobRefusedError
from sojourn.federated.flower.records import from_record, to_record
from sojourn.federated.flower.tls import node_public, read_node_key
from sojourn.files import read_json, write_json
from sojourn.progress import console

_POLL_S, _LONGEST_WAIT_S = 1.0, 10.0
_TURNED_AWAY = (401, 412)
"""What Flower says to a key that it does not know; and, for a moment, to a node that it believes to be there."""
_MOST_TRIES = 3
_LOST = (httpx.TransportError, ObjectPullError, ObjectPushError)


class Node:
    """Carries envelopes between a coordinator and what answers them.

    Parameters
    ----------
    address : host and port of the coordinator.
    authority : file with the certificate of the coordinator's authority; no other is believed.
    key : file with the node's EC P-384 key.
    answer : makes the answer to an envelope.
    memory : file in which the node keeps its number between starts.
    """

    def __init__(
        self, address: str, *, authority: Path, key: Path, answer: Callable[[bytes], bytes], memory: Path
    ) -> None:
        self.address, self.authority, self.memory = address, authority, memory
        self._key, self._answer = read_node_key(key), answer
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End `run` after what is being done."""
        self._stopped.set()

    def run(self) -> None:
        """Answer until stopped; a lost connection is made again, with growing pauses.

        Raises
        ------
        FederationError
            If the coordinator does not know the node's key, or is not who its certificate should say.
        """
        wait, tries = _POLL_S, 0
        while not self._stopped.is_set():
            try:
                with self._connected() as (client, node):
                    console.print(f"connected to {self.address}", markup=False)
                    wait, tries = _POLL_S, 0
                    while not self._stopped.is_set():
                        if not self._answer_one(client, node):
                            self._stopped.wait(_POLL_S)
            except _LOST as error:
                _refuse_wrong_certificate(error, self.address)
            except httpx.HTTPStatusError as error:
                tries += 1
                self._refuse_unknown(error, tries)
            if not self._stopped.is_set():
                console.print(f"no connection to {self.address}; next try in {wait:.0f} s", markup=False)
                self._stopped.wait(wait)
                wait = min(2 * wait, _LONGEST_WAIT_S)

    # -- connection --------------------------------------------------------------------------------------------------

    @contextmanager
    def _connected(self) -> Iterator[tuple[FleetHttpClient, FlowerNode]]:
        """A client that Flower knows, with a heartbeat beside it."""
        interceptors: list[ProtobufClientInterceptor] = [
            RuntimeVersionHttpInterceptor(component_name="SuperNode"),
            NodeAuthHttpInterceptor(self._key, self._key.public_key()),
        ]
        trusted = self.authority.read_bytes()
        with FleetHttpClient.from_server_address(
            server_address=self.address, insecure=False, root_certificates=trusted, interceptors=interceptors
        ) as client:
            self._leave(client)
            public = node_public(self._key).encode()
            request = ActivateNodeRequest(public_key=public, heartbeat_interval=HEARTBEAT_DEFAULT_INTERVAL)
            node = FlowerNode(node_id=client.ActivateNode(request).node_id)
            write_json(self.memory, {"node": node.node_id})
            gone = threading.Event()
            beats = threading.Thread(target=self._beat, args=(client, node, gone), daemon=True)
            beats.start()
            try:
                yield client, node
            finally:
                gone.set()
                beats.join(timeout=10)
                self._leave(client)

    def _leave(self, client: FleetHttpClient) -> None:
        """Say goodbye, also for a node that was killed before: Flower lets no node in that it believes to be there."""
        if not self.memory.exists():
            return
        try:
            client.DeactivateNode(DeactivateNodeRequest(node_id=int(read_json(self.memory)["node"])))
        except (httpx.TransportError, httpx.HTTPStatusError):
            return  # it was not there, or the coordinator is away: both are as good as having left

    def _beat(self, client: FleetHttpClient, node: FlowerNode, gone: threading.Event) -> None:
        request = SendNodeHeartbeatRequest(node=node, heartbeat_interval=HEARTBEAT_DEFAULT_INTERVAL)
        while not gone.wait(HEARTBEAT_DEFAULT_INTERVAL / 3):
            try:
                client.SendNodeHeartbeat(request)
            except (httpx.TransportError, httpx.HTTPStatusError):
                continue  # the loop that fetches questions notices, and connects again

    # -- one question ------------------------------------------------------------------------------------------------

    def _answer_one(self, client: FleetHttpClient, node: FlowerNode) -> bool:
        """Fetch a question, answer it and send the answer; whether there was one."""
        response = client.PullMessages(PullMessagesRequest(node=node))
        if not response.messages_list:
            return False
        bare = message_from_proto(response.messages_list[0])
        question = self._fetch(client, node, bare, response.message_object_trees[0])
        try:
            envelope = from_record(question.content)
        except JobRefusedError as error:
            console.print(f"a message was left unanswered: {error}", markup=False)
            return True
        began = time.monotonic()
        reply = FlowerMessage(to_record(self._answer(envelope)), reply_to=question)
        self._send(client, node, reply, time.monotonic() - began)
        return True

    @staticmethod
    def _fetch(client: FleetHttpClient, node: FlowerNode, bare: FlowerMessage, tree: ObjectTree) -> FlowerMessage:
        run_id = bare.metadata.run_id
        message = pull_and_inflate_object_from_tree(
            tree,
            make_pull_object_fn_protobuf(client.PullObject, node, run_id),
            make_confirm_message_received_fn_protobuf(client.ConfirmMessageReceived, node, run_id),
            return_type=FlowerMessage,
        )
        message.metadata.__dict__["_message_id"] = tree.object_id
        return message

    @staticmethod
    def _send(client: FleetHttpClient, node: FlowerNode, reply: FlowerMessage, seconds: float) -> None:
        reply.metadata.__dict__["_message_id"] = reply.object_id
        with no_object_id_recompute():
            request = PushMessagesRequest(
                node=node,
                messages_list=[message_to_proto(remove_content_from_message(reply))],
                message_object_trees=[get_object_tree(reply)],
                clientapp_runtime_list=[seconds],
            )
            response = client.PushMessages(request)
            push = make_push_object_fn_protobuf(client.PushObject, node, reply.metadata.run_id, response.session_id)
            push_objects(get_all_nested_objects(reply), push, object_ids_to_push=set(response.objects_to_push))

    # -- errors ------------------------------------------------------------------------------------------------------

    def _refuse_unknown(self, error: httpx.HTTPStatusError, tries: int) -> None:
        """Stop where trying again is of no use: the key is not registered, or not any longer."""
        if error.response.status_code in _TURNED_AWAY and tries >= _MOST_TRIES:
            msg = (
                f"node must be registered with the coordinator at {self.address}, run once, and have the right time; "
                "it was turned away. Send it registration.json, to be approved there, and start again."
            )
            raise FederationError(msg) from error


def _refuse_wrong_certificate(error: Exception, address: str) -> None:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        msg = f"coordinator at {address} must show a certificate of its authority; it does not. Do not go on."
        raise FederationError(msg) from error
