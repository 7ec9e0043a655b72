"""Every message signed by who wrote it, so that neither a relay nor another site can write in somebody's name."""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sojourn.errors import JobRefusedError, UpdateRefusedError
from sojourn.federated.governance.keys import canonical, is_signed, public_text, sign
from sojourn.federated.messages import UNREADABLE, Message, pack, unpack

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_KIND = "sealed"


class Letter(NamedTuple):
    """What was in an envelope."""

    content: bytes
    said: dict[str, str]
    """What the sender says about it: job, site, question, reason..."""
    key: str
    """Public key of the sender."""


def digest(content: bytes) -> str:
    """SHA-256 of some bytes."""
    return hashlib.sha256(content).hexdigest()


def seal(content: bytes, said: Mapping[str, str], key: "Ed25519PrivateKey") -> bytes:
    """Put bytes into an envelope and sign all of it."""
    public = public_text(key)
    signature = sign(key, _to_sign(content, said, public))
    texts = {"said": json.dumps(dict(said)), "key": public, "signature": signature}
    return pack(Message(_KIND, 0, {"content": np.frombuffer(content, np.uint8)}, {}, texts))


def unseal(envelope: bytes, *, allowed: Collection[str]) -> Letter:
    """Open an envelope.

    Raises
    ------
    JobRefusedError
        With the reason ``malformed``, ``unknown_sender`` or ``tampered``.
    """
    try:
        message = unpack(envelope)
        content = message.tensors["content"].tobytes()
        said = {str(name): str(text) for name, text in json.loads(message.texts["said"]).items()}
        key, signature = message.texts["key"], message.texts["signature"]
    except (UpdateRefusedError, *UNREADABLE) as error:
        msg = f"message must be a signed envelope; got {len(envelope)} bytes that are not. Send it again."
        raise JobRefusedError("malformed", msg) from error
    if key not in allowed:
        raise JobRefusedError("unknown_sender", "message must be signed with a key on the list; it is not.")
    if not is_signed(_to_sign(content, said, key), key, signature):
        raise JobRefusedError("tampered", "message must be as it was signed; it was changed on its way.")
    return Letter(content, said, key)


def _to_sign(content: bytes, said: Mapping[str, str], public: str) -> bytes:
    return canonical({"content": digest(content), "said": dict(said), "key": public})
