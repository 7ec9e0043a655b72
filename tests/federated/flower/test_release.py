"""A release asks the sites, keeps the run back or copies it, and is written into the coordinator's log."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from federated.conftest import SMALL
from sojourn.errors import FederationError
from sojourn.federated.config import read_federated
from sojourn.federated.coordinator import federate
from sojourn.federated.flower import deployment
from sojourn.federated.flower.homes import init_coordinator
from sojourn.federated.governance.manifest import propose, sign_manifest
from sojourn.federated.messages import Message, Refusal
from sojourn.federated.transport import InProcess


def test_a_release_is_written_down(
    network_of: Callable[..., InProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = init_coordinator(tmp_path / "coordinator", address="127.0.0.1:9092")
    sites, run = network_of(), tmp_path / "run"
    federate(sites, run, config=SMALL)
    manifest = propose("toy", read_federated(SMALL), list(sites.sites))
    (run / deployment.MANIFEST).write_bytes(sign_manifest(manifest, home.key))
    found = {"members": 40.0, "others": 20.0, "auroc": 0.7, "lower": 0.62, "upper": 0.78}
    answers = {"north": Message("exposure", 2, {}, found), "south": Refusal("unreachable", "")}
    monkeypatch.setattr(deployment, "_ask_about", lambda *_: answers)  # the network is tried in test_deployment
    with pytest.raises(FederationError, match="north"):
        deployment.release_run(home, run, tmp_path / "out")
    report = deployment.release_run(home, run, tmp_path / "out", limit=0.65)
    assert [one.told for one in report.sites] == ["ok", "unreachable"]
    assert (tmp_path / "out" / "release.json").exists()
    lines = [json.loads(line) for line in home.log.path.read_text().splitlines()]
    assert [(line["event"], line["name"]) for line in lines if line["event"] == "released"] == [("released", "out")]
    assert not home.log.verify().problems
