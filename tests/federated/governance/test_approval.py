"""Consent: nothing without it, nothing beyond it, nothing after it was taken back."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from federated.conftest import SMALL
from federated.governance.conftest import Parties
from sojourn.errors import JobRefusedError
from sojourn.events.store import EventStore
from sojourn.federated.config import FederatedConfig, read_federated
from sojourn.federated.coordinator import federate
from sojourn.federated.governance.approval import Approvals, check_question
from sojourn.federated.governance.manifest import Manifest, canonical, propose, sign_manifest
from sojourn.federated.messages import BEST_ROUND, Message, Refusal
from sojourn.federated.site import Site
from sojourn.federated.transport import InProcess
from sojourn.files import write_json


def reason(call: Any, *arguments: Any) -> str:
    with pytest.raises(JobRefusedError) as caught:
        call(*arguments)
    return caught.value.reason


def test_a_job_goes_from_offered_to_approved_to_revoked(
    approvals: Approvals, manifest: Manifest, parties: Parties
) -> None:
    digest = approvals.offer(sign_manifest(manifest, parties.coordinator))
    assert digest == manifest.digest
    assert [(c.name, c.state) for c in approvals.offered()] == [("sepsis", "waiting")]
    assert reason(approvals.approved, digest) == "not_approved"
    approvals.approve(digest, by="the board")
    assert approvals.approved(digest) == manifest
    approvals.offer(sign_manifest(manifest, parties.coordinator))  # offered again: consent stays
    assert approvals.approved(digest) == manifest
    approvals.revoke(digest, by="the board")
    assert reason(approvals.approved, digest) == "revoked"
    assert [line["event"] for line in approvals.log.lines()] == ["offered", "approved", "revoked"]


def test_only_what_was_offered_can_be_approved(approvals: Approvals, manifest: Manifest, parties: Parties) -> None:
    with pytest.raises(JobRefusedError, match="must have been offered"):
        approvals.approve(manifest.digest, by="the board")
    assert reason(approvals.offer, sign_manifest(manifest, parties.stranger)) == "unknown_coordinator"
    assert reason(approvals.approved, "../../etc/passwd") == "malformed"


def test_a_manifest_that_was_changed_on_disk_is_refused(
    approvals: Approvals, manifest: Manifest, parties: Parties
) -> None:
    digest = approvals.offer(sign_manifest(manifest, parties.coordinator))
    approvals.approve(digest, by="the board")
    path = approvals.folder / f"{digest}.manifest.json"
    whole = path.read_text()
    path.write_text(whole.replace('"max_questions":3', '"max_questions":2'))
    assert reason(approvals.approved, digest) == "tampered"
    other = manifest.model_copy(update={"name": "other"})
    path.write_bytes(sign_manifest(other, parties.coordinator))  # signed, but not what was agreed to
    assert reason(approvals.approved, digest) == "tampered"


@pytest.mark.parametrize("with_setting", [True, False])
def test_jobs_of_an_earlier_version_are_listed_and_revoked(
    with_setting: bool, approvals: Approvals, manifest: Manifest, parties: Parties
) -> None:
    """Of a setting that a release has taken away, or without one that it has added: read here, it is another job."""
    told = manifest.model_dump(mode="json")
    if with_setting:
        told["config"]["old_setting"] = 1
    else:
        del told["config"]["evaluate_every"]
    digest = hashlib.sha256(canonical(told)).hexdigest()
    path = approvals.folder / f"{digest}.manifest.json"
    write_json(path, {"manifest": told})
    approvals._decide(digest, "approved", "the board", "sepsis")  # by the version before
    new = approvals.offer(sign_manifest(manifest.model_copy(update={"name": "new"}), parties.coordinator))
    found = {one.name: (one.digest, one.stands) for one in approvals.offered()}
    assert found == {"sepsis": (digest, "approved; of another version, or changed"), "new": (new, "waiting")}
    path.write_text("{")
    assert {one.name for one in approvals.offered()} == {"?", "new"}
    approvals.revoke(digest, by="the board")
    assert approvals.state(digest) == "revoked"


class Governing(InProcess):
    """Sites that look at each question as a deployed one does, and let no wrong one pass."""

    def __init__(self, sites: Mapping[str, Site], manifest: Manifest) -> None:
        super().__init__(sites)
        self.manifest = manifest
        self.kinds: set[str] = set()

    def ask(self, requests: Mapping[str, Message], *, timeout_s: float) -> Iterator[tuple[str, Message | Refusal]]:
        for site, message in requests.items():
            check_question(self.manifest, message, site)
            self.kinds.add(message.kind)
        return super().ask(requests, timeout_s=timeout_s)


def test_all_that_a_coordinator_asks_in_a_training_is_allowed(toy_store: EventStore, tmp_path: Path) -> None:
    settings = {"personal": True, "cotraining": {"patients": 10, "local_steps": 1, "horizon_hours": 12}}
    config = read_federated(SMALL | {"rounds": 2, "local_steps": 1} | settings)
    names = sorted(toy_store.subjects["site"].unique())
    codes = [code for code in toy_store.vocabulary["code"] if code.startswith("OUTCOME//")]
    manifest = propose("n", config, names, outcomes=codes)
    network = Governing({name: Site(name, toy_store, tmp_path / name) for name in names}, manifest)
    federate(network, tmp_path / "run", config=config)
    assert network.kinds == {"survey", "hazards", "start", "train", "evaluate", "label"}
    wrong = Message("train", 0, {}, {"another": 1.0})
    assert reason(check_question, manifest, wrong, names[0]) == "malformed"
    assert reason(check_question, manifest, Message("survey", 0, {}, {BEST_ROUND: 1.0}), names[0]) == "malformed"


def asked(manifest: Manifest, kind: str = "start", **change: Any) -> Message:
    texts = {"config": manifest.config.model_dump_json(), "outcomes": '["MEDS_DEATH"]', "sites": '["north", "south"]'}
    return Message(kind, 0, {}, {}, texts)._replace(**change)


def test_questions_of_the_job_are_let_through(manifest: Manifest) -> None:
    check_question(manifest, asked(manifest), "north")
    check_question(manifest, Message("train", 3), "north")
    check_question(manifest, Message("evaluate", 0), "south")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"kind": "dump"}, "kind_not_allowed"),
        ({"round": 4}, "round_not_allowed"),
        ({"round": -1}, "round_not_allowed"),
        ({"numbers": {"x": 1.0}}, "malformed"),
        ({"texts": {}}, "malformed"),
        ({"texts": {"config": "{"}}, "malformed"),
        ({"texts": {"config": FederatedConfig(rounds=4, min_cell=1).model_dump_json()}}, "other_config"),
        ({"texts": {"code": "import os"}}, "malformed"),
    ],
)
def test_whatever_else_is_asked_is_refused(change: dict[str, Any], why: str, manifest: Manifest) -> None:
    assert reason(check_question, manifest, asked(manifest, **change), "north") == why


def test_lists_stay_within_those_agreed_to(manifest: Manifest) -> None:
    texts = dict(asked(manifest).texts)
    for name, value, why in (
        ("outcomes", ["MEDS_DEATH", "X"], "other_outcomes"),
        ("sites", ["north", "west"], "other_site"),
        ("sites", ["south"], "other_site"),
        ("sites", 3, "malformed"),
    ):
        question = asked(manifest, texts=texts | {name: json.dumps(value)})
        assert reason(check_question, manifest, question, "north") == why
    assert reason(check_question, manifest, asked(manifest), "west") == "other_site"
    limited = manifest.model_copy(update={"statistics": ("survey",)})
    assert reason(check_question, limited, Message("train", 0), "north") == "kind_not_allowed"


def test_questions_about_the_finished_model_are_answered_at_the_end_alone(manifest: Manifest) -> None:
    """In every round, with weights of the coordinator's choice, they would be thousands of exact figures."""
    for kind in ("validate", "exposure"):
        texts = {"task": "death-48h"} if kind == "validate" else {}
        asked = manifest.model_copy(update={"outcomes": ("MEDS_DEATH", "OUTCOME//death")})
        check_question(asked, Message(kind, 3, {}, {}, texts), "north")
        assert reason(check_question, asked, Message(kind, 2, {}, {}, texts), "north") == "round_not_allowed"


def test_no_manifest_allows_more_questions_than_the_docs_promise(manifest: Manifest) -> None:
    with pytest.raises(ValidationError, match="less than or equal to 3"):
        Manifest.model_validate(manifest.model_dump() | {"max_questions": 4})
