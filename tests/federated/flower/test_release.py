"""A release asks the sites, keeps the run back or copies it, and is written into the coordinator's log."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path

import pytest

from federated.conftest import SMALL
from sojourn.errors import FederationError
from sojourn.federated.config import read_federated
from sojourn.federated.coordinator import federate
from sojourn.federated.flower import deployment
from sojourn.federated.flower.homes import CoordinatorHome, init_coordinator
from sojourn.federated.governance.manifest import propose, sign_manifest
from sojourn.federated.messages import Message, Refusal
from sojourn.federated.transport import InProcess


@pytest.fixture
def sites(network_of: Callable[..., InProcess]) -> InProcess:
    return network_of()


@pytest.fixture
def home(tmp_path: Path) -> CoordinatorHome:
    return init_coordinator(tmp_path / "coordinator", address="127.0.0.1:9092")


@pytest.fixture
def run(sites: InProcess, home: CoordinatorHome, tmp_path: Path) -> Path:
    """A finished run with its manifest."""
    federate(sites, tmp_path / "run", config=SMALL)
    manifest = propose("toy", read_federated(SMALL), list(sites.sites))
    (tmp_path / "run" / deployment.MANIFEST).write_bytes(sign_manifest(manifest, home.key))
    return tmp_path / "run"


def test_a_release_is_written_down(
    home: CoordinatorHome, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"members": 40.0, "others": 20.0, "auroc": 0.7, "lower": 0.62, "upper": 0.78}
    answers = {"north": Message("exposure", 2, {}, found), "south": Refusal("unreachable", "")}
    monkeypatch.setattr(deployment, "_ask_about", lambda *_: answers)  # the network is tried in test_deployment
    with pytest.raises(FederationError, match="north"):
        deployment.release_run(home, run, tmp_path / "out")
    with pytest.raises(FederationError, match=r"south \(unreachable\)"):
        deployment.release_run(home, run, tmp_path / "out", limit=0.65)
    report = deployment.release_run(home, run, tmp_path / "out", limit=0.65, allow_unchecked=True)
    assert [one.told for one in report.sites] == ["ok", "unreachable"]
    assert (tmp_path / "out" / "release.json").exists()
    lines = [json.loads(line) for line in home.log.path.read_text().splitlines()]
    assert [(line["event"], line["name"]) for line in lines if line["event"] == "released"] == [("released", "out")]
    assert not home.log.verify().problems


class OneJob(InProcess):
    """Sites at which another job has come between: rounds are answered once this one was started again."""

    started: set[str]

    def ask(self, requests: Mapping[str, Message], *, timeout_s: float) -> Iterator[tuple[str, Message | Refusal]]:
        for site, request in requests.items():
            if request.kind == "start":
                self.started.add(site)
            if site not in self.started:
                yield site, Refusal("not_started", "")
            else:
                yield from super().ask({site: request}, timeout_s=timeout_s)


def test_a_finished_run_is_asked_about_though_another_job_came_after_it(
    home: CoordinatorHome, run: Path, sites: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = OneJob(sites._sites)
    later.started = {"north"}
    monkeypatch.setattr(deployment, "_transport", lambda *_: nullcontext(later))
    scores = deployment.evaluate_run(home, run)
    assert later.started == {"north", "south", "west"}
    assert {score.told for score in scores} == {"ok", "too_few"}


def test_scores_that_cannot_be_are_told_as_such() -> None:
    bad = Message(
        "evaluate", 2, {}, {"events": 3.0, "nats_gap": -1.0, "nats_code": 1, "nats_value": 1, "query_nats": 1}
    )
    assert deployment._score("north", bad).told == "negative"
