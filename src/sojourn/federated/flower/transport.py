"""Questions to sites over Flower: sealed, sent to nodes that are there, asked again of nodes that come back."""

import json
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from sojourn.errors import FederationError, JobRefusedError, UpdateRefusedError
from sojourn.federated.flower.superlink import SuperLink
from sojourn.federated.governance.audit import AuditLog
from sojourn.federated.governance.envelope import Letter, digest, seal, unseal
from sojourn.federated.governance.governed import OFFER, QUESTION
from sojourn.federated.messages import UNREADABLE, Message, Refusal, pack, unpack
from sojourn.progress import console

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_POLL_S = 0.2


class _Sent(NamedTuple):
    """A question on its way."""

    id: str
    came: str
    """When the node had come, as Flower says; another time means that it went away and lost the question."""


class FlowerTransport:
    """`Transport` over a `SuperLink`.

    Parameters
    ----------
    link : the coordinator's end of the connection, open.
    job : digest of the manifest.
    keys : public signing key of each site.
    key : the coordinator's signing key.
    log : the coordinator's audit log.

    Attributes
    ----------
    bytes_sent, bytes_received : int
        Size of all envelopes.
    """

    def __init__(
        self, link: SuperLink, job: str, *, keys: Mapping[str, str], key: "Ed25519PrivateKey", log: AuditLog
    ) -> None:
        self.link, self.job, self.keys, self.log = link, job, dict(sorted(keys.items())), log
        self._key = key
        self.bytes_sent = self.bytes_received = 0
        self._heads: dict[str, str] = {}

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites that were named in the manifest."""
        return tuple(self.keys)

    def ask(self, requests: Mapping[str, Message], *, timeout_s: float) -> Iterator[tuple[str, Message | Refusal]]:
        """Answers as they come; who has not answered in time is ``unreachable``."""
        packed = {site: pack(request) for site, request in requests.items()}
        for site, request in requests.items():
            told: dict[str, str | float] = {"kind": request.kind, "round": request.round, "bytes": len(packed[site])}
            self.log.append("asked", job=self.job, site=site, question=digest(packed[site]), **told)
        for site, found in self._exchange(packed, QUESTION, timeout_s):
            yield site, self._read(site, requests[site], found)

    def offer(self, signed: bytes, *, timeout_s: float) -> dict[str, str]:
        """Send the signed manifest to all sites, and say where it stands: approved, waiting, revoked or a reason."""
        states = dict.fromkeys(self.sites, "unreachable")
        for site, found in self._exchange(dict.fromkeys(self.sites, signed), OFFER, timeout_s):
            if isinstance(found, Refusal):
                states[site] = found.reason
                continue
            try:
                said = json.loads(found.content)
                states[site] = Refusal.told(str(said["state"]), "").reason if said["job"] == self.job else "other_job"
            except UNREADABLE:
                states[site] = "malformed"
        return states

    def wait_for_consent(self, signed: bytes, *, at_least: int, patience_s: float, every_s: float = 2.0) -> list[str]:
        """Wait until enough sites have agreed to the job; the names of those that have.

        All sites are waited for as long as `patience_s`; then those that agreed are enough if they are `at_least`.

        Raises
        ------
        FederationError
            If too few agreed in time.
        """
        deadline = time.monotonic() + patience_s
        before: dict[str, str] = {}
        while True:
            states = self.offer(signed, timeout_s=min(30.0, patience_s))
            agreed = [site for site, state in states.items() if state == "approved"]
            if states != before:
                console.print("sites: " + ", ".join(f"{site} {state}" for site, state in states.items()), markup=False)
                for site in [site for site, state in states.items() if state != before.get(site)]:
                    self.log.append("stands", job=self.job, site=site, reason=states[site], head=self._head(site))
                before = states
            if len(agreed) == len(states) or time.monotonic() > deadline:
                break
            time.sleep(every_s)
        if len(agreed) < at_least:
            msg = (
                f"at least {at_least} sites must agree to the job; {len(agreed)} of {len(states)} did. At each site: "
                "`sojourn federate run SITE` and `sojourn federate approve SITE`."
            )
            raise FederationError(msg)
        return agreed

    # -- one exchange ------------------------------------------------------------------------------------------------

    def _exchange(
        self, contents: Mapping[str, bytes], kind: str, timeout_s: float
    ) -> Iterator[tuple[str, Letter | Refusal]]:
        """Send, and ask again whoever went away with the question, until all answered or the time is over."""
        self._heads.clear()  # of earlier answers: who does not answer now tells nothing
        deadline = time.monotonic() + timeout_s
        said = {"type": kind, "job": self.job}
        sealed = {site: seal(content, said | {"site": site}, self._key) for site, content in contents.items()}
        sent: dict[str, _Sent] = {}
        open_ = set(sealed)
        while open_ and time.monotonic() < deadline:
            self._push(open_, sealed, sent, deadline)
            by_id = {one.id: site for site, one in sent.items()}
            arrivals = self.link.pull(set(by_id)) if by_id else []
            for arrival in arrivals:
                site = by_id.get(arrival.question)
                if site is None or site not in open_:
                    continue
                if arrival.envelope is None:
                    del sent[site]  # the node is not there; it is asked again when it is
                    continue
                open_.discard(site)
                del sent[site]
                yield site, self._opened(site, sealed[site], arrival.envelope)
            if not arrivals:
                time.sleep(_POLL_S)
        for site in sorted(open_):
            yield site, Refusal("unreachable", f"no answer in {timeout_s:.0f} s.")

    def _push(self, open_: set[str], sealed: Mapping[str, bytes], sent: dict[str, _Sent], deadline: float) -> None:
        there = self.link.online()
        for site in sorted(open_ & there.keys()):
            if site in sent and sent[site].came == there[site]:
                continue
            lifetime = max(1.0, deadline - time.monotonic()) + 60
            name = self.link.push(site, sealed[site], lifetime_s=lifetime)
            if name is not None:
                self.bytes_sent += len(sealed[site])
                sent[site] = _Sent(name, there[site])

    def _opened(self, site: str, question: bytes, envelope: bytes) -> Letter | Refusal:
        """An answer that the site signed, to the question that it was asked."""
        self.bytes_received += len(envelope)
        try:
            letter = unseal(envelope, allowed=(self.keys[site],))
            if letter.said.get("site") != site or letter.said.get("question") != digest(question):
                raise JobRefusedError("other_question", f"{site} must answer what it was asked; it did not.")
        except JobRefusedError as error:
            return Refusal(error.reason, str(error))
        self._heads[site] = letter.said.get("head", "")
        if "reason" in letter.said:
            return Refusal.told(letter.said["reason"], letter.said.get("detail", ""))
        return letter

    def _head(self, site: str) -> str:
        """The last line of a site's log, as it told with its last answer; empty once that was used."""
        return self._heads.pop(site, "")

    def _read(self, site: str, request: Message, found: Letter | Refusal) -> Message | Refusal:
        told: dict[str, str | float] = {"job": self.job, "site": site, "kind": request.kind, "round": request.round}
        if isinstance(found, Letter):
            try:
                message = unpack(found.content)
            except UpdateRefusedError as error:
                found = Refusal(error.reason, str(error))
            else:
                told |= {"answer": digest(found.content), "bytes": len(found.content)}
                self.log.append("answered", **told, head=self._head(site))
                return message
        self.log.append("refused", **told, reason=found.reason, head=self._head(site))
        return found
