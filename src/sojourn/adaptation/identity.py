"""What a result was made from, as checksums: the same call finds its own finished work, another one does not."""

import hashlib
import json
from pathlib import Path
from typing import Any

from sojourn.events.store import EventStore
from sojourn.files import sha256
from sojourn.training.run import WEIGHTS, Run


def run_identity(run: Run) -> str:
    """Checksum of a run's weights."""
    return sha256(run.path / WEIGHTS)


def store_identity(store: EventStore) -> str:
    """Checksum of what a store was built from, the one that ``run.yaml`` holds."""
    return hashlib.sha256(json.dumps(store.manifest["inputs"], sort_keys=True).encode()).hexdigest()


def file_identity(path: Path) -> str:
    """Checksum of a file's bytes."""
    return sha256(path)


def plain(content: Any) -> Any:
    """The same content in the types that JSON and YAML give back."""
    return json.loads(json.dumps(content))
