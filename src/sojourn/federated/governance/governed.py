"""A site behind its own rules: what it did not agree to is not answered, and whatever happens is written down."""

import json
from collections.abc import Callable
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING

from sojourn.errors import BudgetError, JobRefusedError, SojournError, UpdateRefusedError
from sojourn.federated.governance.approval import AT_THE_END, ONCE, Approvals, check_question
from sojourn.federated.governance.envelope import Letter, digest, seal, unseal
from sojourn.federated.governance.manifest import Manifest
from sojourn.federated.messages import Message, Refusal, pack, unpack
from sojourn.federated.transport import Answering
from sojourn.files import atomic_file, read_json, write_json
from sojourn.progress import console

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

OFFER, QUESTION = "offer", "question"
_ASKED, _ACTIVE = "asked.json", "active.json"
_ROUNDS = ("train", "evaluate", "label", "validate", "exposure")


class GovernedSite:
    """Answers sealed questions of approved jobs with sealed answers.

    Parameters
    ----------
    name : the site.
    folder : the site's private folder; what was asked and answered is kept there, so that a node that was killed gives
        the same answer to the same question without computing, or paying for, it again.
    make_site : makes the site that answers; called with the first question that is let through.
    approvals : the site's decisions.
    key : the site's signing key.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        make_site: Callable[[], Answering],
        *,
        approvals: Approvals,
        key: "Ed25519PrivateKey",
    ) -> None:
        self.name, self.folder, self.approvals, self.log = name, folder, approvals, approvals.log
        self._make_site, self._key = make_site, key
        self._site: Answering | None = None

    def answer(self, envelope: bytes) -> bytes:
        """The sealed answer to a sealed question: always one, if only with the reason why there is no other."""
        question = asked = digest(envelope)
        try:
            letter = unseal(envelope, allowed=self.approvals.allowed)
            asked = digest(letter.content)  # which the coordinator's log holds; an envelope is another each time
            if letter.said.get("site") != self.name:
                raise JobRefusedError("other_site", f"message must be addressed to {self.name}; it is not.")
            content = self._offered(letter) if letter.said.get("type") == OFFER else self._answered(letter, asked)
        except (JobRefusedError, UpdateRefusedError) as error:
            return self._refused(question, asked, error.reason, str(error))
        except BudgetError as error:
            _tell_owner(error)
            # Only the reason leaves: how much of its budget a site has spent, and on whom, is its own business.
            return self._refused(question, asked, "budget", "the site's privacy budget does not allow it.")
        except Exception as error:  # noqa: BLE001  (whatever a question makes of the code here, the node goes on)
            _tell_owner(error)
            return self._refused(question, asked, "site_error", type(error).__name__)
        return seal(content, {"site": self.name, "question": question, "head": self.log.head}, self._key)

    def _offered(self, letter: Letter) -> bytes:
        """Take a manifest in, and say where it stands."""
        job = self.approvals.offer(letter.content)
        return json.dumps({"job": job, "state": self.approvals.state(job)}).encode()

    def _answered(self, letter: Letter, asked: str) -> bytes:
        job = letter.said.get("job", "")
        manifest = self.approvals.approved(job, asked_by=letter.key)
        message = unpack(letter.content)
        check_question(manifest, message, self.name)
        known = self._outbox(message, asked, job)
        if known.exists() and message.kind != "start":  # a start is made again: another job may have come between
            content = known.read_bytes()
            self._note("answered_again", job, message, asked, content)
            return content
        if message.kind in _ROUNDS and self._is_over(message, job):
            raise JobRefusedError("over", "the round must not be over; what comes after it has been answered.")
        self._count(manifest, message, asked)
        if message.kind in _ROUNDS and self._active() != job:
            raise JobRefusedError("not_started", "the job must be started here before its rounds; it was not.")
        self._note("asked", job, message, asked, letter.content)
        if message.kind == "start":  # killed on the way, the site may hold either job: neither is answered
            self._activate("")
        content = pack(self._opened().answer(message))
        if message.kind == "start":
            self._activate(job)
        self._keep(known, message, content)
        self._note("answered", job, message, asked, content)
        return content

    def _opened(self) -> Answering:
        if self._site is None:
            self._site = self._make_site()
        return self._site

    def _active(self) -> str:
        path = self.folder / _ACTIVE
        return str(read_json(path)["job"]) if path.exists() else ""

    def _activate(self, job: str) -> None:
        write_json(self.folder / _ACTIVE, {"job": job})

    # -- answers that were given -------------------------------------------------------------------------------------

    def _outbox(self, message: Message, asked: str, job: str) -> Path:
        return self.folder / "outbox" / job[:16] / f"{message.kind}-{message.round}-{asked[:32]}.safetensors"

    def _is_over(self, message: Message, job: str) -> bool:
        """Whether anything of a later round was answered or, for a round of training, about the finished model."""
        names = [path.name.split("-") for path in (self.folder / "outbox" / job[:16]).glob("*-*.safetensors")]
        answered = [(name[0], int(name[1])) for name in names if name[0] in _ROUNDS]
        is_finished = any(kind in AT_THE_END for kind, _ in answered)
        return any(message.round < number for _, number in answered) or (message.kind == "train" and is_finished)

    def _keep(self, place: Path, message: Message, content: bytes) -> None:
        """Keep the answer, and forget those of its kind from rounds that are over."""
        with atomic_file(place) as part:
            part.write_bytes(content)
        for path in place.parent.glob(f"{message.kind}-*.safetensors"):
            if int(path.name.split("-")[1]) < message.round - 1:
                path.unlink()

    def _count(self, manifest: Manifest, message: Message, asked: str) -> None:
        """Refuse one question too many: with enough of them, differences of answers would tell of patients."""
        path = self.folder / _ASKED
        counts = read_json(path) if path.exists() else {}
        before = counts.setdefault(manifest.digest, {}).setdefault(f"{message.kind}/{message.round}", [])
        if asked in before:
            return
        most = 1 if message.kind in ONCE else manifest.max_questions
        if len(before) >= most:
            msg = f"at most {most} different questions of this kind and round are answered; got one more."
            raise JobRefusedError("too_many_questions", msg)
        before.append(asked)
        write_json(path, counts)

    # -- writing down ------------------------------------------------------------------------------------------------

    def _note(self, event: str, job: str, message: Message, asked: str, content: bytes) -> None:
        what = {"answer": digest(content)} if event != "asked" else {}
        self.log.append(
            event, job=job, kind=message.kind, round=message.round, question=asked, bytes=len(content), **what
        )

    def _refused(self, question: str, asked: str, reason: str, detail: str) -> bytes:
        head = self.log.append("refused", question=asked, reason=reason)
        said = {"site": self.name, "question": question, "reason": reason, "detail": detail, "head": head}
        return seal(b"", said, self._key)


def _tell_owner(error: Exception) -> None:
    """Say on the node's console why there is no answer: with the text of our own errors alone, as others may hold a
    value of a record."""
    said = type(error).__name__
    if isinstance(error, SojournError):
        said += f": {Refusal.told('', str(error)).detail}"  # one line: some of its words came with the question
    else:
        place = extract_tb(error.__traceback__)[-1]
        said += f" in {place.filename}, line {place.lineno}"
    console.print(f"a question led to {said}", markup=False, highlight=False, soft_wrap=True)
