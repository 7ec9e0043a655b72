"""A governed site: sealed questions in, sealed answers out, and everything written down."""

from pathlib import Path

import numpy as np
import pytest

from federated.governance.conftest import Parties
from sojourn.errors import BudgetError, DataError, FederationError, JobRefusedError
from sojourn.federated.governance.approval import Approvals
from sojourn.federated.governance.audit import AuditLog
from sojourn.federated.governance.envelope import Letter, digest, seal, unseal
from sojourn.federated.governance.governed import OFFER, QUESTION, GovernedSite
from sojourn.federated.governance.keys import public_text
from sojourn.federated.governance.manifest import Manifest, sign_manifest
from sojourn.federated.messages import Message, pack, unpack

NAME = "north"


class Counting:
    """A site that counts what reaches it."""

    def __init__(self) -> None:
        self.name, self.seen = NAME, []  # type: tuple[str, list[Message]]
        self.error: Exception | None = None

    def answer(self, message: Message) -> Message:
        self.seen.append(message)
        if self.error is not None:
            raise self.error
        return Message(message.kind, message.round, {"w": np.full(2, len(self.seen), np.float32)})


class Desk:
    """Asks a governed site as the coordinator would."""

    def __init__(self, approvals: Approvals, parties: Parties, folder: Path) -> None:
        self.approvals, self.parties, self.folder, self.inner = approvals, parties, folder, Counting()
        self.site = self.restarted()

    def restarted(self) -> GovernedSite:
        site = GovernedSite(NAME, self.folder, lambda: self.inner, approvals=self.approvals, key=self.parties.site)
        self.site = site
        return site

    def post(self, content: bytes, said: dict[str, str], *, by: str = "coordinator") -> Letter:
        sealed = seal(content, said, getattr(self.parties, by))
        letter = unseal(self.site.answer(sealed), allowed=[public_text(self.parties.site)])
        assert letter.said["question"] == digest(sealed)
        return letter

    def ask(self, message: Message, job: str, *, site: str = NAME, by: str = "coordinator") -> Letter:
        return self.post(pack(message), {"type": QUESTION, "job": job, "site": site}, by=by)


@pytest.fixture
def desk(approvals: Approvals, parties: Parties, tmp_path: Path) -> Desk:
    return Desk(approvals, parties, tmp_path / "private")


@pytest.fixture
def job(desk: Desk, manifest: Manifest, parties: Parties) -> str:
    desk.post(sign_manifest(manifest, parties.coordinator), {"type": OFFER, "site": NAME})
    desk.approvals.approve(manifest.digest, by="the board")
    return manifest.digest


def start(manifest: Manifest) -> Message:
    texts = {"config": manifest.config.model_dump_json(), "outcomes": "[]", "sites": '["north"]'}
    return Message("start", 0, {}, {}, texts)


def train(round_: int, weight: float = 0.0) -> Message:
    return Message("train", round_, {"w": np.array([weight])})


def test_nothing_reaches_the_site_before_it_agreed(desk: Desk, manifest: Manifest, parties: Parties) -> None:
    assert desk.ask(start(manifest), manifest.digest).said["reason"] == "not_approved"
    offered = desk.post(sign_manifest(manifest, parties.coordinator), {"type": OFFER, "site": NAME})
    assert b'"waiting"' in offered.content
    assert desk.ask(start(manifest), manifest.digest).said["reason"] == "not_approved"
    assert not desk.inner.seen
    assert [line["event"] for line in desk.approvals.log.lines()] == ["refused", "offered", "refused"]


def test_an_approved_job_is_answered_and_written_down(desk: Desk, job: str, manifest: Manifest) -> None:
    desk.ask(start(manifest), job)
    answer = unpack(desk.ask(train(0), job).content)
    assert answer.tensors["w"].tolist() == [2.0, 2.0]
    events = [line["event"] for line in desk.approvals.log.lines()]
    assert events == ["offered", "approved", "asked", "answered", "asked", "answered"]
    assert desk.approvals.log.verify().problems == ()
    desk.approvals.revoke(job, by="the board")
    assert desk.ask(train(1), job).said["reason"] == "revoked"


def test_a_question_has_one_digest_in_the_logs_of_both_parties(desk: Desk, job: str, manifest: Manifest) -> None:
    """That of its content, as the coordinator notes it; the site noted the envelope's, which no other log held."""
    asked = [start(manifest), train(0), train(9)]
    reasons = [desk.ask(message, job).said.get("reason") for message in (*asked, train(0))]
    assert reasons == [None, None, "round_not_allowed", None]
    noted = [(line["event"], line["question"]) for line in desk.approvals.log.lines() if "question" in line]
    first, second, third = (digest(pack(message)) for message in asked)
    assert noted == [
        ("asked", first),
        ("answered", first),
        ("asked", second),
        ("answered", second),
        ("refused", third),
        ("answered_again", second),
    ]


def test_a_stranger_another_site_and_a_changed_letter_are_refused(desk: Desk, job: str, manifest: Manifest) -> None:
    assert desk.ask(start(manifest), job, by="stranger").said["reason"] == "unknown_sender"
    assert desk.ask(start(manifest), job, site="south").said["reason"] == "other_site"
    sealed = bytearray(
        seal(pack(train(0, 1.0)), {"type": QUESTION, "job": job, "site": NAME}, desk.parties.coordinator)
    )
    sealed[-3] ^= 1
    answer = unseal(desk.site.answer(bytes(sealed)), allowed=[public_text(desk.parties.site)])
    assert answer.said["reason"] == "tampered"
    assert not desk.inner.seen


def test_a_killed_node_gives_the_same_answer_without_computing_it_again(
    desk: Desk, job: str, manifest: Manifest
) -> None:
    desk.ask(start(manifest), job)
    first = desk.ask(train(0), job).content
    desk.restarted()
    assert desk.ask(train(0), job).content == first
    assert len(desk.inner.seen) == 2
    assert desk.approvals.log.lines()[-1]["event"] == "answered_again"


def test_rounds_need_a_start_of_the_same_job(desk: Desk, job: str, manifest: Manifest, parties: Parties) -> None:
    assert desk.ask(train(0), job).said["reason"] == "not_started"
    desk.ask(start(manifest), job)
    other = manifest.model_copy(update={"name": "other"})
    desk.post(sign_manifest(other, parties.coordinator), {"type": OFFER, "site": NAME})
    desk.approvals.approve(other.digest, by="the board")
    assert desk.ask(train(0), other.digest).said["reason"] == "not_started"
    desk.ask(start(other), other.digest)
    assert desk.ask(train(1), job).said["reason"] == "not_started"
    desk.ask(start(manifest), job)  # back again: a start is never answered from memory
    assert "reason" not in desk.ask(train(1), job).said


def test_a_round_is_not_asked_about_again_and_again(desk: Desk, job: str, manifest: Manifest) -> None:
    desk.ask(start(manifest), job)
    found = [desk.ask(train(0, float(n)), job).said.get("reason") for n in range(5)]
    assert found == [None, None, None, "too_many_questions", "too_many_questions"]
    desk.restarted()
    assert desk.ask(train(0, 9.0), job).said["reason"] == "too_many_questions"
    assert desk.ask(train(1, 9.0), job).said.get("reason") is None


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (BudgetError("epsilon 3.21 of 3"), "budget"),
        (DataError("patient 7"), "site_error"),
        (FederationError("[/x] of a folder with brackets"), "site_error"),
    ],
)
def test_the_text_of_an_error_stays_at_the_site(
    error: Exception, why: str, desk: Desk, job: str, manifest: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.inner.error = error
    letter = desk.ask(start(manifest), job)
    assert letter.said["reason"] == why
    assert str(error) not in "".join(letter.said.values())
    assert f"{type(error).__name__}: {error}\n" in capsys.readouterr().err  # where its owner reads it


def test_the_answer_tells_the_head_of_the_log(desk: Desk, job: str, manifest: Manifest) -> None:
    letter = desk.ask(start(manifest), job)
    assert letter.said["head"] == desk.approvals.log.head
    with pytest.raises(JobRefusedError, match="key on the list"):
        unseal(seal(b"", {}, desk.parties.site), allowed=[public_text(desk.parties.coordinator)])


def test_a_question_that_the_code_cannot_take_is_refused_and_written_down(
    desk: Desk, job: str, manifest: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.ask(start(manifest), job)
    desk.inner.error = RuntimeError("value 8.3 of subject 17")
    assert desk.ask(train(0), job).said["reason"] == "site_error"
    assert desk.approvals.log.lines()[-1]["event"] == "refused"
    told = capsys.readouterr()
    assert "RuntimeError" in told.err + told.out
    assert "8.3" not in told.err + told.out
    desk.inner.error = None
    assert "reason" not in desk.ask(train(0), job).said


def test_rounds_that_are_over_stay_over(desk: Desk, job: str, manifest: Manifest) -> None:
    """An old question is not computed, or paid for, a second time."""
    desk.ask(start(manifest), job)
    for round_ in range(4):
        desk.ask(train(round_), job)
    seen = len(desk.inner.seen)
    assert desk.ask(train(0), job).said["reason"] == "over"
    assert len(desk.inner.seen) == seen
    assert "reason" not in desk.ask(train(3), job).said


def test_whoever_asks_about_the_finished_model_has_finished_it(desk: Desk, job: str, manifest: Manifest) -> None:
    """That the last round is over is the coordinator's word: it is believed, but then the site trains no more."""
    desk.ask(start(manifest), job)
    assert "reason" not in desk.ask(train(0), job).said
    for kind in ("exposure", "evaluate", "exposure"):  # the site missed the rounds between
        assert "reason" not in desk.ask(Message(kind, 3), job).said
    for message in (train(1), train(3), Message("evaluate", 2)):
        assert desk.ask(message, job).said["reason"] == "over"
        desk.restarted()
    desk.ask(start(manifest), job)
    assert desk.ask(train(2), job).said["reason"] == "over"


def test_rounds_are_over_for_all_kinds_of_questions(desk: Desk, job: str, manifest: Manifest) -> None:
    desk.ask(start(manifest), job)
    for message in (train(0), Message("evaluate", 0), train(1, 1.0), train(1, 2.0), Message("evaluate", 1)):
        assert "reason" not in desk.ask(message, job).said
    assert desk.ask(Message("evaluate", 0, {"w": np.ones(1)}), job).said["reason"] == "over"
    assert desk.ask(train(0, 1.0), job).said["reason"] == "over"
    assert "reason" not in desk.ask(train(1, 3.0), job).said  # made again after a stop of the coordinator
    assert "reason" not in desk.ask(Message("evaluate", 3), job).said
    assert desk.ask(train(2), job).said["reason"] == "over"
    for kind in ("label", "validate", "exposure"):
        assert desk.ask(Message(kind, 2), job).said["reason"] in {"round_not_allowed", "kind_not_allowed"}


def test_counts_of_all_patients_are_told_once(desk: Desk, job: str, manifest: Manifest) -> None:
    texts = {"config": manifest.config.model_dump_json(), "outcomes": "[]", "sites": '["north"]'}

    def hazards(content: float, round_: int = 0) -> Letter:
        return desk.ask(Message("hazards", round_, {"vocabulary": np.array([content])}, {}, texts), job)

    assert "reason" not in hazards(1.0).said
    assert "reason" not in hazards(1.0).said
    assert hazards(2.0).said["reason"] == "too_many_questions"
    assert hazards(2.0, 1).said["reason"] == "round_not_allowed"


def test_a_job_is_asked_about_by_the_coordinator_that_signed_it(
    manifest: Manifest, parties: Parties, tmp_path: Path
) -> None:
    trusted = [public_text(parties.coordinator), public_text(parties.stranger)]
    approvals = Approvals(tmp_path / "both", allowed=trusted, log=AuditLog(tmp_path / "both.jsonl"))
    desk = Desk(approvals, parties, tmp_path / "private")
    desk.post(sign_manifest(manifest, parties.coordinator), {"type": OFFER, "site": NAME})
    desk.approvals.approve(manifest.digest, by="the board")
    assert desk.ask(start(manifest), manifest.digest, by="stranger").said["reason"] == "unknown_coordinator"
    assert "reason" not in desk.ask(start(manifest), manifest.digest).said


def test_a_node_that_dies_while_it_starts_a_job_answers_no_round_of_the_one_before(
    desk: Desk, job: str, manifest: Manifest, parties: Parties
) -> None:
    """The site may hold the new job already: a round of the old one would be made by its settings."""
    desk.ask(start(manifest), job)
    other = manifest.model_copy(update={"name": "other"})
    desk.post(sign_manifest(other, parties.coordinator), {"type": OFFER, "site": NAME})
    desk.approvals.approve(other.digest, by="the board")
    desk.inner.error = SystemExit()  # type: ignore[assignment]
    with pytest.raises(SystemExit):
        desk.ask(start(other), other.digest)
    desk.inner.error = None
    desk.restarted()
    assert desk.ask(train(0), job).said["reason"] == "not_started"
    assert desk.ask(train(0), other.digest).said["reason"] == "not_started"
    desk.ask(start(manifest), job)
    assert "reason" not in desk.ask(train(0), job).said
