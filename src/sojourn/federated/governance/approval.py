"""What a site agreed to: nothing is answered without a record of consent to exactly this manifest."""

import json
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from sojourn.errors import ConfigError, JobRefusedError, TaskError
from sojourn.federated.config import FederatedConfig, read_federated
from sojourn.federated.governance.audit import AuditLog
from sojourn.federated.governance.manifest import Manifest, Signed, verify_manifest
from sojourn.federated.messages import BEST_ROUND, UNREADABLE, Message
from sojourn.files import atomic_file, read_json, write_json
from sojourn.tasks.definitions import get_task

_TEXTS = frozenset({"config", "outcomes", "sites"})
_WITH_CONFIG = ("survey", "hazards", "start")
_MANIFEST = ".manifest.json"
AT_THE_END = ("label", "validate", "exposure")
"""Questions about the finished model: in every round, with weights chosen for it, they would be many attacks. That the
last round is over is the coordinator's word, so a site that answered one of them trains no more."""
ONCE = ("survey", "hazards")
"""Counts of all patients: the difference of two such answers would tell of the few in whom they differ."""


class Consent(NamedTuple):
    """Where a job stands at a site."""

    digest: str
    name: str
    state: str
    """waiting, approved or revoked."""
    manifest: Manifest | None
    """None for a job of another version of Sojourn, or one that was changed: it can only be revoked."""

    @property
    def stands(self) -> str:
        """The state in words, for the people who decide."""
        return self.state if self.manifest is not None else f"{self.state}; of another version, or changed"


class Approvals:
    """Jobs that were offered to a site, and its decisions.

    Parameters
    ----------
    folder : where both are kept.
    allowed : public keys of the coordinators that the site trusts.
    log : the site's audit log.
    """

    def __init__(self, folder: Path, *, allowed: Collection[str], log: AuditLog) -> None:
        self.folder, self.allowed, self.log = folder, frozenset(allowed), log

    def offer(self, signed: bytes) -> str:
        """Keep a manifest that came from a trusted coordinator until somebody decides; its digest.

        Raises
        ------
        JobRefusedError
            If it is not as it must be; nothing is kept.
        """
        manifest = verify_manifest(signed, allowed=self.allowed).manifest
        path = self._manifest(manifest.digest)
        if not path.exists():
            with atomic_file(path) as part:
                part.write_bytes(signed)
            self.log.append("offered", job=manifest.digest, name=manifest.name)
        return manifest.digest

    def offered(self) -> list[Consent]:
        """All jobs that were offered, oldest first; also those that this version of Sojourn cannot read."""
        found = self.folder.glob(f"*{_MANIFEST}")
        digests = [path.name.removesuffix(_MANIFEST) for path in sorted(found, key=lambda path: path.stat().st_mtime)]
        return [self._consent(digest) for digest in digests if _is_digest(digest)]

    def _consent(self, digest: str) -> Consent:
        """Where a job stands that has this digest by its file's name, which no later version changes."""
        try:
            told = json.loads(self._manifest(digest).read_bytes())["manifest"]
            name = str(told["name"])
        except UNREADABLE:
            return Consent(digest, "?", self.state(digest), None)
        try:
            manifest = Manifest.model_validate(told)
        except ValidationError:
            return Consent(digest, name, self.state(digest), None)
        return Consent(digest, name, self.state(digest), manifest if manifest.digest == digest else None)

    def state(self, digest: str) -> str:
        """Whether a job is waiting, approved or revoked."""
        path = self._decision(digest)
        return str(read_json(path)["state"]) if path.exists() else "waiting"

    def approve(self, digest: str, *, by: str) -> Manifest:
        """Agree to a job.

        Raises
        ------
        JobRefusedError
            If it was not offered, or is no longer as it must be.
        """
        manifest = self._read(digest).manifest
        self._decide(digest, "approved", by, manifest.name)
        return manifest

    def revoke(self, digest: str, *, by: str) -> None:
        """Take consent back: from now on nothing of the job is answered."""
        self._decide(digest, "revoked", by, "")

    def approved(self, digest: str, *, asked_by: str | None = None) -> Manifest:
        """The manifest of a job that may be answered now, to whoever has the key `asked_by`.

        Raises
        ------
        JobRefusedError
            With the reason ``not_approved``, ``revoked`` or ``unknown_coordinator``, or one of `verify_manifest`.
        """
        state = self.state(digest)
        if state != "approved":
            reason = "revoked" if state == "revoked" else "not_approved"
            msg = f"a job must be approved by the site before it is answered; {digest[:12]} is {state}."
            raise JobRefusedError(reason, msg)
        if read_json(self._decision(digest))["digest"] != digest:
            raise JobRefusedError("not_approved", f"the consent to {digest[:12]} must name it; it names another job.")
        signed = self._read(digest)
        if asked_by not in (None, signed.key):
            msg = f"a question of {digest[:12]} must come from the coordinator that signed it; it comes from another."
            raise JobRefusedError("unknown_coordinator", msg)
        return signed.manifest

    def _read(self, digest: str) -> Signed:
        """The manifest as it lies on disk, checked anew each time."""
        path = self._manifest(digest)
        if not path.exists():
            msg = f"a job must have been offered to this site; {digest[:12]} was not. See `sojourn federate status`."
            raise JobRefusedError("not_offered", msg)
        signed = verify_manifest(path.read_bytes(), allowed=self.allowed)
        if signed.manifest.digest != digest:
            raise JobRefusedError("tampered", f"{path} must hold the job {digest[:12]}; it holds another.")
        return signed

    def _decide(self, digest: str, state: str, by: str, name: str) -> None:
        record: dict[str, Any] = {"digest": digest, "state": state, "by": by, "name": name}
        write_json(self._decision(digest), record | {"time": datetime.now(UTC).isoformat(timespec="seconds")})
        self.log.append(state, job=digest, by=by, name=name)

    def _manifest(self, digest: str) -> Path:
        return self.folder / f"{_checked(digest)}{_MANIFEST}"

    def _decision(self, digest: str) -> Path:
        return self.folder / f"{_checked(digest)}.consent.json"


def _checked(digest: str) -> str:
    """A digest that may stand in a file's name."""
    if not _is_digest(digest):
        raise JobRefusedError("malformed", "a job must be named by 64 hexadecimal digits; got something else.")
    return digest


def _is_digest(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def check_question(manifest: Manifest, message: Message, site: str) -> None:
    """Refuse a question that the approved manifest does not cover.

    Raises
    ------
    JobRefusedError
        With the reason ``other_site``, ``kind_not_allowed``, ``round_not_allowed``, ``other_config``,
        ``other_outcomes`` or ``malformed``.
    """
    if site not in manifest.sites:
        raise JobRefusedError("other_site", f"job must name the site {site}; it names {len(manifest.sites)} others.")
    if message.kind not in manifest.statistics:
        msg = f"question must be one of {', '.join(manifest.statistics)}; got {message.kind!r}."
        raise JobRefusedError("kind_not_allowed", msg)
    most = 1 if message.kind in _WITH_CONFIG else manifest.config.rounds
    least = most - 1 if message.kind in AT_THE_END else 0
    if not least <= message.round < most:
        msg = f"round of a {message.kind} must be from {least} to {most - 1}, as was agreed to; got {message.round}."
        raise JobRefusedError("round_not_allowed", msg)
    texts = _TEXTS | ({"task"} if message.kind == "validate" else set())
    numbers = set() if message.kind in _WITH_CONFIG else {BEST_ROUND}
    if message.numbers.keys() - numbers or message.texts.keys() - texts:
        msg = "question must hold nothing but tensors, config, outcomes, sites and the round of the best weights."
        raise JobRefusedError("malformed", msg)
    if (message.kind in _WITH_CONFIG) != ("config" in message.texts):
        raise JobRefusedError("malformed", f"question of kind {message.kind} must hold a config where one is due.")
    if "config" in message.texts and _config_of(message) != manifest.config:
        raise JobRefusedError("other_config", "config must be that of the approved job; it differs.")
    _check_lists(manifest, message, site)
    if message.kind == "validate" and not _asks_for(message.texts.get("task", "")) <= set(manifest.outcomes):
        raise JobRefusedError("other_outcomes", "task must ask for outcomes of the approved job; it asks for others.")


def _asks_for(task: str) -> set[str]:
    """Codes of the outcomes of a built-in task; of anything else, what no manifest holds."""
    try:
        return {outcome.code for outcome in get_task(task).definitions()}
    except TaskError:
        return {task}


def _check_lists(manifest: Manifest, message: Message, site: str) -> None:
    """Outcomes and sites must be among those agreed to."""
    try:
        lists = {
            name: [str(one) for one in json.loads(message.texts.get(name, "[]"))] for name in ("outcomes", "sites")
        }
    except (ValueError, TypeError) as error:
        raise JobRefusedError("malformed", "outcomes and sites must be lists; they cannot be read.") from error
    if not set(lists["outcomes"]) <= set(manifest.outcomes):
        raise JobRefusedError("other_outcomes", "outcomes must be among those of the approved job; some are not.")
    if lists["sites"] and (not set(lists["sites"]) <= set(manifest.sites) or site not in lists["sites"]):
        raise JobRefusedError("other_site", "sites must be among those of the approved job, with this one.")


def _config_of(message: Message) -> FederatedConfig:
    try:
        return read_federated(json.loads(message.texts["config"]))
    except (ValueError, ConfigError) as error:
        raise JobRefusedError("malformed", "config must be that of a federated training; it is not.") from error
