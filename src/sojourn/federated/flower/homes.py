"""The folders of a coordinator and of a site: keys, certificates, who is trusted, what was agreed to."""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sojourn.errors import ConfigError
from sojourn.federated.flower.tls import is_certificate, is_node_public, make_certificates, make_node_key
from sojourn.federated.governance.approval import Approvals
from sojourn.federated.governance.audit import AuditLog
from sojourn.federated.governance.keys import fingerprint, is_public, make_key, public_text, read_key
from sojourn.files import read_json, write_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

COORDINATOR, SITE = "coordinator.json", "site.json"
INVITATION, REGISTRATION = "invitation.json", "registration.json"
LEFT_OUT = "left-out.txt"
_SITES, _JOBS = "sites", "jobs"


@dataclass(frozen=True, slots=True)
class CoordinatorHome:
    """A coordinator's folder."""

    path: Path
    host: str
    """Address to listen on."""
    port: int

    @property
    def log(self) -> AuditLog:
        """What the coordinator did."""
        return AuditLog(self.path / "audit.jsonl")

    @property
    def key(self) -> "Ed25519PrivateKey":
        """The key that signs manifests and questions."""
        return read_key(self.path / "coordinator.key")

    @property
    def fingerprint(self) -> str:
        """What hospitals compare by telephone: that of the whole invitation."""
        return fingerprint(read_invitation(self.path / INVITATION))

    def registrations(self) -> dict[str, dict[str, str]]:
        """Node key and signing key of each registered site."""
        return {path.stem: read_json(path) for path in sorted((self.path / _SITES).glob("*.json"))}

    def register(self, registration: Path) -> str:
        """Let a site in; its name.

        Raises
        ------
        ConfigError
            If the file is no registration, or the name or key belongs to another site already.
        """
        return self.admit(read_registration(registration))

    def admit(self, told: dict[str, str]) -> str:
        """Let the site in that told this in its registration; its name.

        Raises
        ------
        ConfigError
            If the name or a key belongs to another site already.
        """
        name = told["name"]
        for other, known in self.registrations().items():
            if known == told:
                return name
            if other == name or known["node_key"] == told["node_key"] or known["key"] == told["key"]:
                msg = (
                    f"a site must have a name and keys of its own; {name} shares one with {other}. Remove the old one."
                )
                raise ConfigError(msg)
        self.log.append("registered", site=name, key=fingerprint(told))
        write_json(self.path / _SITES / f"{name}.json", told)
        return name


@dataclass(frozen=True, slots=True)
class SiteHome:
    """A site's folder."""

    path: Path
    name: str
    store: Path
    address: str
    """Host and port of the coordinator."""
    coordinators: tuple[str, ...]
    """Public keys that may ask."""

    @property
    def log(self) -> AuditLog:
        """What the site was asked and answered."""
        return AuditLog(self.path / "audit.jsonl")

    @property
    def key(self) -> "Ed25519PrivateKey":
        """The key that signs the site's answers."""
        return read_key(self.path / "site.key")

    @property
    def fingerprint_of_coordinator(self) -> str:
        """That of the invitation that was taken: where the site connects to, whose certificate and key it believes."""
        authority = (self.path / "ca.crt").read_text()
        return fingerprint({"address": self.address, "authority": authority, "key": self.coordinators[0]})

    @property
    def fingerprint(self) -> str:
        """What the coordinator compares by telephone: that of the whole registration."""
        return fingerprint(read_registration(self.path / REGISTRATION))

    @property
    def private(self) -> Path:
        """What never leaves: moments, personal weights, the privacy ledger."""
        return self.path / "private"

    def left_out(self) -> frozenset[int]:
        """Ids of patients who have objected, one a line in left-out.txt.

        Raises
        ------
        ConfigError
            If a line is no id.
        """
        path = self.path / LEFT_OUT
        lines = path.read_text().split() if path.exists() else []
        if not all(line.lstrip("-").isdigit() for line in lines):
            raise ConfigError(f"{path} must hold the id of one patient a line; it holds something else.")
        return frozenset(map(int, lines))

    @property
    def approvals(self) -> Approvals:
        """Jobs and decisions."""
        return Approvals(self.path / _JOBS, allowed=self.coordinators, log=self.log)


def init_coordinator(path: Path, *, address: str, listen: str | None = None) -> CoordinatorHome:
    """Make a coordinator's folder with keys, certificates and the invitation that sites need.

    Parameters
    ----------
    path : folder to make.
    address : host:port under which the sites reach the coordinator.
    listen : address to listen on; None for 127.0.0.1, which only this machine reaches.

    Raises
    ------
    ConfigError
        If the folder is a coordinator's or site's already, or the address is not host:port.
    """
    host, port = split_address(address)
    _refuse_taken(path)
    path.mkdir(parents=True, exist_ok=True)
    make_certificates(path, host)
    key = make_key(path / "coordinator.key")
    invitation = {"address": address, "authority": (path / "ca.crt").read_text(), "key": public_text(key)}
    write_json(path / INVITATION, invitation)
    write_json(path / COORDINATOR, {"host": listen or "127.0.0.1", "port": port})
    home = open_coordinator(path)
    home.log.append("made", key=home.fingerprint)
    return home


def join_site(path: Path, *, name: str, store: Path, invitation: Path) -> SiteHome:
    """Make a site's folder with keys, and the registration that the coordinator needs.

    Parameters
    ----------
    path : folder to make; it holds secrets and private state, and belongs on the machine of the node.
    name : the site, as its store calls it.
    store : the site's event store.
    invitation : file from the coordinator; its key becomes the one that is trusted.

    Raises
    ------
    ConfigError
        If the folder is taken, the store is none or has no such site, or the invitation is none.
    """
    from sojourn.events.store import EventStore

    _refuse_taken(path)
    told = read_invitation(invitation)
    known = sorted(EventStore.open(store).subjects["site"].unique())
    if checked_name(name) not in known:
        raise ConfigError(f"--name must be a site of {store}; got {name!r}. It has {', '.join(known[:5])}.")
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.chmod(path, 0o700)
    node_key, key = make_node_key(path / "node.key"), make_key(path / "site.key")
    (path / "ca.crt").write_text(told["authority"])
    write_json(path / REGISTRATION, {"name": name, "node_key": node_key, "key": public_text(key)})
    settings = {"name": name, "store": str(store.resolve()), "address": told["address"], "coordinators": [told["key"]]}
    write_json(path / SITE, settings)
    home = open_site(path)
    home.log.append("joined", site=name, key=home.fingerprint_of_coordinator)
    return home


def read_invitation(path: Path) -> dict[str, str]:
    """Address, authority and key of a coordinator, from the file that `init_coordinator` wrote.

    Raises
    ------
    ConfigError
        If it is none.
    """
    told = _texts_in(path, {"address", "authority", "key"})
    if told is None or not is_public(told["key"]) or not is_certificate(told["authority"]):
        raise ConfigError(f"{path} must be made by `sojourn federate init`; it is not. Ask the coordinator for it.")
    split_address(told["address"])
    return told


def read_registration(path: Path) -> dict[str, str]:
    """Name and public keys of a site, from the file that `join_site` wrote.

    Raises
    ------
    ConfigError
        If it is none.
    """
    told = _texts_in(path, {"name", "node_key", "key"})
    if told is None or not is_public(told["key"]) or not is_node_public(told["node_key"]):
        raise ConfigError(f"{path} must be made by `sojourn federate join`; it is not. Ask the site for it.")
    checked_name(told["name"])
    return told


def _texts_in(path: Path, names: set[str]) -> dict[str, str] | None:
    """The texts of a JSON file that holds these and nothing else; None for any other."""
    told = read_json(path)
    is_one = isinstance(told, dict) and told.keys() == names and all(isinstance(text, str) for text in told.values())
    return told if is_one else None


def open_coordinator(path: Path) -> CoordinatorHome:
    """The coordinator whose folder this is."""
    said = _read(path / COORDINATOR, "sojourn federate init")
    return CoordinatorHome(path, str(said["host"]), int(said["port"]))


def open_site(path: Path) -> SiteHome:
    """The site whose folder this is."""
    said = _read(path / SITE, "sojourn federate join")
    return SiteHome(path, said["name"], Path(said["store"]), said["address"], tuple(said["coordinators"]))


def open_home(path: Path) -> CoordinatorHome | SiteHome:
    """The coordinator or site whose folder this is.

    Raises
    ------
    ConfigError
        If it is neither.
    """
    if not (path / SITE).exists() and not (path / COORDINATOR).exists():
        raise ConfigError(
            f"{path} must be made by `sojourn federate init` (coordinator) or `sojourn federate join` (hospital); it "
            "is neither."
        )
    return open_site(path) if (path / SITE).exists() else open_coordinator(path)


def split_address(address: str) -> tuple[str, int]:
    """Host and port of an address.

    Examples
    --------
    >>> split_address("fl.example.org:9092")
    ('fl.example.org', 9092)
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"address must be host:port, such as fl.example.org:9092; got {address!r}.")
    return host.strip("[]"), int(port)


def free_port() -> int:
    """A port of the loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def checked_name(name: str) -> str:
    """A site's name that may stand in a file's name."""
    if not name or not all(letter.isalnum() or letter in "-_." for letter in name) or name.startswith("."):
        raise ConfigError(f"a site's name must consist of letters, digits, - and _; got {name!r}.")
    return name


def _read(path: Path, command: str) -> Mapping[str, Any]:
    if not path.exists():
        raise ConfigError(f"{path.parent} must be made by `{command}`; {path.name} is not there.")
    said: Mapping[str, Any] = json.loads(path.read_text())
    return said


def _refuse_taken(path: Path) -> None:
    if any((path / name).exists() for name in (COORDINATOR, SITE)):
        raise ConfigError(f"{path} must be a new folder; it holds keys of an earlier call. Choose another.")
