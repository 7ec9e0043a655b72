"""What a federated training will ask of its sites: written down, signed by the coordinator, agreed to by each site."""

import hashlib
import json
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from sojourn.errors import JobRefusedError
from sojourn.federated.config import FederatedConfig
from sojourn.federated.governance.keys import canonical, is_signed, public_text, sign

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Kind = Literal["survey", "hazards", "start", "train", "evaluate", "label", "validate", "exposure"]
KINDS: tuple[Kind, ...] = ("survey", "hazards", "start", "train", "evaluate", "label", "validate", "exposure")


class Manifest(BaseModel):
    """A job, in full: what runs, on whose records, what is asked, what it may cost.

    Two manifests with the same content have the same digest, and a site agrees to a digest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=100)]
    purpose: Annotated[str, Field(max_length=2000)] = ""
    """For the people who decide: what the model is for."""
    version: str
    """Of Sojourn."""
    code: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """`code_digest` of the coordinator; a site whose own differs refuses."""
    config: FederatedConfig
    sites: Annotated[tuple[str, ...], Field(min_length=1)]
    statistics: tuple[Kind, ...] = KINDS
    """Kinds of questions that will be asked."""
    outcomes: tuple[str, ...]
    """Codes whose first event may be asked for."""
    epsilon: float | None
    """Cost of the training to any patient of a site; null: no noise."""
    max_questions: Annotated[int, Field(ge=1, le=3)] = 3
    """Different questions of one kind in one round that a site answers; repeated ones get the same answer again."""
    created: AwareDatetime
    expires: AwareDatetime
    """After this, nothing is answered."""

    @model_validator(mode="after")
    def _budget_is_that_of_the_config(self) -> "Manifest":
        of_config = None if self.config.privacy is None else self.config.privacy.epsilon
        if self.epsilon != of_config:
            raise ValueError(f"epsilon must be that of the config; got {self.epsilon} and {of_config}")
        return self

    @property
    def content(self) -> bytes:
        """Canonical bytes: JSON with sorted keys, no spaces, ASCII."""
        return canonical(self.model_dump(mode="json"))

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes, by which the job is known."""
        return hashlib.sha256(self.content).hexdigest()


class Signed(NamedTuple):
    """A manifest and whose signature it has."""

    manifest: Manifest
    key: str
    """Public key of the coordinator."""


@cache
def code_digest() -> str:
    """SHA-256 over the names and bytes of all installed files of the package, but for compiled ones."""
    root = Path(__file__).parents[2]
    total = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
            name = path.relative_to(root).as_posix().encode()
            total.update(name + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def propose(
    name: str,
    config: FederatedConfig,
    sites: Collection[str],
    *,
    purpose: str = "",
    outcomes: Collection[str] | None = None,
    days_valid: float = 30,
) -> Manifest:
    """The manifest of a training with the code that is installed here.

    Parameters
    ----------
    name, purpose : for the people who decide.
    config : settings of the training.
    sites : sites that are asked to take part.
    outcomes : codes whose first event may be asked for; None for the config's, or all that Sojourn knows.
    days_valid : how long the sites will answer.
    """
    from sojourn.tasks.outcomes import outcomes as known

    asked = outcomes or config.pretrain.outcomes or [outcome.code for outcome in known().values()]
    now = datetime.now(UTC).replace(microsecond=0)
    return Manifest(
        name=name,
        purpose=purpose,
        version=version("sojourn"),
        code=code_digest(),
        config=config,
        sites=tuple(sorted(sites)),
        statistics=tuple(kind for kind in KINDS if kind != "label" or config.cotraining is not None),
        outcomes=tuple(sorted(asked)),
        epsilon=None if config.privacy is None else config.privacy.epsilon,
        created=now,
        expires=now + timedelta(days=days_valid),
    )


def sign_manifest(manifest: Manifest, key: "Ed25519PrivateKey") -> bytes:
    """A manifest with its signature, as it is sent and kept."""
    signed = {"manifest": manifest.model_dump(mode="json"), "key": public_text(key)}
    return canonical(signed | {"signature": sign(key, manifest.content)})


def verify_manifest(
    content: bytes, *, allowed: Collection[str], now: datetime | None = None, code: str | None = None
) -> Signed:
    """Read a signed manifest, and refuse it where anything is not as it must be.

    Parameters
    ----------
    content : what `sign_manifest` made.
    allowed : public keys of the coordinators that the site trusts.
    now : time to compare the expiry with; None for the clock.
    code : digest of the code here; None computes it.

    Raises
    ------
    JobRefusedError
        With the reason ``malformed``, ``unknown_coordinator``, ``tampered``, ``other_code`` or ``expired``.
    """
    try:
        read = json.loads(content)
        told, key, signature = read["manifest"], str(read["key"]), str(read["signature"])
        written, of_code = canonical(told), str(told["code"])
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable() from error
    if key not in allowed:
        msg = "manifest must be of a coordinator on this site's list; its key is another. Add it by joining."
        raise JobRefusedError("unknown_coordinator", msg)
    if not is_signed(written, key, signature):
        msg = f"manifest {told.get('name')!r} must be as its coordinator signed it; it was changed. Ask for it again."
        raise JobRefusedError("tampered", msg)
    # Before it is read by the rules of this version, under which one of another may look wrong, or like another job.
    if of_code != (here := code or code_digest()):
        msg = (
            f"manifest {told.get('name')!r} must be of the code that is installed here ({here[:12]}); it is of "
            f"{of_code[:12]}, Sojourn {told.get('version')}. Install the same release on both sides."
        )
        raise JobRefusedError("other_code", msg)
    return Signed(_checked(told, written, now or datetime.now(UTC)), key)


def _checked(told: Any, written: bytes, now: datetime) -> Manifest:
    """The manifest that was signed, if it is one and current."""
    try:
        manifest = Manifest.model_validate(told)
    except ValidationError as error:
        raise _unreadable() from error
    if manifest.content != written:  # what is not said in full would be another job after an upgrade
        raise _unreadable()
    if now >= manifest.expires:
        msg = (
            f"manifest {manifest.name!r} must be current; it expired on {manifest.expires:%Y-%m-%d}. Ask for a new one."
        )
        raise JobRefusedError("expired", msg)
    return manifest


def _unreadable() -> JobRefusedError:
    msg = "manifest must be one of this version of Sojourn; it cannot be read. Ask the coordinator to send it again."
    return JobRefusedError("malformed", msg)
