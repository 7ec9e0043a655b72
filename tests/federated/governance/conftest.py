"""A job of two hospitals, and the keys of its parties."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sojourn.federated.config import FederatedConfig
from sojourn.federated.governance.approval import Approvals
from sojourn.federated.governance.audit import AuditLog
from sojourn.federated.governance.keys import make_key, public_text
from sojourn.federated.governance.manifest import Manifest, code_digest


class Parties(NamedTuple):
    coordinator: Ed25519PrivateKey
    site: Ed25519PrivateKey
    stranger: Ed25519PrivateKey


@pytest.fixture(scope="session")
def parties(tmp_path_factory: pytest.TempPathFactory) -> Parties:
    folder = tmp_path_factory.mktemp("keys")
    return Parties(*(make_key(folder / f"{name}.key") for name in Parties._fields))


@pytest.fixture
def manifest() -> Manifest:
    now = datetime.now(UTC).replace(microsecond=0)
    return Manifest(
        name="sepsis",
        version="0.1.0",
        code=code_digest(),
        config=FederatedConfig(rounds=4),
        sites=("north", "south"),
        outcomes=("MEDS_DEATH",),
        epsilon=None,
        created=now,
        expires=now + timedelta(days=1),
    )


@pytest.fixture
def approvals(parties: Parties, tmp_path: Path) -> Approvals:
    log = AuditLog(tmp_path / "audit.jsonl")
    return Approvals(tmp_path / "jobs", allowed=[public_text(parties.coordinator)], log=log)
