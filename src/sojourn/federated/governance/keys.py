"""Ed25519 keys with which coordinator and sites sign; the signatures are those of the `cryptography` package."""

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sojourn.errors import ConfigError
from sojourn.extras import need

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_KIND = "ed25519:"


def write_private(path: Path, content: bytes) -> None:
    """Write a secret that only its owner can read; an existing one is never overwritten.

    Raises
    ------
    ConfigError
        If the file is there already.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        msg = f"{path} must not exist yet; it holds a key. Choose another folder, or remove the key to be a new party."
        raise ConfigError(msg) from error
    with os.fdopen(handle, "wb") as file:
        file.write(content)


def make_key(path: Path) -> "Ed25519PrivateKey":
    """Make a signing key and keep it in a file."""
    ed25519 = need("cryptography.hazmat.primitives.asymmetric.ed25519", "federated")
    serialization = need("cryptography.hazmat.primitives.serialization", "federated")
    key: Ed25519PrivateKey = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_private(path, pem)
    return key


def read_key(path: Path) -> "Ed25519PrivateKey":
    """Read a signing key.

    Raises
    ------
    ConfigError
        If there is none, or it is of another kind.
    """
    ed25519 = need("cryptography.hazmat.primitives.asymmetric.ed25519", "federated")
    serialization = need("cryptography.hazmat.primitives.serialization", "federated")
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError) as error:
        msg = f"{path} must hold a signing key; it does not. Make it with `sojourn federate init` or `join`."
        raise ConfigError(msg) from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        msg = f"{path} must hold an Ed25519 key; it holds {type(key).__name__}. Make it again."
        raise ConfigError(msg)
    return cast("Ed25519PrivateKey", key)


def public_text(key: "Ed25519PrivateKey") -> str:
    """The public half of a key, as it stands in allow-lists."""
    return _KIND + base64.b64encode(key.public_key().public_bytes_raw()).decode()


def sign(key: "Ed25519PrivateKey", content: bytes) -> str:
    """Signature of some bytes, in base64."""
    return base64.b64encode(key.sign(content)).decode()


def is_signed(content: bytes, public: str, signature: str) -> bool:
    """Whether the owner of a public key signed some bytes; a key or signature that is none is just not right."""
    ed25519 = need("cryptography.hazmat.primitives.asymmetric.ed25519", "federated")
    exceptions = need("cryptography.exceptions", "federated")
    try:
        raw = base64.b64decode(public.removeprefix(_KIND), validate=True)
        ed25519.Ed25519PublicKey.from_public_bytes(raw).verify(base64.b64decode(signature, validate=True), content)
    except (ValueError, exceptions.InvalidSignature):
        return False
    return public.startswith(_KIND)


def is_public(public: str) -> bool:
    """Whether a text is the public half of a signing key, in the one form in which `public_text` writes it."""
    ed25519 = need("cryptography.hazmat.primitives.asymmetric.ed25519", "federated")
    try:
        raw = base64.b64decode(public.removeprefix(_KIND), validate=True)
        key = ed25519.Ed25519PublicKey.from_public_bytes(raw)
    except ValueError:
        return False
    return _KIND + base64.b64encode(key.public_bytes_raw()).decode() == public


def canonical(content: Any) -> bytes:
    """JSON in the one form that is signed, and of which fingerprints are taken.

    Examples
    --------
    >>> canonical({"b": 1, "a": "ö"})
    b'{"a":"\\\\u00f6","b":1}'
    """
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def fingerprint(told: Mapping[str, str]) -> str:
    """A short form of all that one party told another, to be compared by telephone: no word of it can be changed.

    Examples
    --------
    >>> fingerprint({"key": "ed25519:AAAA", "address": "fl.example.org:9092"})
    '7e09 0c46 b30a 2c19 af90'
    """
    digest = hashlib.sha256(canonical(dict(told))).hexdigest()
    return " ".join(digest[at : at + 4] for at in range(0, 20, 4))
