"""Signed manifests: what was changed, is of strangers, of other code or too old is refused, with the reason."""

import json
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from federated.governance.conftest import Parties
from sojourn.errors import JobRefusedError
from sojourn.federated.config import FederatedConfig
from sojourn.federated.governance.keys import canonical, public_text, sign
from sojourn.federated.governance.manifest import (
    Manifest,
    code_digest,
    propose,
    sign_manifest,
    verify_manifest,
)


def refused(content: bytes, parties: Parties, **how: Any) -> str:
    with pytest.raises(JobRefusedError) as caught:
        verify_manifest(content, allowed=[public_text(parties.coordinator)], **how)
    return caught.value.reason


def test_a_signed_manifest_comes_back_as_it_was(manifest: Manifest, parties: Parties) -> None:
    signed = sign_manifest(manifest, parties.coordinator)
    found = verify_manifest(signed, allowed=[public_text(parties.coordinator)])
    assert found == (manifest, public_text(parties.coordinator))
    assert found.manifest.digest == manifest.digest
    assert sign_manifest(found.manifest, parties.coordinator) == signed


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("name",), "another"),
        (("sites",), ["north", "south", "west"]),
        (("outcomes",), ["MEDS_DEATH", "SECRET"]),
        (("max_questions",), 1),
        (("config", "rounds"), 400),
        (("config", "min_cell"), 1),
        (("expires",), "2099-01-01T00:00:00Z"),
    ],
)
def test_whatever_is_changed_is_noticed(
    place: tuple[str, ...], value: Any, manifest: Manifest, parties: Parties
) -> None:
    content = json.loads(sign_manifest(manifest, parties.coordinator))
    part = content["manifest"]
    for name in place[:-1]:
        part = part[name]
    assert part[place[-1]] != value
    part[place[-1]] = value
    assert refused(canonical(content), parties) == "tampered"


def test_a_coordinator_that_is_not_on_the_list_is_refused(manifest: Manifest, parties: Parties) -> None:
    assert refused(sign_manifest(manifest, parties.stranger), parties) == "unknown_coordinator"
    content = json.loads(sign_manifest(manifest, parties.stranger))
    content["key"] = public_text(parties.coordinator)  # in another's name
    assert refused(canonical(content), parties) == "tampered"


def test_other_code_and_an_old_manifest_are_refused(manifest: Manifest, parties: Parties) -> None:
    signed = sign_manifest(manifest, parties.coordinator)
    assert refused(signed, parties, code="0" * 64) == "other_code"
    assert refused(signed, parties, now=manifest.expires) == "expired"
    before = manifest.expires - timedelta(seconds=1)
    assert verify_manifest(signed, allowed=[public_text(parties.coordinator)], now=before).manifest == manifest


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"manifest": 3}', b"\xff\xfe"])
def test_what_is_no_manifest_is_malformed(content: bytes, parties: Parties) -> None:
    assert refused(content, parties) == "malformed"


def signed_as(told: dict[str, Any], parties: Parties) -> bytes:
    """A manifest as a coordinator of another version might sign it."""
    key = parties.coordinator
    return canonical({"manifest": told, "key": public_text(key), "signature": sign(key, canonical(told))})


def test_one_setting_more_or_fewer_is_malformed(manifest: Manifest, parties: Parties) -> None:
    whole = manifest.model_dump(mode="json")
    fewer = {name: value for name, value in whole.items() if name != "max_questions"}
    for told in (whole | {"also": True}, fewer):
        assert refused(signed_as(told, parties), parties) == "malformed"
        assert refused(signed_as(told | {"code": "0" * 64}, parties), parties) == "other_code"
    content = json.loads(sign_manifest(manifest, parties.coordinator))
    content["manifest"]["also"] = True
    assert refused(canonical(content), parties) == "tampered"


def test_the_budget_must_be_that_of_the_config(manifest: Manifest) -> None:
    private = FederatedConfig(privacy={"epsilon": 3.0})
    with pytest.raises(ValidationError, match="epsilon must be that of the config"):
        Manifest.model_validate(manifest.model_dump() | {"config": private, "epsilon": 8.0})
    assert propose("a", private, ["north"]).epsilon == 3.0


def test_a_proposal_is_of_the_code_here_and_of_all_outcomes() -> None:
    found = propose("a", FederatedConfig(), ["south", "north"], days_valid=2)
    assert found.code == code_digest()
    assert found.sites == ("north", "south")
    assert len(found.outcomes) > 3
    assert found.expires - found.created == timedelta(days=2)
